"""All metrics of one registered pair, as plain numbers for a record."""

from __future__ import annotations

from typing import Any

import numpy as np

from samreg.errors import DatasetError
from samreg.files import to_json
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois
from samreg.io.tables import PairRecord
from samreg.metrics.metric import FieldCase, LabelCase, PairsCase, PointCase, Value, all_metrics

__all__ = ["measure", "score"]


def measure(case: FieldCase | LabelCase | PointCase | PairsCase) -> dict[str, Value]:
    """Every metric of one kind, by name; those without a meaning for this pair are left out.

    Args:
        case: a field, labels, landmarks or pairs.

    Raises:
        PluginError: if a metric of another package cannot be imported.
    """
    needs = {FieldCase: "field", LabelCase: "labels", PointCase: "points", PairsCase: "pairs"}[type(case)]
    found = {name: metric.compute(case) for name, metric in all_metrics().items() if metric.needs == needs}
    return {name: value for name, value in found.items() if value is not None}


def score(
    pair: PairRecord,
    field: DisplacementField,
    fixed: Image,
    moving: Grid,
    pairs: PairedRois | None = None,
    axis: int | None = None,
) -> dict[str, Any]:
    """Every metric that the pair has the material for.

    Args:
        pair: the pair; its labels and landmarks are read from its files.
        field: the transform, on the fixed grid.
        fixed: the fixed image.
        moving: grid of the moving image.
        pairs: the pairs of regions of the registration; None for a method that has none.
        axis: array axis of the stack of thick slices that both images share; None where they share none.

    Returns:
        JSON-ready numbers by the name of the metric; of a metric of labels a dictionary label -> value, None for NaN.

    Raises:
        DatasetError: if the labels are not on the grid of the fixed image.
        PluginError: if a metric of another package cannot be imported.
    """
    from samreg.io.images import read_labels
    from samreg.io.landmarks import read_landmarks

    found = measure(FieldCase(field, fixed))
    if pair.fixed_labels is not None and pair.moving_labels is not None:
        fixed_labels, grid = read_labels(pair.fixed_labels)
        moving_labels, moving_grid = read_labels(pair.moving_labels)
        if not grid.same_as(field.grid):
            raise DatasetError(
                f"{pair.fixed_labels} has shape {grid.shape} and another geometry than the fixed image "
                f"{field.grid.shape}: labels must lie on the grid of their image"
            )
        found |= measure(LabelCase(fixed_labels, field.warp_labels(moving_labels, moving_grid), grid))
        if pairs is not None:
            if not moving_grid.same_as(moving):
                raise DatasetError(
                    f"{pair.moving_labels} has shape {moving_grid.shape} and another geometry than the moving image "
                    f"{moving.shape}: labels must lie on the grid of their image"
                )
            unknown = np.flatnonzero(~pairs.is_given)
            found |= measure(PairsCase(pairs.select(unknown), fixed_labels, moving_labels, axis))
    points = read_landmarks(pair, field.grid, moving)
    if points is not None:
        found |= measure(PointCase(*points, field))
    clean: dict[str, Any] = to_json(found)
    return clean
