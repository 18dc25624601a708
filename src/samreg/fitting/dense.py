"""The dense displacement: a greedy flow or elastic levels, coarse to fine, from a given start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from samreg.config import FitConfig
from samreg.fitting.elastic import elastic_weights, minimise_elastic
from samreg.fitting.flow import flow_weights, minimise_by_flow
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
        config: working size, and the elastic levels' weights.

    Returns:
        (d, *fixed shape) displacement in fixed voxels.
    """
    shape = working_shape(problem, config.work_size // 2)
    settings = config.elastic
    objective = Objective(problem, replace(elastic_weights(settings), regions=0.0), shape)
    start = rescale(problem.start, shape)
    u, _ = minimise_elastic(objective, start, settings.control[0], settings.max_iterations, lambda _: None)
    return rescale(u, problem.fixed_grid.shape)


def fit_dense(problem: DenseProblem, config: FitConfig, progress: Callable[[int, int], None] | None = None) -> DenseFit:
    """Refine a displacement, coarse to fine; every level stops on its own.

    A `ddf` follows grey values and embeddings by a greedy flow, each level at twice the resolution of the one before.
    An `ffd` or `svf` is fitted by elastic levels.

    Args:
        problem: images, pairs, start.
        config: weights, levels, transform (`ddf`, `ffd` or `svf`).
        progress: called with the steps done and the most there can be.
    """
    flow, elastic = config.flow, config.elastic
    if config.transform == "ddf":
        finest = len(flow.flow_iterations) - 1
        levels = [
            _Level(working_shape(problem, max(1, config.work_size >> (finest - n))), most)
            for n, most in enumerate(flow.flow_iterations)
        ]
    else:
        shape = working_shape(problem, config.work_size)
        levels = [_Level(shape, elastic.max_iterations, control) for control in elastic.control]

    u, counts = problem.start, list[int]()
    losses: dict[str, float] = {}
    total = sum(level.most for level in levels)
    objective: Objective | None = None
    done = 0
    for number, level in enumerate(levels):
        steps = _shifted(progress, done, total)
        start = rescale(u, level.shape)
        if level.control is not None:
            # Elastic levels share a resolution.
            objective = objective or Objective(problem, elastic_weights(elastic), level.shape)
            velocity = config.transform == "svf"
            u, used = minimise_elastic(objective, start, level.control, level.most, steps, velocity=velocity)
        else:
            guides = problem if number == 0 else replace(problem, pairs=_known(problem.pairs))
            objective = Objective(guides, flow_weights(flow), level.shape)
            u, used = minimise_by_flow(objective, start, flow.flow_smoothing, level.most, steps)
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
