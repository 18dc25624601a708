"""Overlap of regions that are carried through a start, and the affine start that pairs which are known suggest."""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from samreg.geometry.frame import Frame
from samreg.geometry.ops.displacement import rescale
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.initial.affine import fit_affine, plausible
from samreg.result import StartRecord
from samreg.types import Matrix

__all__ = ["affine_of_pairs", "overlap_after", "pair_overlaps"]

_MARGIN = 0.03
"""Relative gain in overlap that the centroids have to bring over the headers: the share of `fitting.affine.choose`."""
_CELLS = 64


def affine_of_pairs(pairs: PairedRois) -> tuple[Matrix, StartRecord]:
    """The affine map under which given pairs overlap most: headers, centroids shifted, or centroids mapped.

    The headers stay unless the overlap rises by 3 %. An affine map of the centroids is tried for d + 2 pairs or more,
    and where it is a plausible one. Where no two regions meet under any of them, the shift counts.

    Args:
        pairs: known to correspond; without any the headers stay.

    Returns:
        (d + 1, d + 1) fixed world to moving world, and how it was chosen: costs are 1 - mean soft IoU of the pairs.
    """
    d = pairs.fixed.grid.ndim
    still = np.eye(d + 1)
    if len(pairs) == 0:
        return still, StartRecord("headers", {}, 0, 0.0)
    weights = np.sqrt(pairs.fixed.volumes)
    fixed, moving = pairs.fixed.centroids, pairs.moving.centroids
    shift = still.copy()
    shift[:-1, -1] = np.average(moving - fixed, axis=0, weights=weights)
    maps = {"centroids": shift, "headers": still}
    if len(pairs) >= d + 2:
        affine = fit_affine(fixed, moving, weights)
        if plausible(affine[None, :d, :d])[0]:
            maps["affine of centroids"] = affine
    nothing = torch.zeros(d, *[1] * d)
    overlap = {name: float(pair_overlaps(pairs, matrix, nothing).mean()) for name, matrix in maps.items()}
    best = max(overlap, key=lambda name: overlap[name])
    if 0 < overlap[best] <= (1 + _MARGIN) * overlap["headers"]:
        best = "headers"
    costs = {name: 1 - value for name, value in overlap.items()}
    return maps[best], StartRecord(best, costs, len(pairs), float(overlap[best]))


def overlap_after(fixed: RoiSet, moving: RoiSet, affine: Matrix, start: Tensor) -> np.ndarray:
    """Soft IoU of every fixed mask with every moving mask carried through the start.

    Masks are compared on a grid of at most 64 cells along an axis: sharp enough to tell regions apart.

    Args:
        fixed: n regions on the fixed grid.
        moving: m regions on the moving grid.
        affine: (d + 1, d + 1) fixed world to moving world.
        start: (d, *any) displacement over the fixed image, in its own voxels.

    Returns:
        (n, m) in [0, 1].
    """
    f, m = _carried(fixed, moving, affine, start)
    both = (f @ m.T).toarray()
    union = f.sum(axis=1) + m.sum(axis=1).T - both
    result: np.ndarray = np.asarray(both / np.maximum(union, 1e-6))
    return result


def pair_overlaps(pairs: PairedRois, affine: Matrix, start: Tensor) -> np.ndarray:
    """Soft IoU of each pair's own two masks after the transform, (k,) in [0, 1]; see `overlap_after`."""
    f, m = _carried(pairs.fixed, pairs.moving, affine, start)
    both = f.multiply(m).sum(axis=1)
    result: np.ndarray = np.asarray(both / np.maximum(f.sum(axis=1) + m.sum(axis=1) - both, 1e-6)).ravel()
    return result


def _carried(fixed: RoiSet, moving: RoiSet, affine: Matrix, start: Tensor) -> tuple[csr_matrix, csr_matrix]:
    """Cell shares of fixed masks, and of moving masks where the transform puts them: (n, cells) and (m, cells)."""
    shape = tuple(min(n, _CELLS) for n in fixed.grid.shape)
    other = tuple(min(n, _CELLS) for n in moving.grid.shape)
    frame = Frame(fixed.grid.with_shape(shape), moving.grid.with_shape(other), affine)
    index = frame.moving_index(frame.identity() + rescale(start, shape))
    nearest = index.round().long().flip(-1).reshape(-1, len(shape)).numpy(force=True)
    inside = np.flatnonzero(((nearest >= 0) & (nearest < other)).all(axis=1))
    come_from = np.ravel_multi_index(tuple(nearest[inside].T), other)
    # Cells of the moving image to the cells of the fixed image that they are carried to.
    ones = np.ones(len(inside), dtype=np.float32)
    carry = csr_matrix((ones, (come_from, inside)), shape=(int(np.prod(other)), len(nearest)))
    return _cells(fixed, shape), _cells(moving, other) @ carry


def _cells(rois: RoiSet, shape: tuple[int, ...]) -> csr_matrix:
    """Share of each cell that each region covers, (n, cells); sparse, since a region covers few cells of a volume."""
    scale = np.asarray(shape, dtype=float) / np.asarray(rois.grid.shape)
    owner = [
        np.minimum(((np.arange(n) + 0.5) * k).astype(int), m - 1)
        for n, m, k in zip(rois.grid.shape, shape, scale, strict=True)
    ]
    # Cells of a grid that does not divide evenly hold different numbers of voxels.
    size = [np.bincount(o, minlength=m) for o, m in zip(owner, shape, strict=True)]
    capacity = functools.reduce(np.multiply.outer, size).astype(np.float32).ravel()
    columns, values, ends = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.float32)], [0]
    for roi in rois.rois:
        voxels = (np.argwhere(roi.mask) + roi.start).T
        flat = np.ravel_multi_index(tuple(o[v] for o, v in zip(owner, voxels, strict=True)), shape)
        cells, counts = np.unique(flat, return_counts=True)
        columns.append(cells)
        values.append(counts.astype(np.float32) / capacity[cells])
        ends.append(ends[-1] + len(cells))
    return csr_matrix((np.concatenate(values), np.concatenate(columns), ends), shape=(len(rois), len(capacity)))
