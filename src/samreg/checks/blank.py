"""Check: do slices hold anything?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.geometry.image import Image
from samreg.result import CheckResult

__all__ = ["blank_slices", "check"]

_MOST = 0.05


def check(finished: Finished) -> CheckResult | None:
    """The larger share of blank slices of the two images; one between others counts as if they were too many."""
    found = []
    for side, regions in (("fixed", finished.images.fixed), ("moving", finished.images.moving)):
        if regions.slice_axis is not None:
            blank = blank_slices(regions.image, regions.slice_axis)
            held = np.flatnonzero(~blank)
            between = bool(len(held)) and bool(blank[held[0] : held[-1]].any())
            found.append((between or float(blank.mean()) > _MOST, float(blank.mean()), side, int(blank.sum())))
    if not found:
        return None
    bad, share, side, n = max(found)
    return judge(
        "blank_slices",
        share,
        (None, 0.0 if bad else _MOST),
        (None, 0.5),
        unit="of the slices",
        source="of 131 public volumes four hold a blank slice, one of 31 to 37 and at an end, which does no harm",
        says=f"{n} slices of the {side} image hold a single value",
        advice="what the field says there is a guess, and it may shift the neighbours: remove these slices",
    )


def blank_slices(image: Image, axis: int) -> np.ndarray:
    """Which slices along an array axis hold a single value, (n,) booleans."""
    grey = image.grey()
    others = tuple(a for a in range(grey.ndim) if a != axis)
    result: np.ndarray = grey.min(axis=others) == grey.max(axis=others)
    return result
