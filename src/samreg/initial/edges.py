"""How well the edges of two images run along each other: the judge of maps that grey values were fitted to.

Directions of edges (normalised gradients; Haber and Modersitzki, MICCAI 2006): the mean over the fixed image's edges of
cos^2 between the gradients of both images, against what chance gives, 1/d. What the moving image does not hold counts
as chance, so that no map wins by what it leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from samreg.geometry.ops.displacement import derivatives
from samreg.initial.pyramid import GreyLevel, GreyPyramid
from samreg.initial.search import on_grid
from samreg.types import Matrix

__all__ = ["agreement_behind", "edge_agreement"]


def edge_agreement(level: GreyLevel, matrix: Matrix, displacement: Tensor | None = None) -> float:
    """How much better than chance the edges of both images run along each other behind a map; 1 is perfect.

    Args:
        level: both images.
        matrix: (d + 1, d + 1) fixed world to moving world.
        displacement: (d, *shape) in voxels of the level, before the map; none by default.
    """
    d = level.fixed_grid.ndim
    warped, inside = level.warped(matrix, displacement)
    size = torch.tensor(level.fixed_grid.array_spacing).reshape(-1, *([1] * d)) / level.pixel
    f, w = (torch.stack(derivatives(v[0])) / size for v in (level.fixed, warped))
    f_length, w_length = f.square().sum(0), w.square().sum(0)
    floors = [1e-6 + 0.1 * float(v.mean()) for v in (f_length, w_length)]
    alike = (f * w).sum(0).square() / ((f_length + floors[0]) * (w_length + floors[1]))
    chance = 1 / d
    weight = (f_length / (f_length + floors[0])) * f_length.sqrt()
    if level.fixed_counts is not None:
        weight = weight * level.fixed_counts[0]
    held = inside[0] > 0
    value = torch.where(held, alike, torch.tensor(chance))
    mean = float((weight * value).sum() / weight.sum().clamp(min=1e-9))
    return (mean - chance) / (1 - chance)


def agreement_behind(pyramid: GreyPyramid, affine: Matrix, u: Tensor, levels: Sequence[int]) -> float:
    """Mean agreement of edges behind a displacement and an affine map at some levels.

    Args:
        pyramid: both images.
        affine: (d + 1, d + 1) fixed world to moving world.
        u: (d, *any) displacement over the fixed image, in its own voxels, array order.
        levels: their numbers, 0 the coarsest; -1 is the finest. What is beyond the finest means the finest.
    """
    last = len(pyramid.pixels) - 1
    found = [pyramid.level(last if n < 0 else min(n, last)) for n in levels]
    return float(np.mean([edge_agreement(v, affine, on_grid(u, pyramid.grids[0], v.fixed_grid)) for v in found]))
