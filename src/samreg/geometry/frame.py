"""The one frame in which fitting happens: indices of a fixed grid, carried to a moving grid by an affine map.

A displacement v lives in fixed voxels, array order (z, y, x): the moving position of fixed index i is
B (i + v(i)), where B = M_moving^-1 A M_fixed joins the two grids and the affine A. In the world that is
x_moving = A (x + v(x)), exactly what the composite transform "affine, then field" says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid, apply_affine
from samreg.geometry.ops.displacement import rescale, rescaled_part
from samreg.geometry.ops.resample import sample, sample_border
from samreg.types import Matrix

__all__ = ["Frame", "from_field", "halfway", "inverted", "thinned", "to_field"]

_FIT_POINTS = 1 << 16  # of the least squares; enough for an affine map
_WORST_CONDITION = 1e3
_SLACK = 1e-3  # voxels by which rounding may leave a grid
_HELD = 1 << 23
"""Voxels on which a displacement is held: that of a CT with thin slices has 60 million, and no more detail."""
_THINNED = 150_000
"""Voxels at which smooth displacements are inverted: a second on one core."""


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

    def thinned(self, voxels: int = _THINNED) -> Frame:
        """The same images on grids of so many voxels at most, isotropic as far as their slices allow."""
        return replace(self, fixed=thinned(self.fixed, voxels), moving=thinned(self.moving, voxels))

    @property
    def back(self) -> Frame:
        """The other way: indices of `moving` to indices of `fixed`."""
        return Frame(self.moving, self.fixed, np.linalg.inv(self.affine))

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
        return self.holds(self.moving_index(index))

    def warp_held(self, moving: Tensor, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """`warp` with edge values beyond, and `held`: where an index lies is found once."""
        at = self.moving_index(index)
        return sample_border(moving, at), self.holds(at)

    def holds(self, at: Tensor) -> Tensor | None:
        """`held` of moving indices (*any, d), (x, y, z)."""
        inside = torch.ones(at.shape[:-1], dtype=torch.bool, device=at.device)
        for x, n in zip(at.unbind(-1), reversed(self.moving.shape), strict=True):
            inside &= (x >= -0.5 - _SLACK) & (x <= n - 0.5 + _SLACK)
        return None if bool(inside.all()) else inside[None].float()

    def warp(self, moving: Tensor, index: Tensor, *, border: bool = True, mode: str = "bilinear") -> Tensor:
        """Moving channels (c, *moving shape) at displaced fixed indices (d, *any); edge values or 0 beyond."""
        at = self.moving_index(index)
        return sample_border(moving, at, mode) if border else sample(moving, at, mode)


def thinned(grid: Grid, voxels: int = _HELD) -> Grid:
    """The same extent at so many voxels at most, isotropic as far as the slices allow."""
    return grid.with_shape(grid.shape_at(grid.pixel_within(voxels, grid.finest_spacing)))


def to_field(displacement: Tensor, grid: Grid, affine: Matrix) -> DisplacementField:
    """u(x) = A (x + v(x)) - x of a displacement.

    Args:
        displacement: (d, *any) over the extent of `grid`, in its own voxels, array order.
        grid: the fixed grid.
        affine: (d + 1, d + 1) fixed world to moving world.
    """
    displacement, rest = displacement.cpu(), [slice(None)] * (grid.ndim - 1)
    u = np.empty((*grid.shape, grid.ndim), dtype=np.float32)
    for part in grid.slabs():
        v = np.moveaxis(rescaled_part(displacement, grid.shape, [part, *rest]).flip(0).double().numpy(), 0, -1)
        x = grid.voxel_centres(part)
        inner = x + (v * np.asarray(grid.spacing)) @ np.asarray(grid.direction).T
        u[part] = apply_affine(affine, inner) - x
    return DisplacementField(u, grid)


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
    return affine, _beside(affine, x, y, grid)


def _beside(affine: Matrix, x: np.ndarray, y: np.ndarray, grid: Grid) -> Tensor:
    """The v of y = A (x + v(x)) at the voxel centres x (n, d) of a grid, (d, *shape) in voxels, array order."""
    moved = apply_affine(np.linalg.inv(affine), y) - x
    voxels = (moved @ np.asarray(grid.direction)) / np.asarray(grid.spacing)
    v = np.moveaxis(voxels[:, ::-1].reshape(*grid.shape, grid.ndim), -1, 0)
    return torch.as_tensor(np.ascontiguousarray(v, dtype=np.float32))


def inverted(displacement: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """The displacement that leads back, beside the inverse affine map.

    Args:
        displacement: (d, *frame.fixed.shape) in voxels of the fixed grid, array order.
        frame: of the displacement.

    Returns:
        (d, *frame.moving.shape) in voxels of the moving grid, array order; (*frame.moving.shape) whether it was found
        there: not where the displacement folds.
    """
    there, back = frame.fixed, frame.moving
    field, result = to_field(displacement, there, frame.affine).inverse_on(back)
    x = back.voxel_centres()
    rows = x.reshape(-1, back.ndim)
    v = _beside(np.linalg.inv(frame.affine), rows, (x + field.u).reshape(rows.shape), back)
    return v.to(displacement), torch.as_tensor(result.converged.reshape(back.shape)).to(displacement.device)


def halfway(there: Tensor, back: Tensor, frame: Frame) -> Tensor:
    """The mean of a displacement and of the inverse of another one that was found the other way.

    Where the other one cannot be inverted, the first stays as it is.

    Args:
        there: (d, *shape) in its own voxels on the fixed grid, array order.
        back: (d, *shape) in its own voxels on the moving grid, beside the inverse affine map.
        frame: of both images; at how many voxels the two are compared.

    Returns:
        (d, *there.shape) the first displacement and half of the way, in its own voxels.
    """
    v, found = inverted(rescale(back, frame.moving.shape), frame.back)
    half = 0.5 * (v - rescale(there, frame.fixed.shape)) * found
    return there + rescale(half, there.shape[1:])


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
