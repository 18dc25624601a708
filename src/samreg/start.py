"""Where registration starts: an affine map and large displacements, from the embeddings of the segmenter alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.errors import GeometryError
from samreg.fitting.affine import AffineChoice, Candidate, choose, mutual_matches, ransac_affine
from samreg.fitting.discrete import Search, coupled_convex, descriptor_cost, make_consistent
from samreg.fitting.features import joint_descriptors
from samreg.fitting.frames import Frame
from samreg.grid import Grid
from samreg.ops.displacement import per_axis, rescale
from samreg.ops.resample import resize
from samreg.regions import Regions
from samreg.types import Matrix, ScalarArray

__all__ = ["Descriptors", "affine_start", "both_ways", "on_grid", "one_way", "tissue_cells"]

_CHANNELS = 32
_TISSUE = 0.03
_MATCH_TOLERANCE = 0.06
"""Distance up to which a match agrees with an affine map, as a share of the fixed image's diagonal."""
_MIN_INLIERS = 0.08


@dataclass(frozen=True, eq=False)
class Descriptors:
    """The embeddings of two images as comparable unit vectors on their feature grids.

    Args:
        fixed: (c, *fixed_grid.shape).
        fixed_grid: its cells.
        moving: (c, *moving_grid.shape).
        moving_grid: its cells.
        stack_axis: array axis of a stack of thick slices that both images share; None otherwise.
    """

    fixed: Tensor
    fixed_grid: Grid
    moving: Tensor
    moving_grid: Grid
    stack_axis: int | None = field(default=None, kw_only=True)

    @classmethod
    def of(cls, fixed: Regions, moving: Regions, stack_axis: int | None) -> Descriptors:
        """Of two segmented images.

        Raises:
            GeometryError: if one of them was not segmented.
        """
        if fixed.features is None or moving.features is None:
            raise GeometryError("an image without embeddings has no descriptors: segment both images")
        f, m = joint_descriptors(fixed.features, moving.features, _CHANNELS)
        return cls(f, fixed.features.grid, m, moving.features.grid, stack_axis=stack_axis)

    @property
    def swapped(self) -> Descriptors:
        """The same with the images in each other's place."""
        return Descriptors(self.moving, self.moving_grid, self.fixed, self.fixed_grid, stack_axis=self.stack_axis)

    @property
    def both(self) -> tuple[Tensor, Grid, Tensor, Grid]:
        """What `DenseProblem` takes."""
        return self.fixed, self.fixed_grid, self.moving, self.moving_grid


def affine_start(
    found: Descriptors, grids: Sequence[Grid], grey: Sequence[ScalarArray], seed: int
) -> tuple[AffineChoice, dict[str, Any]]:
    """The affine map that explains the embeddings best: headers, image centres, or what mutual matches agree on.

    Args:
        found: of both images.
        grids: of the fixed and the moving image.
        grey: their grey values in [0, 1].
        seed: of the random samples.

    Returns:
        The choice, and how many matches there were and agree.
    """
    fixed_grid, moving_grid = grids
    masks = [
        tissue_cells(values, grid, cells)
        for values, grid, cells in zip(grey, grids, (found.fixed_grid, found.moving_grid), strict=True)
    ]
    middle = np.eye(fixed_grid.ndim + 1)
    middle[:-1, -1] = np.asarray(moving_grid.centre) - np.asarray(fixed_grid.centre)
    candidates = [Candidate("headers", np.eye(fixed_grid.ndim + 1)), Candidate("centres", middle)]
    p, q, _ = mutual_matches(found.fixed, found.fixed_grid, masks[0], found.moving, found.moving_grid, masks[1])
    tolerance = _MATCH_TOLERANCE * float(np.linalg.norm(fixed_grid.extent))
    matrix, share = ransac_affine(p, q, tolerance, seed)
    if share >= _MIN_INLIERS:
        candidates.append(Candidate("matches", matrix))
    choice = choose(candidates, found.fixed, found.fixed_grid, masks[0], found.moving, found.moving_grid)
    return choice, {"n": len(p), "agreeing": share}


def one_way(found: Descriptors, affine: Matrix) -> Tensor:
    """Large displacements by a discrete search, coarse to fine.

    Args:
        found: of both images.
        affine: (d + 1, d + 1) fixed world to moving world.

    Returns:
        (d, *shape) in cells of the fixed feature grid, array order.
    """
    f_grid, m_grid = found.fixed_grid, found.moving_grid
    u: Tensor | None = None
    for level in _levels(f_grid, found.stack_axis):
        grid = f_grid.with_shape(level.shape)
        fixed = functional.normalize(resize(found.fixed, level.shape), dim=0)
        coarse = [
            max(1, round(n * a / b))
            for n, a, b in zip(m_grid.shape, m_grid.array_spacing, grid.array_spacing, strict=True)
        ]
        coarse = [min(n, c) for n, c in zip(m_grid.shape, coarse, strict=True)]
        moving = functional.normalize(resize(found.moving, coarse), dim=0)
        before = None if u is None else rescale(u, level.shape)
        cost = descriptor_cost(fixed, moving, Frame(grid, m_grid.with_shape(coarse), affine), before, level.search)
        step = coupled_convex(cost, level.search)
        u = step if before is None else before + step
    if u is None:
        return torch.zeros(f_grid.ndim, *f_grid.shape)
    return rescale(u, f_grid.shape)


def both_ways(found: Descriptors, affine: Matrix, there: Tensor) -> Tensor:
    """`one_way`, made consistent with the same search from the moving image: what is not confirmed shrinks.

    Args:
        found: of both images.
        affine: (d + 1, d + 1) fixed world to moving world.
        there: what `one_way` found for the same.

    Returns:
        (d, *shape) in cells of the fixed feature grid, array order.
    """
    inverse = np.linalg.inv(affine)
    back = one_way(found.swapped, inverse)
    frames = Frame(found.fixed_grid, found.moving_grid, affine), Frame(found.moving_grid, found.fixed_grid, inverse)
    return make_consistent(there, back, *frames)


@dataclass(frozen=True)
class _SearchLevel:
    shape: tuple[int, ...]
    search: Search


def _levels(grid: Grid, axis: int | None) -> list[_SearchLevel]:
    """Coarse to fine searches: about 4 x 12 mm, then 2 x 6 mm for a body-sized image; one level for a cine stack."""
    d = grid.ndim
    if axis is not None:
        plane = min(s for a, s in enumerate(grid.array_spacing) if a != axis)
        across = [a == axis for a in range(d)]
        stretch = [0.3 * grid.array_spacing[a] / plane if z else 1.0 for a, z in enumerate(across)]
        search = Search(
            radius=[2 if z else 3 for z in across],
            step=[1] * d,
            sigma=[0.5 if z else 1.0 for z in across],
            cost_sigma=[0.5 if z else 1.0 for z in across],
            theta=(0.01, 0.1),
            stretch=stretch,
        )
        return [_SearchLevel(grid.shape, search)]
    cell = min(grid.array_spacing)
    levels = []
    for size, radius in ((2.0, 4), (1.0, 2)):
        shape = tuple(
            max(1, round(n * s / max(s, size * cell))) for n, s in zip(grid.shape, grid.array_spacing, strict=True)
        )
        spacing = grid.with_shape(shape).array_spacing
        reach = size * cell
        search = Search(
            radius=[0 if n == 1 else max(1, round(radius * reach / s)) for n, s in zip(shape, spacing, strict=True)],
            step=[1] * d,
            sigma=[reach / s for s in spacing],
            cost_sigma=[0.7 * reach / s for s in spacing],
            theta=(0.003, 0.01, 0.03, 0.1, 0.3),
            stretch=[s / reach for s in spacing],
        )
        levels.append(_SearchLevel(shape, search))
    return levels


def on_grid(u: Tensor, grid: Grid, other: Grid) -> Tensor:
    """A displacement in voxels of one grid, sampled on another grid of the same world, in voxels of that one."""
    at = Frame(other, grid, np.eye(other.ndim + 1))
    ratio = [a / b for a, b in zip(grid.array_spacing, other.array_spacing, strict=True)]
    return at.warp(u, at.identity()) * per_axis(ratio)


def tissue_cells(grey: ScalarArray, image: Grid, cells: Grid) -> Tensor:
    """Which cells of a feature grid are not background.

    Args:
        grey: grey values in [0, 1].
        image: their grid.
        cells: the feature grid.
    """
    frame = Frame(cells, image, np.eye(image.ndim + 1))
    return frame.warp(torch.from_numpy(np.ascontiguousarray(grey))[None], frame.identity())[0] > _TISSUE
