"""Regions as text: what the page, and the file of edits, hold of a mask."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any

import numpy as np

from samreg.errors import InputError
from samreg.geometry.rois import Roi
from samreg.viewer.display import Display

__all__ = ["pack", "pack_roi", "shown_roi", "unpack", "unpack_roi", "unshown_roi"]


def pack(mask: np.ndarray) -> str:
    """Booleans in C order, eight to a byte (the first is the lowest bit), zlib, base64."""
    return base64.b64encode(zlib.compress(np.packbits(mask, bitorder="little").tobytes(), 1)).decode("ascii")


def unpack(text: str, shape: tuple[int, ...], limit: int) -> np.ndarray:
    """The inverse of `pack`.

    Args:
        text: what `pack` gave.
        shape: of the mask.
        limit: voxels that the mask may have; a text that unpacks to more is refused before it is unpacked.

    Raises:
        InputError: if the text is no mask of this shape.
    """
    count = int(np.prod(shape)) if shape and min(shape) > 0 else 0
    if not 0 < count <= limit:
        raise InputError(f"a mask of shape {list(shape)} does not fit into the image")
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.b64decode(text, validate=True), (count + 7) // 8 + 1)
    except (binascii.Error, zlib.error, ValueError, TypeError):
        raise InputError("a mask is damaged: it is not base64 of zlib") from None
    if len(data) != (count + 7) // 8:
        raise InputError(f"a mask does not have the {count} voxels of its box")
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), count=count, bitorder="little")
    return bits.astype(bool).reshape(shape)


def pack_roi(roi: Roi) -> dict[str, Any]:
    """A region in the order of its grid."""
    return {
        "start": list(roi.start),
        "shape": list(roi.mask.shape),
        "quality": float(roi.quality),
        "name": roi.name,
        "bits": pack(roi.mask),
    }


def unpack_roi(entry: dict[str, Any], shape: tuple[int, ...]) -> Roi:
    """The inverse of `pack_roi`.

    Args:
        entry: what it gave.
        shape: of the grid.
    """
    mask = unpack(entry["bits"], tuple(entry["shape"]), int(np.prod(shape)))
    return Roi(mask, tuple(entry["start"]), float(entry["quality"]), str(entry["name"]))


def shown_roi(roi: Roi, display: Display) -> dict[str, Any]:
    """A region in the order of the screen, (z, y, x)."""
    mask = display.turned(roi.mask)
    return {"start": list(display.turned_start(roi)), "shape": list(mask.shape), "bits": pack(mask)}


def unshown_roi(entry: Any, display: Display) -> Roi:
    """A region that the page sent.

    Raises:
        InputError: if it is none, reaches outside the image, or is empty (GeometryError).
    """
    try:
        start = tuple(int(a) for a in entry["start"])
        shape = tuple(int(n) for n in entry["shape"])
        text = entry["bits"]
    except (KeyError, TypeError, ValueError):
        raise InputError("a region wants start, shape and bits") from None
    inside = len(start) == len(shape) == 3 and all(
        a >= 0 and n > 0 and a + n <= size for a, n, size in zip(start, shape, display.shape, strict=True)
    )
    if not inside:
        raise InputError("a region reaches outside its image")
    return display.roi(unpack(text, shape, display.grid.n_voxels), (start[0], start[1], start[2]))
