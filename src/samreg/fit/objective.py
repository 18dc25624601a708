"""The objective of the dense fit at one resolution level.

    E(v) = w_roi sum_k c_k (MSE + Dice)(M_k^fixed, M_k^moving o phi)      regions, equation (2)
         + w_sim (1 - LNCC^2)(I_fixed, I_moving o phi)                    grey values
         + w_feature (1 - cos)(F_fixed, F_moving o phi)                   embeddings
         + w_point sum_k (sqrt(1 + |phi(p_k) - q_k|^2) - 1)               landmarks, where a user gives them
         + lambda |grad v|^2 + w_bending |grad grad v|^2 + w_fold relu(m - det(I + grad v))^2         a physical field

with phi(x) = A (x + v(x)) for a displacement v and the affine start A.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samreg import plugins
from samreg.fit.problem import DenseProblem, Weights
from samreg.fit.terms import BUILT_IN, Similarity
from samreg.fit.terms.embeddings import EmbeddingTerm
from samreg.fit.terms.landmarks import LandmarkTerm
from samreg.fit.terms.lncc import Lncc
from samreg.fit.terms.masked import Inside, MaskedLncc, masked_similarity
from samreg.fit.terms.penalties import fold_penalty
from samreg.fit.terms.regions import RegionTerm
from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.ops.displacement import bending_energy, derivatives, gradient_energy, transposed_jacobian
from samreg.geometry.ops.smoothing import gaussian
from samreg.initial.pyramid import resample

__all__ = ["GreyValues", "Objective", "has_converged"]

_DENSE = 1.5
"""Voxels of the moving image a working voxel along each axis."""
_MOST_FINER = 8
"""Voxels that the moving image may get for each of a level, where it has fewer itself."""
_MEETS = 0.02
"""Voxels by which grids may miss each other and still meet."""
_UNSEEN = 0.02
"""Say of the grey values below which embeddings are trusted whatever these show."""
_STOP_WINDOW = 12
_TOLERANCE = 1e-3
"""Relative fall of the loss over that many steps below which a level has converged."""


@dataclass(frozen=True, eq=False)
class GreyValues:
    """What the grey values say of a displacement.

    Args:
        loss: their term of E, with its weight.
        slope: (d, *shape) its derivative with respect to a small displacement that goes before, per voxel of it.
        squared: (1, *shape) LNCC^2, times the say of the place; None where something else compares them.
    """

    loss: float
    slope: Tensor
    squared: Tensor | None = None


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
        reach = _reach(problem, fixed_grid)
        self.frame = Frame(fixed_grid, _matching(problem, reach), problem.affine)
        # Linear interpolation between denser voxels is nearly a spline's; where voxels lie on voxels it is exact, also
        # where a level has more slices than the images, between which both are splines.
        alike = Frame(fixed_grid, _alike(problem, reach), problem.affine)
        fits = alike.moving.n_voxels <= max(problem.moving_grid.n_voxels, _MOST_FINER * fixed_grid.n_voxels)
        dense = Frame(fixed_grid, _matching(problem, reach, _DENSE), problem.affine)
        self.grey_frame = alike if fits and _voxels_meet(alike) else dense
        self.spacing = fixed_grid.array_spacing
        self.frozen = problem.frozen_axis
        self.log_scale = float(np.linalg.slogdet(problem.affine[:-1, :-1])[1])
        self.field_smoothing = problem.field_smoothing * problem.stiffness
        self.stiffness, self.same_body = problem.stiffness, problem.same_body
        self.has_known = problem.landmarks is not None or bool(problem.pairs.is_given.any())
        pixel = fixed_grid.finest_spacing
        fixed, moving = (torch.as_tensor(np.ascontiguousarray(v))[None] for v in (problem.fixed, problem.moving))
        self.fixed = resample(fixed, problem.fixed_grid, shape, pixel)
        self.moving = resample(moving, problem.moving_grid, self.grey_frame.moving.shape, pixel)
        self.identity = self.frame.identity()
        self.regions = self.embeddings = self.inside = None
        self.similarity: Similarity | MaskedLncc | None = None
        if any(mask is not None for mask in problem.inside):
            self.inside = Inside(self.frame, *problem.inside)
        if weights.similarity > 0:
            window = [_window(weights.window, pixel, s, a == self.frozen) for a, s in enumerate(self.spacing)]
            if self.inside is None:
                make: Callable[[Tensor, Sequence[int]], Similarity] = plugins.load(
                    "terms", problem.similarity, BUILT_IN
                )
                self.similarity = make(self.fixed, window)
            else:
                self.similarity = masked_similarity(problem.similarity, self.fixed, window)
        if weights.regions > 0 and len(problem.pairs):
            self.regions = RegionTerm(
                problem.pairs, self.frame, weights.softness, weights.shares, problem.slice_axis, self.inside
            )
        self.landmarks = None
        if problem.landmarks is not None:
            self.landmarks = LandmarkTerm(problem.landmarks, fixed_grid, problem.affine, self.frozen)
        if weights.features > 0 and problem.descriptors is not None:
            self.embeddings = EmbeddingTerm(problem.descriptors, fixed_grid, problem.affine)

    def terms(self, u: Tensor) -> dict[str, Tensor]:
        """Each weighted term of E.

        Args:
            u: (d, *shape) displacement in voxels of the level, array order.
        """
        terms = self._other_terms(u)
        if self.similarity is not None:
            at = self.identity + u
            warped, held = self.grey_frame.warp_held(self.moving, at)
            terms["similarity"] = self.weights.similarity * self._likeness(warped, held, at)
        return terms

    @property
    def cell(self) -> float:
        """Length of a cell of the embeddings in voxels of the level; 1 where there are none."""
        return 1.0 if self.embeddings is None else self.embeddings.cell

    def disagreement(self, grey: GreyValues, sigma: Sequence[float]) -> Tensor:
        """1 - LNCC^2 around each voxel, (1, *shape) in [0, 1]; 1 where grey values have nothing to say.

        It is 1 everywhere where the images are not known to show one body.

        Args:
            grey: what the grey values say of a displacement.
            sigma: of the neighbourhood, in voxels along each array axis.
        """
        lncc = self.similarity
        if not self.same_body or not isinstance(lncc, Lncc) or grey.squared is None:
            return torch.ones_like(grey.slope[:1])
        lacking, say = gaussian(torch.cat([(lncc.say - grey.squared).clamp(min=0), lncc.say]), sigma).chunk(2)
        share: Tensor = (lacking + _UNSEEN) / (say + _UNSEEN)
        return share

    def grey_values(self, u: Tensor) -> GreyValues:
        """The grey values' share of E(u), and its derivative with respect to a small displacement w that goes before u.

        With phi(x) = x + u(x) the step is composed, phi o (id + w), so that the derivative is the gradient of the
        warped image itself, dE/dI grad(I o phi): nothing has to be sampled twice.

        Args:
            u: (d, *shape) displacement in voxels of the level, array order.
        """
        if self.similarity is None:
            return GreyValues(0.0, torch.zeros_like(u))
        at = self.identity + u.detach()
        warped, held = self.grey_frame.warp_held(self.moving, at)
        squared: Tensor | None = None
        if isinstance(self.similarity, Lncc):
            squared, pull = self.similarity.squared_and_pull(warped, held)
            loss = 1 - squared.mean()
        else:
            image = warped.clone().requires_grad_(True)
            loss = self._likeness(image, held, at)
            (pull,) = torch.autograd.grad(loss, image)
        weight = self.weights.similarity
        slope = weight * pull * torch.stack(derivatives(warped[0]))
        return GreyValues(weight * float(loss.detach()), slope, squared)

    def guidance_and_slope(self, u: Tensor, trust: Tensor | None = None) -> tuple[float, Tensor]:
        """All other terms of E(u), as `grey_values` gives the first.

        They are found as dE/du, which J^T = (I + grad u)^T turns into the derivative with respect to a composed step.

        Args:
            u: (d, *shape) displacement in voxels of the level, array order.
            trust: (1, *shape) weight of the embeddings at each voxel; 1 by default.
        """
        u = u.detach().requires_grad_(True)
        others = self._other_terms(u, trust)
        if not others:
            return 0.0, torch.zeros_like(u)
        total = torch.stack(list(others.values())).sum()
        (pull,) = torch.autograd.grad(total, u)
        return float(total.detach()), transposed_jacobian(u.detach(), pull)

    def _likeness(self, warped: Tensor, held: Tensor | None, at: Tensor) -> Tensor:
        """The term of the grey values for the warped image at displaced indices (d, *shape), before its weight."""
        if self.similarity is None:
            return warped.new_zeros(())
        if isinstance(self.similarity, MaskedLncc):
            weight = torch.ones_like(warped) if self.inside is None else self.inside(at)
            return self.similarity(warped, weight if held is None else weight * held)
        return self.similarity(warped, held)

    def _other_terms(self, u: Tensor, trust: Tensor | None = None) -> dict[str, Tensor]:
        """All but the grey values."""
        weights, at = self.weights, self.identity + u
        terms: dict[str, Tensor] = {}
        if weights.smoothness > 0:
            terms["smoothness"] = weights.smoothness * gradient_energy(u, self.spacing)
        if weights.bending > 0:
            terms["bending"] = weights.bending * bending_energy(u, self.spacing)
        if weights.folding > 0:
            terms["folding"] = weights.folding * fold_penalty(u)
        if self.regions is not None:
            terms["regions"] = weights.regions * self.regions(at)
        if self.embeddings is not None:
            terms["features"] = weights.features * self.embeddings(u, trust)
        if self.landmarks is not None:
            terms["landmarks"] = self.landmarks(u)
        return terms


def _reach(problem: DenseProblem, level: Grid) -> np.ndarray:
    """(d,) length in moving voxels of one level voxel along each moving axis, whichever fixed axis runs along it."""
    linear = (
        np.linalg.inv(problem.moving_grid.matrix[:-1, :-1]) @ problem.affine[:-1, :-1] @ np.asarray(level.direction)
    )
    result: np.ndarray = np.abs(linear * np.asarray(level.spacing)).max(axis=1)[::-1]
    return result


def _alike(problem: DenseProblem, reach: np.ndarray) -> Grid:
    """The moving image on voxels as large as the level's, which may be smaller than its own."""
    sizes = zip(problem.moving_grid.shape, reach, strict=True)
    return problem.moving_grid.with_shape([1 if n == 1 else max(1, round(n / r)) for n, r in sizes])


def _matching(problem: DenseProblem, reach: np.ndarray, dense: float = 1.0) -> Grid:
    """The moving image on voxels of about the size of the level's, `dense` times as many along each axis.

    They are never smaller than the moving image's own by more than that; across a frozen axis they are not denser.
    """
    shape = problem.moving_grid.shape
    more = [1.0 if n == 1 or a == problem.frozen_axis else dense for a, n in enumerate(shape)]
    rows = zip(shape, reach, more, strict=True)
    return problem.moving_grid.with_shape([max(1, round(n * k / max(1.0, r))) for n, r, k in rows])


def _voxels_meet(frame: Frame) -> bool:
    """Whether every voxel of the one grid lies on one of the other."""
    corners = torch.tensor(np.stack([np.zeros(frame.fixed.ndim), np.asarray(frame.fixed.shape) - 1.0], 1)).float()
    index = frame.moving_index(corners)
    turned = float(np.abs(frame.joint[:-1, :-1] - np.eye(frame.fixed.ndim)).max())
    return bool((index - index.round()).abs().max() < _MEETS) and turned < 0.01


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
