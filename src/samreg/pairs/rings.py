"""Rings: what lies between two nested regions that are paired in both images is a region of its own.

A box prompt gives what it encloses, so that a wall, such as the myocardium, is never a region of everything mode: the
chamber is one, and the chamber with its wall is another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from samreg.pairs.counterparts import SlicePair, iou

__all__ = ["rings"]

_INSIDE = 0.9
"""Share of the inner region that lies in the outer one, in both images."""
_INNER = (0.1, 0.8)
"""Area of the inner region as a share of the outer one, in both images: else the ring is the outer one, or a line."""
_CLOSED = 0.75
"""Share of the pixels around the inner region that belong to the ring, in both images."""
_LEAST_PIXELS = 50
_AGREES = 0.5
"""IoU of both rings under the first registration: a wall is thin, so that a little shift costs it much."""


def rings(pairs: Sequence[SlicePair], carried: Callable[[SlicePair], np.ndarray]) -> list[SlicePair]:
    """The rings between pairs of the same slices.

    Args:
        pairs: outlines of both images, none of them a ring.
        carried: the moving mask of a pair as its fixed slice sees it, (y, x).

    Returns:
        Rings, of which each outer region has one at most: that with the largest inner region.
    """
    found: list[SlicePair] = []
    for outer in pairs:
        inner = [p for p in pairs if p is not outer and p.slices == outer.slices and _nested(p, outer)]
        inner.sort(key=lambda p: -np.count_nonzero(p.fixed) * np.count_nonzero(p.moving))
        for candidate in inner:
            ring = _ring(outer, candidate)
            if min(np.count_nonzero(ring.fixed), np.count_nonzero(ring.moving)) < _LEAST_PIXELS:
                continue
            agreement = iou(carried(ring), ring.fixed)
            if agreement >= _AGREES:
                found.append(replace(ring, agreement=agreement))
                break
    return found


def _nested(inner: SlicePair, outer: SlicePair) -> bool:
    return all(_within(getattr(inner, side), getattr(outer, side)) for side in ("fixed", "moving"))


def _within(inner: np.ndarray, outer: np.ndarray) -> bool:
    """Whether one mask lies in the other, and is closed in by it."""
    small, large = int(np.count_nonzero(inner)), int(np.count_nonzero(outer))
    both = int(np.count_nonzero(inner & outer))
    if not (both >= _INSIDE * small and _INNER[0] * large <= small <= _INNER[1] * large):
        return False
    rim = ndimage.binary_dilation(inner, iterations=2) & ~inner
    return int(np.count_nonzero(rim & outer)) >= _CLOSED * int(np.count_nonzero(rim))


def _ring(outer: SlicePair, inner: SlicePair) -> SlicePair:
    quality = (min(outer.quality[0], inner.quality[0]), min(outer.quality[1], inner.quality[1]))
    return SlicePair(
        outer.fixed & ~inner.fixed,
        outer.moving & ~inner.moving,
        outer.slices,
        quality,
        min(outer.similarity, inner.similarity),
        min(outer.agreement, inner.agreement),
        "ring",
    )
