"""Check: are there any pairs of regions?"""

from __future__ import annotations

from samreg.checks.finished import Finished
from samreg.result import CheckResult

__all__ = ["check"]


def check(finished: Finished) -> CheckResult:
    """The number of pairs; without any, the message says what the transform rests on."""
    n = len(finished.pairs)
    return CheckResult("pairs", float(n), "" if n else f"no two regions correspond: {_what_is_left(finished)}")


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
