"""Displacements in voxels: derivatives, folding, exponentials."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from samreg.geometry.ops.resample import sample_border
from samreg.geometry.ops.smoothing import gaussian

__all__ = [
    "bending_energy",
    "central_determinant",
    "corner_jacobian",
    "derivatives",
    "exponential",
    "gradient_energy",
    "jacobian_determinant",
    "logarithm",
    "per_axis",
    "rescale",
    "transposed_jacobian",
    "unfold",
    "warp",
]


def per_axis(values: Sequence[float]) -> Tensor:
    """One number for each array axis, (d, 1, ...): multiplies a displacement component by component."""
    return torch.tensor(list(values), dtype=torch.float32).reshape(-1, *([1] * len(values)))


def gradient_energy(u: Tensor, spacing: Sequence[float]) -> Tensor:
    """Mean squared gradient of the displacement in world units: mean over voxels of |grad u|^2 (the paper's L2 term).

    Args:
        u: (d, *shape) in voxels, array order.
        spacing: voxel size along each array axis.
    """
    world = u * per_axis(spacing).to(u)
    total = u.new_zeros(())
    for axis, s in enumerate(spacing, start=1):
        if u.shape[axis] > 1:
            total = total + (torch.diff(world, dim=axis) / s).pow(2).sum(0).mean()
    return total


def bending_energy(u: Tensor, spacing: Sequence[float]) -> Tensor:
    """Mean squared second derivatives of the displacement in world units, mixed ones included (1 / length^2).

    Source: Rueckert et al., IEEE TMI 1999, equation (3). Zero for every affine map.

    Args:
        u: (d, *shape) in voxels, array order.
        spacing: voxel size along each array axis.
    """
    world = u * per_axis(spacing).to(u)
    total = u.new_zeros(())
    for first, s in enumerate(spacing, start=1):
        slope = torch.diff(world, dim=first) / s
        for second, t in enumerate(spacing, start=1):
            if slope.shape[first] > 0 and slope.shape[second] > 1:
                total = total + (torch.diff(slope, dim=second) / t).pow(2).sum(0).mean()
    return total


def jacobian_determinant(u: Tensor) -> Tensor:
    """det(I + grad u) by forward differences, on the cells between voxels.

    Args:
        u: (d, *shape) in voxels, array order.

    Returns:
        (*shape - 1): an axis with a single voxel keeps it and has derivative 0.
    """
    return corner_jacobian(u, (0,) * len(u))


def corner_jacobian(u: Tensor, corner: Sequence[int]) -> Tensor:
    """det(I + grad u) at one corner of each cell between voxels, by the differences along the edges that meet there.

    Args:
        u: (d, *shape) in voxels, array order; d from 1 to 3.
        corner: along each axis, 0 for the lower and 1 for the upper side.

    Returns:
        (*shape - 1): an axis with a single voxel keeps it and has derivative 0.
    """
    shape = u.shape[1:]
    columns = []
    for axis, n in enumerate(shape):
        edges = torch.diff(u, dim=axis + 1) if n > 1 else torch.zeros_like(u)
        for other, m in enumerate(shape):
            if other != axis and m > 1:
                edges = edges.narrow(other + 1, corner[other], m - 1)
        columns.append(edges)
    return _determinant(columns)


def _determinant(columns: list[Tensor]) -> Tensor:
    """det(I + grad u) of the derivatives of u along each axis, each (d, *any)."""
    d = len(columns)
    j = [[columns[b][a] + (1.0 if a == b else 0.0) for b in range(d)] for a in range(d)]
    if d == 1:
        return j[0][0]
    if d == 2:
        area: Tensor = j[0][0] * j[1][1] - j[0][1] * j[1][0]
        return area
    volume: Tensor = (
        j[0][0] * (j[1][1] * j[2][2] - j[1][2] * j[2][1])
        - j[0][1] * (j[1][0] * j[2][2] - j[1][2] * j[2][0])
        + j[0][2] * (j[1][0] * j[2][1] - j[1][1] * j[2][0])
    )
    return volume


def rescale(u: Tensor, shape: Sequence[int]) -> Tensor:
    """A displacement on a finer or coarser grid of the same extent; lengths stay the same in the world."""
    if tuple(u.shape[1:]) == tuple(shape):
        return u
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    out: Tensor = functional.interpolate(u[None], size=tuple(shape), mode=mode, align_corners=False)[0]
    return out * per_axis([n / m for n, m in zip(shape, u.shape[1:], strict=True)])


def rescaled_part(u: Tensor, shape: Sequence[int], part: Sequence[slice]) -> Tensor:
    """A part of `rescale(u, shape)`, without the rest, which for a large image takes gigabytes."""
    if tuple(u.shape[1:]) == tuple(shape):
        return u[(slice(None), *part)]
    lines = [
        (torch.arange(n, dtype=u.dtype, device=u.device)[some] + 0.5) * (m / n) - 0.5
        for n, m, some in zip(shape, u.shape[1:], part, strict=True)
    ]
    at = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], dim=-1)
    return sample_border(u, at) * per_axis([n / m for n, m in zip(shape, u.shape[1:], strict=True)]).to(u)


def warp(values: Tensor, u: Tensor) -> Tensor:
    """values(x + u(x)) on one grid; beyond the edge the edge value.

    Args:
        values: (c, *shape).
        u: (d, *shape) in voxels, array order.
    """
    axes = [torch.arange(n, dtype=u.dtype, device=u.device) for n in u.shape[1:]]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij")) + u
    return sample_border(values, torch.movedim(at.flip(0), 0, -1))


def exponential(velocity: Tensor, steps: int = 6) -> Tensor:
    """Displacement of the flow of a stationary velocity field, by scaling and squaring (Arsigny et al., MICCAI 2006).

    Args:
        velocity: (d, *shape) in voxels, array order.
        steps: squarings.
    """
    u: Tensor = velocity / 2**steps
    for _ in range(steps):
        u = u + warp(u, u)
    return u


def logarithm(u: Tensor, iterations: int = 5) -> Tensor:
    """A velocity whose flow comes close to a displacement: v <- v + (u - exp(v))."""
    v = u.clone()
    for _ in range(iterations):
        v = v + (u - exponential(v))
    return v


def unfold(u: Tensor, floor: float = 0.05, rounds: int = 40) -> Tensor:
    """Smooth a displacement just where it folds, until det(I + grad u) > `floor` everywhere or rounds run out.

    Both the cells between voxels (forward differences) and the voxels (central differences, by which fields are
    judged) are looked at.

    Args:
        u: (d, *shape) in voxels, array order.
        floor: smallest determinant that is left alone.
        rounds: at most so many passes, each a little wider.
    """
    for number in range(rounds):
        # A fold that survives is wider than the last kernel.
        width = min(1.12**number, 12.0)
        sigma = [0.0 if n == 1 else width for n in u.shape[1:]]
        corner = _folded(u, floor)
        if not bool(corner.any()):
            break
        # A soft rim keeps the repair itself smooth.
        share = (gaussian(corner[None], [1.5 * s for s in sigma]) * 3).clamp(max=1)
        u = u + share * (gaussian(u, sigma) - u)
    return u


def _folded(u: Tensor, floor: float) -> Tensor:
    """(*shape) 1 at voxels whose own determinant, or that of a cell they are a corner of, is at most `floor`."""
    pad = [p for n in u.shape[:0:-1] for p in ((0, 0) if n == 1 else (0, 1))]
    bad = functional.pad((jacobian_determinant(u) <= floor).float(), pad)
    for axis, n in enumerate(u.shape[1:]):
        if n > 1:
            bad = torch.maximum(bad, torch.roll(bad, 1, axis))
    return torch.maximum(bad, (central_determinant(u) <= floor).float())


def central_determinant(u: Tensor) -> Tensor:
    """(*shape) det(I + grad u) at the voxels, by central differences; u (d, *shape) in voxels, array order."""
    return _determinant(derivatives(u, u.shape[0]))


def derivatives(values: Tensor, d: int | None = None) -> list[Tensor]:
    """Central differences along each of the last `d` axes (all by default); 0 along an axis with a single voxel."""
    axes = range(values.ndim - (values.ndim if d is None else d), values.ndim)
    return [torch.gradient(values, dim=a)[0] if values.shape[a] > 1 else torch.zeros_like(values) for a in axes]


def transposed_jacobian(u: Tensor, vectors: Tensor) -> Tensor:
    """(I + grad u)^T g at every voxel: what dE/du is for a displacement that is composed before u.

    Args:
        u: (d, *shape) in voxels, array order.
        vectors: (d, *shape), g.
    """
    return vectors + torch.stack([(column * vectors).sum(0) for column in derivatives(u, len(u))])
