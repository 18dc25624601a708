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

__all__ = ["DenseFit", "DenseProblem", "fit_dense", "rough_fit"]


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


def rough_fit(problem: DenseProblem, config: FitConfig) -> Tensor:
    """One elastic level at half the working size, by the images alone.

    Args:
        problem: images and start; its pairs are not looked at.
        config: weights of the objective.

    Returns:
        (d, *fixed shape) displacement in fixed voxels.
    """
    shape = working_shape(problem, config.work_size // 2)
    objective = Objective(problem, replace(config, roi_weight=0.0), shape)
    u, _ = minimise_elastic(objective, rescale(problem.start, shape), config.control[0], config, lambda _: None)
    return rescale(u, problem.fixed_grid.shape)


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
    levels = [_Level(coarse if flows else fine, config.max_iterations, control) for control in config.control]
    if flows:
        many, few = config.flow_iterations
        # After elastic levels the flow only has details left to do.
        levels = [*levels, _Level(fine, max(1, 2 * few // 3))] if elastic else [_Level(coarse, many), _Level(fine, few)]

    u, counts = problem.start, list[int]()
    losses: dict[str, float] = {}
    total = sum(level.most for level in levels)
    objective: Objective | None = None
    done = 0
    for number, level in enumerate(levels):
        steps = _shifted(progress, done, total)
        start = rescale(u, level.shape)
        if level.control is not None:
            objective = objective or Objective(problem, config, level.shape)  # elastic levels share a resolution
            u, used = minimise_elastic(objective, start, level.control, config, steps)
        else:
            objective = Objective(problem, _flow_weights(config, last=number > 0), level.shape)
            u, used = minimise_by_flow(objective, start, config, level.most, steps)
        with torch.no_grad():
            losses |= {name: float(v) for name, v in objective.terms(u).items()}
        counts.append(used)
        done += level.most
    if progress:
        progress(total, total)
    return DenseFit(unfold(rescale(u, problem.fixed_grid.shape)), losses, tuple(counts))


@dataclass(frozen=True)
class _Level:
    """A resolution, the most steps there, and the distance of control points; None is the flow."""

    shape: tuple[int, ...]
    most: int
    control: float | None = None


def _flow_weights(config: FitConfig, *, last: bool) -> FitConfig:
    """Smoothing takes the place of the penalties: there is nothing but grey values to hold against the guidance.

    At the last level the embeddings still say which of two like edges is meant. Regions would make it nearly three
    times as long and move hardly anything that they have not moved before.
    """
    guided = replace(
        config,
        roi_weight=0.0 if last else config.flow_guidance * config.roi_weight,
        feature_weight=config.flow_guidance * config.feature_weight,
    )
    return replace(guided, smoothness=0.0, bending=0.0, fold_weight=0.0, lncc_window=config.flow_window)


def _shifted(progress: Callable[[int, int], None] | None, done: int, total: int) -> Callable[[int], None]:
    def report(step: int) -> None:
        if progress:
            progress(done + step, total)

    return report
