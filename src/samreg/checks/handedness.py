"""Check: would the mirrored moving image have fitted better?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.checks.mirrored import mirror_gains
from samreg.initial.descriptors import Descriptors
from samreg.initial.problem import ImagePair
from samreg.initial.search import affine_start, embedding_cost
from samreg.regions.regions import Regions
from samreg.result import CheckResult

__all__ = ["check"]

_ALIKE = 0.57
"""Likeness from which the better one counts; two patients who are less alike may fit better mirrored by chance."""
_CLEAR = 0.07
"""Gain of the mirror image that is more than chance."""


def check(finished: Finished) -> CheckResult | None:
    """How much more alike the embeddings are, under an affine map, when the moving image is mirrored and encoded anew.

    The moving image is mirrored along the axis along which that changes least. The network sees the mirror image as
    it would see another patient: a brain that was mirrored left to right fits nearly as well, but not quite. It costs
    the encoding of one image and a search for an affine map.
    """
    images, gains = finished.images, mirror_gains(finished)
    if finished.embed is None or not gains:
        return None
    axis = max(gains, key=lambda a: gains[a])
    image, inside = images.moving.image, images.moving.inside
    array_axis = image.grid.ndim - 1 - axis
    other = finished.embed(image.with_data(np.ascontiguousarray(np.flip(image.data, array_axis))))
    other = other.within(None if inside is None else np.flip(inside, array_axis))
    before, after = _likeness(finished, images.moving), _likeness(finished, other)
    if finished.start.descriptors is not None:
        before = max(before, 1 - embedding_cost(finished.start.descriptors, images, finished.start.affine))
    return judge(
        "handedness",
        after - before,
        (None, 0.0 if max(before, after) >= _ALIKE else _CLEAR),
        source="of nine brains, which are alike (0.58 to 0.69), each fits its neighbour better than its mirror image "
        "does, by 0.011 to 0.059; mirror images of others, less alike, gain 0.058 at most (docs/results.md)",
        says=f"the moving image fits better when it is mirrored along its {'xyz'[axis]} axis",
        advice="look whether left and right, or top and bottom, are the same in both images",
    )


def _likeness(finished: Finished, moving: Regions) -> float:
    """How alike the embeddings of the fixed image and of another one are under the affine map that fits best."""
    images = ImagePair.of(finished.images.fixed, moving, finished.config)
    fixed, other = images.fixed.features, images.moving.features
    if fixed is None or other is None:
        return 0.0
    found = Descriptors.of(fixed, other)
    affine, _, _ = affine_start(found, images, finished.config.seed)
    return 1 - embedding_cost(found, images, affine)
