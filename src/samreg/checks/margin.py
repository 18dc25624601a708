"""Check: does one image stand in an empty margin, and the other not?"""

from __future__ import annotations

import numpy as np

from samreg.checks.blank import blank_slices
from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.geometry.image import Image
from samreg.result import CheckResult

__all__ = ["check", "held_share"]

_LEAST = 0.35


def check(finished: Finished) -> CheckResult:
    """How much less of one image holds anything than of the other, as a ratio; 1 where both are filled alike.

    An image that was padded stands in a margin of a single value. Its header may still be that of the smaller image:
    then everything lies elsewhere than the header says.
    """
    images = finished.images
    shares = {"fixed": held_share(images.fixed.image), "moving": held_share(images.moving.image)}
    side, other = sorted(shares, key=lambda name: shares[name])
    empty = {name: f"{100 * (1 - share):.0f} %" for name, share in shares.items()}
    return judge(
        "margin",
        shares[side] / shares[other],
        (_LEAST, None),
        source="105 public pairs have 0.69 at least (docs/results.md); half of that",
        says=f"{empty[side]} of the {side} image is an empty margin, and {empty[other]} of the {other} image",
        advice="if an image was padded, look whether its header still says where it lies",
    )


def held_share(image: Image) -> float:
    """Share of an image within the smallest box outside of which each slice, row and column holds a single value."""
    share = 1.0
    for axis, n in enumerate(image.grid.shape):
        held = np.flatnonzero(~blank_slices(image, axis))
        share *= (held[-1] - held[0] + 1) / n if len(held) else 1.0
    return float(share)
