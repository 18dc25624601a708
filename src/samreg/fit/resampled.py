"""Whether one image is the other one, resampled: then the affine map is the whole answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from samreg.geometry.frame import Frame
from samreg.initial.pyramid import GreyPyramid, unclipped
from samreg.types import MaskArray, Matrix, ScalarArray

__all__ = ["RESAMPLED", "apart_if_resampled"]

RESAMPLED = 0.1
"""Voxels: below this one image is the other one resampled. Copies by linear interpolation or splines have .01 at most,
and .04 behind a map that is a little off; copies bent by half a voxel have .14 to .35, noise of a hundredth of the grey
values .17 to .97 (brain, hippocampus, heart, prostate, CT; a bent heart, whose slices are thick, .05)."""
_MOST_POINTS = 200_000
_LEAST_SHARE = 0.2
"""Share of what one image shows, the one that shows less, that both have to show."""
_SMOOTH = 0.5
"""Standard deviation, in voxels of the copy, of the smoothing that keeps a coarse one from aliasing."""
_HOPELESS = 1.0
"""Voxels by linear interpolation above which splines, which cost more, need not be tried; they take .3 to .5 away."""


@dataclass(frozen=True, eq=False)
class _Side:
    """One image of the two.

    Args:
        values: grey values in [0, 1].
        counts: where they count; None is everywhere.
    """

    values: ScalarArray
    counts: MaskArray | None


def apart_if_resampled(pyramid: GreyPyramid, affine: Matrix) -> float:
    """Displacement that what one image leaves of the other would stand for, if it is the other one resampled.

    Each image is sampled at the voxels of the other one, as whoever makes a copy does, and the better of both counts.
    The root mean square of what is left, apart from brightness and contrast, is divided by that of the slope of the
    grey values along an axis. At voxels of its own an original would differ from its copy by what interpolation lost.

    Args:
        pyramid: both images.
        affine: (d + 1, d + 1) fixed world to moving world.

    Returns:
        Voxels of the image that would be the original; inf where too little of both is seen.
    """
    fixed, moving = (
        _Side(v[0].numpy(force=True), None if c is None else c[0].numpy(force=True) > 0)
        for v, c in zip(pyramid.values, pyramid.counts, strict=True)
    )
    joint = Frame(*pyramid.grids, affine).joint
    return min(_apart(moving, fixed, joint), _apart(fixed, moving, np.linalg.inv(joint)))


def _apart(original: _Side, copy: _Side, joint: Matrix) -> float:
    """`apart_if_resampled` with the indices (x, y, z) of the copy carried to those of the original."""
    shape = copy.values.shape
    step = -(-copy.values.size // _MOST_POINTS)
    chosen = np.arange(0, copy.values.size, step)
    homogeneous = np.stack([*np.unravel_index(chosen, shape)[::-1], np.ones(len(chosen))])
    at = (joint @ homogeneous)[:-1][::-1]
    size = np.array(original.values.shape)[:, None]
    # What lies at the border is mixed with what is beyond it. Along an axis with two voxels all is border.
    seen = np.where(size > 2, (at >= 1) & (at <= size - 2), (at >= -0.5) & (at <= size - 0.5)).all(axis=0)
    wanted = copy.values.ravel()[chosen]
    if copy.counts is not None:
        seen &= copy.counts.ravel()[chosen]
    if original.counts is not None:
        seen &= ndimage.map_coordinates(original.counts, at, order=0, mode="nearest")
    # Values outside a window were clipped: they say nothing. One image may be blank where the other is not.
    shown, shows = unclipped(wanted), unclipped(original.values)
    seen &= shown & ndimage.map_coordinates(shows, at, order=0, mode="nearest")
    held = int(shows.sum()) / abs(float(np.linalg.det(joint))) / step
    if int(seen.sum()) < max(2, _LEAST_SHARE * min(int(shown.sum()), held)):
        return float("inf")
    at, wanted = at[:, seen], wanted[seen].astype(np.float64)
    ratio = np.linalg.norm(joint[:-1, :-1], axis=1)[::-1]
    sigma = _SMOOTH * np.sqrt(np.maximum(0, ratio**2 - 1)) * (size[:, 0] > 1)
    images = [original.values]
    if sigma.max() > 0:
        images.append(ndimage.gaussian_filter(original.values, sigma))
    slope = _slope(original.values, at)
    if slope == 0:
        return float("inf")
    best = float("inf")
    for order in (1, 3):
        best = min(best, *(_left(image, at, wanted, order) / slope for image in images))
        if best > _HOPELESS:
            break
    return best


def _left(image: ScalarArray, at: np.ndarray, wanted: np.ndarray, order: int) -> float:
    """Root mean square of what a sampled image leaves of the wanted values, in its own grey values."""
    given = ndimage.map_coordinates(image, at, order=order, mode="nearest", output=np.float64)
    given, wanted = given - given.mean(), wanted - wanted.mean()
    contrast = float(given @ wanted) / max(float(given @ given), 1e-12)
    if contrast == 0:
        return float("inf")
    return float(np.sqrt(np.mean((wanted / contrast - given) ** 2)))


def _slope(image: ScalarArray, at: np.ndarray) -> float:
    """Root mean square, over places and axes, of the difference of the grey values of neighbours."""
    total = []
    for axis, n in enumerate(image.shape):
        if n > 1:
            half = np.zeros((image.ndim, 1))
            half[axis] = 0.5
            ahead, behind = (ndimage.map_coordinates(image, at + s, order=1, mode="nearest") for s in (half, -half))
            total.append(float(np.mean((ahead - behind) ** 2)))
    return float(np.sqrt(np.mean(total))) if total else 0.0
