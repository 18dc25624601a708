"""Elastic levels: Adam on the control values of a cubic B-spline, coarse to fine.

v = start + B p with control values p, or the flow of such a velocity. The penalty on the gradient of the whole
displacement makes it robust where two people have to be brought together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from samreg.config import ElasticConfig, FitConfig
from samreg.fit.level import Level
from samreg.fit.objective import Objective, has_converged
from samreg.fit.problem import DenseProblem, Weights, size_within, working_shape
from samreg.fit.terms.regions import Shares
from samreg.geometry.ops.adam import Adam
from samreg.geometry.ops.bspline import ControlGrid
from samreg.geometry.ops.displacement import exponential, logarithm

__all__ = ["elastic_weights", "minimise_elastic", "plan"]

_FOLDING = 1.0
_SHARP, _SOFT = 0.5, 1.0
"""Standard deviation of the edges of region masks, in working voxels: where regions alone drive the field, and where
grey values know better where an edge is."""
_LNCC_WINDOW = 9
_CONTROL = 2.0
"""Distance of control points, in voxels of a level, where regions alone drive the field."""
_MOST_VOXELS = 1 << 18
"""Working voxels at most where regions of volumes alone drive the field. Twice as many along each axis take ten times
as long on a prostate, and bring nothing."""
_CODE_SHARES = Shares(mse=0.0, dice=1.0, cross_entropy=0.1)
"""The region term of the paper's released code."""


def plan(problem: DenseProblem, config: FitConfig) -> list[Level]:
    """Elastic levels: control points are ever closer.

    Where regions alone drive the field, a level resolves no more than its control points can follow: at coarse voxels
    even masks that hardly meet have a slope. Elsewhere all levels have the working size.
    """
    elastic, weights = config.elastic, elastic_weights(config.elastic, config.stiffness)
    size, velocity, most = float(config.work_size), config.transform == "svf", elastic.max_iterations
    if elastic.regions_alone and problem.slice_axis is None and problem.fixed_grid.ndim == 3:
        size = size_within(problem, size, _MOST_VOXELS)
    levels = []
    for control in elastic.control:
        coarser = max(1.0, control / _CONTROL) if elastic.regions_alone else 1.0
        run = partial(minimise_elastic, control=control / coarser, most=most, velocity=velocity)
        levels.append(Level(working_shape(problem, size, coarser), weights, most, run))
    return levels


def elastic_weights(config: ElasticConfig, stiffness: float = 1.0) -> Weights:
    """The weights of an elastic level; stiffness multiplies the penalty on the displacement."""
    code, penalty = config.loss == "code", stiffness * config.smoothness
    return Weights(
        similarity=config.similarity_weight,
        regions=config.roi_weight,
        features=config.feature_weight,
        smoothness=0.0 if code else penalty,
        bending=penalty if code else 0.0,
        folding=_FOLDING if config.loss == "samreg" else 0.0,
        softness=_SHARP if config.regions_alone else _SOFT,
        window=_LNCC_WINDOW,
        shares=_CODE_SHARES if code else Shares(),
    )


def minimise_elastic(
    objective: Objective,
    start: Tensor,
    progress: Callable[[int], None],
    *,
    control: float,
    most: int,
    velocity: bool = False,
) -> tuple[Tensor, int]:
    """Adam until the loss no longer falls.

    Args:
        objective: of the level.
        start: (d, *shape) displacement in voxels of the level.
        progress: called with the steps done.
        control: distance of control points in voxels of the smallest size.
        most: steps at most.
        velocity: whether v is a velocity (`svf`) and not a displacement.

    Returns:
        The displacement, and the steps taken.
    """
    spacing, frozen = objective.spacing, objective.frozen
    pixel = min(spacing)
    knots = [1.0 if a == frozen else max(1.0, control * pixel / s) for a, s in enumerate(spacing)]
    grid = ControlGrid(tuple(start.shape[1:]), knots)
    parameters = grid.zeros(len(start)).requires_grad_(True)
    base = logarithm(start) if velocity else start

    def displacement() -> Tensor:
        residual = grid(parameters)
        if frozen is not None:
            residual = residual * _moves(len(residual), frozen)
        return exponential(base + residual) if velocity else base + residual

    optimiser = Adam(parameters, lr=0.1 * control)
    history: list[float] = []
    for i in range(most):
        loss = torch.stack(list(objective.terms(displacement()).values())).sum()
        (slope,) = torch.autograd.grad(loss, parameters)
        optimiser.step(slope)
        history.append(float(loss.detach()))
        progress(i + 1)
        if has_converged(history):
            break
    with torch.no_grad():
        return displacement(), len(history)


def _moves(d: int, frozen: int) -> Tensor:
    return torch.tensor([0.0 if a == frozen else 1.0 for a in range(d)]).reshape(-1, *([1] * d))
