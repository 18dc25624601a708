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
from samreg.fit.problem import DenseProblem, Weights, working_shape
from samreg.fit.terms.regions import Shares
from samreg.geometry.ops.adam import Adam
from samreg.geometry.ops.bspline import ControlGrid
from samreg.geometry.ops.displacement import exponential, logarithm

__all__ = ["elastic_weights", "minimise_elastic", "plan"]

_FOLDING = 1.0
_SHARP, _SOFT = 0.5, 1.0
"""Standard deviation of the edges of region masks, in working voxels: where regions alone drive the field, and where
grey values know better where an edge is."""
_DISTANCES = 1.0
"""Weight of the signed distances where regions alone drive the field."""
_LNCC_WINDOW = 9
_CODE_SHARES = Shares(mse=0.0, dice=1.0, cross_entropy=0.1)
"""The region term of the paper's released code."""


def plan(problem: DenseProblem, config: FitConfig) -> list[Level]:
    """Elastic levels: all have the working size, and control points that are ever closer."""
    elastic = config.elastic
    shape, weights = working_shape(problem, config.work_size), elastic_weights(elastic, config.stiffness)
    velocity, most = config.transform == "svf", elastic.max_iterations
    return [
        Level(shape, weights, most, partial(minimise_elastic, control=control, most=most, velocity=velocity))
        for control in elastic.control
    ]


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
        distances=_DISTANCES if config.loss == "samreg" and config.regions_alone else 0.0,
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
