"""Outlines of masks as SVG paths."""

from __future__ import annotations

import numpy as np

__all__ = ["outline"]


def outline(mask: np.ndarray, offset: tuple[int, int] = (0, 0)) -> str:
    """The border of a 2D mask along pixel edges, as the `d` of an SVG path; holes are kept (fill-rule evenodd).

    Args:
        mask: (h, w) booleans.
        offset: row and column of the mask's first pixel in the picture.

    Returns:
        Path data in pixel coordinates, 0 at the corner of the first pixel; empty for an empty mask.
    """
    nexts, seconds, width = _edges(mask)
    top, left = offset
    parts = []
    while nexts:
        start = here = next(iter(nexts))
        loop, heading = [start], 0
        while True:
            if here in seconds:
                there, nexts[here] = nexts[here], seconds.pop(here)
            else:
                there = nexts.pop(here)
            if there - here == heading:
                loop[-1] = there
            else:
                loop.append(there)
            here, heading = there, there - here
            if here == start:
                break
        corners = [divmod(corner, width) for corner in loop[:-1]]
        parts.append("M" + "L".join(f"{x + left} {y + top}" for y, x in corners) + "Z")
    return "".join(parts)


def _edges(mask: np.ndarray) -> tuple[dict[int, int], dict[int, int], int]:
    """The pixel edges around a mask, with the inside on the right-hand side: they close into loops by themselves.

    Returns:
        Corner to corner of each edge, the second edge where two start at one corner, and the corners of a row: a corner
        is its row times that number and its column.
    """
    h, w = mask.shape
    padded = np.zeros((h + 2, w + 2), dtype=np.int8)
    padded[1:-1, 1:-1] = mask
    width = w + 1
    rows, columns = padded[1:, 1:] - padded[:-1, 1:], padded[1:-1, 1:] - padded[1:-1, :-1]
    nexts: dict[int, int] = {}
    seconds: dict[int, int] = {}
    for edges, sign, start, stop in (
        (rows, 1, 0, 1),  # entering downwards: top edge, walked to the right
        (rows, -1, 1, 0),  # leaving downwards: bottom edge, walked to the left
        (columns, 1, width, 0),  # entering rightwards: left edge, walked up
        (columns, -1, 0, width),  # leaving rightwards: right edge, walked down
    ):
        at = np.flatnonzero(edges == sign)
        made = dict(zip((at + start).tolist(), (at + stop).tolist(), strict=True))
        seconds |= {corner: nexts[corner] for corner in made.keys() & nexts.keys()}
        nexts |= made
    return nexts, seconds, width
