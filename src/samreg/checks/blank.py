"""Check: do slices hold anything?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.geometry.image import Image
from samreg.result import CheckResult

__all__ = ["blank_slices", "check"]

_MOST = 0.05
_MOST_ROWS = 0.15


def check(finished: Finished) -> CheckResult | None:
    """The larger share of blank slices of the two images; one between others counts as if they were too many.

    Of a flat image the rows and the columns are looked at in place of slices, and only those between others: a body
    may well stand in an empty frame, or a little above a table.
    """
    found = []
    for side, regions in (("fixed", finished.images.fixed), ("moving", finished.images.moving)):
        flat = regions.image.grid.ndim == 2
        axes = {0: "rows", 1: "columns"} if flat else {regions.slice_axis: "slices"}
        for axis, name in axes.items():
            if axis is None:
                continue
            blank = blank_slices(regions.image, axis)
            held = np.flatnonzero(~blank)
            inner = blank[held[0] : held[-1]] if len(held) else blank[:0]
            if flat:
                blank = inner
            share = float(blank.mean()) if len(blank) else 0.0
            bad = share > _MOST_ROWS if flat else bool(inner.any()) or share > _MOST
            found.append((bad, share, side, int(blank.sum()), name))
    if not found:
        return None
    bad, share, side, n, name = max(found)
    return judge(
        "blank_slices",
        share,
        (None, _MOST_ROWS if name != "slices" else 0.0 if bad else _MOST),
        (None, 0.5),
        unit=f"of the {name}",
        source="of 131 public volumes four hold a blank slice, one of 31 to 37 and at an end, which does no harm; "
        "CT slices have up to 0.075 of rows without anything between body and table",
        says=f"{n} {name} of the {side} image hold a single value",
        advice="what the field says there is a guess, and it may shift the neighbours: leave them out"
        if name == "slices"
        else "what the field says there is a guess: give an image that is whole",
    )


def blank_slices(image: Image, axis: int) -> np.ndarray:
    """Which slices along an array axis hold a single value, (n,) booleans."""
    grey = image.grey()
    others = tuple(a for a in range(grey.ndim) if a != axis)
    result: np.ndarray = grey.min(axis=others) == grey.max(axis=others)
    return result
