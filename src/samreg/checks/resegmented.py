"""Check: does the segmenter find the fixed image's regions in the warped image too?"""

from __future__ import annotations

import numpy as np
import torch

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.initial.overlaps import overlap_after
from samreg.result import CheckResult

__all__ = ["LOW", "check"]

LOW = 0.3
"""Overlap below which a run is to be looked at."""


def check(finished: Finished) -> CheckResult | None:
    """How well regions of the fixed image are met by those found anew in the warped one: mean of the best soft IoU.

    The fit has never seen these regions. Large ones weigh more, by the root of their voxels. It costs a segmentation.
    """
    field, images = finished.fitted.field, finished.images
    fixed = images.fixed.rois
    if finished.segment is None or field is None or not len(fixed):
        return None
    warped = finished.segment(field.warp(images.moving.image)).rois
    value = 0.0
    if len(warped):
        d = images.fixed_grid.ndim
        overlap = overlap_after(fixed, warped, np.eye(d + 1), torch.zeros(d, *images.fixed_grid.shape))
        value = float(np.average(overlap.max(axis=1), weights=np.sqrt(fixed.n_voxels)))
    return judge(
        "resegmented",
        value,
        (LOW, None),
        source="13 real pairs of slices have 0.38 at least, corners of an image 0.27 at most (docs/results.md)",
        says=f"regions found anew in the warped image meet those of the fixed image by {value:.2f} only",
        advice="look at the outlines of the fixed regions on the warped image",
    )
