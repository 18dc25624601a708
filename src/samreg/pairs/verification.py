"""Regions to pairs: similar prototypes make candidates, and their overlap under the start decides among them."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from samreg.config import MatchConfig
from samreg.geometry.rois import PairedRois
from samreg.initial.overlaps import overlap_after
from samreg.pairs.assignment import assign, best_pairs
from samreg.regions.prototypes import cosine_similarity
from samreg.regions.regions import Regions
from samreg.types import Matrix

__all__ = ["pair_regions"]

_MIN_OVERLAP = 0.2
"""Soft IoU under the start below which a pair contradicts the geometry."""
_CERTAIN = (0.3, 0.8)
"""Soft IoU under the start at which a pair begins to count, and at which it counts in full."""


def pair_regions(
    fixed: Regions, moving: Regions, affine: Matrix, start: Tensor, config: MatchConfig, *, by_slice: bool
) -> PairedRois:
    """One-to-one pairs of regions.

    Without `config.verify` this is the paper: cosine similarity of prototypes, assignment above epsilon. With it the
    regions are also carried through the start (affine map and displacement), and appearance and overlap decide
    together: score = (cosine + IoU) / 2. Pairs that hardly overlap are dropped, and the weight of the others in
    equation (2) rises with their overlap: a false pair pulls harder than a true one. Pairs of the same class (regions
    that a network named) count as given: nothing had to be compared to find them.

    Args:
        fixed: regions of the fixed image.
        moving: regions of the moving image.
        affine: (d + 1, d + 1) fixed world to moving world.
        start: (d, *any) displacement over the fixed image, in its own voxels.
        config: method, epsilon, K, verify.
        by_slice: pair only regions of the same slice.
    """
    if not len(fixed) or not len(moving):
        return PairedRois.none(fixed.image.grid, moving.image.grid)
    similarity = cosine_similarity(fixed.prototypes, moving.prototypes)
    allowed = np.ones(similarity.shape, dtype=bool)
    if by_slice:
        allowed = fixed.slice_index[:, None] == moving.slice_index[None, :]
    if not config.verify:
        pairs = best_pairs(np.where(allowed, similarity, -2.0), config)
        return _paired(fixed, moving, pairs, similarity[pairs[:, 0], pairs[:, 1]], None)
    overlap = overlap_after(fixed.rois, moving.rois, affine, start)
    score = np.where(
        allowed & (similarity >= config.epsilon) & (overlap >= _MIN_OVERLAP), (similarity + overlap) / 2, -2.0
    )
    pairs = assign(score, 0.0, config.method)
    pairs = pairs[: config.max_pairs] if config.max_pairs else pairs
    values, agreement = (t[pairs[:, 0], pairs[:, 1]] for t in (similarity, overlap))
    low, high = _CERTAIN
    return _paired(fixed, moving, pairs, values, np.clip((agreement - low) / (high - low), 0.0, 1.0))


def _paired(
    fixed: Regions, moving: Regions, pairs: np.ndarray, similarity: np.ndarray, confidence: np.ndarray | None
) -> PairedRois:
    f, m = fixed.rois.select(pairs[:, 0]), moving.rois.select(pairs[:, 1])
    same_class = [a.name != "" and a.name == b.name for a, b in zip(f.rois, m.rois, strict=True)]
    return PairedRois(f, m, similarity, confidence, np.asarray(same_class, dtype=bool))
