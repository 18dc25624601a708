"""Pairs and fields say the same: Theorem 1, from a displacement field to pairs of single voxels and back.

A set of N pairs of single-voxel regions is a displacement sampled at N voxels; with one pair for every voxel of the
fixed grid it is the dense field itself (Huang et al., MICCAI 2024, section 2). Voxels are as fine as regions get, so
that a field comes back exactly where it leads to centres of moving voxels, and to within half a moving voxel elsewhere.
"""

from __future__ import annotations

import numpy as np

from samreg.errors import GeometryError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid, check_pair
from samreg.geometry.rois import PairedRois, Roi, RoiSet
from samreg.types import Points

__all__ = ["field_to_pairs", "pairs_to_field"]


def field_to_pairs(field: DisplacementField, moving: Grid, points: Points | None = None) -> PairedRois:
    """Pairs of single voxels: the voxel of x_k, and the moving voxel that holds x_k + u(x_k).

    Args:
        field: on the fixed grid.
        moving: grid of the moving image.
        points: (n, d) fixed world points, each standing for the voxel that holds it; all voxel centres by default.

    Returns:
        At most n pairs, in the order of the points, with similarity 1; points that leave the moving grid have no
        counterpart and make no pair.

    Raises:
        GeometryError: if a point lies outside the fixed grid, or the grids do not fit together.
    """
    grid = field.grid
    check_pair(grid, moving, "the field", "the moving grid")
    rows = grid.voxel_centres().reshape(-1, grid.ndim) if points is None else np.asarray(points, dtype=float)
    if not grid.contains(rows).all():
        raise GeometryError("some points lie outside the fixed grid; give points within it")
    first = _voxels(grid, rows)
    # The displacement of the voxel, not of the place within it where the point happens to be.
    centres = grid.index_to_world(first[:, ::-1].astype(float))
    target = centres + field.u[tuple(first.T)].astype(float)
    inside = moving.contains(target)
    second = _voxels(moving, target[inside])
    return PairedRois(_singles(first[inside], grid), _singles(second, moving), np.ones(int(inside.sum())))


def pairs_to_field(pairs: PairedRois) -> DisplacementField:
    """The field that pairs of regions say: u(x_k) = y_k - x_k for the centroids x_k, y_k of single-voxel pairs.

    Voxels without a region of their own get what `PairedRois.correspond` infers. Where several pairs share a fixed
    voxel, their mean counts.

    Args:
        pairs: at least one pair.

    Returns:
        On the grid of the fixed regions.

    Raises:
        GeometryError: if there are no pairs.
    """
    grid = pairs.fixed.grid
    x = grid.voxel_centres().reshape(-1, grid.ndim)
    if len(pairs) == 0:
        raise GeometryError("no pairs, no field: give at least one pair")
    single = (pairs.fixed.n_voxels == 1).all() and (pairs.moving.n_voxels == 1).all()
    if not single:
        u = pairs.correspond(x).inferred - x
        return DisplacementField(u.reshape(*grid.shape, grid.ndim).astype(np.float32), grid)
    flat = np.ravel_multi_index(tuple(pairs.fixed.boxes[:, 0].T), grid.shape)
    weight = np.bincount(flat, minlength=len(x)).astype(float)
    shift = pairs.moving.centroids - pairs.fixed.centroids
    total = np.stack([np.bincount(flat, column, minlength=len(x)) for column in shift.T], axis=1)
    u = total / np.maximum(weight, 1)[:, None]
    empty = weight == 0
    if empty.any():
        u[empty] = pairs.correspond(x[empty]).inferred - x[empty]
    return DisplacementField(u.reshape(*grid.shape, grid.ndim).astype(np.float32), grid)


def _voxels(grid: Grid, points: Points) -> np.ndarray:
    """Index (n, d), array order, of the voxel that holds each point."""
    index = np.floor(grid.world_to_index(points)[:, ::-1] + 0.5).astype(np.int64)
    result: np.ndarray = np.clip(index, 0, np.asarray(grid.shape) - 1)
    return result


def _singles(voxels: np.ndarray, grid: Grid) -> RoiSet:
    mask = np.ones((1,) * grid.ndim, dtype=bool)
    return RoiSet(tuple(Roi(mask, tuple(int(i) for i in row)) for row in voxels), grid)
