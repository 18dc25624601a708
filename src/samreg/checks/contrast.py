"""Check: do grey values rise and fall together in both images?"""

from __future__ import annotations

import numpy as np
import torch

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.geometry.grid import Grid
from samreg.geometry.ops.resample import sample_border
from samreg.result import CheckResult
from samreg.types import Points, ScalarArray

__all__ = ["OPPOSITE", "check"]

OPPOSITE = -0.1
"""Correlation below which the images are taken for two contrasts."""
_POINTS = 40_000


def check(finished: Finished) -> CheckResult | None:
    """The correlation of the grey values of both images in the fixed body, after the registration.

    Of places that both images hold. Where it is negative the images differ in contrast, as those of two modalities do,
    and a fit that compares grey values, embeddings included, rests on less than it seems.
    """
    field, images = finished.fitted.field, finished.images
    if field is None:
        return None
    points = finished.body_points("fixed", _POINTS)
    there = field.transform_points(points)
    inside = images.moving_grid.contains(there)
    fixed = _values(images.fixed_grey, images.fixed_grid, points[inside])
    moving = _values(images.moving_grey, images.moving_grid, there[inside])
    if len(fixed) < 2 or np.ptp(fixed) == 0 or np.ptp(moving) == 0:
        return None
    value = float(np.corrcoef(fixed, moving)[0, 1])
    return judge(
        "contrast",
        value,
        (OPPOSITE, None),
        source="54 real pairs of slices of one contrast have -0.08 at least (docs/results.md)",
        says=f"what is bright in one image is dark in the other (correlation of grey values {value:.2f})",
        advice="look at the result closely: samreg is made for two images of one contrast",
    )


def _values(grey: ScalarArray, grid: Grid, points: Points) -> np.ndarray:
    index = torch.from_numpy(grid.world_to_index(points))
    values: np.ndarray = sample_border(torch.from_numpy(np.ascontiguousarray(grey))[None], index)[0].numpy()
    return values
