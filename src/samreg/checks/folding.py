"""Check: does the field fold?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.result import CheckResult

__all__ = ["MAX_FOLDED", "check"]

MAX_FOLDED = (1e-3, 1e-2)
"""Shares of folded cells above which a run is to be looked at, and above which it fails."""


def check(finished: Finished) -> CheckResult | None:
    """The share of cells of a dense field whose Jacobian determinant is not positive at one of their corners.

    Central differences, which `DisplacementField.folding_fraction` counts, miss folds inside a cell.
    """
    field = finished.fitted.field
    if field is None or not finished.config.fit.is_dense:
        return None
    folded = float(np.mean(field.min_corner_jacobian() <= 0))
    return judge(
        "folding",
        folded,
        (None, MAX_FOLDED[0]),
        (None, MAX_FOLDED[1]),
        source="tissue does not fold, and real fields of three hearts, a prostate, three hippocampi, a brain and two "
        "retinas have no folded cell; a thousandth is left to single voxels",
        says=f"{100 * folded:.2g} % of the field is folded",
        advice="do not trust it there; a stiffer field (--stiffness 2) folds less",
    )
