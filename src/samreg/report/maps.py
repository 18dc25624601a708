"""Coloured maps."""

from __future__ import annotations

import numpy as np

__all__ = ["jacobian_colours", "jacobian_stops"]

_SMALLER, _LARGER, _FOLDED = np.array([33, 102, 172.0]), np.array([178, 24, 43.0]), np.array([255, 230, 0])
_OCTAVES = 1.0  # colours saturate at half and at twice the volume


def jacobian_colours(determinant: np.ndarray) -> np.ndarray:
    """RGB of Jacobian determinants: blue below 1, white at 1, red above, yellow where folded.

    The field pulls back, so the determinant is the volume of a piece of tissue in the moving image over its volume in
    the fixed image: red tissue is larger in the moving image.
    """
    folded = determinant <= 0
    octave = np.log2(np.where(folded, 1.0, np.maximum(determinant, 1e-6)))
    share = np.clip(octave / _OCTAVES, -1, 1)[..., None]
    end = np.where(share < 0, _SMALLER, _LARGER)
    colours = 255 + np.abs(share) * (end - 255)
    colours[folded] = _FOLDED
    rgb: np.ndarray = colours.astype(np.uint8)
    return rgb


def jacobian_stops() -> list[tuple[float, str, str]]:
    """The colour bar: position in [0, 1], text, CSS colour."""
    rows = []
    for ratio in (0.5, 0.7, 1.0, 1.4, 2.0):
        r, g, b = jacobian_colours(np.array([ratio]))[0].tolist()
        rows.append(((float(np.log2(ratio)) / _OCTAVES + 1) / 2, f"{ratio:g}", f"rgb({r},{g},{b})"))
    return rows
