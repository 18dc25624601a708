"""Greedy flow: the displacement grows by composing small smooth steps down the gradient of the objective.

    v <- smooth_total(w + v o (id + w)),   w = -step * smooth_update(dE/dw) / max |smooth_update(dE/dw)|

Every step is a smooth map close to the identity, so the composition hardly ever folds, and large motions are not held
back as by a penalty on the whole displacement. Source: Avants et al., "Geodesic estimation for large deformation
anatomical shape averaging and interpolation", NeuroImage 2004 (greedy diffeomorphic flow); Yushkevich et al.,
Alzheimer's & Dementia 2016 (both smoothings).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from samreg.config import FitConfig, FlowConfig
from samreg.fit.level import Level
from samreg.fit.objective import Objective, has_converged
from samreg.fit.problem import DenseProblem, Weights, working_shape
from samreg.geometry.ops.displacement import per_axis, warp
from samreg.geometry.ops.smoothing import gaussian

__all__ = ["flow_weights", "minimise_by_flow", "plan"]

_GUIDANCE_EVERY = 2
"""Regions and embeddings are evaluated at every second step: they are smooth and costly, and a step moves half a voxel
at most."""
_LONGEST_STEP = 0.5
"""Longest displacement of a step, in working voxels."""
_LNCC_WINDOW = 7


def plan(problem: DenseProblem, config: FitConfig) -> list[Level]:
    """Levels of the flow: each has twice the resolution of the one before, and the last one the working size.

    After the first level only pairs that were given guide it. At finer levels regions that were found cost most of the
    time and move hardly anything that they have not moved before; outlines that are known are followed to the last
    voxel.
    """
    flow = config.flow
    finest = len(flow.flow_iterations) - 1
    levels = []
    for number, most in enumerate(flow.flow_iterations):
        shape = working_shape(problem, max(1, config.work_size >> (finest - number)))
        run = partial(minimise_by_flow, smoothing=flow.flow_smoothing, most=most)
        levels.append(Level(shape, flow_weights(flow), most, run, given_only=number > 0))
    return levels


def flow_weights(config: FlowConfig) -> Weights:
    """The weights of a level of the flow: smoothing takes the place of the penalties.

    There is nothing but grey values to hold against regions and embeddings, which therefore weigh more than at elastic
    levels.
    """
    return Weights(
        similarity=1.0, regions=config.flow_roi_weight, features=config.flow_feature_weight, window=_LNCC_WINDOW
    )


def minimise_by_flow(
    objective: Objective, start: Tensor, progress: Callable[[int], None], *, smoothing: float, most: int
) -> tuple[Tensor, int]:
    """Compose steps until the similarity no longer rises.

    Args:
        objective: of the level; its smoothness and folding terms should be left out: the smoothing does their work.
        start: (d, *shape) displacement in voxels of the level, array order.
        progress: called with the steps done.
        smoothing: standard deviation of the smoothing of each step, in working voxels.
        most: steps at most.

    Returns:
        The displacement of the lowest objective, and the steps taken.
    """
    pixel = min(objective.spacing)
    size = per_axis([s / pixel for s in objective.spacing])
    update = [smoothing * pixel / s for s in objective.spacing]
    total = [objective.field_smoothing * pixel / s for s in objective.spacing]
    v = start.detach().clone()
    best = v
    history: list[float] = []
    guidance = 0.0, torch.zeros_like(v)
    for i in range(most):
        if i % _GUIDANCE_EVERY == 0:
            guidance = objective.guidance_and_slope(v)
        similarity, slope = objective.similarity_and_slope(v)
        loss, slope = similarity + guidance[0], slope + guidance[1]
        if loss <= min(history, default=loss):
            # Steps have a length whatever the slope: near the end, and on an image and itself, they only wander.
            best = v
        history.append(loss)
        progress(i + 1)
        if has_converged(history):
            break
        # The gradient with respect to lengths, not to voxels, and the step in voxels again: both divide by size.
        downhill = -gaussian(slope / size**2, update)
        if objective.frozen is not None:
            downhill[objective.frozen] = 0.0
        longest = (downhill * size).square().sum(0).sqrt().max()
        step = downhill * (_LONGEST_STEP / longest.clamp(min=1e-20))
        v = gaussian(step + warp(v, step), total)
    return best, len(history)
