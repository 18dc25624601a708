"""Landmarks as a soft constraint: E = w V / N sum_k (sqrt(1 + |r_k|^2) - 1), r_k in working voxels.

N are the voxels of the level and V those for which a point stands, so that a point pulls about as much as the grey
values in a window around it, whatever the resolution. Far away the pull is constant, and a wrong point cannot win
against everything else; near by it is that of a spring.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samreg.geometry.grid import Grid, apply_affine
from samreg.geometry.landmarks import Landmarks
from samreg.geometry.ops.resample import sample_border
from samreg.types import Matrix

__all__ = ["LandmarkTerm"]

_SIDE = 3
"""Side of the window for which a point stands, in voxels of the level."""


class LandmarkTerm:
    """How far the points of the fixed image are from where they should be.

    Args:
        landmarks: in world coordinates.
        level: grid of the displacement.
        affine: (d + 1, d + 1) fixed world to moving world.
        frozen: array axis along which nothing moves, or None; what lies along it does not count.
    """

    def __init__(self, landmarks: Landmarks, level: Grid, affine: Matrix, frozen: int | None = None) -> None:
        target = apply_affine(np.linalg.inv(affine), landmarks.moving)
        here, there = level.world_to_index(landmarks.fixed), level.world_to_index(target)
        spacing, pixel = np.asarray(level.array_spacing), level.finest_spacing
        size = spacing / pixel
        if frozen is not None:
            size[frozen] = 0.0
        self.at = torch.as_tensor(here).float()
        self.wanted = torch.as_tensor((there - here)[:, ::-1].copy()).float()
        self.size = torch.as_tensor(size).float()
        side = np.prod(
            [1 if n == 1 else min(n, max(1.0, _SIDE * pixel / s)) for n, s in zip(level.shape, spacing, strict=True)]
        )
        self.weight = landmarks.weight * float(side) / level.n_voxels

    def __call__(self, u: Tensor) -> Tensor:
        """The term of a displacement (d, *level shape) in voxels of the level, array order."""
        residual = (sample_border(u, self.at).T - self.wanted) * self.size
        return self.weight * ((1 + residual.square().sum(1)).sqrt() - 1).sum()
