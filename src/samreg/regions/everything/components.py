"""Box prompts from the image itself: connected components at several grey levels.

A grid of boxes seldom has a box of the size and place of a structure, and a network that was trained on boxes draws
what fits its box. Connected components of thresholded images do: a cavity, a vessel or a kidney is brighter or darker
than what surrounds it at some level, and its bounding box is the prompt it wants.

Source: the extremal regions of Matas et al., "Robust wide baseline stereo from maximally stable extremal regions"
(BMVC 2002); here boxes that many levels agree on come first, instead of a measure of stability for each.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from samreg.regions.everything.boxes import MARGIN, box_iou, grown

__all__ = ["component_boxes"]

_SMOOTHING = 0.006
"""Standard deviation of the smoothing before thresholding, as a share of the longer side."""
_DARKEST = 0.05
"""Grey values below are background, which has no say in the choice of levels."""
_SIDES = (0.04, 0.6)
"""Longer side of a box, as a share of the longer side of the slice."""
_LEAST_FILL = 0.3
"""Share of its box that a component fills: what fills less is a rim or a tangle."""
_SAME = 0.7
"""IoU from which two boxes ask the same question."""


def component_boxes(grey: np.ndarray, n_levels: int, areas: tuple[float, float]) -> np.ndarray:
    """Boxes around the connected components above and below several grey levels.

    Args:
        grey: (y, x) in [0, 1].
        n_levels: levels, evenly spaced between the darkest and the brightest percent of the foreground.
        areas: least and largest area of a component, as shares of the slice.

    Returns:
        (n, 4) float32 boxes x0, y0, x1, y1 in pixels, none nearly the same as another.
    """
    longest = max(grey.shape)
    smooth = ndimage.gaussian_filter(grey, _SMOOTHING * longest)
    foreground = smooth[smooth > _DARKEST]
    if not foreground.size:
        return np.zeros((0, 4), dtype=np.float32)
    low, high = np.quantile(foreground, [0.01, 0.99])
    levels = low + (high - low) * (np.arange(n_levels) + 0.5) / n_levels
    boxes = [
        box
        for level in levels
        for side in (smooth > level, smooth <= level)
        for box in _boxes(side, (areas[0] * grey.size, areas[1] * grey.size), longest)
    ]
    if not boxes:
        return np.zeros((0, 4), dtype=np.float32)
    return grown(_distinct(np.asarray(boxes, dtype=np.float32)), MARGIN * longest, (grey.shape[0], grey.shape[1]))


def _boxes(mask: np.ndarray, areas: tuple[float, float], longest: int) -> list[tuple[int, int, int, int]]:
    labels, n = ndimage.label(mask)
    area = np.bincount(labels.ravel(), minlength=n + 1)
    places = ndimage.find_objects(labels)
    found = []
    for number in np.flatnonzero((area[1:] >= areas[0]) & (area[1:] <= areas[1])):
        rows, columns = places[number]
        h, w = rows.stop - rows.start, columns.stop - columns.start
        if _SIDES[0] * longest <= max(h, w) <= _SIDES[1] * longest and area[number + 1] >= _LEAST_FILL * h * w:
            found.append((columns.start, rows.start, columns.stop - 1, rows.stop - 1))
    return found


def _distinct(boxes: np.ndarray) -> np.ndarray:
    """One box of each group of nearly the same, the one with the most others around it; the largest groups first."""
    edges = boxes + np.asarray([0, 0, 1, 1], dtype=boxes.dtype)  # from the centres of the last pixels to their edges
    same = box_iou(edges, edges) > _SAME
    alive, kept = np.ones(len(boxes), dtype=bool), []
    for row in np.argsort(-same.sum(axis=1), kind="stable"):
        if alive[row]:
            kept.append(row)
            alive &= ~same[row]
    result: np.ndarray = boxes[kept]
    return result
