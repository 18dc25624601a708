"""From slice pixels to model pixels and back.

A slice of shape (y, x) is scaled so that its longer side fills the model's square input, and padded at the bottom and
right. Pixel edges coincide: the centre of slice pixel i lies at model pixel (i + 0.5) s - 0.5, where s is the ratio of
the sizes along that axis (rounding to whole pixels makes it differ a little between the axes).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.segmenters.base import Encoding

__all__ = ["mask_boxes", "masks_to_slice", "model_pixels", "model_square", "scaled_shape"]


def scaled_shape(shape: tuple[int, int], input_size: int) -> tuple[int, int]:
    """(y, x) of a slice after scaling, before padding."""
    scale = input_size / max(shape)
    return max(1, int(shape[0] * scale + 0.5)), max(1, int(shape[1] * scale + 0.5))


def model_square(
    pixels: np.ndarray, input_size: int, mean: Sequence[float] = (0.0,) * 3, std: Sequence[float] = (1.0,) * 3
) -> Tensor:
    """Scale, normalise and pad one slice.

    Args:
        pixels: float32 `(y, x)` or `(y, x, 3)`.
        input_size: side of the square.
        mean: subtracted from RGB.
        std: divided by after that.

    Returns:
        (3, input_size, input_size) float32; grey is repeated, the padding is 0.
    """
    x = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
    x = x[None, None] if x.ndim == 2 else x.permute(2, 0, 1)[None]
    h, w = scaled_shape((x.shape[2], x.shape[3]), input_size)
    if (h, w) != tuple(x.shape[2:]):
        # Antialiasing acts where the slice shrinks only.
        x = functional.interpolate(x, size=(h, w), mode="bilinear", align_corners=False, antialias=True)
    x = (x[0].expand(3, -1, -1) - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    return functional.pad(x, (0, input_size - w, 0, input_size - h))


def model_pixels(points: np.ndarray, encoding: Encoding) -> Tensor:
    """Slice pixels (..., 2), (x, y), to model input pixels; float32."""
    h, w = scaled_shape(encoding.shape, encoding.input_size)
    ratio = np.array([w / encoding.shape[1], h / encoding.shape[0]])
    at = (np.asarray(points, dtype=np.float64) + 0.5) * ratio - 0.5
    return torch.from_numpy(at.astype(np.float32))


def masks_to_slice(logits: Tensor, encoding: Encoding) -> Tensor:
    """Logits on the model's output grid, at the centres of the slice's pixels (bilinear, edge values beyond).

    Args:
        logits: (..., h, w) as `Segmenter.prompt` returns them; where h is that of the embedding, they are coarse.
        encoding: the slice they belong to.

    Returns:
        (..., y, x) float32.
    """
    h, w = logits.shape[-2:]
    step = 4 if h == encoding.features.shape[-2] else 1
    scaled = scaled_shape(encoding.shape, encoding.input_size)
    flat = logits.reshape(-1, h, w).float()
    for axis, size in ((1, w), (0, h)):
        n, ratio = encoding.shape[axis], scaled[axis] / encoding.shape[axis] * (size * step) / encoding.input_size
        if step == 1 and ratio == 1.0 and n <= size:  # pixels of the grid are pixels of the slice
            flat = flat.narrow(2 - (axis == 0), 0, n)
            continue
        matrix = _between(n, size, ratio, step).to(flat.device)
        flat = flat @ matrix if axis == 1 else matrix.t() @ flat
    return flat.reshape(*logits.shape[:-2], *encoding.shape)


@functools.lru_cache(maxsize=16)
def _between(n: int, size: int, ratio: float, step: int) -> Tensor:
    """(size, n) weights of the places of a grid in n pixels of a slice."""
    # On the CPU, in double precision, which not every device has; one small matrix goes over.
    at = (((torch.arange(n, dtype=torch.float64) + 0.5) * ratio - 0.5) / step).clamp(0, size - 1)
    low = at.long().clamp(max=max(size - 2, 0))
    weight = (at - low).float()
    matrix = torch.zeros(size, n)
    columns = torch.arange(n)
    matrix[low, columns] = 1 - weight
    matrix[(low + 1).clamp(max=size - 1), columns] += weight
    return matrix


def mask_boxes(masks: Tensor) -> Tensor:
    """Bounding boxes of masks, as box prompts: x0, y0, x1, y1 of the first and last pixel set.

    Args:
        masks: (n, y, x) bool.

    Returns:
        (n, 4) float32; -1 everywhere for an empty mask.
    """
    corners = []
    for axis in (1, 2):
        hit = masks.view(torch.uint8).amax(dim=axis) > 0  # many times faster than `any`
        size = hit.shape[1]
        first = hit.int().argmax(dim=1)
        last = size - 1 - hit.flip(1).int().argmax(dim=1)
        corners.append((first, last))
    boxes = torch.stack([corners[0][0], corners[1][0], corners[0][1], corners[1][1]], dim=1).float()
    empty = ~hit.any(dim=1)
    return torch.where(empty[:, None], torch.full_like(boxes, -1.0), boxes)
