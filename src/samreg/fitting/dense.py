"""Dense refinement: coarse-to-fine minimisation of equation (2) and a local image similarity.

    min_v  w_roi sum_k c_k (MSE + Dice)(M_k^fixed, M_k^moving o phi)      regions, equation (2)
         + w_sim (1 - LNCC^2)(I_fixed, I_moving o phi)                    grey values
         + w_feature (1 - cos)(F_fixed, F_moving o phi)                   embeddings
         + lambda |grad v|^2 + w_fold relu(m - det(I + grad v))^2         a physical field

phi(x) = A (x + v(x)), v = start + B p with cubic B-spline control values p, or the flow of such a velocity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.config import FitConfig
from samreg.fitting.frames import Frame
from samreg.fitting.region_term import RegionTerm
from samreg.grid import Grid
from samreg.ops.bspline import ControlGrid
from samreg.ops.displacement import exponential, gradient_energy, jacobian_determinant, logarithm, rescale, unfold
from samreg.ops.resample import resize, sample_border
from samreg.ops.similarity import Lncc
from samreg.rois import PairedRois
from samreg.types import Matrix, ScalarArray

__all__ = ["DenseFit", "DenseProblem", "fit_dense"]

_MIN_DETERMINANT = 0.2
_STOP_WINDOW = 12
_MAX_THICKNESS = 2.0
"""Working slices are at most so many working pixels apart."""


@dataclass(frozen=True, eq=False)
class DenseProblem:
    """What a dense fit works on.

    Args:
        fixed: grey values in [0, 1] on the fixed grid.
        moving: grey values in [0, 1] on the moving grid.
        fixed_grid: grid of the result.
        moving_grid: grid of `moving`.
        affine: (d + 1, d + 1) fixed world to moving world.
        pairs: the correspondence; may be empty.
        descriptors: unit descriptors of both images with their grids, or None.
        start: (d, *fixed_grid.shape) displacement in fixed voxels to start from.
        frozen_axis: array axis along which the refinement does not move, or None.
        slice_axis: array axis along which the pairs are one slice thick, or None.
    """

    fixed: ScalarArray
    moving: ScalarArray
    fixed_grid: Grid
    moving_grid: Grid
    affine: Matrix
    pairs: PairedRois
    descriptors: tuple[Tensor, Grid, Tensor, Grid] | None
    start: Tensor
    frozen_axis: int | None
    slice_axis: int | None = None


@dataclass(frozen=True, eq=False)
class DenseFit:
    """Result of a fit.

    Args:
        displacement: (d, *fixed_grid.shape) in fixed voxels, array order.
        losses: each term of the objective at the end.
        iterations: optimiser steps of each level.
    """

    displacement: Tensor
    losses: dict[str, float] = field(default_factory=dict)
    iterations: tuple[int, ...] = ()


def fit_dense(problem: DenseProblem, config: FitConfig, progress: Callable[[int, int], None] | None = None) -> DenseFit:
    """Refine a displacement, coarse to fine; every level stops on its own.

    Args:
        problem: images, pairs, start.
        config: weights, levels, transform (`ddf`, `ffd` or `svf`).
        progress: called with the steps done and the most there can be.
    """
    shape = _working_shape(problem, config.work_size)
    u, counts = problem.start, list[int]()
    losses: dict[str, float] = {}
    total = len(config.control) * config.max_iterations
    for number, control in enumerate(config.control):
        coarser = 2 if number < len(config.control) - 1 and np.prod(shape) > 3e5 else 1
        level_shape = tuple(max(1, round(n / coarser)) if n > 16 else n for n in shape)
        level = _Level(problem, config, level_shape, control)
        steps = _shifted(progress, number * config.max_iterations, total)
        u, losses, used = level.minimise(rescale(u, level_shape), steps)
        counts.append(used)
    if progress:
        progress(total, total)
    return DenseFit(unfold(rescale(u, problem.fixed_grid.shape)), losses, tuple(counts))


def _shifted(progress: Callable[[int, int], None] | None, done: int, total: int) -> Callable[[int], None]:
    def report(step: int) -> None:
        if progress:
            progress(done + step, total)

    return report


def _working_shape(problem: DenseProblem, size: int) -> tuple[int, ...]:
    """Voxels of the finest working level: halved until at most about `size` along each axis.

    Where displacement may cross thick slices, the fixed image is interpolated between them, so that the local
    similarity sees what happens there.
    """
    grid = problem.fixed_grid
    shape = []
    for n in grid.shape:
        while n > size * 1.5:
            n = (n + 1) // 2
        shape.append(n)
    spacing = grid.with_shape(shape).array_spacing
    finest = min(spacing)
    for axis, s in enumerate(spacing):
        if axis != problem.frozen_axis and shape[axis] > 1 and s > _MAX_THICKNESS * finest:
            shape[axis] *= int(np.ceil(s / (_MAX_THICKNESS * finest)))
    return tuple(shape)


class _Level:
    """One resolution level: its images, its terms, its control grid."""

    def __init__(self, problem: DenseProblem, config: FitConfig, shape: tuple[int, ...], control: float) -> None:
        self.config = config
        fixed_grid = problem.fixed_grid.with_shape(shape)
        shrink = [n / m for n, m in zip(problem.fixed_grid.shape, shape, strict=True)]
        moving_shape = _matching_shape(problem, shrink)
        moving_grid = problem.moving_grid.with_shape(moving_shape)
        self.frame = Frame(fixed_grid, moving_grid, problem.affine)
        self.fixed = resize(torch.from_numpy(np.ascontiguousarray(problem.fixed))[None], shape)
        self.moving = resize(torch.from_numpy(np.ascontiguousarray(problem.moving))[None], moving_shape)
        self.spacing = fixed_grid.array_spacing
        self.frozen = problem.frozen_axis
        pixel = min(self.spacing)
        self.grid = ControlGrid(
            shape, [1.0 if a == self.frozen else max(1.0, control * pixel / s) for a, s in enumerate(self.spacing)]
        )
        self.step = control
        self.identity = self.frame.identity()
        self.lncc = self.regions = self.features = None
        if config.similarity_weight > 0:
            self.lncc = Lncc(
                self.fixed,
                [_window(config.lncc_window, pixel, s, a == self.frozen) for a, s in enumerate(self.spacing)],
            )
        if config.roi_weight > 0 and len(problem.pairs):
            self.regions = RegionTerm(
                problem.pairs, self.frame, config.softness, config.mse_weight, config.dice_weight, problem.slice_axis
            )
        if config.feature_weight > 0 and problem.descriptors is not None:
            fixed, grid, moving, other = problem.descriptors
            self.features = (fixed, Frame(grid, other, problem.affine), moving)
            # Where the cells of the embedding lie among the voxels of the level, and a voxel's length in cells.
            to_level = Frame(grid, fixed_grid, np.eye(grid.ndim + 1))
            self.cells = to_level.moving_index(to_level.identity())
            ratio = torch.tensor([a / b for a, b in zip(self.spacing, grid.array_spacing, strict=True)])
            self.cell_scale = ratio.reshape(-1, *([1] * grid.ndim)).float()

    def minimise(self, start: Tensor, progress: Callable[[int], None]) -> tuple[Tensor, dict[str, float], int]:
        """Adam on the control values until the loss no longer falls."""
        config = self.config
        parameters = self.grid.zeros(len(start)).requires_grad_(True)
        base = logarithm(start) if config.transform == "svf" else start
        optimiser = torch.optim.Adam([parameters], lr=0.1 * self.step)
        history: list[float] = []
        for i in range(config.max_iterations):
            optimiser.zero_grad()
            terms = self.terms(self.displacement(parameters, base))
            loss = torch.stack(list(terms.values())).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            history.append(float(loss.detach()))
            progress(i + 1)
            if _converged(history, config.tolerance):
                break
        with torch.no_grad():
            u = self.displacement(parameters, base)
            return u, {name: float(v) for name, v in self.terms(u).items()}, len(history)

    def displacement(self, parameters: Tensor, base: Tensor) -> Tensor:
        """(d, *shape) in voxels of the level."""
        residual = self.grid(parameters)
        if self.frozen is not None:
            moves = torch.tensor([0.0 if a == self.frozen else 1.0 for a in range(len(residual))])
            residual = residual * moves.reshape(-1, *([1] * (residual.ndim - 1)))
        return exponential(base + residual) if self.config.transform == "svf" else base + residual

    def terms(self, u: Tensor) -> dict[str, Tensor]:
        """Each weighted term of the objective."""
        config, at = self.config, self.identity + u
        terms = {"smoothness": config.smoothness * gradient_energy(u, self.spacing)}
        if config.fold_weight > 0:
            short = functional.relu(_MIN_DETERMINANT - jacobian_determinant(u))
            terms["folding"] = config.fold_weight * short.pow(2).mean()
        if self.lncc is not None:
            terms["similarity"] = config.similarity_weight * self.lncc(self.frame.warp(self.moving, at))
        if self.regions is not None:
            terms["regions"] = config.roi_weight * self.regions(at)
        if self.features is not None:
            fixed, frame, moving = self.features
            cells = frame.identity() + sample_border(u, self.cells) * self.cell_scale
            warped = functional.normalize(frame.warp(moving, cells), dim=0)
            terms["features"] = config.feature_weight * (1 - (fixed * warped).sum(0)).mean()
        return terms


def _matching_shape(problem: DenseProblem, shrink: list[float]) -> tuple[int, ...]:
    """Moving voxels of about the size of the level's fixed voxels, never finer than the moving image itself."""
    size = [s * f for s, f in zip(problem.fixed_grid.array_spacing, shrink, strict=True)]
    linear = (
        np.linalg.inv(problem.moving_grid.matrix[:-1, :-1])
        @ problem.affine[:-1, :-1]
        @ np.asarray(problem.fixed_grid.direction)
    )
    # Length in moving voxels of one level voxel along each moving axis, whichever fixed axis runs along it.
    reach = np.abs(linear * np.asarray(size)[::-1]).max(axis=1)[::-1]
    return tuple(max(1, round(n / max(1.0, r))) for n, r in zip(problem.moving_grid.shape, reach, strict=True))


def _window(window: int, pixel: float, spacing: float, frozen: bool) -> int:
    """Odd number of voxels that is about `window` of the smallest voxels wide; 1 across the slices of a stack."""
    if frozen:
        return 1
    return max(3, 2 * round((window * pixel / spacing - 1) / 2) + 1)


def _converged(history: list[float], tolerance: float) -> bool:
    if len(history) < 2 * _STOP_WINDOW:
        return False
    before = min(history[:-_STOP_WINDOW])
    now = min(history[-_STOP_WINDOW:])
    return before - now < tolerance * max(abs(before), 1e-6)
