"""Check: are there enough pairs of regions that count?"""

from __future__ import annotations

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.result import CheckResult

__all__ = ["check"]


def check(finished: Finished) -> CheckResult:
    """The number of pairs with a weight; without any, the message says what the transform rests on."""
    pairs, d = finished.pairs, finished.images.fixed_grid.ndim
    n = len(pairs.used)
    # One pair that is known is a fact; pairs that were found may be false, and fewer than d + 1 cannot contradict.
    wanted = 1 if pairs.is_given.any() or not finished.images.segmented else d + 1
    if len(pairs) == 0:
        says = f"no two regions correspond: {_what_is_left(finished)}"
    elif n == 0:
        says = "no pair of regions counts: under the start none overlaps well"
    else:
        says = f"only {n} of {len(pairs)} pairs of regions count: too few to confirm each other"
    return judge(
        "pairs",
        float(n),
        (float(wanted), None),
        (1.0 if finished.images.segmented else None, None),
        source=f"an affine map in {d}D has {d + 1} points; a pair that is known needs no other",
        says=says,
        advice="look whether both images show the same part of the body, or give pairs that you know (--fixed-labels)",
    )


def _what_is_left(finished: Finished) -> str:
    settings = finished.config.fit
    if not settings.is_dense:
        return "the transform is where the search started"
    flows = settings.transform == "ddf"
    weight = settings.flow.flow_feature_weight if flows else settings.elastic.feature_weight
    terms = {
        "grey values": flows or settings.elastic.similarity_weight > 0,
        "embeddings": finished.images.segmented and (weight > 0 or not settings.regions_alone),
    }
    left = " and ".join(name for name, counts in terms.items() if counts)
    return f"the transform rests on {left} alone" if left else "nothing drives the fit, and the images stay in place"
