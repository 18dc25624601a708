"""Elastic levels: Adam on the control values of a cubic B-spline, coarse to fine.

v = start + B p with control values p, or the flow of such a velocity. The penalty on the gradient of the whole
displacement makes it robust where two people have to be brought together.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from samreg.config import FitConfig
from samreg.fit.objective import Objective, has_converged
from samreg.geometry.ops.bspline import ControlGrid
from samreg.geometry.ops.displacement import exponential, logarithm

__all__ = ["minimise_elastic"]


def minimise_elastic(
    objective: Objective, start: Tensor, control: float, config: FitConfig, progress: Callable[[int], None]
) -> tuple[Tensor, int]:
    """Adam until the loss no longer falls.

    Args:
        objective: of the level.
        start: (d, *shape) displacement in voxels of the level.
        control: distance of control points in voxels of the smallest size.
        config: iterations, tolerance, and whether v is a displacement or a velocity (`svf`).
        progress: called with the steps done.

    Returns:
        The displacement, and the steps taken.
    """
    spacing, frozen = objective.spacing, objective.frozen
    pixel = min(spacing)
    knots = [1.0 if a == frozen else max(1.0, control * pixel / s) for a, s in enumerate(spacing)]
    grid = ControlGrid(tuple(start.shape[1:]), knots)
    parameters = grid.zeros(len(start)).requires_grad_(True)
    base = logarithm(start) if config.transform == "svf" else start

    def displacement() -> Tensor:
        residual = grid(parameters)
        if frozen is not None:
            residual = residual * _moves(len(residual), frozen)
        return exponential(base + residual) if config.transform == "svf" else base + residual

    optimiser = torch.optim.Adam([parameters], lr=0.1 * control)
    history: list[float] = []
    for i in range(config.max_iterations):
        optimiser.zero_grad()
        loss = torch.stack(list(objective.terms(displacement()).values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        history.append(float(loss.detach()))
        progress(i + 1)
        if has_converged(history, config.tolerance):
            break
    with torch.no_grad():
        return displacement(), len(history)


def _moves(d: int, frozen: int) -> Tensor:
    return torch.tensor([0.0 if a == frozen else 1.0 for a in range(d)]).reshape(-1, *([1] * d))
