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
    padded = np.pad(np.asarray(mask, dtype=np.int8), 1)
    nexts: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(starts: np.ndarray, dy0: int, dx0: int, dy1: int, dx1: int) -> None:
        for y, x in starts.tolist():
            nexts.setdefault((y + dy0, x + dx0), []).append((y + dy1, x + dx1))

    # Directed edges with the inside on the right-hand side: they close into loops by themselves.
    rows, columns = np.diff(padded, axis=0), np.diff(padded, axis=1)
    add(np.argwhere(rows == 1), 0, -1, 0, 0)  # entering downwards: top edge, walked to the right
    add(np.argwhere(rows == -1), 0, 0, 0, -1)  # leaving downwards: bottom edge, walked to the left
    add(np.argwhere(columns == 1), 0, 0, -1, 0)  # entering rightwards: left edge, walked up
    add(np.argwhere(columns == -1), -1, 0, 0, 0)  # leaving rightwards: right edge, walked down
    parts = []
    while nexts:
        start = next(iter(nexts))
        loop, here, heading = [start], start, (0, 0)
        while True:
            there = nexts[here].pop()
            if not nexts[here]:
                del nexts[here]
            step = (there[0] - here[0], there[1] - here[1])
            if step == heading:
                loop[-1] = there
            else:
                loop.append(there)
            here, heading = there, step
            if here == start:
                break
        parts.append("M" + "L".join(f"{x + offset[1]} {y + offset[0]}" for y, x in loop[:-1]) + "Z")
    return "".join(parts)
