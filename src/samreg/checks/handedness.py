"""Check: would the mirrored moving image have fitted better?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.checks.mirrored import mirror_gains
from samreg.initial.descriptors import Descriptors
from samreg.initial.problem import ImagePair
from samreg.initial.search import affine_start, embedding_cost
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
    images, found = finished.images, finished.start.descriptors
    if finished.embed is None or found is None or not (gains := mirror_gains(finished)):
        return None
    axis = max(gains, key=lambda a: gains[a])
    image, inside = images.moving.image, images.moving.inside
    array_axis = image.grid.ndim - 1 - axis
    other = finished.embed(image.with_data(np.ascontiguousarray(np.flip(image.data, array_axis))))
    other = other.within(None if inside is None else np.flip(inside, array_axis))
    if images.fixed.features is None or other.features is None:
        return None
    seed = finished.config.seed
    before = max(1 - embedding_cost(found, images, finished.start.affine), _likeness(found, images, seed))
    mirrored = Descriptors.of(images.fixed.features, other.features)
    after = _likeness(mirrored, ImagePair.of(images.fixed, other, finished.config), seed)
    return judge(
        "handedness",
        after - before,
        (None, 0.0 if max(before, after) >= _ALIKE else _CLEAR),
        source="of nine brains, which are alike (0.58 to 0.69), each fits its neighbour better than its mirror image "
        "does, by 0.011 to 0.059; mirror images of others, less alike, gain 0.056 at most (docs/results.md)",
        says=f"the moving image fits better when it is mirrored along its {'xyz'[axis]} axis",
        advice="look whether left and right, or top and bottom, are the same in both images",
    )


def _likeness(found: Descriptors, images: ImagePair, seed: int) -> float:
    """How alike the embeddings of two images are under the affine map that explains them best."""
    affine, _, _ = affine_start(found, images, seed)
    return 1 - embedding_cost(found, images, affine)
