"""The objective of the dense fit at one resolution level.

    E(v) = w_roi sum_k c_k (MSE + Dice)(M_k^fixed, M_k^moving o phi)      regions, equation (2)
         + w_sim (1 - LNCC^2)(I_fixed, I_moving o phi)                    grey values
         + w_feature (1 - cos)(F_fixed, F_moving o phi)                   embeddings
         + lambda |grad v|^2 + w_bending |grad grad v|^2 + w_fold relu(m - det(I + grad v))^2         a physical field

with phi(x) = A (x + v(x)) for a displacement v and the affine start A.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.fitting.frames import Frame
from samreg.fitting.region_term import RegionTerm, Shares
from samreg.grid import Grid
from samreg.ops.displacement import (
    bending_energy,
    derivatives,
    gradient_energy,
    jacobian_determinant,
    per_axis,
    transposed_jacobian,
)
from samreg.ops.resample import resize, sample_border
from samreg.ops.similarity import Lncc
from samreg.rois import PairedRois
from samreg.types import Matrix, ScalarArray

__all__ = ["DenseProblem", "Objective", "Weights", "has_converged", "working_shape"]

_MIN_DETERMINANT = 0.2
_MAX_THICKNESS = 2.0
"""Working slices are at most so many working pixels apart."""
_STOP_WINDOW = 12
_TOLERANCE = 1e-3
"""Relative fall of the loss over that many steps below which a level has converged."""
_CHANNELS = 16
"""Principal components of the embedding that drive the fit; the search before it used more."""


@dataclass(frozen=True)
class Weights:
    """The weights of E at one level, and what belongs to its terms.

    Args:
        similarity: of the grey values.
        regions: of the region term.
        features: of the embeddings.
        window: side of the LNCC window, voxels of the level.
        smoothness: of the squared gradient of the displacement, world units.
        bending: of its squared second derivatives, world units.
        folding: of the penalty on small Jacobian determinants.
        softness: standard deviation of the edges of region masks, voxels of the level.
        shares: weights of the parts of the region term.
    """

    similarity: float
    regions: float
    features: float
    window: int
    smoothness: float = 0.0
    bending: float = 0.0
    folding: float = 0.0
    softness: float = 1.0
    shares: Shares = field(default_factory=Shares)


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
        field_smoothing: smoothing of the whole displacement after each step of a flow, in working voxels.
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
    field_smoothing: float = 0.4


def working_shape(problem: DenseProblem, size: int) -> tuple[int, ...]:
    """Voxels of a level: about `size` along the longest axis, isotropic, never finer than the fixed image.

    Where displacement may cross thick slices, the fixed image is interpolated between them, so that the local
    similarity sees what happens there.
    """
    grid = problem.fixed_grid
    spacing = grid.array_spacing
    longest = max(n * s for n, s in zip(grid.shape, spacing, strict=True) if n > 1)
    pixel = max(min(s for n, s in zip(grid.shape, spacing, strict=True) if n > 1), longest / size)
    shape = []
    for axis, (n, s) in enumerate(zip(grid.shape, spacing, strict=True)):
        thick = n > 1 and axis != problem.frozen_axis and s > _MAX_THICKNESS * pixel
        shape.append(n * int(np.ceil(s / (_MAX_THICKNESS * pixel))) if thick else max(1, round(n * s / max(s, pixel))))
    return tuple(shape)


class Objective:
    """E(v) at one resolution; terms of weight 0 are left out.

    Args:
        problem: images, pairs and start.
        weights: of the terms.
        shape: voxels of the level on the fixed grid, array order.
    """

    def __init__(self, problem: DenseProblem, weights: Weights, shape: tuple[int, ...]) -> None:
        self.weights = weights
        fixed_grid = problem.fixed_grid.with_shape(shape)
        shrink = [n / m for n, m in zip(problem.fixed_grid.shape, shape, strict=True)]
        moving_shape = _matching_shape(problem, shrink)
        moving_grid = problem.moving_grid.with_shape(moving_shape)
        self.frame = Frame(fixed_grid, moving_grid, problem.affine)
        self.fixed = resize(torch.from_numpy(np.ascontiguousarray(problem.fixed))[None], shape)
        self.moving = resize(torch.from_numpy(np.ascontiguousarray(problem.moving))[None], moving_shape)
        self.spacing = fixed_grid.array_spacing
        self.frozen = problem.frozen_axis
        self.field_smoothing = problem.field_smoothing
        pixel = min(x for n, x in zip(shape, self.spacing, strict=True) if n > 1)
        self.identity = self.frame.identity()
        self.lncc = self.regions = self.features = None
        if weights.similarity > 0:
            self.lncc = Lncc(
                self.fixed,
                [_window(weights.window, pixel, s, a == self.frozen) for a, s in enumerate(self.spacing)],
            )
        if weights.regions > 0 and len(problem.pairs):
            self.regions = RegionTerm(problem.pairs, self.frame, weights.softness, weights.shares, problem.slice_axis)
        if weights.features > 0 and problem.descriptors is not None:
            fixed, grid = _thinned(*problem.descriptors[:2])
            moving, other = _thinned(*problem.descriptors[2:])
            self.features = (fixed, Frame(grid, other, problem.affine), moving)
            # Where the cells of the embedding lie among the voxels of the level, and a voxel's length in cells.
            to_level = Frame(grid, fixed_grid, np.eye(grid.ndim + 1))
            self.cells = to_level.moving_index(to_level.identity())
            self.cell_scale = per_axis([a / b for a, b in zip(self.spacing, grid.array_spacing, strict=True)])

    def terms(self, u: Tensor) -> dict[str, Tensor]:
        """Each weighted term of E.

        Args:
            u: (d, *shape) displacement in voxels of the level, array order.
        """
        terms = self._other_terms(u)
        if self.lncc is not None:
            terms["similarity"] = self._similarity(self.lncc, self.frame.warp(self.moving, self.identity + u))
        return terms

    def similarity_and_slope(self, u: Tensor) -> tuple[float, Tensor]:
        """The grey values' share of E(u), and its derivative with respect to a small displacement w that goes before u.

        With phi(x) = x + u(x) the step is composed, phi o (id + w), so that the derivative is the gradient of the
        warped image itself, dE/dI grad(I o phi): nothing has to be sampled twice.

        Args:
            u: (d, *shape) displacement in voxels of the level, array order.

        Returns:
            The term, and the derivative, (d, *shape), per voxel of displacement.
        """
        if self.lncc is None:
            return 0.0, torch.zeros_like(u)
        with torch.no_grad():
            warped = self.frame.warp(self.moving, self.identity + u)
        warped.requires_grad_(True)
        similarity = self._similarity(self.lncc, warped)
        (pull,) = torch.autograd.grad(similarity, warped)
        return float(similarity.detach()), pull * torch.stack(derivatives(warped.detach()[0]))

    def guidance_and_slope(self, u: Tensor) -> tuple[float, Tensor]:
        """All other terms of E(u), as `similarity_and_slope` gives the first.

        They are found as dE/du, which J^T = (I + grad u)^T turns into the derivative with respect to a composed step.
        """
        u = u.detach().requires_grad_(True)
        others = self._other_terms(u)
        if not others:
            return 0.0, torch.zeros_like(u)
        total = torch.stack(list(others.values())).sum()
        (pull,) = torch.autograd.grad(total, u)
        return float(total.detach()), transposed_jacobian(u.detach(), pull)

    def _similarity(self, lncc: Lncc, warped: Tensor) -> Tensor:
        return self.weights.similarity * lncc(warped)

    def _other_terms(self, u: Tensor) -> dict[str, Tensor]:
        """All but the grey values."""
        weights, at = self.weights, self.identity + u
        terms: dict[str, Tensor] = {}
        if weights.smoothness > 0:
            terms["smoothness"] = weights.smoothness * gradient_energy(u, self.spacing)
        if weights.bending > 0:
            terms["bending"] = weights.bending * bending_energy(u, self.spacing)
        if weights.folding > 0:
            short = functional.relu(_MIN_DETERMINANT - jacobian_determinant(u))
            terms["folding"] = weights.folding * short.pow(2).mean()
        if self.regions is not None:
            terms["regions"] = weights.regions * self.regions(at)
        if self.features is not None:
            fixed, frame, moving = self.features
            cells = frame.identity() + sample_border(u, self.cells) * self.cell_scale
            warped = frame.warp(moving, cells)
            length = warped.square().sum(0).clamp(min=1e-12).sqrt()
            terms["features"] = weights.features * (1 - (fixed * warped).sum(0) / length).mean()
        return terms


def _thinned(values: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
    """The leading components on nearly isotropic cells: thin slices repeat what their neighbours say."""
    cell = sorted(grid.array_spacing)[len(grid.shape) // 2]
    shape = [max(1, round(n * s / max(s, cell))) for n, s in zip(grid.shape, grid.array_spacing, strict=True)]
    return functional.normalize(resize(values[-_CHANNELS:], shape), dim=0), grid.with_shape(shape)


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


def has_converged(history: list[float]) -> bool:
    """Whether the best of the last twelve losses is hardly lower than the best before them."""
    if len(history) < 2 * _STOP_WINDOW:
        return False
    before = min(history[:-_STOP_WINDOW])
    now = min(history[-_STOP_WINDOW:])
    return before - now < _TOLERANCE * max(abs(before), 1e-6)
