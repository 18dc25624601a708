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
from samreg.geometry.frame import Frame, halfway
from samreg.geometry.ops.displacement import rescale, unfold

__all__ = ["DenseFit", "fit_dense"]


@dataclass(frozen=True, eq=False)
class DenseFit:
    """Result of a fit.

    Args:
        displacement: (d, *any) over the fixed image, in its own voxels, array order; as many as the start had.
        losses: each weighted term after the last level that minimised it.
        iterations: steps of each level.
    """

    displacement: Tensor
    losses: dict[str, float] = field(default_factory=dict)
    iterations: tuple[int, ...] = ()


def fit_dense(
    problem: DenseProblem,
    config: FitConfig,
    progress: Callable[[int, int], None] | None = None,
    other_way: DenseProblem | None = None,
) -> DenseFit:
    """Refine a displacement, coarse to fine; every level stops on its own. Folds that are left are mended.

    Args:
        problem: images, pairs, start.
        config: `transform` names the solver.
        progress: called with the steps done and the most there can be.
        other_way: the problem with the images in each other's place. All levels but the last are fitted both ways, and
            the last one starts halfway between what the two found: what only one direction finds is an accident.
    """
    plan: Callable[[DenseProblem, FitConfig], list[Level]] = plugins.load("solvers", config.transform, BUILT_IN)
    levels = plan(problem, config)
    back = [] if other_way is None or len(levels) == 1 else plan(other_way, config)[:-1]
    first = len(levels) - 1 if back else 0
    said = _Said(progress, sum(level.most for level in (*levels, *back)))
    u, _, coarse = _descended(problem, problem.start, levels[:first], said)
    if back and other_way is not None:
        v, _, _ = _descended(other_way, other_way.start, back, said)
        grids = problem.fixed_grid.with_shape(u.shape[1:]), problem.moving_grid.with_shape(v.shape[1:])
        u = halfway(u, v, Frame(*grids, problem.affine))
    u, losses, fine = _descended(problem, u, levels[first:], said)
    said.all()
    return DenseFit(unfold(_carried(problem, u, problem.start.shape[1:])), losses, (*coarse, *fine))


def _descended(
    problem: DenseProblem, u: Tensor, levels: list[Level], said: _Said
) -> tuple[Tensor, dict[str, float], tuple[int, ...]]:
    """The displacement behind some levels, in voxels of the last of them; terms and steps as of `DenseFit`."""
    given = replace(problem, pairs=problem.pairs.select(np.flatnonzero(problem.pairs.is_given)))
    counts: list[int] = []
    losses: dict[str, float] = {}
    made: tuple[Level, Objective] | None = None
    for level in levels:
        if made is None or not _share_objective(made[0], level):
            made = level, Objective(given if level.given_only else problem, level.weights, level.shape)
        objective = made[1]
        u, used = level.minimise(objective, _carried(problem, u, level.shape), said)
        with torch.no_grad():
            losses |= {name: float(v) for name, v in objective.terms(u).items()}
        counts.append(used)
        said.level_done(level.most)
    return u, losses, tuple(counts)


@dataclass
class _Said:
    """Progress of each level as progress of the whole fit.

    Args:
        progress: called with the steps done and the most there can be; None says nothing.
        total: steps of all levels at most.
        done: steps of the levels that have ended, at most.
    """

    progress: Callable[[int, int], None] | None
    total: int
    done: int = 0

    def __call__(self, step: int) -> None:
        """So many steps of the present level are done."""
        if self.progress:
            self.progress(self.done + step, self.total)

    def level_done(self, most: int) -> None:
        """A level of so many steps at most has ended."""
        self.done += most

    def all(self) -> None:
        """The fit has ended."""
        if self.progress:
            self.progress(self.total, self.total)


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
