"""Affine maps of world points: closed form, robust, and the choice between several starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.types import Matrix, Points

__all__ = [
    "OUTSIDE_COST",
    "SCALES",
    "WORTH",
    "AffineChoice",
    "Candidate",
    "choose",
    "fit_affine",
    "fit_rigid",
    "mean_cost",
    "mutual_matches",
    "plausible",
    "ransac_affine",
    "same_map",
]

_MAX_CELLS = 4000
_ROUNDS = 3000
SCALES = (0.6, 1.6)
"""How much smaller and larger one body may be than another along an axis."""
WORTH = 0.03
"""Relative gain in cost that another candidate has to bring."""
OUTSIDE_COST = 0.8


def fit_affine(fixed: Points, moving: Points, weights: np.ndarray | None = None, ridge: float = 1e-3) -> Matrix:
    """The affine map with moving ~ A fixed in the least-squares sense.

    Args:
        fixed: (n, d) world points.
        moving: (n, d) world points.
        weights: (n,) non-negative; ones by default.
        ridge: pull of the linear part towards the identity, relative to the spread of the points; it decides
            what the points leave open, for example when all lie in one plane.

    Returns:
        (d + 1, d + 1) homogeneous.
    """
    w = np.ones(len(fixed)) if weights is None else np.asarray(weights, dtype=float)
    d = fixed.shape[1]
    mean_f, mean_m = np.average(fixed, axis=0, weights=w), np.average(moving, axis=0, weights=w)
    x, y = fixed - mean_f, moving - mean_m
    scatter = (x * w[:, None]).T @ x
    extra = ridge * np.trace(scatter) / d * np.eye(d) + 1e-9 * np.eye(d)
    linear = np.linalg.solve(scatter + extra, (x * w[:, None]).T @ y + extra).T
    return _homogeneous(linear, mean_m - linear @ mean_f)


def fit_rigid(fixed: Points, moving: Points, weights: np.ndarray | None = None) -> Matrix:
    """The rotation and translation with moving ~ A fixed in the least-squares sense (Kabsch, 1976).

    Args:
        fixed: (n, d) world points.
        moving: (n, d) world points.
        weights: (n,) non-negative; ones by default.

    Returns:
        (d + 1, d + 1) homogeneous, determinant +1.
    """
    w = np.ones(len(fixed)) if weights is None else np.asarray(weights, dtype=float)
    mean_f, mean_m = np.average(fixed, axis=0, weights=w), np.average(moving, axis=0, weights=w)
    u, _, vt = np.linalg.svd(((fixed - mean_f) * w[:, None]).T @ (moving - mean_m))
    sign = np.ones(fixed.shape[1])
    sign[-1] = np.sign(np.linalg.det(vt.T @ u.T)) or 1.0
    linear = vt.T @ np.diag(sign) @ u.T
    return _homogeneous(linear, mean_m - linear @ mean_f)


def _homogeneous(linear: np.ndarray, offset: np.ndarray) -> Matrix:
    d = len(offset)
    matrix = np.eye(d + 1)
    matrix[:d, :d], matrix[:d, d] = linear, offset
    return matrix


def mutual_matches(
    fixed: Tensor, fixed_grid: Grid, fixed_mask: Tensor, moving: Tensor, moving_grid: Grid, moving_mask: Tensor
) -> tuple[Points, Points, np.ndarray]:
    """Cells that are each other's most similar cell.

    Args:
        fixed: (c, *fixed shape) unit descriptors.
        fixed_grid: their grid.
        fixed_mask: (*fixed shape) cells that hold tissue.
        moving: (c, *moving shape).
        moving_grid: their grid.
        moving_mask: (*moving shape).

    Returns:
        World points (n, d) of both sides and their cosine similarity (n,).
    """
    rows, points = [], []
    for values, grid, mask in ((fixed, fixed_grid, fixed_mask), (moving, moving_grid, moving_mask)):
        cells = torch.nonzero(mask.flatten())[:, 0]
        # An even share of the cells is as good as all of them and keeps the table of similarities small.
        if len(cells) > _MAX_CELLS:
            cells = cells[torch.linspace(0, len(cells) - 1, _MAX_CELLS).long()]
        rows.append(values.reshape(len(values), -1)[:, cells])
        index = np.stack(np.unravel_index(cells.numpy(force=True), grid.shape)[::-1], -1).astype(float)
        points.append(grid.index_to_world(index))
    if min(r.shape[1] for r in rows) == 0:
        return np.zeros((0, fixed_grid.ndim)), np.zeros((0, fixed_grid.ndim)), np.zeros(0)
    similarity = rows[0].T @ rows[1]
    forward, backward = similarity.argmax(1), similarity.argmax(0)
    mutual = torch.nonzero(backward[forward] == torch.arange(len(forward)))[:, 0]
    partners = forward[mutual]
    rows_of, columns_of, cosine = (t.numpy(force=True) for t in (mutual, partners, similarity[mutual, partners]))
    return points[0][rows_of], points[1][columns_of], cosine


def ransac_affine(
    fixed: Points, moving: Points, tolerance: float, seed: int, weights: np.ndarray | None = None
) -> tuple[Matrix, float]:
    """The affine map that most matches agree on, and the share that does.

    Args:
        fixed: (n, d) world points.
        moving: (n, d) their supposed partners.
        tolerance: distance in world units up to which a match agrees.
        seed: of the random samples.
        weights: (n,) vote of each match; ones by default.

    Returns:
        The map, refined on all that agree, and their weighted share in [0, 1]; the identity and 0 for fewer than
        d + 2 matches.
    """
    n, d = fixed.shape
    if n < d + 2:
        return np.eye(d + 1), 0.0
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    random = np.random.default_rng(seed)
    picks = np.stack([random.choice(n, d + 1, replace=False) for _ in range(_ROUNDS)])
    ones = np.ones((_ROUNDS, d + 1, 1))
    sources = np.concatenate([fixed[picks], ones], axis=2)
    usable = np.abs(np.linalg.det(sources)) > 1e-3 * tolerance**d
    maps = np.linalg.solve(sources[usable], moving[picks[usable]])  # (r, d + 1, d)
    maps = maps[plausible(maps[:, :d])]
    if not len(maps):
        return np.eye(d + 1), 0.0
    homogeneous = np.concatenate([fixed, np.ones((n, 1))], axis=1)
    votes = [float(w[((homogeneous @ m - moving) ** 2).sum(1) < tolerance**2].sum()) for m in maps]
    best = maps[int(np.argmax(votes))]
    matrix = _homogeneous(best[:d].T, best[d])
    for _ in range(5):
        agree = ((homogeneous @ matrix[:d].T - moving) ** 2).sum(1) < tolerance**2
        if agree.sum() < d + 2:
            break
        matrix = fit_affine(fixed[agree], moving[agree], w[agree])
    agree = ((homogeneous @ matrix[:d].T - moving) ** 2).sum(1) < tolerance**2
    return matrix, float(w[agree].sum() / w.sum())


def plausible(linear: np.ndarray) -> np.ndarray:
    """Whether a map between two bodies may have this linear part: it scales by 0.6 to 1.6 and does not mirror.

    Args:
        linear: (r, d, d).

    Returns:
        (r,) booleans.
    """
    scales = np.linalg.svd(linear, compute_uv=False)
    result: np.ndarray = (scales.max(1) < SCALES[1]) & (scales.min(1) > SCALES[0]) & (np.linalg.det(linear) > 0)
    return result


@dataclass(frozen=True, eq=False)
class Candidate:
    """One possible start.

    Args:
        name: how it came about.
        matrix: (d + 1, d + 1) fixed world to moving world.
    """

    name: str
    matrix: Matrix


def same_map(candidate: Candidate, others: Sequence[Candidate]) -> Candidate | None:
    """The first of other candidates that is the same map; None if there is none."""
    return next((c for c in others if np.allclose(c.matrix, candidate.matrix)), None)


@dataclass(frozen=True, eq=False)
class AffineChoice:
    """The start that explains the embeddings best.

    Args:
        name: of the candidate.
        matrix: its map.
        costs: mean descriptor cost of every candidate, by name.
    """

    name: str
    matrix: Matrix
    costs: dict[str, float]


def choose(
    candidates: Sequence[Candidate],
    fixed: Tensor,
    fixed_grid: Grid,
    mask: Tensor,
    moving: Tensor,
    moving_grid: Grid,
) -> AffineChoice:
    """The candidate with the lowest descriptor cost; the first one stays unless another is better by 3 %.

    Args:
        candidates: starts, the most trusted first.
        fixed: (c, *fixed shape) unit descriptors.
        fixed_grid: their grid.
        mask: (*fixed shape) cells that count.
        moving: (c, *moving shape).
        moving_grid: their grid.
    """
    costs = {}
    for candidate in candidates:
        frame = Frame(fixed_grid, moving_grid, candidate.matrix)
        costs[candidate.name] = mean_cost(frame, frame.identity(), fixed, mask, moving)
    best = min(costs, key=lambda name: costs[name])
    first = candidates[0].name
    if costs[best] > costs[first] * (1 - WORTH):
        best = first
    return AffineChoice(best, next(c.matrix for c in candidates if c.name == best), costs)


def mean_cost(frame: Frame, index: Tensor, fixed: Tensor, mask: Tensor, moving: Tensor) -> float:
    """Mean of 1 - cosine of the descriptors, with a cost of its own for what the moving image does not hold.

    Args:
        frame: joins the two feature grids.
        index: (d, *fixed shape) fixed indices, displaced or not, array order.
        fixed: (c, *fixed shape) unit descriptors.
        mask: (*fixed shape) cells that count; all of them where it is empty.
        moving: (c, *moving shape).
    """
    at = frame.moving_index(index)
    size = torch.tensor(frame.moving.shape[::-1])
    inside = ((at >= -0.5) & (at <= size - 0.5)).all(-1)
    warped = functional.normalize(frame.warp(moving, index), dim=0)
    inside &= warped.any(0)
    cost = torch.where(inside, 1 - (fixed * warped).sum(0), torch.tensor(OUTSIDE_COST))
    return float(cost[mask].mean()) if bool(mask.any()) else float(cost.mean())
