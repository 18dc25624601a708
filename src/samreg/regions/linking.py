"""Slice ROIs to 3D ROIs: regions of neighbouring slices that overlap and look alike are one region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy import ndimage

from samreg.geometry.rois import Roi, RoiSet, flat_iou
from samreg.regions.regions import Regions
from samreg.types import Prototypes

__all__ = ["between", "chains_of", "link_regions", "link_slices"]


def link_regions(regions: Regions) -> Regions:
    """The same image with its slice ROIs linked into 3D ROIs; a 2D image stays as it is."""
    if regions.slice_axis is None or not len(regions):
        return regions
    rois, prototypes = link_slices(regions.rois, regions.prototypes, regions.slice_index, regions.slice_axis)
    return replace(regions, rois=rois, prototypes=prototypes, slice_index=np.full(len(rois), -1))


def link_slices(
    rois: RoiSet,
    prototypes: Prototypes,
    slice_index: np.ndarray,
    axis: int,
    *,
    min_overlap: float = 0.5,
    min_similarity: float = 0.8,
    min_slices: int = 2,
) -> tuple[RoiSet, Prototypes]:
    """Link ROIs through the stack and join each chain into one 3D ROI.

    Two ROIs of neighbouring slices are linked if each is the other's best partner by mask IoU, the IoU is at
    least `min_overlap` and the cosine similarity of their prototypes at least `min_similarity`.

    Args:
        rois: slice ROIs, each one voxel thick along `axis`.
        prototypes: (n, c).
        slice_index: (n,) slice of each ROI.
        axis: array axis of the stack.
        min_overlap: in [0, 1].
        min_similarity: in [-1, 1].
        min_slices: shorter chains are dropped; in a stack of fewer slices none is.

    Returns:
        The 3D ROIs and their prototypes: the mean over the chain, weighted by area.
    """
    chains = chains_of(
        rois,
        prototypes,
        slice_index,
        axis,
        min_overlap=min_overlap,
        min_similarity=min_similarity,
        min_slices=min_slices,
    )
    area = rois.n_voxels
    joined = [_join([rois[i] for i in chain]) for chain in chains]
    rows = [np.average(prototypes[chain], axis=0, weights=area[chain]) for chain in chains]
    table = np.asarray(rows, dtype=np.float32).reshape(len(joined), prototypes.shape[1])
    return RoiSet(tuple(joined), rois.grid), table


def chains_of(
    rois: RoiSet,
    prototypes: Prototypes,
    slice_index: np.ndarray,
    axis: int,
    *,
    min_overlap: float = 0.5,
    min_similarity: float = 0.8,
    min_slices: int = 2,
    longest_step: int = 1,
) -> list[list[int]]:
    """The rows of each chain through the stack, slice after slice; see `link_slices`.

    With a longest step of 2, one slice in which everything mode missed a structure is stepped over, where both sides of
    it are linked.
    """
    min_slices = min(min_slices, rois.grid.shape[axis])
    successor = _links(rois, prototypes, slice_index, axis, min_overlap, min_similarity, longest_step)
    has_predecessor = set(successor.values())
    chains = []
    for first in range(len(rois)):
        if first in has_predecessor:
            continue
        chain = [first]
        while chain[-1] in successor:
            chain.append(successor[chain[-1]])
        if len(chain) >= min_slices:
            chains.append(chain)
    return chains


def _links(
    rois: RoiSet,
    prototypes: Prototypes,
    slice_index: np.ndarray,
    axis: int,
    min_overlap: float,
    min_similarity: float,
    longest_step: int,
) -> dict[int, int]:
    unit = prototypes / np.maximum(np.linalg.norm(prototypes, axis=1, keepdims=True), 1e-12)
    area = rois.n_voxels
    links: dict[int, int] = {}
    for step in range(1, longest_step + 1):
        for s in np.unique(slice_index):
            here = np.asarray([i for i in np.flatnonzero(slice_index == s) if int(i) not in links], dtype=np.int64)
            taken = set(links.values())
            there = np.asarray(
                [i for i in np.flatnonzero(slice_index == s + step) if int(i) not in taken], dtype=np.int64
            )
            if not len(here) or not len(there):
                continue
            # Regions of which one is too small to cover enough of the other, or that look different, are not compared.
            smaller = np.minimum(area[here][:, None], area[there][None])
            larger = np.maximum(area[here][:, None], area[there][None])
            alike = (smaller / larger >= min_overlap) & (unit[here] @ unit[there].T >= min_similarity)
            score = np.full(alike.shape, -1.0)
            for row, column in np.argwhere(alike):
                iou = flat_iou(rois[int(here[row])], rois[int(there[column])], axis)
                if iou >= min_overlap:
                    score[row, column] = iou
            best = score.argmax(axis=1)
            for row, column in enumerate(best):
                if score[row, column] >= 0 and score[:, column].argmax() == row:
                    links[int(here[row])] = int(there[column])
    return links


def _join(chain: Sequence[Roi]) -> Roi:
    start = [min(roi.start[a] for roi in chain) for a in range(3)]
    stop = [max(roi.stop[a] for roi in chain) for a in range(3)]
    mask = np.zeros([b - a for a, b in zip(start, stop, strict=True)], dtype=bool)
    for roi in chain:
        box = tuple(slice(a - s, b - s) for a, b, s in zip(roi.start, roi.stop, start, strict=True))
        mask[box] |= roi.mask
    weights = [roi.n_voxels for roi in chain]
    quality = float(np.average([roi.quality for roi in chain], weights=weights))
    return Roi(mask, tuple(start), quality, chain[len(chain) // 2].name)


def between(masks: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """The outlines of slices between those that are known, by slice number; those that are known are not among them.

    The signed distances to the edges of the two nearest known masks are interpolated linearly (shape-based
    interpolation: Raya and Udupa, IEEE TMI 1990).

    Args:
        masks: (y, x) masks by slice number, none empty.
    """
    numbers = sorted(masks)
    found: dict[int, np.ndarray] = {}
    for low, high in pairwise(numbers):
        if high == low + 1:
            continue
        ends = [_signed_distance(masks[n]) for n in (low, high)]
        for number in range(low + 1, high):
            share = (number - low) / (high - low)
            found[number] = (1 - share) * ends[0] + share * ends[1] < 0
    return {number: mask for number, mask in found.items() if mask.any()}


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1)
    result: np.ndarray = ndimage.distance_transform_edt(~padded) - ndimage.distance_transform_edt(padded)
    return result[1:-1, 1:-1]
