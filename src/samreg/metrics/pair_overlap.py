"""How far the two regions of a pair cover each other, before and after registration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samreg.geometry.field import DisplacementField
from samreg.geometry.rois import PairedRois, Roi, RoiSet

__all__ = ["pair_dice", "structure_dice"]


def pair_dice(pairs: PairedRois, field: DisplacementField | None = None) -> np.ndarray:
    """Dice of each fixed region with its partner where a transform carries it, 2 |A and B| / (|A| + |B|).

    A fixed voxel counts as B's where the moving voxel nearest to x + u(x) is in B. One pass over the voxels, whatever
    the number of pairs.

    Args:
        pairs: k pairs.
        field: on the grid of the fixed regions; None: where the headers put both images.

    Returns:
        (k,) in [0, 1].
    """
    fixed, moving = pairs.fixed.grid, pairs.moving.grid
    shared, visits = np.zeros(len(pairs)), np.zeros(moving.n_voxels, dtype=np.int64)
    for rows in fixed.slabs():
        part = fixed.crop([rows.start, *[0] * (fixed.ndim - 1)], [rows.stop, *fixed.shape[1:]])
        u = np.zeros((*part.shape, part.ndim), np.float32) if field is None else field.u[rows]
        nearest = np.floor(DisplacementField(u, part).moving_index(moving)[..., ::-1] + 0.5).astype(np.int64)
        inside = np.all((nearest >= 0) & (nearest < moving.shape), axis=-1)
        flat = np.ravel_multi_index(tuple(np.moveaxis(np.where(inside[..., None], nearest, 0), -1, 0)), moving.shape)
        visits += np.bincount(flat[inside], minlength=moving.n_voxels)
        for k, (a, b) in enumerate(zip(pairs.fixed.rois, pairs.moving.rois, strict=True)):
            shared[k] += _shared(a, b, nearest, rows.start, rows.stop)
    visited = visits.reshape(moving.shape)
    carried = np.asarray([visited[b.box][b.mask].sum() for b in pairs.moving.rois], dtype=float)
    result: np.ndarray = 2 * shared / np.maximum(pairs.fixed.n_voxels + carried, 1)
    return result


def structure_dice(
    pairs: PairedRois, groups: Sequence[Sequence[int]], field: DisplacementField | None = None
) -> np.ndarray:
    """Dice of structures that several pairs make up: all their fixed regions, and all their moving regions, as one.

    In a thick stack each pair lies in one slice. A heart that shortens leaves its slices: pair by pair that looks as if
    the registration had made everything worse.

    Args:
        pairs: k pairs.
        groups: rows of the pairs of each structure.
        field: as for `pair_dice`.

    Returns:
        One number in [0, 1] a structure.
    """
    fixed, moving = (
        RoiSet(tuple(_union([rois[row] for row in rows]) for rows in groups), rois.grid)
        for rois in (pairs.fixed, pairs.moving)
    )
    return pair_dice(PairedRois(fixed, moving, np.ones(len(groups))), field)


def _union(rois: Sequence[Roi]) -> Roi:
    if len(rois) == 1:
        return rois[0]
    start = np.min([roi.start for roi in rois], axis=0)
    mask = np.zeros(np.max([roi.stop for roi in rois], axis=0) - start, dtype=bool)
    for roi in rois:
        mask[tuple(slice(a - s, b - s) for a, b, s in zip(roi.start, roi.stop, start, strict=True))] |= roi.mask
    return Roi(mask, tuple(int(a) for a in start))


def _shared(a: Roi, b: Roi, nearest: np.ndarray, first: int, last: int) -> int:
    """Voxels of the fixed region in rows `first` to `last` whose moving voxel lies in the moving region."""
    low, high = max(first, a.start[0]), min(last, a.stop[0])
    if low >= high:
        return 0
    mask = a.mask[low - a.start[0] : high - a.start[0]]
    to = nearest[(slice(low - first, high - first), *a.box[1:])][mask] - b.start
    held = np.all((to >= 0) & (to < b.mask.shape), axis=1)
    return int(np.count_nonzero(b.mask[tuple(to[held].T)]))
