"""Pictures as JPEG: a page that holds every slice of a volume has to be small."""

from __future__ import annotations

import base64
import io

import numpy as np

__all__ = ["jpeg_uri"]


def jpeg_uri(pixels: np.ndarray, quality: int = 88) -> str:
    """A uint8 picture, (h, w) or (h, w, 3), as a URI that a page can hold within itself."""
    from PIL import Image as Picture

    made = io.BytesIO()
    Picture.fromarray(np.ascontiguousarray(pixels)).save(made, "JPEG", quality=quality, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(made.getvalue()).decode()
