"""Gaussian smoothing and box means of tensors, axis by axis."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["along", "box_mean", "gaussian"]


def gaussian(values: Tensor, sigma: Sequence[float]) -> Tensor:
    """Smooth each channel; the edge value continues beyond the edge.

    Args:
        values: (c, *shape).
        sigma: standard deviation along each array axis, in voxels; 0 leaves an axis alone.

    Returns:
        (c, *shape).
    """
    out = values
    for axis, s in enumerate(sigma, start=1):
        n = out.shape[axis]
        if s <= 0 or n == 1:
            continue
        radius = max(1, int(2.5 * s + 0.5))
        offsets = torch.arange(-radius, radius + 1)
        kernel = torch.exp(-(offsets.to(values.dtype) ** 2) / (2 * s * s))
        source = (torch.arange(n)[:, None] + offsets[None]).clamp(0, n - 1)
        matrix = torch.zeros(n, n, dtype=values.dtype).scatter_add_(1, source, (kernel / kernel.sum()).expand(n, -1))
        out = along(out, matrix.to(values.device), axis)
    return out


def along(values: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """Apply a (m, n) matrix to the rows of values along one axis of length n."""
    # Stacks of matrices, whatever the axis: nothing has to be copied into another order.
    before, after = values.shape[:axis], values.shape[axis + 1 :]
    if not after:
        return values @ matrix.T
    out: Tensor = matrix @ values.reshape(before.numel(), values.shape[axis], after.numel())
    return out.reshape(*before, len(matrix), *after)


def box_mean(values: Tensor, window: Sequence[int]) -> Tensor:
    """Mean over a box around each voxel; at the edges over what is there.

    Args:
        values: (c, *shape).
        window: odd box size along each array axis.

    Returns:
        (c, *shape).
    """
    # A box is a product of rows, and a row is a banded matrix: on a CPU several times faster than pooling.
    out = values
    for axis, w in enumerate(window, start=1):
        n = out.shape[axis]
        if w > 1 and n > 1:
            at = torch.arange(n, device=values.device)
            band = ((at[:, None] - at[None]).abs() <= w // 2).to(values.dtype)
            out = along(out, band / band.sum(1, keepdim=True), axis)
    return out
