"""Local image similarities: LNCC and MIND."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from samreg.ops.smoothing import along, gaussian

__all__ = ["Lncc", "box_mean", "mind"]

_FLOOR = 1e-4
"""Added to local variances of images in [0, 1]: flat regions have no say."""


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


class Lncc:
    """1 - mean of the squared local normalised cross-correlation (Avants et al., MedIA 2008, equation (5)).

    Args:
        fixed: (1, *shape) in [0, 1].
        window: odd window size along each array axis.
    """

    def __init__(self, fixed: Tensor, window: Sequence[int]) -> None:
        self.fixed, self.window = fixed, tuple(window)
        self.mean = box_mean(fixed, self.window)
        self.variance = (box_mean(fixed * fixed, self.window) - self.mean**2).clamp(min=0)

    def local(self, warped: Tensor) -> Tensor:
        """1 - LNCC^2 at every voxel, (1, *shape), in [0, 1]; 0 is perfect."""
        mean = box_mean(warped, self.window)
        variance = (box_mean(warped * warped, self.window) - mean**2).clamp(min=0)
        covariance = box_mean(self.fixed * warped, self.window) - self.mean * mean
        squared = covariance**2 / ((self.variance + _FLOOR) * (variance + _FLOOR))
        return 1 - squared.clamp(max=1)

    def __call__(self, warped: Tensor, weight: Tensor | None = None) -> Tensor:
        """Mean over the voxels, or weighted mean."""
        local = self.local(warped)
        return local.mean() if weight is None else (local * weight).sum() / weight.sum().clamp(min=1e-6)


def mind(values: Tensor, radius: int = 1, sigma: float = 0.8) -> Tensor:
    """Modality independent neighbourhood descriptor with a self-similarity context (MIND-SSC).

    Source: Heinrich et al., MICCAI 2013, equations (1) to (4): exp(-D / V) for patch distances D between
    neighbours of each voxel at right angles, V their local mean.

    Args:
        values: (1, *shape).
        radius: distance of the neighbours in voxels.
        sigma: width of the patch in voxels.

    Returns:
        (c, *shape) in [0, 1]: c = 12 in 3D, 4 in 2D.
    """
    d = values.ndim - 1
    steps = [tuple(sign * radius if a == axis else 0 for a in range(d)) for axis in range(d) for sign in (-1, 1)]
    pairs = [
        (p, q)
        for i, p in enumerate(steps)
        for q in steps[i + 1 :]
        if sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) == 2 * radius * radius
    ]
    sigmas = [sigma if n > 1 else 0.0 for n in values.shape[1:]]
    shifted = {step: _shift(values, step) for step in steps}
    distance = torch.cat([gaussian((shifted[p] - shifted[q]) ** 2, sigmas) for p, q in pairs])
    distance = distance - distance.min(dim=0, keepdim=True).values
    scale = distance.mean(dim=0, keepdim=True)
    middle = scale.mean()
    return torch.exp(-distance / scale.clamp(middle * 1e-3 + 1e-8, middle * 1e3 + 1e-8))


def _shift(values: Tensor, step: tuple[int, ...]) -> Tensor:
    out = values
    for axis, s in enumerate(step, start=1):
        if s and out.shape[axis] > 1:
            index = (torch.arange(out.shape[axis], device=values.device) + s).clamp(0, out.shape[axis] - 1)
            out = out.index_select(axis, index)
    return out
