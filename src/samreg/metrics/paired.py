"""Pairs of regions against labels: how many labelled structures a pair shows, and how many pairs show one structure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from samreg.errors import GeometryError
from samreg.metrics.label_overlaps import LabelOverlaps
from samreg.metrics.metric import Metric, PairsCase

__all__ = [
    "N_PAIRS",
    "PAIR_PRECISION",
    "PAIR_RECALL",
    "PAIR_RECALL_80",
    "STRUCTURES",
    "pair_precision",
    "pair_recall",
    "structures",
]

_FEWEST_PIXELS = 100
_LEAST_ML = 20.0
_SHOWS = 0.5
"""Dice from which a region shows a label, so that its pair is counted for the precision."""


def pair_recall(case: PairsCase, limit: float = 0.7) -> dict[int, float]:
    """Share of the labelled structures that a pair shows, by label.

    A structure is a label in one slice of at least 100 pixels in both images, where both are the same stack of thick
    slices, or in an image of 2D; elsewhere it is a label of more than 20 ml in both images (of 100 voxels where the
    unit is not mm). It is found if one pair that counts (weight above 0) has a fixed region of at least that Dice with
    the label in the fixed image, and a moving region of at least that Dice with it in the moving image.

    Args:
        case: pairs and labels.
        limit: the Dice that both regions reach.

    Returns:
        Label -> share in [0, 1]; labels without a structure are left out.

    Raises:
        GeometryError: if the labels do not lie on the grids of the regions.
    """
    _check(case)
    fixed, moving = case.overlaps
    # (pairs, labels, slices): the weaker of both regions decides.
    both = np.minimum(fixed.dice(), moving.dice())
    best = both.max(axis=0, initial=0.0)
    return {
        value: float((best[row][wanted] >= limit).mean())
        for row, (value, wanted) in enumerate(zip(case.values, _wanted(case, fixed, moving), strict=True))
        if wanted.any()
    }


def structures(case: PairsCase) -> dict[int, float]:
    """How many structures of each label `pair_recall` looks for; labels without one are left out."""
    _check(case)
    wanted = _wanted(case, *case.overlaps)
    return {value: float(row.sum()) for value, row in zip(case.values, wanted, strict=True) if row.any()}


def pair_precision(case: PairsCase) -> float | None:
    """Share of the pairs whose two regions overlap the same label best.

    Only pairs that count (weight above 0) and of which a region shows a label, with a Dice of at least 0.5, are
    looked at: nobody knows what the others show. Best means the highest Dice; a region that meets no label overlaps
    none best.

    Returns:
        In [0, 1]; None where no pair shows a label.
    """
    _check(case)
    fixed, moving = (overlaps.dice().max(axis=2, initial=0.0) for overlaps in case.overlaps)
    if not fixed.size:
        return None
    shows = np.maximum(fixed.max(axis=1), moving.max(axis=1)) >= _SHOWS
    if not shows.any():
        return None
    met = (fixed.max(axis=1) > 0) & (moving.max(axis=1) > 0)
    same = met & (fixed.argmax(axis=1) == moving.argmax(axis=1))
    return float(same[shows].mean())


def _wanted(case: PairsCase, fixed: LabelOverlaps, moving: LabelOverlaps) -> np.ndarray:
    """(labels, units) whether a label is large enough in both images."""
    parts = []
    for overlaps, grid in ((fixed, case.pairs.fixed.grid), (moving, case.pairs.moving.grid)):
        if case.slice_axis is None and grid.ndim == 3 and grid.unit == "mm":
            parts.append(overlaps.labels * grid.voxel_volume / 1000 > _LEAST_ML)
        else:
            parts.append(overlaps.labels >= _FEWEST_PIXELS)
    result: np.ndarray = parts[0] & parts[1]
    return result


def _check(case: PairsCase) -> None:
    for side in ("fixed", "moving"):
        labels, grid = getattr(case, side), getattr(case.pairs, side).grid
        if np.shape(labels) != grid.shape:
            raise GeometryError(
                f"the {side} labels have shape {np.shape(labels)}, the {side} regions lie on a grid of {grid.shape}: "
                "give labels on the grid of their image"
            )


def _n_pairs(case: PairsCase) -> float:
    return float(len(case.pairs.used))


def _recall_80(case: PairsCase) -> Mapping[int, float] | None:
    return pair_recall(case, 0.8) or None


def _recall(case: PairsCase) -> Mapping[int, float] | None:
    return pair_recall(case) or None


def _structures(case: PairsCase) -> Mapping[int, float] | None:
    return structures(case) or None


PAIR_RECALL = Metric("paired recall", "pairs", _recall, unit="%", better="higher", digits=1)
PAIR_RECALL_80 = Metric("paired recall at .8", "pairs", _recall_80, unit="%", better="higher", digits=1)
PAIR_PRECISION = Metric("pair precision", "pairs", pair_precision, unit="%", better="higher", digits=1)
N_PAIRS = Metric("pairs", "pairs", _n_pairs, digits=0)
STRUCTURES = Metric("structures", "pairs", _structures, in_tables=False)
