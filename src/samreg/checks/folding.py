"""Check: does the field fold?"""

from __future__ import annotations

from samreg.checks.finished import Finished
from samreg.result import CheckResult

__all__ = ["MAX_FOLDED", "check"]

MAX_FOLDED = 1e-3
"""Share of folded voxels above which a run warns."""


def check(finished: Finished) -> CheckResult | None:
    """The share of voxels whose Jacobian determinant is not positive, of a dense field."""
    field = finished.fitted.field
    if field is None or not finished.config.fit.is_dense:
        return None
    folded = field.folding_fraction()
    message = f"{100 * folded:.2g} % of the field is folded: do not trust it there" if folded > MAX_FOLDED else ""
    return CheckResult("folding", folded, message)
