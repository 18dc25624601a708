"""Walls: the layer around a paired region, where both images show one, is a region of its own.

A model of the Segment Anything family outlines the chamber, not its wall: it answers a box around the whole left
ventricle with the blood. The wall is looked for in grey values: it ends where they change most, and it is even.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from samreg.pairs.counterparts import SlicePair, iou
from samreg.pairs.planes import Planes
from samreg.regions.slices import nearest_masks

__all__ = ["Smoothed", "distinct", "wall_around", "walls"]

_SIDE = 256
"""Longer side in pixels of the slices in which walls are looked for; pixels below are of these."""
_SIGMA = 1.0
"""Pixels of the Gaussian that smooths grey values and outlines."""
_THINNEST = 3.0
"""Pixels: of a thinner wall the inner and the outer edge are one."""
_THICKEST = 2.5
"""Radii of a disc of the region's area."""
_STEP = 0.5
"""Pixels from one outline to the next one."""
_FIRST = 0.5
"""Share of the greatest change from which an outline counts: the first one ends the wall."""
_OUTLINE = 1.3
"""How many times more grey values change there than within the wall."""
_UNLIKE = 1.5
"""Difference of the wall from the region, in standard deviations of the wall."""
_CLOSED = 0.65
"""Share of the directions in which the outline is seen, with at least half its mean change."""
_SECTORS = 24
_AGREES = 0.4
"""IoU of both walls under the first registration: a wall is thin, so that a little shift costs it much."""
_SAME = 0.5
"""IoU from which two walls are one."""
_LEAST_PIXELS = 50


@dataclass(frozen=True, eq=False)
class _Shells:
    """What lies around one region, outline by outline, each `_STEP` further out than the one before.

    Args:
        distance: (y, x) signed distance from the region's edge in pixels, positive outside; smoothed.
        change: (y, x) absolute derivative of the grey values along the normal of the outlines.
        reach: pixels up to which is looked.
    """

    distance: np.ndarray
    change: np.ndarray
    reach: float

    def profile(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances from 0 on, and the mean change on the outline at each."""
        near = (self.distance >= -_STEP) & (self.distance <= self.reach + 1)
        row = np.floor(self.distance[near] / _STEP + 0.5).astype(int) + 1
        count = np.bincount(row)
        mean = np.bincount(row, weights=self.change[near]) / np.maximum(count, 1)
        smooth = np.convolve(mean, np.ones(3) / 3, "same")[1:]
        return _STEP * np.arange(len(smooth)), smooth

    def thickness(self) -> tuple[float, float] | None:
        """Distance at which the wall ends, and the mean change there; None where nothing ends it."""
        distance, change = self.profile()
        rows = np.flatnonzero((distance >= _THINNEST) & (distance <= self.reach))
        if len(rows) < 3 or not change[rows].max() > 0:
            return None
        least = _FIRST * change[rows].max()
        for i in rows[1:-1]:
            if change[i] >= max(change[i - 1], change[i + 1], least):
                within = change[(distance >= 1) & (distance <= distance[i])].min()
                return (float(distance[i]), float(change[i])) if change[i] >= _OUTLINE * within else None
        return None


@dataclass(frozen=True, eq=False)
class Smoothed:
    """Grey values of a slice.

    Args:
        grey: (y, x) smoothed.
        slope: (2, y, x) their derivatives along y and x.
    """

    grey: np.ndarray
    slope: np.ndarray

    @classmethod
    def of(cls, grey: np.ndarray) -> Smoothed:
        """Of the (y, x) grey values of a slice."""
        smooth = ndimage.gaussian_filter(grey, _SIGMA)
        return cls(smooth, np.stack(np.gradient(smooth)))


def wall_around(mask: np.ndarray, seen: Smoothed) -> np.ndarray | None:
    """The wall of one region.

    Args:
        mask: (y, x) of the region.
        seen: its slice.

    Returns:
        (y, x) mask of the layer around the region; None where it has none.
    """
    reach = _THICKEST * float(np.sqrt(np.count_nonzero(mask) / np.pi))
    if reach <= _THINNEST:
        return None
    box = _around(mask, int(reach + 4 * _SIGMA))
    solid = ndimage.binary_fill_holes(mask[box])
    if solid.all():
        return None
    grey, slope = seen.grey[box], seen.slope[(slice(None), *box)]
    distance = ndimage.distance_transform_edt(~solid) - ndimage.distance_transform_edt(solid)
    # Centres of pixels on both sides of the edge are half a pixel away from it.
    distance = ndimage.gaussian_filter(distance + np.where(solid, 0.5, -0.5), _SIGMA)
    normal = np.gradient(distance)
    length = np.maximum(np.hypot(*normal), 1e-6)
    shells = _Shells(distance, np.abs(normal[0] * slope[0] + normal[1] * slope[1]) / length, reach)
    ends = shells.thickness()
    if ends is None or not _is_even(grey, distance, solid, ends[0]) or _closed(shells, solid, *ends) < _CLOSED:
        return None
    wall = np.zeros(mask.shape, dtype=bool)
    wall[box] = (distance <= ends[0]) & ~solid
    return wall


def _around(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The box of a mask with a margin, within the slice."""
    y, x = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (slice(max(0, y[0] - margin), y[-1] + margin + 1), slice(max(0, x[0] - margin), x[-1] + margin + 1))


def _is_even(grey: np.ndarray, distance: np.ndarray, solid: np.ndarray, thickness: float) -> bool:
    """Whether the wall, without its edges, is of one brightness that is not that of the region."""
    wall = grey[(distance > 1) & (distance <= thickness - 1)]
    region = grey[solid & (distance < -1)]
    if not wall.size or not region.size:
        return False
    return bool(abs(wall.mean() - region.mean()) >= _UNLIKE * wall.std())


def _closed(shells: _Shells, solid: np.ndarray, thickness: float, change: float) -> float:
    """Share of the directions from the region's centre in which the outline is seen."""
    y, x = np.nonzero(np.abs(shells.distance - thickness) <= 3 * _STEP)
    centre = ndimage.center_of_mass(solid)
    angle = (np.arctan2(y - centre[0], x - centre[1]) / (2 * np.pi)) % 1.0
    most = np.zeros(_SECTORS)
    np.maximum.at(most, np.minimum((angle * _SECTORS).astype(int), _SECTORS - 1), shells.change[y, x])
    return float((most >= 0.5 * change).mean())


def walls(
    pairs: Sequence[SlicePair], fixed: Planes, moving: Planes, carried: Callable[[SlicePair], np.ndarray]
) -> list[SlicePair]:
    """The walls of paired regions that both images show, and that the first registration brings together.

    Args:
        pairs: regions of both images; those that are rings have no wall.
        fixed: slices of the fixed image.
        moving: slices of the moving image.
        carried: the moving mask of a pair as its fixed slice sees it, (y, x).

    Returns:
        Rings; several regions may have the same one.
    """
    looks = _Looks(fixed), _Looks(moving)
    found = []
    for pair in pairs:
        if pair.kind == "ring" or pair.agreement < _AGREES:
            continue
        one = looks[0].wall(pair.fixed, pair.slices[0])
        other = None if one is None else looks[1].wall(pair.moving, pair.slices[1])
        if one is None or other is None:
            continue
        wall = SlicePair(one, other, pair.slices, pair.quality, pair.similarity, pair.agreement, "ring")
        agreement = iou(carried(wall), one)
        if agreement >= _AGREES:
            found.append(replace(wall, agreement=agreement))
    return found


def distinct(rings: Sequence[SlicePair]) -> list[SlicePair]:
    """The surest of rings that are nearly the same in either image, surest first."""
    kept: list[SlicePair] = []
    for ring in sorted(rings, key=lambda p: -p.score):
        if not any(_same(ring, other) for other in kept):
            kept.append(ring)
    return kept


def _same(one: SlicePair, other: SlicePair) -> bool:
    sides = (one.fixed, other.fixed), (one.moving, other.moving)
    return any(
        n == m and np.count_nonzero(a & b) >= _SAME * np.count_nonzero(a | b)
        for n, m, (a, b) in zip(one.slices, other.slices, sides, strict=True)
    )


class _Looks:
    """Looks for walls in the slices of one image, and keeps the grey values of the slice looked at last."""

    def __init__(self, planes: Planes) -> None:
        self.planes = planes
        self._number: int | None = None
        self._seen = Smoothed.of(np.zeros((2, 2), dtype=np.float32))

    def wall(self, mask: np.ndarray, number: int) -> np.ndarray | None:
        """The wall (y, x) of a region of one slice, in voxels; None where it has none."""
        if number != self._number:
            self._number, self._seen = number, Smoothed.of(self.planes.grey(number, _SIDE))
        wall = wall_around(nearest_masks(mask[None], self._seen.grey.shape)[0], self._seen)
        if wall is None:
            return None
        found: np.ndarray = nearest_masks(wall[None], mask.shape)[0] & ~mask
        return found if np.count_nonzero(found) >= _LEAST_PIXELS else None
