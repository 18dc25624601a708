"""Two images at resolutions from coarse to their own, as the refinement of a start sees them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import torch
from scipy.interpolate import make_interp_spline
from torch import Tensor

from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.ops.resample import resize, sample_border
from samreg.geometry.ops.smoothing import along, gaussian
from samreg.types import MaskArray, Matrix, ScalarArray

__all__ = ["GreyLevel", "GreyPyramid", "resample", "unclipped"]

_Values = TypeVar("_Values", np.ndarray, Tensor)

_WINDOW = 2.5
"""Half of a window's side, in working voxels."""
_COARSEST = 24
"""Working voxels along the longest axis at the coarsest level."""
_SMOOTH = 0.5
"""Standard deviation of the smoothing of a level, in working voxels."""
_OVERSAMPLED = 2.0
"""Voxels of the moving image a working voxel along each axis,"""
_MOST_OVERSAMPLED = 3.0
"""and at most so many a voxel of its own."""
_COUNTS = 0.5
"""Share of a voxel that has to count for the voxel to do so."""


@dataclass(frozen=True, eq=False)
class GreyLevel:
    """Both images at one resolution.

    Args:
        fixed: (1, *fixed_grid.shape).
        fixed_grid: working voxels.
        moving: (1, *moving_grid.shape), smoothed alike.
        moving_grid: its voxels, at most as coarse.
        pixel: side of a working voxel, in world units.
        fixed_counts: (1, *fixed_grid.shape) share of each voxel that counts; None where all of the image does.
        moving_counts: (1, *moving_grid.shape) the same of the moving image.
    """

    fixed: Tensor
    fixed_grid: Grid
    moving: Tensor
    moving_grid: Grid
    pixel: float
    fixed_counts: Tensor | None = None
    moving_counts: Tensor | None = None

    @cached_property
    def window(self) -> list[int]:
        """Odd number of voxels of a window along each array axis; 1 across slices that are far apart."""
        sides = [2 * round(_WINDOW * self.pixel / s - 0.25) + 1 for s in self.fixed_grid.array_spacing]
        return [max(1, side) if n > 1 else 1 for side, n in zip(sides, self.fixed_grid.shape, strict=True)]

    def warped(self, matrix: Matrix, displacement: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The moving image on the fixed grid behind a map, and 1 where both images hold that place and it counts in
        both; (1, *shape) each.
        """
        frame = Frame(self.fixed_grid, self.moving_grid, matrix)
        at = frame.identity()
        index = frame.moving_index(at if displacement is None else at + displacement)
        size = torch.tensor(self.moving_grid.shape[::-1])
        inside = ((index >= -0.5) & (index <= size - 0.5)).all(-1)
        held = inside[None].float()
        if self.fixed_counts is not None:
            held = held * (self.fixed_counts > _COUNTS)
        if self.moving_counts is not None:
            held = held * (sample_border(self.moving_counts, index) > _COUNTS)
        return sample_border(self.moving, index), held


class GreyPyramid:
    """Both images at resolutions between the coarsest and their own, made when they are asked for.

    Args:
        fixed: grey values in [0, 1].
        fixed_grid: their grid.
        moving: grey values in [0, 1].
        moving_grid: their grid.
        most: working voxels at the finest level at most.
        inside: where each image counts, on its grid; None is everywhere.
    """

    def __init__(
        self,
        fixed: ScalarArray,
        fixed_grid: Grid,
        moving: ScalarArray,
        moving_grid: Grid,
        most: int,
        inside: tuple[MaskArray | None, MaskArray | None] = (None, None),
    ) -> None:
        self.values = [torch.as_tensor(np.ascontiguousarray(v, dtype=np.float32))[None] for v in (fixed, moving)]
        self.grids = fixed_grid, moving_grid
        self.counts = [None if m is None else torch.as_tensor(np.asarray(m, dtype=np.float32))[None] for m in inside]
        self._levels: dict[float, GreyLevel] = {}
        coarsest = max(n * s for n, s in zip(fixed_grid.shape, fixed_grid.array_spacing, strict=True)) / _COARSEST
        own = fixed_grid.pixel_within(most, max(grid.finest_spacing for grid in self.grids))
        n_levels = max(1, 1 + round(np.log2(max(1.0, coarsest / own))))
        self.pixels = [own * 2.0**k for k in reversed(range(n_levels))]

    def level(self, number: int) -> GreyLevel:
        """Level `number`, 0 the coarsest."""
        pixel = self.pixels[number]
        if pixel not in self._levels:
            (fixed, moving), (grid, other) = self.values, self.grids
            small = grid.with_shape(grid.shape_at(pixel))
            # Linear interpolation between voxels half as far apart is nearly that of a spline.
            spacing = [max(pixel / _OVERSAMPLED, s / _MOST_OVERSAMPLED) for s in other.array_spacing]
            sizes = zip(other.shape, other.array_spacing, spacing, strict=True)
            dense = other.with_shape([1 if n == 1 else max(1, round(n * s / t)) for n, s, t in sizes])
            self._levels[pixel] = GreyLevel(
                resample(fixed, grid, small.shape, pixel),
                small,
                resample(moving, other, dense.shape, pixel),
                dense,
                pixel,
                None if self.counts[0] is None else resize(self.counts[0], small.shape),
                None if self.counts[1] is None else resize(self.counts[1], dense.shape),
            )
        return self._levels[pixel]


def unclipped(values: _Values) -> _Values:
    """Booleans: where grey values in [0, 1] are not at an end of their window, at which they say nothing."""
    return (values > 0) & (values < 1)


def resample(values: Tensor, grid: Grid, shape: tuple[int, ...], pixel: float) -> Tensor:
    """Values smoothed to a resolution and resampled by cubic splines to another number of voxels over the same extent.

    Pooling over blocks of unequal size moves edges by a part of a voxel; this does not.

    Args:
        values: (c, *grid.shape).
        grid: where they are.
        shape: voxels wanted along each array axis.
        pixel: side of the voxel that one value is to stand for, in world units.

    Returns:
        (c, *shape).
    """
    sigma = [_SMOOTH * float(np.sqrt(max(0.0, (pixel / s) ** 2 - 1))) for s in grid.array_spacing]
    out = gaussian(values, sigma) if max(sigma) > 0 else values
    for axis, (n, m) in enumerate(zip(grid.shape, shape, strict=True), start=1):
        if n != m and n > 1:
            out = along(out, _cubic(n, m), axis)
    return out


def _cubic(n: int, m: int) -> Tensor:
    """(m, n) matrix that samples the cubic spline through n values at the centres of m voxels of the same extent."""
    at = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    rows = make_interp_spline(np.arange(n), np.eye(n), k=min(3, n - 1))(at)
    return torch.as_tensor(rows.astype(np.float32))
