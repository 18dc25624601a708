"""Pseudo ROIs: regions that nobody labelled, paired by a segmenter, as a measure of a field (Pse-ROI).

Source: Huang et al., MICCAI 2024, table 2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samreg import metrics
from samreg.files import to_json
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.geometry.ops.resample import sample
from samreg.geometry.rois import RoiSet
from samreg.types import MaskArray

__all__ = ["score_pseudo_rois"]


def score_pseudo_rois(fixed: Image, moving: Image, field: DisplacementField, segmenter: str) -> dict[str, Any]:
    """Dice and centroid distance of regions that nobody labelled: the pairs that a segmenter finds (Pse-ROI).

    They are the same for every method, because they do not depend on the field.

    Args:
        fixed: the fixed image.
        moving: the moving image.
        field: the transform that is measured.
        segmenter: name of the segmenter that finds the pairs, with the default settings otherwise.

    Returns:
        `pse_dice` and `pse_tre` (world units), means over pairs, and `n_pse`; None where there is no pair.
    """
    from samreg.config import preset
    from samreg.pipeline import register
    from samreg.regions.cache import RegionsCache
    from samreg.runs.shared import shared_finder

    config = preset("default")
    config = replace(
        config,
        segment=replace(config.segment, segmenter=segmenter),
        fit=replace(config.fit, transform="none"),
    )
    finder = shared_finder(config.segment)
    pairs = register(fixed, moving, config, segmenter=finder, cache=RegionsCache()).pairs
    index = torch.from_numpy(field.moving_index(moving.grid))
    overlaps, gaps = [], []
    for i in range(len(pairs)):
        wanted, warped = pairs.fixed.mask(i), _warped(pairs.moving, i, index)
        overlaps.append(metrics.dice(wanted, warped, [1])[1])
        gaps.append(metrics.centroid_tre(wanted, warped, fixed.grid, [1])[1])
    clean: dict[str, Any] = to_json(
        {"pse_dice": metrics.mean(overlaps), "pse_tre": metrics.mean(gaps), "n_pse": len(pairs)}
    )
    return clean


def _warped(rois: RoiSet, i: int, index: Tensor) -> MaskArray:
    """Region i at moving indices (*shape, d): what `DisplacementField.warp_labels` gives, looking only near it."""
    roi = rois[i]
    low, high = (torch.tensor([e + s for e in reversed(ends)]) for ends, s in ((roi.start, -1), (roi.stop, 0)))
    # Within half a voxel of the image's edge, the edge value holds: the index is clamped.
    last = torch.tensor([n - 1.0 for n in reversed(rois.grid.shape)])
    at = torch.minimum(index.clamp(min=0), last.to(index))
    near = ((at > low) & (at < high)).all(-1)
    out = np.zeros(index.shape[:-1], dtype=bool)
    share = sample(torch.from_numpy(rois.mask(i).astype(np.float32))[None], index[near])[0]
    out[near.numpy()] = (share >= 0.5).numpy()
    return out
