"""Overlap of labels on one grid: Dice, and the labels that warping has lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samreg.metrics.metric import LabelCase, Metric
from samreg.metrics.values import check_shapes, label_values
from samreg.types import LabelArray

__all__ = ["DICE", "LOST_LABELS", "dice", "lost_labels"]


def dice(fixed: LabelArray, warped: LabelArray, labels: Sequence[int] | None = None) -> dict[int, float]:
    """Dice of each label: 2 |A ∩ B| / (|A| + |B|).

    Args:
        fixed: `(*shape)` labels of the fixed image.
        warped: `(*shape)` labels of the moving image on the fixed grid.
        labels: which labels; those that occur in either map by default.

    Returns:
        Label -> Dice in [0, 1]; 0 where one of the two has no voxel of the label, NaN where both have none.

    Raises:
        GeometryError: if the shapes differ.
    """
    check_shapes("dice", fixed, warped)
    values = label_values(fixed, warped) if labels is None else [int(v) for v in labels]
    in_fixed, in_warped, shared = _counts(fixed), _counts(warped), _counts(np.where(fixed == warped, fixed, 0))
    result = {}
    for value in values:
        size = in_fixed.get(value, 0) + in_warped.get(value, 0)
        result[value] = 2.0 * shared.get(value, 0) / size if size else float("nan")
    return result


def _counts(labels: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True)}


def lost_labels(fixed: LabelArray, warped: LabelArray, labels: Sequence[int] | None = None) -> list[int]:
    """Labels of the fixed image that have no voxel left after warping: distances to them do not exist."""
    present = set(label_values(warped))
    values = label_values(fixed)
    return [v for v in values if v not in present and (labels is None or v in labels)]


def _dice(case: LabelCase) -> dict[int, float]:
    return dice(case.fixed, case.warped, case.values)


def _lost_labels(case: LabelCase) -> list[int]:
    return lost_labels(case.fixed, case.warped, case.values)


DICE = Metric("Dice", "labels", _dice, better="higher", digits=3)
LOST_LABELS = Metric("lost labels", "labels", _lost_labels)
