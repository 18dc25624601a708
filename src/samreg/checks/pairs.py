"""Check: are there any pairs of regions?"""

from __future__ import annotations

from samreg.checks.finished import Finished
from samreg.result import CheckResult

__all__ = ["check"]


def check(finished: Finished) -> CheckResult:
    """The number of pairs; without any, the transform rests on grey values and embeddings alone."""
    n = len(finished.pairs)
    message = "" if n else "no two regions correspond: the transform rests on grey values and embeddings alone"
    return CheckResult("pairs", float(n), message)
