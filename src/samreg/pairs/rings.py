"""Rings: what lies between two nested regions that are paired in both images is a region of its own.

A box prompt gives what it encloses, so that a wall, such as the myocardium, is never a region of everything mode: the
chamber is one, and the chamber with its wall is another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from samreg.pairs.counterparts import SlicePair, iou, shared_pixels

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
    for slices in dict.fromkeys(p.slices for p in pairs):
        here = [p for p in pairs if p.slices == slices]
        within = _inside(here)
        for outer, rows in zip(here, within.T, strict=True):
            inner = [here[i] for i in np.flatnonzero(rows) if _closed_in(here[i], outer)]
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


def _inside(pairs: Sequence[SlicePair]) -> np.ndarray:
    """(n, n) whether the row's regions lie in the column's, and are smaller, in both images."""
    result = ~np.eye(len(pairs), dtype=bool)
    for masks in (np.stack([p.fixed for p in pairs]), np.stack([p.moving for p in pairs])):
        small = np.count_nonzero(masks.reshape(len(masks), -1), axis=1)[:, None]
        large = small.T
        fits = (_INNER[0] * large <= small) & (small <= _INNER[1] * large)
        result &= fits & (shared_pixels(masks, masks) >= _INSIDE * small)
    return result


def _closed_in(inner: SlicePair, outer: SlicePair) -> bool:
    """Whether the outer region lies around the inner one, in both images."""
    for small, large in ((inner.fixed, outer.fixed), (inner.moving, outer.moving)):
        rim = ndimage.binary_dilation(small, iterations=2) & ~small
        if np.count_nonzero(rim & large) < _CLOSED * np.count_nonzero(rim):
            return False
    return True


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
