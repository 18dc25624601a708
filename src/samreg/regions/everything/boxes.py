"""Box prompts: a multi-scale grid, placed only where there is something to see."""

from __future__ import annotations

import numpy as np

__all__ = ["MARGIN", "box_grid", "box_iou", "grown", "informative"]

MARGIN = 0.012
"""How much a prompt is larger than the box of what it asks for, as a share of the longer side of the slice."""
_MIN_CONTRAST = 0.02


def box_grid(shape: tuple[int, int], size: float, overlap: float) -> np.ndarray:
    """Square boxes of one size that cover a slice evenly.

    Args:
        shape: (y, x) of the slice.
        size: side of a box in pixels.
        overlap: share by which neighbours overlap, in [0, 1).

    Returns:
        (n, 4) float32 boxes x0, y0, x1, y1 in pixels, inside the slice.
    """
    starts = []
    for n in shape:
        side = min(size, n)
        count = int(np.ceil((n - side) / (side * (1 - overlap)) - 1e-6)) + 1
        starts.append(np.linspace(0, n - side, count))
    y, x = np.meshgrid(*starts, indexing="ij")
    h, w = (min(size, n) for n in shape)
    return np.stack([x, y, x + w - 1, y + h - 1], axis=-1).reshape(-1, 4).astype(np.float32)


def informative(boxes: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Which boxes hold more than flat background: a standard deviation of at least 0.02 of the window.

    Args:
        boxes: (n, 4).
        pixels: (y, x) in [0, 1].

    Returns:
        (n,) booleans.
    """
    sums = [np.pad(np.cumsum(np.cumsum(p, 0, dtype=np.float64), 1), ((1, 0), (1, 0))) for p in (pixels, pixels**2)]
    x0, y0 = np.floor(boxes[:, :2]).astype(int).clip(0).T
    x1 = np.minimum(np.ceil(boxes[:, 2]).astype(int) + 1, pixels.shape[1])
    y1 = np.minimum(np.ceil(boxes[:, 3]).astype(int) + 1, pixels.shape[0])
    count = (y1 - y0) * (x1 - x0)
    mean, square = ((s[y1, x1] - s[y0, x1] - s[y1, x0] + s[y0, x0]) / count for s in sums)
    result: np.ndarray = np.sqrt(np.maximum(square - mean**2, 0)) >= _MIN_CONTRAST
    return result


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of boxes (n, 4) with others (m, 4), x0, y0, x1, y1 with area (x1 - x0) (y1 - y0); (n, m)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    area, other = ((b[:, 2:] - b[:, :2]).prod(axis=-1) for b in (boxes, others))
    result: np.ndarray = shared / np.maximum(area[:, None] + other[None] - shared, 1e-6)
    return result


def grown(boxes: np.ndarray, margin: float, shape: tuple[int, int]) -> np.ndarray:
    """Boxes made larger by `margin` pixels on every side, cut at the edge of the slice."""
    out = boxes + np.asarray([-margin, -margin, margin, margin], dtype=np.float32)
    upper = np.asarray([shape[1], shape[0], shape[1], shape[0]], dtype=np.float32) - 1
    result: np.ndarray = np.clip(out, 0, upper)
    return result
