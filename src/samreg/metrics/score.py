"""All metrics of one registered pair, as plain numbers for a record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samreg.errors import DatasetError
from samreg.files import to_json
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.ops.resample import sample
from samreg.geometry.rois import RoiSet
from samreg.io.landmarks import read_landmarks
from samreg.io.tables import PairRecord
from samreg.metrics import measures as metrics
from samreg.types import LabelArray, MaskArray

__all__ = ["score", "score_labels", "score_pseudo_rois"]


def score(pair: PairRecord, field: DisplacementField, moving: Grid) -> dict[str, Any]:
    """Every metric the pair has the material for.

    Args:
        pair: the pair; its labels and landmarks are read from its files.
        field: the transform, on the fixed grid.
        moving: grid of the moving image.

    Returns:
        JSON-ready numbers: for each label metric a dictionary label -> value with None for NaN; `folding_fraction`,
        `sdlogj`, `sdlogj_l2r` of the field; `landmark_tre` with mean, median, p95 and n.

    Raises:
        DatasetError: if the labels are not on the grid of the fixed image.
    """
    determinant = field.jacobian_determinant()
    found: dict[str, Any] = {
        "folding_fraction": metrics.folding_fraction(determinant),
        "sdlogj": metrics.sdlogj(determinant),
    }
    if field.grid.ndim == 3 and min(field.grid.shape) >= 5:
        found["sdlogj_l2r"] = metrics.sdlogj_l2r(field)
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        from samreg.io.images import read_labels

        fixed_labels, grid = read_labels(pair.fixed_labels)
        moving_labels, moving_grid = read_labels(pair.moving_labels)
        if not grid.same_as(field.grid):
            raise DatasetError(
                f"{pair.fixed_labels} has shape {grid.shape} and another geometry than the fixed image "
                f"{field.grid.shape}: labels must lie on the grid of their image"
            )
        warped = field.warp_labels(moving_labels, moving_grid)
        found |= score_labels(fixed_labels, warped, grid)
    points = read_landmarks(pair, field.grid, moving)
    if points is not None:
        errors = metrics.tre(*points, field)
        found["landmark_tre"] = {
            "mean": float(errors.mean()),
            "median": float(np.median(errors)),
            "p95": float(np.percentile(errors, 95)),
            "n": len(errors),
        }
    clean: dict[str, Any] = to_json(found)
    return clean


def score_labels(fixed: LabelArray, warped: LabelArray, grid: Grid) -> dict[str, Any]:
    """The metrics of two label maps on one grid, over the labels of the fixed image.

    A label that only the moving image has cannot be matched by any method: it is not counted.
    """
    values = metrics.label_values(fixed)
    found: dict[str, Any] = {
        "dice": metrics.dice(fixed, warped, values),
        "centroid_tre": metrics.centroid_tre(fixed, warped, grid, values),
        "centroid_tre_px200": metrics.centroid_tre_resized(
            fixed, warped, grid.coarsest_axis if grid.ndim == 3 else None, labels=values
        ),
        "hd95": metrics.hd95(fixed, warped, grid, values),
        "lost_labels": metrics.lost_labels(fixed, warped, values),
    }
    if grid.is_thick_stack():
        found["slice_centroid_tre"] = metrics.slice_centroid_tre(fixed, warped, grid, grid.coarsest_axis, values)
    return found


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
    from samreg.pipeline import register_regions
    from samreg.regions.cache import RegionsCache, cached_segment
    from samreg.runs.shared import shared_segmenter

    config = preset("default")
    config = replace(
        config,
        segment=replace(config.segment, segmenter=segmenter),
        fit=replace(config.fit, transform="none"),
    )
    model, cache = shared_segmenter(config), RegionsCache()
    regions = [cached_segment(image, config, model, cache) for image in (fixed, moving)]
    pairs = register_regions(regions[0], regions[1], config).pairs
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
