"""Greedy flow: the displacement grows by composing small smooth steps down the gradient of the objective.

    v <- smooth_total(w + v o (id + w)),   w = -step * smooth_update(dE/dw) / max |smooth_update(dE/dw)|

Every step is a smooth map close to the identity, so the composition hardly ever folds, and large motions are not held
back as by a penalty on the whole displacement. Source: Avants et al., "Geodesic estimation for large deformation
anatomical shape averaging and interpolation", NeuroImage 2004 (greedy diffeomorphic flow); Yushkevich et al.,
Alzheimer's & Dementia 2016 (both smoothings).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from samreg.config import FitConfig, FlowConfig
from samreg.fit.level import Level
from samreg.fit.objective import Objective, has_converged
from samreg.fit.problem import DenseProblem, Weights, size_within, working_shape
from samreg.geometry.ops.displacement import central_determinant, per_axis, warp
from samreg.geometry.ops.smoothing import gaussian

__all__ = [
    "flow_weights",
    "minimise_by_flow",
    "plan",
    "smoothed_where_quiet",
    "smoothed_where_unexplained",
    "smoothed_where_volumes_change",
]

_GUIDANCE_EVERY = 2
"""Regions and embeddings are evaluated at every second step: they are smooth and costly, and a step moves half a voxel
at most."""
_LONGEST_STEP = 0.5
"""Longest displacement of a step, in working voxels."""
_LNCC_WINDOW = 7
_MOST_VOXELS = 150_000, 128
"""Working voxels up to which the last level is finer than the working size, at most as fine as the fixed image, for
this working size. A working size half as large allows voxels twice as large."""
_COARSEST = 4
"""The first level has about this part of the working size."""
_CELL = 2.0
"""Working voxels in a cell of the embeddings up to which these guide with all their weight."""
_DISAGREES = 0.1
"""1 - LNCC^2 from which embeddings guide with all their weight."""
_AROUND = 3.0
"""Neighbourhood in which grey values agree or not, in standard deviations of the smoothing of a step."""
_SMOOTHING = 2.0
"""Standard deviation of the smoothing of each step, in working voxels."""
_CALM_EVERY = 2
"""Steps between looks at the local volume."""
_CALM = 2.5
"""Standard deviation of the smoothing of the displacement where its local volume changes much, in working voxels."""
_LIMIT = 1.5
"""|log J| of the whole map from which that smoothing is whole, at a stiffness of 1: volumes 4.5 times as large."""
_LEAST_LIMIT = 0.6
"""What is left of it at least for the displacement, also where the affine map scales more (other units of length)."""
_QUIET = 0.6
"""Standard deviation of the further smoothing of the displacement where the volume of one body hardly changes, in
working voxels."""
_CHANGES = 0.1
"""|log det(I + grad v)|, the mean around a place, from which nothing is smoothed further in one body."""
_PLACE = 4.0
"""Standard deviation of that mean, in working voxels: what is finer is noise of interpolation."""
_UNEXPLAINED = 1.1
"""Standard deviation of the smoothing of the displacement where grey values explain nothing, in voxels of the last
level,"""
_COARSER = 1.4
"""and how many times as long it is at each level before, whose voxels are twice as large."""
_EXPLAINED = 0.3
"""LNCC^2 around a place from which nothing is smoothed for want of evidence."""
_LEAST_DETERMINANT = 1e-2
"""Bounds the logarithm where the field folds."""
_LAST = 8
"""Steps at the end of a level whose mean is its result, between people."""
_PATIENCE = 6
"""Steps without a lower objective after which steps become half as long,"""
_SHORTEST = 0.1
"""until they have this share of their first length."""


def plan(problem: DenseProblem, config: FitConfig) -> list[Level]:
    """Levels of the flow: each has twice the resolution of the one before.

    The first has about a quarter of the working size, and the last one the resolution of the fixed image, or what a
    limited number of voxels allows; it has the working size at least.

    After the first level only pairs that were given guide it. At finer levels regions that were found cost most of the
    time and move hardly anything that they have not moved before; outlines that are known are followed to the last
    voxel.
    """
    flow = config.flow
    if not flow.flow_iterations:
        return []
    size = _finest_size(problem, config.work_size)
    n_levels = 1 + max(0, round(float(np.log2(_COARSEST * size / config.work_size))))
    levels = []
    for number in range(n_levels):
        coarser = n_levels - 1 - number
        shape = working_shape(problem, size / 2**coarser)
        most = flow.flow_iterations[min(number, len(flow.flow_iterations) - 1)]
        run = partial(minimise_by_flow, most=most, unexplained=_UNEXPLAINED * (_COARSER / 2) ** coarser)
        levels.append(Level(shape, flow_weights(flow), most, run, given_only=number > 0))
    return levels


def _finest_size(problem: DenseProblem, work_size: int) -> float:
    """Working voxels along the longest axis at the last level."""
    grid = problem.fixed_grid
    lengths = [(n * s, s) for n, s in zip(grid.shape, grid.array_spacing, strict=True) if n > 1]
    size = float(max(length for length, _ in lengths) / min(s for _, s in lengths))
    least = min(size, float(work_size))
    most = _MOST_VOXELS[0] * (work_size / _MOST_VOXELS[1]) ** len(lengths)
    return size_within(problem, size, most, least)


def flow_weights(config: FlowConfig) -> Weights:
    """The weights of a level of the flow: smoothing takes the place of the penalties.

    There is nothing but grey values to hold against regions and embeddings, which therefore weigh more than at elastic
    levels.
    """
    return Weights(
        similarity=1.0, regions=config.flow_roi_weight, features=config.flow_feature_weight, window=_LNCC_WINDOW
    )


def minimise_by_flow(
    objective: Objective,
    start: Tensor,
    progress: Callable[[int], None],
    *,
    most: int,
    unexplained: float,
) -> tuple[Tensor, int]:
    """Compose steps until the similarity no longer rises.

    Args:
        objective: of the level; its smoothness and folding terms should be left out: the smoothing does their work.
        start: (d, *shape) displacement in voxels of the level, array order.
        progress: called with the steps done.
        most: steps at most.
        unexplained: standard deviation of the smoothing where grey values explain nothing, in working voxels.

    Returns:
        The displacement, and the steps taken. In one body, and where a user gives regions or landmarks, it is the one
        of the lowest objective. Between people it is the mean of the last steps: the objective knows nothing of the
        smoothings, and its lowest value may be an early, less smooth one.
    """
    pixel = min(objective.spacing)
    size = per_axis([s / pixel for s in objective.spacing])
    update = [_SMOOTHING * pixel / s for s in objective.spacing]
    total = [objective.field_smoothing * pixel / s for s in objective.spacing]
    wide = [_CALM * pixel / s for s in objective.spacing]
    quiet = [_QUIET * objective.stiffness * pixel / s for s in objective.spacing]
    place = [_PLACE * pixel / s for s in objective.spacing]
    vague = [unexplained * objective.stiffness * pixel / s for s in objective.spacing]
    around = [_AROUND * s for s in update]
    v = start.detach().clone()
    best, lowest, missed = v, float("inf"), 0
    reach = _LONGEST_STEP
    # Embeddings know where, to a part of their cell: smaller voxels are the grey values' own.
    fade = min(1.0, (_CELL / objective.cell) ** 2)
    history: list[float] = []
    last: deque[Tensor] = deque(maxlen=_LAST)
    guidance = 0.0, torch.zeros_like(v)
    for i in range(most):
        grey = objective.grey_values(v)
        if i % _GUIDANCE_EVERY == 0:
            # Where grey values of one body agree already, the embeddings have nothing to add.
            trust = (objective.disagreement(grey, around) / _DISAGREES).clamp(max=1)
            guidance = objective.guidance_and_slope(v, fade * trust)
        loss, slope = grey.loss + guidance[0], grey.slope + guidance[1]
        history.append(loss)
        if loss < lowest:
            best, lowest, missed = v, loss, 0
        else:
            missed += 1
        if missed >= _PATIENCE:
            # Steps have a length whatever the slope: near the end they have to become shorter.
            v, reach, missed = best, reach / 2, 0
            if reach < _SHORTEST * _LONGEST_STEP:
                break
            slope = objective.grey_values(v).slope + guidance[1]
        progress(i + 1)
        if has_converged(history):
            break
        # The gradient with respect to lengths, not to voxels, and the step in voxels again: both divide by size.
        downhill = -gaussian(slope / size**2, update)
        if objective.frozen is not None:
            downhill[objective.frozen] = 0.0
        longest = (downhill * size).square().sum(0).sqrt().max()
        step = downhill * (reach / longest.clamp(min=1e-20))
        v = gaussian(step + warp(v, step), total)
        # What a user knows is followed to the last voxel, whatever the grey values say.
        if objective.same_body:  # volumes may change much: a ventricle empties to a third of what it held
            if not objective.has_known:
                v = smoothed_where_quiet(v, quiet, place)
            continue
        if grey.squared is not None and not objective.has_known:
            v = smoothed_where_unexplained(v, vague, gaussian(grey.squared, around))
        if i % _CALM_EVERY == 0:
            v = smoothed_where_volumes_change(v, wide, objective.stiffness, objective.log_scale)
        if not objective.has_known:
            last.append(v)
    return torch.stack(list(last)).mean(0) if last else best, len(history)


def smoothed_where_unexplained(v: Tensor, sigma: list[float], explained: Tensor) -> Tensor:
    """A displacement, smoothed the more the less the grey values of the two images have in common.

    In air and in noise there is nothing that detail of the displacement could stand for: it is the smooth continuation
    of what is around.

    Args:
        v: (d, *shape) in voxels, array order.
        sigma: of the smoothing, in voxels along each array axis.
        explained: (1, *shape) LNCC^2 around each voxel.
    """
    share = (1 - explained / _EXPLAINED).clamp(0, 1)
    return _smoothed(v, sigma, share)


def smoothed_where_quiet(v: Tensor, sigma: list[float], around: list[float]) -> Tensor:
    """A displacement of one body, smoothed the more the less the volume changes around a place.

    Grey values hold the field everywhere there. Where tissue moves and hardly changes its volume, detail of the
    displacement is noise of interpolation; where a chamber contracts, it is the edge of the chamber.

    Args:
        v: (d, *shape) in voxels, array order.
        sigma: of the smoothing, in voxels along each array axis.
        around: standard deviation of the neighbourhood, in voxels along each array axis.
    """
    log = gaussian(central_determinant(v).clamp(min=_LEAST_DETERMINANT).log()[None], around)
    share = (1 - log.abs() / _CHANGES).clamp(min=0)
    return _smoothed(v, sigma, share)


def _smoothed(v: Tensor, sigma: list[float], share: Tensor) -> Tensor:
    """(d, *shape) a displacement, smoothed at each voxel by a share in [0, 1] (1, *shape) of the whole smoothing."""
    return v + share * (gaussian(v, sigma) - v)


def smoothed_where_volumes_change(v: Tensor, sigma: list[float], stiffness: float, log_scale: float) -> Tensor:
    """A displacement, smoothed more the further the volume is from what it was.

    The share of the smoothing at a voxel is (stiffness log det(I + grad v) / limit)^4, 1 at most: what hardly changes
    its volume is left alone, as in images of one person, and nothing is stretched or squeezed beyond what tissue does.
    The limit is one of the whole map: what the affine map scales already is taken from it on that side, and added to it
    on the other one.

    Args:
        v: (d, *shape) in voxels, array order.
        sigma: of the smoothing, in voxels along each array axis.
        stiffness: 0 smooths nothing.
        log_scale: logarithm of the factor by which the affine map changes all volumes.
    """
    log = central_determinant(v).clamp(min=_LEAST_DETERMINANT).log()
    log_scale = min(max(log_scale, _LEAST_LIMIT - _LIMIT), _LIMIT - _LEAST_LIMIT)
    towards = torch.where(log > 0, log / (_LIMIT - log_scale), log / (_LIMIT + log_scale))
    share = gaussian((towards * stiffness).pow(4).clamp(max=1)[None], [0.5 * s for s in sigma])
    return _smoothed(v, sigma, share)
