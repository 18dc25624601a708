"""Where a global map may start: candidates, their refinement, and the choice by what no candidate was fitted to.

Candidates are refined by grey values and compared by the direction of edges (`initial.edges`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.ops.displacement import derivatives
from samreg.geometry.ops.resample import sample
from samreg.geometry.ops.smoothing import gaussian
from samreg.initial.affine import Candidate
from samreg.initial.edges import edge_agreement
from samreg.initial.pyramid import GreyPyramid, resample, unclipped
from samreg.initial.refine import Kind, Refined, nearest_of_kind, plausible_map, refine
from samreg.result import TriedStart
from samreg.types import Matrix

__all__ = ["Tried", "best_start", "global_search", "moment_candidate", "rotations"]

_SEARCH_VOXELS = {2: 40, 3: 18}
"""Voxels along the longest axis of the fixed image in the search over turns."""
_MOST_VOXELS = 2**23
"""Of a turned moving image."""
_SCALES = {2: (0.6, 0.77, 1.0, 1.3, 1.67, 2.1), 3: (0.8, 1.0, 1.25)}
_TURN = 15.0
_TISSUE = 0.03
_SURE = 0.5
"""Agreement of edges that ends the search for other starts. Copies of one image have .5 to .8, a brain and itself
turned by half a turn .35."""
_ALIKE = 0.25
"""Cost of a refined map below which both images show one anatomy. Copies have .003 to .2, people .31 to .45."""
_PROBES = 9
_STAYS = 0.06
"""Voxels: what grey values move by less than this was aligned before. Interpolation alone can do as much."""
_COPY = 1e-4
"""Share of the variance that may be left where one image is a copy of the other; a smooth image that is .05 voxel off
leaves as much."""
_ON_VOXELS = 1e-3
"""Voxels by which the centre of a voxel may miss that of another."""
_MARGIN = 0.05
"""By which a later candidate has to be better than the first."""
_LEAST_OVERLAP = 0.2
_LEAST_COUNTS = 0.5
_FINALISTS = 3


@dataclass(frozen=True, eq=False)
class Tried:
    """One candidate after its refinement.

    Args:
        name: how the candidate came about.
        start: its map before.
        refined: after.
        agreement: of edges, -1/(d - 1) to 1; 0 is chance.
        alike: whether edges or grey values behind the map agree as those of different people do not.
    """

    name: str
    start: Matrix
    refined: Refined
    agreement: float
    alike: bool = False

    def record(self) -> TriedStart:
        """What the manifest keeps."""
        return TriedStart(
            round(self.agreement, 4), round(self.refined.cost, 4), round(self.refined.overlap, 3), self.refined.refused
        )


def moment_candidate(pyramid: GreyPyramid) -> Candidate:
    """The shift that brings the centre of one image's edges onto that of the other's."""
    level = pyramid.level(0)
    centres = []
    for values, grid, counts in (
        (level.fixed, level.fixed_grid, level.fixed_counts),
        (level.moving, level.moving_grid, level.moving_counts),
    ):
        seen = edges(values, grid) > _TISSUE
        seen = seen if counts is None else seen & (counts[0] > _LEAST_COUNTS)
        weight = seen.double().flatten().numpy(force=True) + 1e-9
        centres.append(np.average(grid.voxel_centres().reshape(-1, grid.ndim), axis=0, weights=weight))
    matrix = np.eye(level.fixed_grid.ndim + 1)
    matrix[:-1, -1] = centres[1] - centres[0]
    return Candidate("moments", matrix)


def rotations(d: int) -> list[np.ndarray]:
    """Turns to try: every 15 degrees in the plane, the 24 axis-parallel orientations in space; the identity first."""
    if d == 2:
        angles = np.deg2rad(np.arange(0, 360, _TURN))
        return [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            turn = np.zeros((3, 3))
            turn[range(3), order] = signs
            if np.linalg.det(turn) > 0:
                found.append(turn)
    return sorted(found, key=lambda t: -float(np.trace(t)))


def edges(values: Tensor, grid: Grid) -> Tensor:
    """(*shape) length of the gradient, in grey values a smallest voxel: where something begins."""
    size = torch.tensor([s / grid.finest_spacing for s in grid.array_spacing]).reshape(-1, *([1] * grid.ndim))
    return (torch.stack(derivatives(values[0])) / size).square().sum(0).sqrt()


def global_search(pyramid: GreyPyramid, keep: int = 5) -> list[Candidate]:
    """Turns, scales and every shift, by the correlation of edges in Fourier space.

    Args:
        pyramid: both images.
        keep: at most so many candidates, the best first.
    """
    d = pyramid.grids[0].ndim
    pixel = max(pyramid.grids[0].extent) / _SEARCH_VOXELS[d]
    number = next((i for i, p in enumerate(pyramid.pixels) if p <= pixel / 2), len(pyramid.pixels) - 1)
    level = pyramid.level(number)
    fixed, fixed_grid, moving, moving_grid = level.fixed, level.fixed_grid, level.moving, level.moving_grid
    f, f_grid = _even(*_contours(fixed, fixed_grid, pixel, level.fixed_counts), pixel)
    f = f / f.square().sum().sqrt().clamp(min=1e-6)
    m, m_grid = _contours(moving, moving_grid, pixel, level.moving_counts)
    if not float(f.max()) > 0 or not float(m.max()) > 0:
        return []  # an image without an edge says nothing of where it lies
    centre, reach = _box(m, m_grid)
    direction = np.asarray(fixed_grid.direction)
    found: list[Candidate] = []
    scores: list[float] = []
    for scale in _SCALES[d]:
        side = int(np.ceil(2 * reach / (scale * pixel))) + 1
        if side**d > _MOST_VOXELS:
            continue  # the fixed image is a speck of the moving one: too small to say where in it
        size = [next_fast_len(n + side, real=True) for n in f.shape]
        spectrum = torch.fft.rfftn(f, s=size)
        middle = (side - 1) / 2
        frame = Grid((side,) * d, (pixel,) * d, tuple(-middle * pixel * direction.sum(1)), fixed_grid.direction)
        for number, turn in enumerate(rotations(d)):
            matrix = np.eye(d + 1)
            matrix[:d, :d], matrix[:d, d] = scale * turn, centre
            at = Frame(frame, m_grid, matrix)
            w = sample(m[None], at.moving_index(at.identity()))[0]
            w = w / w.square().sum().sqrt().clamp(min=1e-6)
            surface = torch.fft.irfftn(spectrum * torch.fft.rfftn(w, s=size).conj(), s=size)
            best = int(surface.argmax())
            # Voxel 0 of w lies at voxel `shift` of f; what is beyond f is wrapped around.
            shift = np.array(np.unravel_index(best, surface.shape))
            shift = np.where(shift >= np.array(f.shape), shift - np.array(size), shift)
            at_centre = f_grid.index_to_world((shift + middle)[::-1][None])[0]
            matrix = matrix.copy()
            matrix[:d, d] = centre - scale * turn @ at_centre
            found.append(Candidate(f"search, turn {number}, scale {scale:g}", matrix))
            scores.append(float(surface.flatten()[best]))
    return [found[i] for i in np.argsort(scores)[::-1][:keep]]


def _contours(values: Tensor, grid: Grid, pixel: float, counts: Tensor | None) -> tuple[Tensor, Grid]:
    """Edges at a resolution, without the slow part that only says where there is something."""
    shape = grid.shape_at(pixel)
    small = grid.with_shape(shape)
    # The edges of a finer image: thin structures count.
    e = edges(gaussian(values, [0.25 * pixel / s for s in grid.array_spacing]), grid)[None]
    e = e if counts is None else e * counts
    bright = float(np.quantile(e.numpy(force=True).ravel()[:: max(1, e.numel() // 100_000)], 0.98))
    # Where edges are rarer than that, all of them count.
    e = resample(e.clamp(max=bright or float(e.max())), grid, shape, pixel)
    return (e - gaussian(e, [3 * pixel / s for s in small.array_spacing]))[0], small


def _even(values: Tensor, grid: Grid, pixel: float) -> tuple[Tensor, Grid]:
    """On voxels with equal sides."""
    shape = tuple(max(1, round(n * s / pixel)) for n, s in zip(grid.shape, grid.array_spacing, strict=True))
    even = replace(grid, shape=shape, spacing=(pixel,) * grid.ndim)
    at = Frame(even, grid, np.eye(grid.ndim + 1))
    return sample(values[None], at.moving_index(at.identity()))[0], even


def _box(contours: Tensor, grid: Grid) -> tuple[np.ndarray, float]:
    """World position of the middle of the box that holds all strong edges, and half of its diagonal."""
    strong = np.argwhere(contours.numpy(force=True) > 0.15 * float(contours.max()))
    box = np.stack([strong.min(0), strong.max(0)])[:, ::-1].astype(float)
    reach = float(np.linalg.norm((box[1] - box[0] + 1) * np.asarray(grid.spacing))) / 2
    return grid.index_to_world(box.mean(0)[None])[0], reach


def best_start(
    pyramid: GreyPyramid,
    candidates: Sequence[Candidate],
    kind: Kind,
    judge: Callable[[Matrix], float] | None = None,
) -> tuple[Matrix, list[Tried]]:
    """Refine candidates by grey values and take the one whose edges agree best.

    One behind which the moving image is a copy of the fixed one is taken as it is: interpolation smooths noise, so that
    a refinement would move it. Otherwise all are refined at the coarsest level, the best of them at the next, and the
    winner to the finest. Where none agrees well, or the winner does not show one anatomy, the search over turns and
    scales brings more. A later candidate has to win clearly, and to show one anatomy.

    Args:
        pyramid: both images.
        candidates: starts, the most trusted first.
        kind: of the map.
        judge: cost of a map by something else than grey values (the embeddings); where edges do not show one anatomy, a
            refinement that raises it is undone.

    Returns:
        The map, and what was tried, the winner first.
    """
    for candidate in candidates:
        held = _copied(pyramid, candidate.matrix, kind)
        if held > 0:
            exact = Refined(
                candidate.matrix, 0.0, held, refused="the moving image is a copy of the fixed one behind it"
            )
            return candidate.matrix, [Tried(candidate.name, candidate.matrix, exact, 1.0, alike=True)]
    end = min(1, len(pyramid.pixels) - 1)
    tried = _rounds(pyramid, candidates, kind, end)
    searched = max((t.agreement for t in tried), default=-1.0) < _SURE
    if searched:
        tried += _rounds(pyramid, global_search(pyramid), kind, end)
    first, best = tried[0], _best(tried)
    final, after, alike = _finish(pyramid, best, kind)
    if not alike and not searched:
        tried += _rounds(pyramid, global_search(pyramid), kind, end)
        other = _best(tried)
        if other is not best:
            best, (final, after, alike) = other, _finish(pyramid, other, kind)
    if not alike and best is not first:
        # Between people edges may agree better behind a map that turns one body around.
        best, (final, after, alike) = first, _finish(pyramid, first, kind)
    before = edge_agreement(pyramid.level(_judged_at(pyramid)), best.start)
    matrix, why = final.matrix, final.refused
    if _motion(pyramid, best.start, final.matrix) < _STAYS:
        matrix, why = best.start, f"it moved nothing by more than {_STAYS:g} voxel"
    elif after < before:
        matrix, why = best.start, f"edges agree less after the refinement ({after:.3f}, {before:.3f} before)"
    elif judge is not None and best is first:
        # Between people the outlines of organs say less than the embeddings do; where edges agree, it is one anatomy.
        costs = judge(best.start), judge(final.matrix)
        if costs[1] > costs[0] and not alike:
            matrix, why = (
                best.start,
                f"embeddings agree less after the refinement ({costs[1]:.3f}, {costs[0]:.3f} before)",
            )
    winner = Tried(best.name, best.start, replace(final, matrix=matrix, refused=why), after, alike)
    return matrix, [winner, *(t for t in tried if t is not best)]


def _copied(pyramid: GreyPyramid, matrix: Matrix, kind: Kind) -> float:
    """Share of the fixed image of which the moving one is a copy behind a map, in brightness and contrast of its own.

    0 where it is none, or where the map is of another kind or does not carry voxels onto voxels.
    """
    grid, other = pyramid.grids
    if plausible_map(matrix) or not np.allclose(nearest_of_kind(matrix, kind, np.asarray(grid.centre)), matrix):
        return 0.0
    frame = Frame(grid, other, matrix)
    # Linear, so that it is largest at a corner.
    corners = np.array(list(itertools.product(*((0, n - 1) for n in grid.shape[::-1]), (1,))))
    if float(np.abs(corners @ (frame.joint - np.rint(frame.joint)).T).max()) > _ON_VOXELS:
        return 0.0
    at = frame.moving_index(frame.identity()).round()
    inside = ((at >= 0) & (at <= torch.tensor(other.shape[::-1]) - 1)).all(-1)
    f, w = pyramid.values[0][0], sample(pyramid.values[1], at, "nearest")[0]
    if pyramid.counts[0] is not None:
        inside &= pyramid.counts[0][0] > 0
    if pyramid.counts[1] is not None:
        inside &= sample(pyramid.counts[1], at, "nearest")[0] > 0
    # Values outside a window were clipped, by each image at its own ends.
    shown = inside & unclipped(f)
    seen = shown & unclipped(w)
    # One image may be blank where the other is not.
    if not bool(seen.any()) or int(seen.sum()) < _LEAST_OVERLAP * int(shown.sum()):
        return 0.0
    x, y = (v[seen].double() - v[seen].double().mean() for v in (f, w))
    left = 1 - float((x @ y) ** 2 / ((x @ x) * (y @ y)).clamp(min=1e-12))
    share = float(inside.float().mean())
    return share if left < _COPY and share >= _LEAST_OVERLAP else 0.0


def _best(tried: Sequence[Tried]) -> Tried:
    """The candidate with the best edges; the first one where no other wins clearly and with enough overlap."""
    best = max(tried, key=lambda t: t.agreement)
    clear = best.agreement >= tried[0].agreement + _MARGIN and best.refined.overlap >= _LEAST_OVERLAP
    return best if clear else tried[0]


def _judged_at(pyramid: GreyPyramid) -> int:
    """The level at which edges judge a refined map: the third, or the finest."""
    return min(2, len(pyramid.pixels) - 1)


def _finish(pyramid: GreyPyramid, tried: Tried, kind: Kind) -> tuple[Refined, float, bool]:
    """A candidate refined to the finest level, the agreement of its edges, and whether that is one anatomy's."""
    final = refine(pyramid, tried.refined.matrix, kind, first=_judged_at(pyramid))
    after = edge_agreement(pyramid.level(_judged_at(pyramid)), final.matrix)
    return final, after, after >= _SURE * final.overlap or final.cost < _ALIKE


def _motion(pyramid: GreyPyramid, before: Matrix, after: Matrix) -> float:
    """Longest motion between two maps of what both images hold, in voxels of the fixed image."""
    grid, other = pyramid.grids
    # Corners, middles of edges and so on stand for all voxels: the difference of affine maps is largest at a corner.
    axes = np.meshgrid(*(np.linspace(0, n - 1, _PROBES) for n in grid.shape[::-1]), indexing="ij")
    index = np.stack(axes, -1).reshape(-1, grid.ndim)
    homogeneous = np.column_stack([grid.index_to_world(index), np.ones(len(index))])
    carried = homogeneous @ after.T
    moved = grid.world_to_index((carried @ np.linalg.inv(before).T)[:, :-1]) - index
    held = other.contains(carried[:, :-1])
    # Along an axis with a single voxel there is nothing to see.
    lengths = np.linalg.norm(moved * [n > 1 for n in grid.shape[::-1]], axis=1)
    return float(lengths[held].max()) if held.any() else float("inf")


def _rounds(pyramid: GreyPyramid, candidates: Sequence[Candidate], kind: Kind, end: int) -> list[Tried]:
    """All at the coarsest level; the first and the best few at level `end`. In the order they came."""
    rough = [_try(pyramid, candidate, kind, 0) for candidate in candidates]
    if end == 0:
        return rough
    order = sorted(range(len(rough)), key=lambda i: -rough[i].agreement)
    chosen = {0, *order[:_FINALISTS]}
    return [_again(pyramid, t, kind, end) if i in chosen else t for i, t in enumerate(rough)]


def _try(pyramid: GreyPyramid, candidate: Candidate, kind: Kind, end: int) -> Tried:
    why = plausible_map(candidate.matrix)
    if why:
        return Tried(candidate.name, candidate.matrix, Refined(candidate.matrix, 1.0, 0.0, 0.0, why), -1.0)
    refined = refine(pyramid, candidate.matrix, kind, last=end)
    return Tried(candidate.name, candidate.matrix, refined, edge_agreement(pyramid.level(end), refined.matrix) - 0.5)


def _again(pyramid: GreyPyramid, tried: Tried, kind: Kind, end: int) -> Tried:
    if tried.agreement <= -1.0:
        return tried
    refined = refine(pyramid, tried.refined.matrix, kind, first=end, last=end)
    return replace(tried, refined=refined, agreement=edge_agreement(pyramid.level(end), refined.matrix))
