"""Gaussian smoothing and box means of tensors, axis by axis."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["along", "box_mean", "gaussian"]


def gaussian(values: Tensor, sigma: Sequence[float]) -> Tensor:
    """Smooth each channel; the edge value continues beyond the edge.

    Args:
        values: (c, *shape).
        sigma: standard deviation along each array axis, in voxels; 0 leaves an axis alone, and more than four times
            its length is as much as that.

    Returns:
        (c, *shape).
    """
    out = values
    for axis, s in enumerate(sigma, start=1):
        n = out.shape[axis]
        if s <= 0 or n == 1:
            continue
        out = along(out, _gaussian_rows(n, min(float(s), 4.0 * n), values.dtype, values.device), axis)
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
            out = along(out, _box_rows(n, w, values.dtype, values.device), axis)
    return out


# A fit smooths with the same few matrices at every step. Nobody writes into them, and a gradient may go through them
# wherever they were made first.
@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)
def _gaussian_rows(n: int, sigma: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n, n) matrix that smooths a row of n voxels."""
    radius = max(1, int(2.5 * sigma + 0.5))
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-(offsets.to(dtype) ** 2) / (2 * sigma * sigma))
    source = (torch.arange(n)[:, None] + offsets[None]).clamp(0, n - 1)
    rows = torch.zeros(n, n, dtype=dtype).scatter_add_(1, source, (kernel / kernel.sum()).expand(n, -1))
    return rows.to(device)


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)
def _box_rows(n: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(n, n) matrix of the means over boxes of odd width."""
    at = torch.arange(n)
    band = ((at[:, None] - at[None]).abs() <= width // 2).to(dtype)
    rows: Tensor = band / band.sum(1, keepdim=True)
    return rows.to(device)
