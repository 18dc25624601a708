"""Sampling of tensors at continuous indices; the only module that knows normalised coordinates.

Convention: indices are in voxels, (x, y, z) order, 0 at the centre of the first voxel. `grid_sample`
is called with `align_corners=True`, for which normalised = 2 * index / (n - 1) - 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["resize", "sample", "sample_border", "sample_each"]


_WORTH_SPLITTING = 1 << 14
"""Points from which their number is shared out between the threads."""


def _normalise(index: Tensor, shape: Sequence[int]) -> Tensor:
    # A single voxel along an axis has one position; 0 keeps it in the middle whatever the index.
    length, shift = zip(*((n - 1.0, -1.0) if n > 1 else (float("inf"), 0.0) for n in reversed(shape)), strict=True)
    a, b = (torch.tensor(x, dtype=index.dtype, device=index.device) for x in (length, shift))
    # Divided, not multiplied by the reciprocal, so that whole indices meet voxel centres as nearly as they can.
    return torch.addcdiv(b, index, a, value=2.0)


def sample_border(values: Tensor, index: Tensor, mode: str = "bilinear") -> Tensor:
    """Values at continuous indices; beyond the edge, the edge value.

    Args:
        values: (c, *shape) floating point.
        index: (*any, d) continuous indices, (x, y, z), d = len(shape).
        mode: `bilinear` (linear in 2D and 3D) or `nearest`.

    Returns:
        (c, *any), differentiable in both arguments.
    """
    d = index.shape[-1]
    points = _normalise(index, values.shape[1:]).reshape(-1, d).to(values.dtype)
    n = len(points)
    # On a CPU `grid_sample` works on the batch in parallel, and on nothing else: make the points a batch.
    parts = torch.get_num_threads() if n >= _WORTH_SPLITTING and values.device.type == "cpu" else 1
    if n % parts:
        points = torch.cat([points, points[-1:].expand(-n % parts, d)])
    batch = points.reshape(parts, *([1] * (d - 1)), -1, d)
    many = values.expand(parts, *values.shape)
    out = functional.grid_sample(many, batch, mode=mode, padding_mode="border", align_corners=True)
    out = out.reshape(parts, len(values), -1).transpose(0, 1).reshape(len(values), -1)[:, :n]
    return out.reshape(len(values), *index.shape[:-1])


def sample_each(values: Tensor, index: Tensor) -> Tensor:
    """`sample_border` of several images, each at points of its own.

    Args:
        values: (n, c, *shape) floating point.
        index: (n, *any, d) continuous indices, (x, y, z), d = len(shape).

    Returns:
        (n, c, *any), differentiable in both arguments.
    """
    n, d = len(values), index.shape[-1]
    points = _normalise(index, values.shape[2:]).reshape(n, *([1] * (d - 1)), -1, d).to(values.dtype)
    out = functional.grid_sample(values, points, padding_mode="border", align_corners=True)
    return out.reshape(n, -1, *index.shape[1:-1])


def sample(values: Tensor, index: Tensor, mode: str = "bilinear", outside: float = 0.0) -> Tensor:
    """Values at continuous indices; `outside` beyond the outer edges of the voxels.

    The same rule as ITK's interpolators: between the last voxel centre and its outer edge the edge
    value holds, further out there is no image.

    Args:
        values: (c, *shape) floating point.
        index: (*any, d) continuous indices, (x, y, z).
        mode: `bilinear` or `nearest`.
        outside: the value where there is no image.

    Returns:
        (c, *any).
    """
    sizes = torch.tensor(list(values.shape[1:])[::-1], dtype=index.dtype, device=index.device)
    # ITK draws its line at the voxel edge; the tolerance keeps rounding from punching holes in it.
    slack = 1e-6 if index.dtype == torch.float64 else 1e-4
    inside = ((index >= -0.5 - slack) & (index <= sizes - 0.5 + slack)).all(dim=-1)
    return torch.where(
        inside, sample_border(values, index, mode), torch.tensor(outside, dtype=values.dtype, device=values.device)
    )


def resize(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Linear resize of (c, *old) to (c, *shape): voxel edges coincide, centres are in proportion.

    Shrinking averages over the voxels that a new voxel covers, so that no small structure is missed.
    """
    old = values.shape[1:]
    if tuple(old) == tuple(shape):
        return values
    if all(n <= m for n, m in zip(shape, old, strict=True)):
        pool = functional.adaptive_avg_pool2d if len(old) == 2 else functional.adaptive_avg_pool3d
        result: Tensor = pool(values[None], tuple(shape))[0]  # type: ignore[arg-type]
        return result
    mode = "bilinear" if len(old) == 2 else "trilinear"
    return functional.interpolate(values[None], size=tuple(shape), mode=mode, align_corners=False)[0]
