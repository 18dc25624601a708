"""Which masks stay: quality, stability, area, duplicates, overlap. All on stacks of masks of one slice."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["STABILITY_OFFSET", "drop_overlapping", "intersections", "mask_nms", "stability_score"]


STABILITY_OFFSET = 1.0
"""Logits above and below the edge of a mask at which SAM's measure of how sharp it is cuts it."""


def stability_score(logits: Tensor) -> Tensor:
    """IoU of each mask cut at logit +1 and at -1 (SAM's measure of how sharp a mask is).

    Args:
        logits: (n, h, w).

    Returns:
        (n,) in [0, 1]; 0 where the larger mask is empty.
    """
    small = (logits > STABILITY_OFFSET).flatten(1).sum(1)
    large = (logits > -STABILITY_OFFSET).flatten(1).sum(1)
    return small / large.clamp(min=1)


def intersections(masks: Tensor) -> Tensor:
    """Pixels that each two masks share, (n, n); the areas on the diagonal.

    Args:
        masks: (n, h, w) booleans.
    """
    flat = masks.flatten(1).to(torch.float32)
    return flat @ flat.T


def mask_nms(shared: Tensor, order: Tensor, limit: float) -> Tensor:
    """Greedy non-maximum suppression by mask IoU.

    Args:
        shared: (n, n) intersections.
        order: (n,) rows from best to worst.
        limit: IoU above which the later of two masks is dropped.

    Returns:
        Rows that stay, best first.
    """
    area = shared.diagonal()
    iou = shared / (area[:, None] + area[None, :] - shared).clamp(min=1)
    return _sweep(iou > limit, order)


def drop_overlapping(shared: Tensor, rows: Tensor, limit: float) -> Tensor:
    """Of two ROIs whose intersection over the smaller exceeds `limit`, the smaller goes (paper, section 4).

    Args:
        shared: (n, n) intersections.
        rows: rows to consider, best first.
        limit: overlap ratio in [0, 1]; 1 keeps all.

    Returns:
        Rows that stay, in their former order.
    """
    if limit >= 1:
        return rows
    area = shared.diagonal()
    ratio = shared / torch.minimum(area[:, None], area[None, :]).clamp(min=1)
    by_area = rows[torch.argsort(area[rows], descending=True, stable=True)]
    kept = set(_sweep(ratio > limit, by_area).tolist())
    return rows[torch.tensor([r in kept for r in rows.tolist()], dtype=torch.bool, device=rows.device)]


def _sweep(conflict: Tensor, order: Tensor) -> Tensor:
    # Row by row, one after the other: nothing for a graphics card, and little for a processor.
    free = ~conflict.cpu().numpy()
    alive = np.ones(len(free), dtype=bool)
    kept = []
    for row in order.tolist():
        if alive[row]:
            kept.append(row)
            alive &= free[row]
            alive[row] = False
    return torch.tensor(kept, dtype=torch.long, device=conflict.device)
