"""The embeddings of two images as one set of comparable descriptors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.geometry.grid import Grid
from samreg.geometry.ops.resample import resize
from samreg.regions.regions import FeatureVolume

__all__ = ["CHANNELS", "Descriptors", "joint_descriptors"]

CHANNELS = 32
"""Principal components that the start is searched with."""
_SAMPLE = 40_000


@dataclass(frozen=True, eq=False)
class Descriptors:
    """The embeddings of two images as comparable unit vectors on their feature grids, least component first.

    Cells that do not count (outside a mask) hold 0 throughout. Where several slices lie in the length of a cell, their
    embeddings are averaged.

    Args:
        fixed: (c, *fixed_grid.shape).
        fixed_grid: its cells.
        moving: (c, *moving_grid.shape).
        moving_grid: its cells.
    """

    fixed: Tensor
    fixed_grid: Grid
    moving: Tensor
    moving_grid: Grid

    @classmethod
    def of(cls, fixed: FeatureVolume, moving: FeatureVolume) -> Descriptors:
        """Of the embeddings of two images."""
        f, m = joint_descriptors(fixed, moving, CHANNELS)
        return cls(*_cubic(f, fixed.grid), *_cubic(m, moving.grid))

    def to(self, device: torch.device) -> Descriptors:
        """The same on a device."""
        return replace(self, fixed=self.fixed.to(device), moving=self.moving.to(device))

    @property
    def swapped(self) -> Descriptors:
        """The same with the images in each other's place."""
        return Descriptors(self.moving, self.moving_grid, self.fixed, self.fixed_grid)

    def leading(self, n: int) -> Descriptors:
        """The first n principal components alone, no longer of unit length."""
        return Descriptors(self.fixed[-n:], self.fixed_grid, self.moving[-n:], self.moving_grid)


def _cubic(vectors: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
    """Unit vectors on cells that are nowhere less than half as long as in their slice, and the grid of these cells.

    Slices of a millimetre show cells of four: the search would go a quarter as far, over four times as many cells.
    """
    cell = float(np.median(grid.array_spacing))
    shape = tuple(max(1, round(n / max(1, int(cell / s)))) for n, s in zip(grid.shape, grid.array_spacing, strict=True))
    if shape == grid.shape:
        return vectors, grid
    return functional.normalize(resize(vectors, shape), dim=0), grid.with_shape(shape)


def joint_descriptors(fixed: FeatureVolume, moving: FeatureVolume, channels: int) -> tuple[Tensor, Tensor]:
    """Centred embeddings of both images in the principal directions of the two together, unit length.

    What all tissue shares dominates the raw cosine similarity; subtracting the mean embedding leaves what tells one
    place from another. Each image has a mean of its own, so that what a modality adds to every embedding goes too.

    Args:
        fixed: (c, *fixed shape).
        moving: (c, *moving shape).
        channels: principal components to keep.

    Returns:
        (channels, *fixed shape) and (channels, *moving shape), float32, each vector of length 1, or 0 where an image
        does not count.
    """
    rows = [v.data.reshape(v.data.shape[0], -1) for v in (fixed, moving)]
    # Every n-th cell that counts stands for all: the directions need thousands of samples, not millions.
    cells = [np.flatnonzero(np.ones(v.grid.shape) if v.inside is None else v.inside) for v in (fixed, moving)]
    chosen = [r[:, c[:: max(1, len(c) // _SAMPLE)]] for r, c in zip(rows, cells, strict=True)]
    samples = [torch.as_tensor(c).float() for c in chosen]
    means = [s.mean(1, keepdim=True) for s in samples]
    centred = torch.cat([s - mean for s, mean in zip(samples, means, strict=True)], 1)
    _, vectors = torch.linalg.eigh(centred @ centred.T / centred.shape[1])
    axes = vectors[:, -min(channels, vectors.shape[1]) :]
    axes = axes * torch.sign(axes.sum(0, keepdim=True) + 1e-12)  # eigenvectors come with arbitrary signs
    out = []
    for volume, flat, mean in zip((fixed, moving), rows, means, strict=True):
        parts = [
            axes.T @ (torch.as_tensor(flat[:, i : i + _SAMPLE]).float() - mean)
            for i in range(0, flat.shape[1], _SAMPLE)
        ]
        unit = functional.normalize(torch.cat(parts, 1), dim=0).reshape(-1, *volume.data.shape[1:])
        out.append(unit if volume.inside is None else unit * torch.as_tensor(volume.inside))
    return out[0], out[1]
