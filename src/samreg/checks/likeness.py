"""Check: do the images resemble each other after registration?"""

from __future__ import annotations

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.result import CheckResult

__all__ = ["LOW_CONFIDENCE", "UNRELATED", "check"]

LOW_CONFIDENCE = 0.4
"""Confidence below which a run is to be looked at."""
UNRELATED = 0.25
"""Confidence below which it fails."""


def check(finished: Finished) -> CheckResult | None:
    """The confidence of the run; see `Finished.confidence`. Without pairs another check speaks."""
    if len(finished.pairs) == 0 or not finished.config.fit.is_dense:
        return None
    confidence = finished.confidence
    known = finished.agreement.embedding is not None
    why = "the images hardly resemble each other" if known else "paired regions hardly overlap"
    return judge(
        "likeness",
        confidence,
        (LOW_CONFIDENCE, None),
        (UNRELATED, None),
        source="images of different organs have at most 0.11, 63 of 65 public pairs at least 0.42 (docs/results.md)",
        says=f"low confidence ({confidence:.2f}): {why} after registration",
        advice="look at the result",
    )
