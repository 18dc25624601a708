"""A rigid, similarity or affine map refined by grey values, coarse to fine.

The measure is the squared local correlation of the fixed image f and the moving image behind the map, w: in every
window the best line f ~ a w + b, whatever its slope, so that brightness, contrast, inversion and slow bias do not
matter,

    E = sum_y W(y) rho(1 - cc^2(y)) / sum_y W(y)
    1 - cc^2(y) = min_{a, b} sum_{x near y} (f - a w - b)^2 / sum_{x near y} (f - mean f)^2

with rho(e) = e mu / (e + mu), so that places that cannot agree lose their pull. Windows that the moving image does not
hold are left out. Every step composes a small map on the fixed side, found by Gauss-Newton from the gradient of the
warped image, damped as by Levenberg and Marquardt. Sources: Cachier et al., "Iconic feature based nonrigid
registration: the PASHA algorithm", CVIU 2003 (the measure); Baker and Matthews, IJCV 2004 (the composed step).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from samreg.geometry.grid import apply_affine
from samreg.geometry.ops.displacement import derivatives
from samreg.geometry.ops.smoothing import box_mean
from samreg.initial.pyramid import GreyLevel, GreyPyramid
from samreg.types import Matrix

__all__ = ["Kind", "Refined", "nearest_of_kind", "plausible_map", "refine"]

Kind = Literal["rigid", "similarity", "affine"]

SINGULAR_VALUES = (0.4, 2.5)
"""Stretch that a map between two images of the same body part may have along any direction."""
_MOST_SKEW = 2.2
"""Largest ratio of two of its stretches."""
_FLOOR = 1e-4
"""Local variance, in images in [0, 1], at which a place has half its say."""
_ROUNDING = 1e-7
_LEAST_OVERLAP = 0.25
"""Share of the fixed image's windows that must stay inside the moving image, or that of the start if it is less."""
_LEAST_MU = 0.02
_STEPS = 14
_SETTLED = 0.01
"""Longest motion of a step, in working voxels, that ends a level."""


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined map.

    Args:
        matrix: (d + 1, d + 1) fixed world to moving world.
        cost: mean of rho(1 - cc^2) at the last level, in [0, 1].
        overlap: share of the fixed image's windows that the moving image holds.
        moved: longest motion of a corner of the fixed image by the refinement, in world units.
        refused: why the start was kept, empty where it was not.
    """

    matrix: Matrix
    cost: float
    overlap: float
    moved: float = 0.0
    refused: str = ""


def plausible_map(matrix: Matrix) -> str:
    """Why a map cannot be one between two images of a body; empty if it can."""
    d = len(matrix) - 1
    stretch = np.linalg.svd(matrix[:d, :d], compute_uv=False)
    if not np.isfinite(stretch).all() or np.linalg.det(matrix[:d, :d]) <= 0:
        return "it mirrors the image"
    low, high = SINGULAR_VALUES
    if stretch.min() < low or stretch.max() > high:
        return f"it stretches by {stretch.min():.2f} to {stretch.max():.2f}; {low} to {high} are plausible"
    if stretch.max() > _MOST_SKEW * stretch.min():
        return f"it stretches one direction {stretch.max() / stretch.min():.1f} times as much as another"
    return ""


def nearest_of_kind(matrix: Matrix, kind: Kind, centre: np.ndarray) -> Matrix:
    """The rigid or similarity map closest to an affine one (polar decomposition); a centre keeps its image."""
    d = len(matrix) - 1
    if kind == "affine":
        return matrix
    u, s, vt = np.linalg.svd(matrix[:d, :d])
    flip = np.eye(d)
    flip[-1, -1] = np.sign(np.linalg.det(u @ vt)) or 1.0
    linear = u @ flip @ vt * (float(np.exp(np.log(s).mean())) if kind == "similarity" else 1.0)
    out = np.eye(d + 1)
    out[:d, :d] = linear
    out[:d, d] = matrix[:d, :d] @ centre + matrix[:d, d] - linear @ centre
    return out


def refine(
    pyramid: GreyPyramid, start: Matrix, kind: Kind, first: int = 0, last: int | None = None, steps: int = _STEPS
) -> Refined:
    """Refine a map by grey values.

    Args:
        pyramid: both images.
        start: (d + 1, d + 1) fixed world to moving world.
        kind: what may change. An affine map is a similarity at the coarsest level.
        first: level to begin with.
        last: last level, the finest by default.
        steps: at most so many at each level.
    """
    grid = pyramid.grids[0]
    end = len(pyramid.pixels) - 1 if last is None else last
    matrix = nearest_of_kind(start, kind, np.asarray(grid.centre))
    begun = matrix
    found = Refined(matrix, 1.0, 0.0)
    for number in range(first, end + 1):
        coarse = kind == "affine" and number == 0 and end > 0
        found = _minimise(pyramid.level(number), matrix, "similarity" if coarse else kind, steps)
        why = plausible_map(found.matrix)
        if why:
            unrefined = _Problem(pyramid.level(end), begun)
            return Refined(begun, unrefined.cost(begun)[0], unrefined.cost(begun)[1], 0.0, why)
        matrix = found.matrix
    corners = np.stack(np.meshgrid(*([0, n - 1] for n in grid.shape[::-1]), indexing="ij"), -1).reshape(-1, grid.ndim)
    points = grid.index_to_world(corners.astype(float))
    gap = apply_affine(matrix, points) - apply_affine(begun, points)
    return Refined(matrix, found.cost, found.overlap, float(np.linalg.norm(gap, axis=1).max()))


@dataclass
class _Problem:
    """E of maps at one level; mu is fixed by the map it begins with."""

    level: GreyLevel
    start: Matrix
    mu: float = field(init=False)
    least_overlap: float = field(init=False)

    def __post_init__(self) -> None:
        level, window = self.level, self.level.window
        f = level.fixed
        mean = box_mean(f, window)
        variance = (box_mean(f * f, window) - mean**2).clamp(min=0)
        self.weight = variance / (variance + _FLOOR)
        if level.fixed_counts is not None:
            self.weight = self.weight * level.fixed_counts
        self.mu = 1.0
        place = self._place(self.start)
        weight = (self.weight * place.held).flatten()
        e = place.e.flatten()[weight > 0.2]
        self.mu = max(_LEAST_MU, float(e.median())) if len(e) else 1.0
        share = float(weight.sum() / self.weight.sum().clamp(min=1e-6))
        self.least_overlap = min(_LEAST_OVERLAP, 0.8 * share)
        spacing, shape = level.fixed_grid.array_spacing, level.fixed_grid.shape
        # Coordinates along the fixed axes (x, y, z), centred on what can be seen and of about unit length.
        total = self.weight.sum().clamp(min=1e-6)
        axes = torch.meshgrid(
            *(torch.arange(n).float() * s for n, s in zip(shape, spacing, strict=True)), indexing="ij"
        )
        x = torch.stack(axes[::-1])
        self.centre = (x * self.weight).flatten(1).sum(1) / total
        x = x - self.centre.reshape(-1, *([1] * len(shape)))
        self.radius = float(((x**2).sum(0) * self.weight[0]).sum().div(total).sqrt().clamp(min=level.pixel))
        self.x = torch.cat([x / self.radius, torch.ones(1, *shape)])

    @dataclass(frozen=True, eq=False)
    class _Place:
        w: Tensor
        mask: Tensor
        held: Tensor
        n: Tensor
        mean_f: Tensor
        mean_w: Tensor
        variance_f: Tensor
        slope: Tensor
        e: Tensor

    def _place(self, matrix: Matrix) -> _Place:
        """What a map makes of every window."""
        level, window, f = self.level, self.level.window, self.level.fixed
        w, mask = level.warped(matrix)
        if bool((mask > 0).all()):
            n = mask
            sums = box_mean(torch.cat([f, w, f * f, w * w, f * w]), window)
        else:
            out = box_mean(torch.cat([mask, f * mask, w * mask, f * f * mask, w * w * mask, f * w * mask]), window)
            n = out[:1]
            sums = out[1:] / n.clamp(min=1e-3)
        mean_f, mean_w = sums[:1], sums[1:2]
        variance_f = (sums[2:3] - mean_f**2).clamp(min=0)
        variance_w = (sums[3:4] - mean_w**2).clamp(min=0) + _ROUNDING
        covariance = sums[4:5] - mean_f * mean_w
        slope = covariance / variance_w
        e = 1 - (covariance * slope / (variance_f + _ROUNDING)).clamp(0, 1)
        return self._Place(w, mask, (n > 0.5).float(), n, mean_f, mean_w, variance_f, slope, e)

    def _value(self, place: _Place) -> tuple[float, float]:
        weight = self.weight * place.held
        total = weight.sum().clamp(min=1e-6)
        rho = place.e * self.mu / (place.e + self.mu)
        return float((weight * rho).sum() / total), float(total / self.weight.sum().clamp(min=1e-6))

    def cost(self, matrix: Matrix) -> tuple[float, float]:
        """E, and the share of the windows that the moving image holds."""
        return self._value(self._place(matrix))

    def normal(self, matrix: Matrix) -> tuple[Tensor, Tensor, float, float]:
        """Hessian and gradient over the d (d + 1) entries of a small affine map, E, and the overlap."""
        level, window = self.level, self.level.window
        p = self._place(matrix)
        value, overlap = self._value(p)
        weight = self.weight * p.held * (self.mu / (p.e + self.mu)) ** 2
        k = weight * p.slope / (p.variance_f + _FLOOR) / p.n.clamp(min=0.2)
        ka = k * p.slope
        around = box_mean(torch.cat([k, k * p.mean_f, ka, ka * p.mean_w]), window)
        pull = -2 * p.mask * (level.fixed * around[0] - around[1] - p.w * around[2] + around[3])
        bend = 2 * p.mask * around[2]
        total = (self.weight * p.held).sum().clamp(min=1e-6)
        d = level.fixed_grid.ndim
        gradient = torch.stack(derivatives(p.w[0]))
        gradient = (gradient / torch.tensor(level.fixed_grid.array_spacing).reshape(-1, *([1] * d))).flip(0)
        # A window takes out its mean: what the whole window sees alike cannot be told.
        detail = gradient - box_mean(gradient, window)
        x = self.x.flatten(1)
        both = torch.cat([gradient, detail]).flatten(1)
        columns = (both[:, None] * x[None]).reshape(2, d * (d + 1), -1)
        b = columns[0] @ pull.flatten() / total
        h = (columns[1] * bend.flatten()) @ columns[1].T / total
        return h.double(), b.double(), value, overlap

    def step(self, entries: Tensor) -> Matrix:
        """The map of the fixed world that small entries stand for: exp of its generator."""
        grid, d = self.level.fixed_grid, self.level.fixed_grid.ndim
        generator = torch.zeros(d + 1, d + 1, dtype=torch.float64)
        linear = entries.reshape(d, d + 1)
        generator[:d, :d] = linear[:, :d] / self.radius
        generator[:d, d] = linear[:, d]
        small = torch.linalg.matrix_exp(generator).numpy(force=True)
        frame = np.eye(d + 1)
        frame[:d, :d] = np.asarray(grid.direction)
        frame[:d, d] = np.asarray(grid.origin) + np.asarray(grid.direction) @ self.centre.numpy(force=True)
        return np.asarray(frame @ small @ np.linalg.inv(frame))


def _basis(d: int, kind: Kind) -> Tensor:
    """(p, d (d + 1)) directions in which a map of a kind may change."""
    rows = []
    for i in range(d):
        shift = torch.zeros(d, d + 1, dtype=torch.float64)
        shift[i, d] = 1
        rows.append(shift)
    if kind == "affine":
        for i in range(d):
            for j in range(d):
                entry = torch.zeros(d, d + 1, dtype=torch.float64)
                entry[i, j] = 1
                rows.append(entry)
    else:
        for i in range(d):
            for j in range(i):
                turn = torch.zeros(d, d + 1, dtype=torch.float64)
                turn[i, j], turn[j, i] = 1, -1
                rows.append(turn)
        if kind == "similarity":
            rows.append(torch.eye(d, d + 1, dtype=torch.float64))
    return torch.stack([row.flatten() for row in rows])


def _minimise(level: GreyLevel, start: Matrix, kind: Kind, steps: int) -> Refined:
    problem = _Problem(level, start)
    basis = _basis(level.fixed_grid.ndim, kind)
    matrix, damping = start, 1e-3
    h, b, cost, overlap = problem.normal(matrix)
    for _ in range(steps):
        small, slope = basis @ h @ basis.T, basis @ b
        scale = small.diagonal().clamp(min=1e-12 + 1e-6 * float(small.diagonal().max()))
        step = -torch.linalg.solve(small + damping * torch.diag(scale), slope)
        entries = basis.T @ step
        # No step moves anything by more than two voxels at the radius of the image: the gradient knows no further.
        longest = float(entries.reshape(level.fixed_grid.ndim, -1).square().sum(0).sqrt().sum())
        if longest > 2 * level.pixel:
            entries = entries * (2 * level.pixel / longest)
        moved = min(longest, 2 * level.pixel)
        candidate = matrix @ problem.step(entries)
        value, share = problem.cost(candidate)
        if value < cost and share >= problem.least_overlap:
            matrix, damping = candidate, damping / 4
            if moved < _SETTLED * level.pixel:
                cost, overlap = value, share
                break
            h, b, cost, overlap = problem.normal(matrix)
        else:
            damping *= 8
            if moved < _SETTLED * level.pixel or damping > 1e4:
                break
    return Refined(matrix, cost, overlap)
