"""The dense displacement: a greedy flow or elastic levels, coarse to fine, from a given start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from samreg.config import FitConfig
from samreg.fitting.elastic import minimise_elastic
from samreg.fitting.flow import minimise_by_flow
from samreg.fitting.objective import DenseProblem, Objective, working_shape
from samreg.ops.displacement import rescale, unfold
from samreg.rois import PairedRois

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


def fit_dense(problem: DenseProblem, config: FitConfig, progress: Callable[[int, int], None] | None = None) -> DenseFit:
    """Refine a displacement, coarse to fine; every level stops on its own.

    A `ddf` follows grey values and embeddings by a greedy flow, each level at twice the resolution of the one before.
    Elastic levels take its place for `ffd` and `svf`, without the flow, and where no grey values drive the fit.

    Args:
        problem: images, pairs, start.
        config: weights, levels, transform (`ddf`, `ffd` or `svf`).
        progress: called with the steps done and the most there can be.
    """
    flows = config.flow and config.transform == "ddf" and config.similarity_weight > 0
    if flows:
        finest = len(config.flow_iterations) - 1
        levels = [
            _Level(working_shape(problem, max(1, config.work_size >> (finest - n))), most)
            for n, most in enumerate(config.flow_iterations)
        ]
    else:
        shape = working_shape(problem, config.work_size)
        levels = [_Level(shape, config.max_iterations, control) for control in config.control]

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
            guides = problem if number == 0 else replace(problem, pairs=_known(problem.pairs))
            objective = Objective(guides, _flow_weights(config), level.shape)
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


def _flow_weights(config: FitConfig) -> FitConfig:
    """Smoothing takes the place of the penalties: there is nothing but grey values to hold against the guidance."""
    return replace(
        config,
        roi_weight=config.flow_guidance * config.roi_weight,
        feature_weight=config.flow_guidance * config.feature_weight,
        smoothness=0.0,
        bending=0.0,
        fold_weight=0.0,
        lncc_window=config.flow_window,
    )


def _known(pairs: PairedRois) -> PairedRois:
    """The pairs that guide the flow after its first level: those that were given.

    At finer levels regions that were found cost most of the time and move hardly anything that they have not moved
    before; outlines that are known are to be followed to the last voxel.
    """
    return pairs.select(np.flatnonzero(pairs.is_given))


def _shifted(progress: Callable[[int, int], None] | None, done: int, total: int) -> Callable[[int], None]:
    def report(step: int) -> None:
        if progress:
            progress(done + step, total)

    return report
