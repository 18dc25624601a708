"""Arrays as PNG, in a few lines and always the same bytes."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

__all__ = ["data_uri", "encode"]

_LEVEL = 4
"""Of zlib: a third of the time of level 6, for pictures 3 % larger."""


def encode(pixels: np.ndarray) -> bytes:
    """PNG of a uint8 picture (PNG specification, RFC 2083).

    Args:
        pixels: (h, w) grey or (h, w, 3) RGB, uint8.
    """
    h, w = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels).reshape(h, -1)
    # Filter 2, the difference to the row above, makes smooth pictures compress to about half.
    filtered = np.empty((h, rows.shape[1] + 1), dtype=np.uint8)
    filtered[:, 0] = 2
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]
    header = struct.pack(">2I5B", w, h, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), _LEVEL)), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def data_uri(pixels: np.ndarray) -> str:
    """The PNG as a URI that a page can hold within itself."""
    return "data:image/png;base64," + base64.b64encode(encode(pixels)).decode()
