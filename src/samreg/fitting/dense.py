"""The dense displacement: elastic levels and a greedy flow, coarse to fine, from a given start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from samreg.config import FitConfig
from samreg.fitting.elastic import minimise_elastic
from samreg.fitting.flow import minimise_by_flow
from samreg.fitting.objective import DenseProblem, Objective, working_shape
from samreg.ops.displacement import rescale, unfold

__all__ = ["DenseFit", "DenseProblem", "fit_dense"]


@dataclass(frozen=True, eq=False)
class DenseFit:
    """Result of a fit.

    Args:
        displacement: (d, *fixed_grid.shape) in fixed voxels, array order.
        losses: each weighted term after the last level that minimised it.
        iterations: optimiser steps of each level.
    """

    displacement: Tensor
    losses: dict[str, float] = field(default_factory=dict)
    iterations: tuple[int, ...] = ()


def fit_dense(
    problem: DenseProblem,
    config: FitConfig,
    progress: Callable[[int, int], None] | None = None,
    *,
    close: bool = False,
) -> DenseFit:
    """Refine a displacement, coarse to fine; every level stops on its own.

    Elastic levels bring people together, the flow then follows the grey values. With the flow, elastic levels work at
    half the working size. Where the start is close (a stack of one person), the flow does it all.

    Args:
        problem: images, pairs, start.
        config: weights, levels, transform (`ddf`, `ffd` or `svf`).
        progress: called with the steps done and the most there can be.
        close: both images show the same slices of one person.
    """
    flows = config.flow and config.transform == "ddf" and config.similarity_weight > 0
    elastic = not (flows and close)
    coarse, fine = working_shape(problem, config.work_size // 2), working_shape(problem, config.work_size)
    levels: list[tuple[tuple[int, ...], float | None]] = []
    if elastic:
        shape = coarse if flows else fine
        levels += [(shape, control) for control in config.control]
    if flows:
        levels += [(fine, None)] if elastic else [(coarse, None), (fine, None)]

    u, counts = problem.start, list[int]()
    losses: dict[str, float] = {}
    most_steps = [config.flow_iterations if control is None else config.max_iterations for _, control in levels]
    total = sum(most_steps)
    objective: Objective | None = None
    for number, (shape, control) in enumerate(levels):
        steps = _shifted(progress, sum(most_steps[:number]), total)
        start = rescale(u, shape)
        if control is not None:
            objective = objective or Objective(problem, config, shape)  # elastic levels share a resolution
            u, used = minimise_elastic(objective, start, control, config, steps)
        else:
            objective = Objective(problem, _flow_weights(config, last=number > 0), shape)
            # After elastic levels the flow only has details left to do.
            most = max(1, config.flow_iterations // 2) if elastic else config.flow_iterations
            u, used = minimise_by_flow(objective, start, replace(config, flow_iterations=most), steps)
        with torch.no_grad():
            losses |= {name: float(v) for name, v in objective.terms(u).items()}
        counts.append(used)
    if progress:
        progress(total, total)
    return DenseFit(unfold(rescale(u, problem.fixed_grid.shape)), losses, tuple(counts))


def _flow_weights(config: FitConfig, *, last: bool) -> FitConfig:
    """Smoothing takes the place of both penalties; regions and embeddings are too coarse for the last level."""
    config = replace(config, smoothness=0.0, bending=0.0, fold_weight=0.0)
    return replace(config, roi_weight=0.0, feature_weight=0.0) if last else config


def _shifted(progress: Callable[[int, int], None] | None, done: int, total: int) -> Callable[[int], None]:
    def report(step: int) -> None:
        if progress:
            progress(done + step, total)

    return report
