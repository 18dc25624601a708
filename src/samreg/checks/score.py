"""One number for how good a registration is likely to be, to put many in order."""

from __future__ import annotations

import math

from samreg.checks.finished import Finished
from samreg.checks.found_again import found_again

__all__ = ["score_of"]


def score_of(finished: Finished) -> float:
    """How likely the registration is to be good, in [0, 1], for comparison with others of the same kind of images.

    The geometric mean of the likeness of the embeddings (`Finished.confidence`) and of the share of the body that they
    find again where the transform says it is. Of five public data sets it puts the pairs of one into the order of
    their Dice as well as either alone, or better (docs/results.md). Where there are no embeddings it is the confidence.
    """
    found = finished.embeddings
    if found is None or len(finished.pairs) == 0:
        return finished.confidence
    return math.sqrt(finished.confidence * found_again(found))
