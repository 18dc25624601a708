"""Similarity of the segmenter's embeddings: 1 - cos(F_fixed, F_moving o phi), mean over the cells."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.ops.displacement import per_axis
from samreg.geometry.ops.resample import resize, sample_border
from samreg.geometry.ops.rows import Rows, cosines
from samreg.initial.descriptors import Descriptors
from samreg.types import Matrix

__all__ = ["EmbeddingTerm"]

_CHANNELS = 16
"""Principal components of the embedding that drive the fit; the search before it used more."""


class EmbeddingTerm:
    """1 - mean cosine of the embeddings that a displacement brings together, in [0, 2].

    What the moving image does not hold resembles nothing, and pulls nowhere. `cell` is the length of a cell of the
    embeddings, in voxels of the level.

    Args:
        descriptors: the embeddings of both images.
        level: grid of the displacement.
        affine: (d + 1, d + 1) fixed world to moving world.
    """

    def __init__(self, descriptors: Descriptors, level: Grid, affine: Matrix) -> None:
        leading = descriptors.leading(_CHANNELS)
        fixed, grid = _thinned(leading.fixed, leading.fixed_grid)
        moving, other = _thinned(leading.moving, leading.moving_grid)
        self.frame = Frame(grid, other, affine)
        self.fixed, self.moving = Rows(fixed).table, Rows(moving)
        # Cells that do not count hold 0 throughout.
        counts = [(v.square().sum(0, keepdim=True) > 0).float() for v in (fixed, moving)]
        self.counts = None if all(bool(c.all()) for c in counts) else counts
        # Where the cells of the embedding lie among the voxels of the level, and a voxel's length in cells.
        to_level = Frame(grid, level, np.eye(grid.ndim + 1))
        self.cells = None if grid.shape == level.shape else to_level.moving_index(to_level.identity())
        self.cell = sorted(grid.array_spacing)[grid.ndim // 2] / level.finest_spacing
        self.scale = per_axis([a / b for a, b in zip(level.array_spacing, grid.array_spacing, strict=True)])

    def __call__(self, u: Tensor, trust: Tensor | None = None) -> Tensor:
        """The term of a displacement.

        Args:
            u: (d, *level shape) in voxels of the level, array order.
            trust: (1, *level shape) weight of the embeddings at each voxel; 1 by default.
        """
        cells = self.frame.identity() + self._at_cells(u) * self.scale
        at = self.frame.moving_index(cells)
        cosine = cosines(self.moving.at(at).flatten(0, -2), self.fixed)
        cost = 1 - cosine.reshape(cells.shape[1:])
        held = self.frame.holds(at.detach())
        if held is not None:
            cost = cost * held[0]
        if trust is not None:
            cost = cost * self._at_cells(trust)[0]
        if self.counts is None:
            return cost.mean()
        with torch.no_grad():
            weight = (self.counts[0] * sample_border(self.counts[1], at))[0]
        return (cost * weight).sum() / weight.sum().clamp(min=1e-6)

    def _at_cells(self, values: Tensor) -> Tensor:
        """(c, *level shape) at the cells of the embedding."""
        return values if self.cells is None else sample_border(values, self.cells)


def _thinned(values: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
    """The components on nearly isotropic cells: thin slices repeat what their neighbours show."""
    cell = sorted(grid.array_spacing)[len(grid.shape) // 2]
    shape = grid.shape_at(cell)
    return functional.normalize(resize(values, shape), dim=0), grid.with_shape(shape)
