"""Pictures made of two images, and coloured maps."""

from __future__ import annotations

import numpy as np

__all__ = ["blend", "checkerboard", "difference", "jacobian_colours", "jacobian_stops"]

_SMALLER, _LARGER, _FOLDED = np.array([33, 102, 172.0]), np.array([178, 24, 43.0]), np.array([255, 230, 0])
_OCTAVES = 1.0  # colours saturate at half and at twice the volume


def _grey(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 2 else (pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def blend(fixed: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Fixed in green, the other in magenta: grey where they agree. Colour-blind readers can tell the two apart."""
    a, b = _grey(fixed), _grey(other)
    return np.stack([b, a, b], axis=-1)


def checkerboard(fixed: np.ndarray, other: np.ndarray, cells: int = 8) -> np.ndarray:
    """Squares of the one and the other in turn."""
    if fixed.ndim != other.ndim:
        fixed, other = _grey(fixed), _grey(other)
    side = max(2, round(max(fixed.shape[:2]) / cells))
    rows, columns = np.arange(fixed.shape[0]) // side, np.arange(fixed.shape[1]) // side
    first = (rows[:, None] + columns[None, :]) % 2 == 0
    return np.where(first[..., None] if fixed.ndim == 3 else first, fixed, other)


def difference(fixed: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Fixed minus the other: mid-grey is none, bright where the fixed image is brighter."""
    change = _grey(fixed).astype(np.int16) - _grey(other).astype(np.int16)
    grey: np.ndarray = (128 + np.clip(change // 2, -128, 127)).astype(np.uint8)
    return grey


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
