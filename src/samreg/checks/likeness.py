"""Check: do the images resemble each other after registration?"""

from __future__ import annotations

from samreg.checks.finished import Finished
from samreg.result import CheckResult

__all__ = ["LOW_CONFIDENCE", "check"]

LOW_CONFIDENCE = 0.4
"""Confidence below which a run warns."""


def check(finished: Finished) -> CheckResult | None:
    """The confidence of the run; see `Finished.confidence`. Without pairs another check speaks."""
    if len(finished.pairs) == 0:
        return None
    confidence = finished.confidence
    message = ""
    if confidence < LOW_CONFIDENCE and finished.config.fit.is_dense:
        known = finished.agreement.embedding is not None
        why = "the images hardly resemble each other" if known else "paired regions hardly overlap"
        message = f"low confidence ({confidence:.2f}): {why} after registration; look at the result"
    return CheckResult("likeness", confidence, message)
