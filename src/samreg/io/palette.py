"""Colours of pairs: the same in the report, the viewer and 3D Slicer."""

from __future__ import annotations

import colorsys

__all__ = ["pair_colour"]

_GOLDEN = 0.618033988749895  # turns by the golden section never meet: neighbours in number differ most in hue


def pair_colour(index: int) -> tuple[int, int, int]:
    """RGB, 0 to 255, of the pair at `index` (0, 1, 2, ...): bright, and unlike its neighbours."""
    hue = (0.02 + index * _GOLDEN) % 1.0
    lightness, saturation = ((0.60, 0.95), (0.70, 0.75), (0.52, 0.85))[index % 3]
    return tuple(round(255 * value) for value in colorsys.hls_to_rgb(hue, lightness, saturation))  # type: ignore[return-value]
