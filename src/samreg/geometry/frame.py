"""The one frame in which fitting happens: indices of a fixed grid, carried to a moving grid by an affine map.

A displacement v lives in fixed voxels, array order (z, y, x): the moving position of fixed index i is
B (i + v(i)), where B = M_moving^-1 A M_fixed joins the two grids and the affine A. In the world that is
x_moving = A (x + v(x)), exactly what the composite transform "affine, then field" says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid, apply_affine
from samreg.geometry.ops.resample import sample, sample_border
from samreg.types import Matrix

__all__ = ["Frame", "from_field", "to_field"]

_FIT_POINTS = 1 << 16  # of the least squares; enough for an affine map
_WORST_CONDITION = 1e3
_SLACK = 1e-3  # voxels by which rounding may leave a grid


@dataclass(frozen=True, eq=False)
class Frame:
    """Indices of `fixed` to indices of `moving` through the affine map of world points.

    Args:
        fixed: grid of the displacement.
        moving: grid that is sampled.
        affine: (d + 1, d + 1) fixed world to moving world.
    """

    fixed: Grid
    moving: Grid
    affine: Matrix

    @property
    def joint(self) -> Matrix:
        """B: (d + 1, d + 1), fixed index (x, y, z) to moving index (x, y, z)."""
        result: Matrix = np.linalg.inv(self.moving.matrix) @ self.affine @ self.fixed.matrix
        return result

    def identity(self) -> Tensor:
        """Fixed indices, (d, *shape), array order (z, y, x)."""
        return torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in self.fixed.shape), indexing="ij"))

    def moving_index(self, index: Tensor) -> Tensor:
        """Moving indices (*any, d), (x, y, z), of fixed indices (d, *any), array order."""
        d = self.fixed.ndim
        joint = torch.as_tensor(self.joint, dtype=index.dtype, device=index.device)
        # A component after the other: rows of three numbers take ten times as long.
        rows = torch.addmm(joint[:d, d:], joint[:d, :d].flip(1), index.reshape(d, -1))
        return torch.movedim(rows.reshape(index.shape), 0, -1)

    def held(self, index: Tensor) -> Tensor | None:
        """1 where the moving grid holds displaced fixed indices (d, *any), else 0, (1, *any); None if it holds all."""
        return self._holds(self.moving_index(index))

    def warp_held(self, moving: Tensor, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """`warp` with edge values beyond, and `held`: where an index lies is found once."""
        at = self.moving_index(index)
        return sample_border(moving, at), self._holds(at)

    def _holds(self, at: Tensor) -> Tensor | None:
        inside = torch.ones(at.shape[:-1], dtype=torch.bool, device=at.device)
        for x, n in zip(at.unbind(-1), reversed(self.moving.shape), strict=True):
            inside &= (x >= -0.5 - _SLACK) & (x <= n - 0.5 + _SLACK)
        return None if bool(inside.all()) else inside[None].float()

    def warp(self, moving: Tensor, index: Tensor, *, border: bool = True, mode: str = "bilinear") -> Tensor:
        """Moving channels (c, *moving shape) at displaced fixed indices (d, *any); edge values or 0 beyond."""
        at = self.moving_index(index)
        return sample_border(moving, at, mode) if border else sample(moving, at, mode)


def to_field(displacement: Tensor, grid: Grid, affine: Matrix) -> DisplacementField:
    """u(x) = A (x + v(x)) - x of a displacement in fixed voxels.

    Args:
        displacement: (d, *shape) in voxels of `grid`, array order.
        grid: the fixed grid.
        affine: (d + 1, d + 1) fixed world to moving world.
    """
    voxels = np.moveaxis(displacement.numpy(force=True)[::-1].astype(np.float64), 0, -1)
    x = grid.voxel_centres()
    inner = x + (voxels * np.asarray(grid.spacing)) @ np.asarray(grid.direction).T
    u = apply_affine(affine, inner) - x
    return DisplacementField(u.astype(np.float32), grid)


def from_field(field: DisplacementField, grid: Grid) -> tuple[Matrix, Tensor]:
    """A and v of a given map x + u(x) = A (x + v(x)) on a grid: the inverse of `to_field`.

    A is the affine map nearest to the field at the voxel centres (least squares), so that v is zero for an affine field
    and small for others. Where there is no such map that can be inverted, it is the identity. Along an axis with a
    single voxel A moves, and does not stretch.

    Args:
        field: on any grid of the same world; beyond it the displacement of its nearest edge holds.
        grid: the fixed grid.

    Returns:
        (d + 1, d + 1) fixed world to moving world; (d, *shape) float32 displacement in voxels of `grid`, array order.
    """
    d = grid.ndim
    x = grid.voxel_centres().reshape(-1, d)
    y = field.transform_points(x)
    affine = _nearest_affine(x, y)
    moved = apply_affine(np.linalg.inv(affine), y) - x
    voxels = (moved @ np.asarray(grid.direction)) / np.asarray(grid.spacing)
    v = np.moveaxis(voxels[:, ::-1].reshape(*grid.shape, d), -1, 0)
    return affine, torch.as_tensor(np.ascontiguousarray(v, dtype=np.float32))


def _nearest_affine(x: np.ndarray, y: np.ndarray) -> Matrix:
    """The affine map nearest to x -> y in the sense of least squares, (d + 1, d + 1)."""
    step, d = max(1, len(x) // _FIT_POINTS), x.shape[1]
    centre = x.mean(axis=0)
    rows = x[::step] - centre
    shift = (y - x)[::step].mean(axis=0)
    # The least change: nothing is stretched along axes in which the points do not differ.
    change = np.linalg.lstsq(rows - rows.mean(axis=0), (y - x)[::step] - shift, rcond=1e-9)[0].T
    result: Matrix = np.eye(d + 1)
    linear = np.eye(d) + change
    if np.linalg.det(linear) <= 0 or np.linalg.cond(linear) > _WORST_CONDITION:
        return result
    mean = centre + rows.mean(axis=0)
    result[:d, :d] = linear
    result[:d, d] = mean + shift - linear @ mean
    return result
