"""Greedy flow: the displacement grows by composing small smooth steps down the gradient of the objective.

    v <- smooth_total(w + v o (id + w)),   w = -step * smooth_update(dE/dw) / max |smooth_update(dE/dw)|

Every step is a smooth map close to the identity, so the composition hardly ever folds, and large motions are not held
back as by a penalty on the whole displacement. Source: Avants et al., "Geodesic estimation for large deformation
anatomical shape averaging and interpolation", NeuroImage 2004 (greedy diffeomorphic flow); Yushkevich et al.,
Alzheimer's & Dementia 2016 (both smoothings).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from samreg.config import FitConfig
from samreg.fit.objective import Objective, has_converged
from samreg.geometry.ops.displacement import per_axis, warp
from samreg.geometry.ops.smoothing import gaussian

__all__ = ["minimise_by_flow"]

_GUIDANCE_EVERY = 2
"""Steps between looks at regions and embeddings: they are smooth and dear, and a step moves half a voxel at most."""


def minimise_by_flow(
    objective: Objective, start: Tensor, config: FitConfig, most: int, progress: Callable[[int], None]
) -> tuple[Tensor, int]:
    """Compose steps until the similarity no longer rises.

    Args:
        objective: of the level; its smoothness and folding terms should be left out: the smoothing does their work.
        start: (d, *shape) displacement in voxels of the level, array order.
        config: step, smoothing, tolerance.
        most: steps at most.
        progress: called with the steps done.

    Returns:
        The displacement of the lowest objective, and the steps taken.
    """
    pixel = min(objective.spacing)
    size = per_axis([s / pixel for s in objective.spacing])
    update = [config.flow_smoothing * pixel / s for s in objective.spacing]
    total = [config.field_smoothing * pixel / s for s in objective.spacing]
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
        if has_converged(history, config.tolerance):
            break
        # The gradient with respect to lengths, not to voxels, and the step in voxels again: both divide by size.
        downhill = -gaussian(slope / size**2, update)
        if objective.frozen is not None:
            downhill[objective.frozen] = 0.0
        longest = (downhill * size).square().sum(0).sqrt().max()
        step = downhill * (config.flow_step / longest.clamp(min=1e-20))
        v = gaussian(step + warp(v, step), total)
    return best, len(history)
