"""Cubic B-spline control grids: smooth displacements from few parameters.

Source: Rueckert et al., "Nonrigid registration using free-form deformations", IEEE TMI 1999, equation (1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from samreg.geometry.ops.smoothing import along

__all__ = ["ControlGrid", "basis"]


def basis(n: int, spacing: float) -> Tensor:
    """Values of the cubic B-splines of a control row at n voxels.

    Args:
        n: voxels.
        spacing: distance between control points in voxels; below 1, or for a single voxel, the voxels are
            their own control points.

    Returns:
        (n, m) weights; each row sums to 1.
    """
    if spacing <= 1 or n == 1:
        return torch.eye(n)
    # Control point j sits at (j - 1) * spacing: one before the first voxel, two past the last.
    at = torch.arange(n, dtype=torch.float64) / spacing
    m = int(at[-1].floor()) + 4
    t = (at[:, None] - (torch.arange(m, dtype=torch.float64) - 1)[None]).abs()
    near = 2 / 3 - t**2 + t**3 / 2
    far = (2 - t).clamp(min=0) ** 3 / 6
    return torch.where(t < 1, near, far).float()


class ControlGrid:
    """u = B_z B_y B_x p: control values p to displacements u on every voxel.

    Args:
        shape: voxels, array order.
        spacing: distance of control points along each array axis, in voxels.
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float]) -> None:
        self.bases = [basis(n, s) for n, s in zip(shape, spacing, strict=True)]

    def zeros(self, channels: int) -> Tensor:
        """Control values of no displacement, (channels, *control shape)."""
        return torch.zeros(channels, *(b.shape[1] for b in self.bases))

    def __call__(self, control: Tensor) -> Tensor:
        """Displacements (channels, *shape) of control values (channels, *control shape)."""
        out = control
        # The last axes first: the products stay small until the final one.
        for axis, matrix in enumerate(self.bases, start=1):
            if matrix.shape[0] == matrix.shape[1]:
                continue
            out = along(out, matrix, axis)
        return out
