"""Where registration starts: an affine map and large displacements, from the embeddings of the segmenter alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.ops.displacement import per_axis, rescale
from samreg.geometry.ops.resample import resize
from samreg.initial.affine import Candidate, choose, mean_cost, mutual_matches, ransac_affine, same_map
from samreg.initial.descriptors import Descriptors
from samreg.initial.discrete import Search, coupled_convex, descriptor_cost, make_consistent
from samreg.initial.problem import ImagePair
from samreg.regions.slices import TISSUE
from samreg.result import StartRecord
from samreg.types import Matrix, ScalarArray

__all__ = [
    "MATCH_TOLERANCE",
    "Searched",
    "affine_start",
    "behind_search",
    "both_ways",
    "compared",
    "compared_fixed",
    "embedding_cost",
    "on_grid",
    "one_way",
    "tissue_cells",
]

MATCH_TOLERANCE = 0.06
"""Distance up to which a match agrees with an affine map, as a share of the fixed image's diagonal."""
_MIN_INLIERS = 0.08


def affine_start(found: Descriptors, images: ImagePair, seed: int) -> tuple[Matrix, StartRecord, list[Candidate]]:
    """The affine map that explains the embeddings best: headers, image centres, or what mutual matches agree on.

    Args:
        found: of both images.
        images: the same images.
        seed: of the random samples.

    Returns:
        (d + 1, d + 1) fixed world to moving world, how it was chosen, and all candidates, the chosen one first: these,
        and the centres of tissue.
    """
    fixed_grid, moving_grid = images.fixed_grid, images.moving_grid
    masks = compared(found, images)
    middle = np.eye(fixed_grid.ndim + 1)
    middle[:-1, -1] = np.asarray(moving_grid.centre) - np.asarray(fixed_grid.centre)
    candidates = [Candidate("headers", np.eye(fixed_grid.ndim + 1)), Candidate("centres", middle)]
    p, q, _ = mutual_matches(found.fixed, found.fixed_grid, masks[0], found.moving, found.moving_grid, masks[1])
    tolerance = MATCH_TOLERANCE * float(np.linalg.norm(fixed_grid.extent))
    matrix, share = ransac_affine(p, q, tolerance, seed)
    if share >= _MIN_INLIERS:
        candidates.append(Candidate("matches", matrix))
    choice = choose(candidates, found.fixed, found.fixed_grid, masks[0], found.moving, found.moving_grid)
    tissue = np.eye(fixed_grid.ndim + 1)
    tissue[:-1, -1] = _middle(found.moving_grid, masks[1]) - _middle(found.fixed_grid, masks[0])
    candidates.append(Candidate("tissue", tissue))
    candidates.sort(key=lambda candidate: candidate.name != choice.name)
    return choice.matrix, StartRecord(choice.name, choice.costs, len(p), share), candidates


def compared(found: Descriptors, images: ImagePair) -> tuple[Tensor, Tensor]:
    """Which cells of the fixed and of the moving image are compared: those that count and hold tissue."""
    moving = tissue_cells(images.moving_grey, images.moving_grid, found.moving_grid) & found.moving.any(0)
    return compared_fixed(found, images), moving


def compared_fixed(found: Descriptors, images: ImagePair) -> Tensor:
    """`compared` of the fixed image alone."""
    return tissue_cells(images.fixed_grey, images.fixed_grid, found.fixed_grid) & found.fixed.any(0)


def _middle(grid: Grid, mask: Tensor) -> np.ndarray:
    """World position of the middle of the cells of a mask; of the grid where it is empty."""
    if not bool(mask.any()):
        return np.asarray(grid.centre)
    result: np.ndarray = grid.voxel_centres()[mask.numpy(force=True)].mean(axis=0)
    return result


@dataclass(frozen=True, eq=False)
class Searched:
    """What a coarse search makes of a candidate.

    Args:
        cost: mean cost of the descriptors in tissue, of both directions.
        there: (d, *any) displacement over the fixed image, in its own cells: the coarsest level of `one_way`.
        back: the same over the moving image, beside the inverse map.
    """

    cost: float
    there: Tensor
    back: Tensor


def behind_search(found: Descriptors, images: ImagePair, candidates: Sequence[Candidate]) -> dict[str, Searched]:
    """What a coarse search in both directions makes of each candidate, by its name.

    An affine map that is some centimetres off may cost as much as one that is far away; behind a search they part.

    Args:
        found: of both images.
        images: the same images.
        candidates: starts; those that share a map are followed once.
    """
    masks = compared(found, images)
    known: dict[str, Searched] = {}
    for number, c in enumerate(candidates):
        same = same_map(c, candidates[:number])
        if same is None:
            inverse = np.linalg.inv(c.matrix)
            there, back = _coarsest(found, c.matrix), _coarsest(found.swapped, inverse)
            one, other = _cost(found, c.matrix, there, masks[0]), _cost(found.swapped, inverse, back, masks[1])
            known[c.name] = Searched(0.5 * (one + other), there, back)
        else:
            known[c.name] = known[same.name]
    return known


def _coarsest(found: Descriptors, affine: Matrix) -> Tensor:
    """The coarsest level of `one_way` for images that share no stack of slices, in its own cells."""
    return _step(found, affine, _levels(found.fixed_grid, None)[0], None)


def _cost(found: Descriptors, affine: Matrix, u: Tensor, mask: Tensor) -> float:
    frame = Frame(found.fixed_grid, found.moving_grid, affine)
    return mean_cost(frame, frame.identity() + rescale(u, frame.fixed.shape), found.fixed, mask, found.moving)


def embedding_cost(found: Descriptors, images: ImagePair, matrix: Matrix) -> float:
    """Mean cost of the descriptors in the tissue of the fixed image under a map (d + 1, d + 1); lower is better."""
    mask = compared_fixed(found, images)
    one = [Candidate("map", matrix)]
    return choose(one, found.fixed, found.fixed_grid, mask, found.moving, found.moving_grid).costs["map"]


def one_way(found: Descriptors, affine: Matrix, stack_axis: int | None, coarsest: Tensor | None = None) -> Tensor:
    """Large displacements by a discrete search, coarse to fine.

    Args:
        found: of both images.
        affine: (d + 1, d + 1) fixed world to moving world.
        stack_axis: array axis of a stack of thick slices that both images share; None if they share none.
        coarsest: (d, *any) what the coarsest level gives, where `behind_search` has found it.

    Returns:
        (d, *shape) in cells of the fixed feature grid, array order.
    """
    u = coarsest
    for level in _levels(found.fixed_grid, stack_axis)[0 if u is None else 1 :]:
        u = _step(found, affine, level, u)
    if u is None:
        return torch.zeros(found.fixed_grid.ndim, *found.fixed_grid.shape)
    return rescale(u, found.fixed_grid.shape)


def _step(found: Descriptors, affine: Matrix, level: _SearchLevel, u: Tensor | None) -> Tensor:
    """One level of a search: its displacement (d, *level.shape) in cells, from one in its own cells or from none."""
    m_grid, grid = found.moving_grid, found.fixed_grid.with_shape(level.shape)
    fixed = functional.normalize(resize(found.fixed, level.shape), dim=0)
    coarse = [
        max(1, round(n * a / b)) for n, a, b in zip(m_grid.shape, m_grid.array_spacing, grid.array_spacing, strict=True)
    ]
    coarse = [min(n, c) for n, c in zip(m_grid.shape, coarse, strict=True)]
    moving = functional.normalize(resize(found.moving, coarse), dim=0)
    before = None if u is None else rescale(u, level.shape)
    cost = descriptor_cost(fixed, moving, Frame(grid, m_grid.with_shape(coarse), affine), before, level.search)
    step = coupled_convex(cost, level.search)
    return step if before is None else before + step


def both_ways(
    found: Descriptors, affine: Matrix, forward: Tensor, coarsest: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`one_way` and the same search from the moving image, made consistent: what is not confirmed shrinks.

    For images that share no stack of slices.

    Args:
        found: of both images.
        affine: (d + 1, d + 1) fixed world to moving world.
        forward: what `one_way` found for the same.
        coarsest: as for `one_way`, of the way back.

    Returns:
        (d, *shape) in cells of the fixed feature grid, and the way back in cells of the moving one, array order.
    """
    frame = Frame(found.fixed_grid, found.moving_grid, affine)
    back = frame.back
    return make_consistent(forward, one_way(found.swapped, back.affine, None, coarsest), frame, back)


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
        shape = grid.shape_at(size * cell)
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
    """A displacement over the extent of one grid, sampled on another grid of the same world.

    Args:
        u: (d, *any) in its own voxels, array order.
        grid: whose extent it covers.
        other: the other grid.

    Returns:
        (d, *other.shape) in voxels of the other grid.
    """
    grid = grid.with_shape(u.shape[1:])
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
    return frame.warp(torch.as_tensor(np.ascontiguousarray(grey))[None], frame.identity())[0] > TISSUE
