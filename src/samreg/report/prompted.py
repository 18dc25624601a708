"""Where a prompt was given, as a mark on the fixed slice."""

from __future__ import annotations

from typing import Any

import numpy as np

from samreg.report.slices import Plane
from samreg.result import RegistrationResult

__all__ = ["prompt_mark"]

_ARM = 0.02
"""Half of a cross over the longer side of the picture."""


def prompt_mark(result: RegistrationResult, plane: Plane) -> dict[str, Any] | None:
    """The slice of a prompt and the path that marks it, a cross at each point or a box; None without a prompt.

    Coordinates are shown pixels of the fixed slice.
    """
    record, grid = result.prompt, result.fixed.grid
    if record is None:
        return None
    parts = []
    if record.point is not None:
        x, y = _shown(np.asarray([record.point], dtype=float), result, plane)[0]
        arm = _ARM * max(grid.shape) / plane.step
        parts.append(f"M{x - arm:.2f} {y:.2f}L{x + arm:.2f} {y:.2f}M{x:.2f} {y - arm:.2f}L{x:.2f} {y + arm:.2f}")
    if record.box is not None:
        corners = _shown(np.asarray(record.box, dtype=float).reshape(2, -1), result, plane)
        (x0, y0), (x1, y1) = corners.tolist()
        parts.append(f"M{x0:.2f} {y0:.2f}L{x1:.2f} {y0:.2f}L{x1:.2f} {y1:.2f}L{x0:.2f} {y1:.2f}L{x0:.2f} {y0:.2f}")
    return {"slice": record.fixed_slice, "path": "".join(parts)}


def _shown(points: np.ndarray, result: RegistrationResult, plane: Plane) -> np.ndarray:
    grid = result.fixed.grid
    return plane.to_screen(grid.world_to_index(points)[:, ::-1], grid.shape)
