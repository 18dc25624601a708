"""The dense displacement, coarse to fine, from a given start; what each level does is planned by the solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from samreg import plugins
from samreg.config import FitConfig
from samreg.fit.level import Level
from samreg.fit.objective import Objective
from samreg.fit.problem import DenseProblem
from samreg.fit.solvers import BUILT_IN
from samreg.geometry.ops.displacement import rescale, unfold

__all__ = ["DenseFit", "fit_dense"]


@dataclass(frozen=True, eq=False)
class DenseFit:
    """Result of a fit.

    Args:
        displacement: (d, *fixed_grid.shape) in fixed voxels, array order.
        losses: each weighted term after the last level that minimised it.
        iterations: steps of each level.
    """

    displacement: Tensor
    losses: dict[str, float] = field(default_factory=dict)
    iterations: tuple[int, ...] = ()


def fit_dense(problem: DenseProblem, config: FitConfig, progress: Callable[[int, int], None] | None = None) -> DenseFit:
    """Refine a displacement, coarse to fine; every level stops on its own. Folds that are left are mended.

    Args:
        problem: images, pairs, start.
        config: `transform` names the solver.
        progress: called with the steps done and the most there can be.
    """
    levels: list[Level] = plugins.load("solvers", config.transform, BUILT_IN)(problem, config)
    total = sum(level.most for level in levels)
    given = replace(problem, pairs=problem.pairs.select(np.flatnonzero(problem.pairs.is_given)))
    u, done = problem.start, 0
    counts: list[int] = []
    losses: dict[str, float] = {}
    made: tuple[Level, Objective] | None = None
    for level in levels:
        if made is None or not _share_objective(made[0], level):
            made = level, Objective(given if level.given_only else problem, level.weights, level.shape)
        objective = made[1]
        begin = _carried(problem, u, level.shape)
        u, used = level.minimise(objective, begin, _after(progress, done, total))
        with torch.no_grad():
            losses |= {name: float(v) for name, v in objective.terms(u).items()}
        counts.append(used)
        done += level.most
    if progress:
        progress(total, total)
    return DenseFit(unfold(_carried(problem, u, problem.fixed_grid.shape)), losses, tuple(counts))


def _carried(problem: DenseProblem, u: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The displacement of one level on the voxels of another.

    Where the start is kept, only the difference from it is interpolated, so that no detail of the start is lost.
    """
    if not problem.keep_start:
        return rescale(u, shape)
    here = tuple(u.shape[1:])
    return rescale(problem.start, shape) + rescale(u - rescale(problem.start, here), shape)


def _share_objective(one: Level, other: Level) -> bool:
    return (one.shape, one.weights, one.given_only) == (other.shape, other.weights, other.given_only)


def _after(progress: Callable[[int, int], None] | None, done: int, total: int) -> Callable[[int], None]:
    """Progress of one level as progress of the whole fit."""

    def report(step: int) -> None:
        if progress:
            progress(done + step, total)

    return report
