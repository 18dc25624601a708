"""Prototypes: the mean of the image embedding under each mask, and how similar two of them are."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from samreg.segmenters.base import Encoding
from samreg.types import MaskStack, Prototypes, Similarity

__all__ = ["cell_shares", "cosine_similarity", "slice_prototypes"]


def slice_prototypes(encoding: Encoding, masks: MaskStack) -> Prototypes:
    """p_k = sum_x w_k(x) F(x) / sum_x w_k(x), w_k the share of cell x that mask k covers (paper, section 3).

    Args:
        encoding: of the slice.
        masks: (n, y, x) in slice pixels; none empty.

    Returns:
        (n, c) float32.
    """
    features = encoding.valid_features.float().flatten(1)
    if len(masks) == 0:
        return np.zeros((0, features.shape[0]), dtype=np.float32)
    share = cell_shares(encoding, masks).reshape(len(masks), -1)
    total = share.sum(1, keepdim=True).clamp(min=1e-12)
    result: Prototypes = (share @ features.T / total).cpu().numpy().astype(np.float32)
    return result


def cell_shares(encoding: Encoding, masks: MaskStack) -> torch.Tensor:
    """Share of each cell of the embedding that each mask covers, (n, h, w) over the valid cells, on its device."""
    h, w = encoding.valid
    # The last cells reach beyond the slice; what lies there is covered by nothing.
    size = [round(cells * encoding.stride) for cells in (h, w)]
    pad = [max(0, s - n) for s, n in zip(size, encoding.shape, strict=True)]
    given = torch.from_numpy(np.ascontiguousarray(masks)).to(encoding.features.device)
    covered = given.float()
    if any(pad):
        covered = functional.pad(covered, (0, pad[1], 0, pad[0]))
    return functional.adaptive_avg_pool2d(covered, (h, w))


def cosine_similarity(fixed: Prototypes, moving: Prototypes) -> Similarity:
    """s_ij = p_i . q_j / (|p_i| |q_j|) (paper, section 3).

    Args:
        fixed: (n_fixed, c).
        moving: (n_moving, c).

    Returns:
        (n_fixed, n_moving) in [-1, 1]; 0 for a prototype of length 0.
    """
    p, q = np.asarray(fixed, dtype=np.float32), np.asarray(moving, dtype=np.float32)
    p = p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-12)
    q = q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12)
    result: Similarity = np.clip(p @ q.T, -1.0, 1.0)
    return result
