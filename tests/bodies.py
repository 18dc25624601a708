"""Images of a body and their moved twins: pairs of which the true map is known."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from samreg import DisplacementField, Grid, Image
from worlds import rotation

OBLIQUE = Grid(
    (22, 26, 30), (1.6, 1.4, 1.8), (10, -20, 30), tuple(map(tuple, rotation((0.2, 0.1, -0.3)) @ np.diag([1, -1, 1])))
)
# Isotropic: what tools that count in voxels work on is the grid itself.
CUBE = Grid((30, 32, 34), (1.5, 1.5, 1.5), (5, 6, 7), OBLIQUE.direction)
STACK = Grid((7, 40, 44), (1.5, 1.5, 8.0), (-20, 10, 5))
FLAT = Grid((52, 60), (1.4, 1.6), (12, -30), ((0.96, 0.28), (0.28, -0.96)))


def phantom(grid: Grid, seed: int = 0) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(grid.shape), 2.0)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    body = ndimage.gaussian_filter((sum(a**2 for a in axes) < 0.7).astype(float), 1.0)
    return ((noise / noise.std() + 4.0) * 100.0 * body).astype(np.float32)


def shifted_pair(grid: Grid, shift: tuple[float, ...]) -> tuple[Image, Image]:
    """Two images of one body, the moving one `shift` further: the true field is that shift everywhere."""
    data = phantom(grid)
    moved = dataclasses.replace(grid, origin=tuple(np.add(grid.origin, shift)))
    return Image(data, grid, "fixed"), Image(data, moved, "moving")


def stretched_pair(grid: Grid) -> tuple[Image, Image]:
    """The moving image on a grid of its own, the body stretched, turned and shifted a little."""
    fixed = Image(phantom(grid), grid, "fixed")
    centre = np.asarray(grid.centre)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((0.05, -0.04, 0.06)) @ np.diag([1.06, 0.95, 1.03])
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + [2.0, -1.5, 1.0]
    other = Grid((24, 28, 27), (1.7, 1.5, 1.6), tuple(np.add(grid.origin, [-2.0, 1.0, -3.0])), grid.direction)
    return fixed, Image(DisplacementField.from_matrix(matrix, other).warp(fixed).data, other, "moving")


def inside(grid: Grid, margin: int = 4) -> tuple[slice, ...]:
    return tuple(slice(margin, -margin) if n > 2 * margin else slice(None) for n in grid.shape)
