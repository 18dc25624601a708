"""Check: does the result stay when the moving image changes a little?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.fit.transform import fit_transform
from samreg.geometry.ops.displacement import per_axis
from samreg.initial.search import MATCH_TOLERANCE
from samreg.result import CheckResult
from samreg.types import ScalarArray

__all__ = ["check", "spread"]

_NOISE, _BIAS = 0.02, 0.2
"""Standard deviation of the noise, as a share of the range of grey values; how much the bias field dims one side."""


def check(finished: Finished) -> CheckResult | None:
    """The 90th percentile in the body of how far the field moves when the moving image is perturbed."""
    if finished.fitted.field is None or not finished.config.fit.is_dense:
        return None
    finished.maps["spread"] = spread(finished)
    inside = finished.maps["spread"][finished.fixed_step][finished.fixed_body]
    value, grid = float(np.percentile(inside, 90)), finished.images.fixed_grid
    limit = MATCH_TOLERANCE * float(np.linalg.norm(grid.extent))
    return judge(
        "perturbed",
        value,
        (None, limit / 2),
        (None, 2 * limit),
        unit=grid.unit,
        source="3 % of the image's diagonal: half of the distance up to which the search calls two matches alike",
        says=f"a shift by a voxel, noise or a bias field moves a tenth of the body by {value:.1f} {grid.unit} or more",
        advice="spread.nii.gz shows where: the images say little there, and the result is a rough one",
    )


def spread(finished: Finished) -> ScalarArray:
    """The largest distance, in world units, from the field to those of three further fits, (*fixed shape).

    The same regions, pairs and affine map; the start shifted by a voxel, noise, and a bias field along the last axis.
    """
    images, start, field = finished.images, finished.start, finished.fitted.field
    grid = images.fixed_grid
    if field is None:
        return np.zeros(grid.shape, dtype=np.float32)
    rng = np.random.default_rng(finished.config.seed)
    noisy = images.moving_grey + _NOISE * rng.standard_normal(images.moving_grey.shape).astype(np.float32)
    ramp = 1 - _BIAS * np.linspace(0, 1, images.moving_grid.shape[-1], dtype=np.float32)
    voxel = per_axis([m / n for n, m in zip(grid.shape, start.displacement.shape[1:], strict=True)])
    if images.stack_axis is not None:
        voxel[images.stack_axis] = 0.0
    shift: Tensor = start.displacement + voxel
    trials = (
        (images, replace(start, displacement=shift)),
        (replace(images, moving_grey=np.clip(noisy, 0, 1)), start),
        (replace(images, moving_grey=images.moving_grey * ramp), start),
    )
    furthest: ScalarArray = np.zeros(grid.shape, dtype=np.float32)
    for changed, begin in trials:
        other = fit_transform(changed, finished.pairs, begin, finished.config.fit).field
        if other is not None:
            furthest = np.maximum(furthest, np.linalg.norm(other.u - field.u, axis=-1))
    return furthest
