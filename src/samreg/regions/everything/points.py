"""Everything mode exactly as SAM's automatic mask generator defines it: a square grid of points, three masks each.

Quality above a threshold, then stability at full resolution, then non-maximum suppression of bounding boxes; optionally
again on crops of the slice, whose masks win over those of larger crops. No shortcut changes a mask: this mode is what
the paper used, and what `segment-anything` would give with the same weights.

Source: Kirillov et al., "Segment Anything" (ICCV 2023), section 5 and appendix B.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.config import ProposalConfig
from samreg.regions.everything.filters import drop_overlapping, intersections, mask_nms
from samreg.regions.everything.propose import Proposals
from samreg.segmenters.base import Encoding, Prompts, Segmenter
from samreg.segmenters.pixels import mask_boxes, scaled_shape

__all__ = ["Crop", "automatic_masks", "box_nms", "crops", "cut_off", "generate_exact"]

_POINTS_AT_ONCE = 64
_MASKS_AT_ONCE = 16
_CROP_OVERLAP = 512 / 1500
_EDGE_PX = 20.0


@dataclass(frozen=True)
class Crop:
    """A part of the slice that is segmented on its own: rows y0 to y1, columns x0 to x1, half-open."""

    y0: int
    x0: int
    y1: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) of the part."""
        return self.y1 - self.y0, self.x1 - self.x0


def crops(shape: tuple[int, int], n_layers: int) -> list[Crop]:
    """The whole slice, then layers of 2 x 2, 4 x 4, ... crops that overlap by a third and less.

    Args:
        shape: (y, x) of the slice.
        n_layers: layers beyond the slice itself.
    """
    found = [Crop(0, 0, *shape)]
    for layer in range(n_layers):
        n = 2 ** (layer + 1)
        overlap = int(_CROP_OVERLAP * min(shape) * (2 / n))
        h, w = (math.ceil((overlap * (n - 1) + size) / n) for size in shape)
        for column in range(n):
            for row in range(n):
                y, x = (h - overlap) * row, (w - overlap) * column
                found.append(Crop(y, x, min(y + h, shape[0]), min(x + w, shape[1])))
    return found


def box_nms(boxes: Tensor, scores: Tensor, limit: float) -> Tensor:
    """Rows that greedy non-maximum suppression of boxes keeps, best first.

    Args:
        boxes: (n, 4) x0, y0, x1, y1.
        scores: (n,) higher is better; ties keep their order.
        limit: IoU above which the later of two boxes is dropped.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = boxes[order].float()
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if alive[i]:
            low = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
            high = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
            shared = (high - low).clamp(min=0).prod(dim=1)
            # Two boxes without area share nothing: 0 / 0 is no reason to drop one.
            alive[i + 1 :] &= ~(shared / (area[i] + area[i + 1 :] - shared) > limit)
    return order[alive]


@dataclass(frozen=True, eq=False)
class _Found:
    """Masks (n, y, x) of the slice, their predicted IoU, bounding boxes (n, 4) in the slice, and the crops' areas."""

    masks: Tensor
    quality: Tensor
    boxes: Tensor
    crop_area: Tensor

    def __getitem__(self, rows: Tensor) -> _Found:
        return _Found(self.masks[rows], self.quality[rows], self.boxes[rows], self.crop_area[rows])

    @classmethod
    def join(cls, parts: list[_Found]) -> _Found:
        return cls(*(torch.cat([getattr(p, name) for p in parts]) for name in cls.__dataclass_fields__))


def generate_exact(
    segmenter: Segmenter, pixels: np.ndarray, config: ProposalConfig, *, encoding: Encoding | None = None
) -> Proposals:
    """SAM's generator, then the ROI filter of the paper: area bounds, overlap ratio, the number of ROIs.

    Args:
        segmenter: answers the prompts.
        pixels: the slice, float32 in [0, 1], `(y, x)` or `(y, x, 3)`.
        config: thresholds; `points_per_side` to `nms_iou` mean what they mean in SAM's generator.
        encoding: the slice's encoding where there is one already.
    """
    masks, quality, n_prompts = automatic_masks(segmenter, pixels, config, encoding=encoding)
    area = masks.flatten(1).sum(1) / float(np.prod(pixels.shape[:2]))
    rows = torch.nonzero((area >= config.min_area) & (area <= config.max_area) & (area > 0))[:, 0]
    rows = rows[torch.argsort(quality[rows], descending=True, stable=True)]
    if len(rows) and (config.max_overlap < 1 or config.nms == "mask"):
        shared = intersections(masks[rows])
        kept = torch.arange(len(rows))
        if config.nms == "mask":
            kept = mask_nms(shared, kept, config.nms_iou)
        rows = rows[drop_overlapping(shared, kept, config.max_overlap)]
    if config.max_rois:
        rows = rows[: config.max_rois]
    return Proposals(masks[rows].numpy(), quality[rows].numpy().astype(np.float32), n_prompts)


def automatic_masks(
    segmenter: Segmenter, pixels: np.ndarray, config: ProposalConfig, *, encoding: Encoding | None = None
) -> tuple[Tensor, Tensor, int]:
    """What SAM's automatic mask generator returns, in its order.

    Returns:
        (n, y, x) masks, their predicted IoU (n,), and the number of prompts that were asked.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    parts, n_prompts = [], 0
    for crop in crops(shape, config.crop_layers):
        whole = crop.shape == shape
        if not whole:
            encoded = _encode_crop(segmenter, pixels[crop.y0 : crop.y1, crop.x0 : crop.x1])
        else:
            encoded = segmenter.encode([pixels])[0] if encoding is None else encoding
        parts.append(_segment_crop(segmenter, encoded, crop, shape, config))
        n_prompts += config.points_per_side**2
    found = _Found.join(parts)
    if config.crop_layers and config.nms == "box":
        found = found[box_nms(found.boxes, 1 / found.crop_area, config.nms_iou)]
    return found.masks, found.quality, n_prompts


def _encode_crop(segmenter: Segmenter, part: np.ndarray) -> Encoding:
    """Encode a crop after scaling it in 8 bits, as SAM's generator does."""
    grey = torch.from_numpy(np.rint(np.clip(part, 0, 1) * 255).astype(np.uint8))
    image = grey[None, None] if grey.ndim == 2 else grey.permute(2, 0, 1)[None]
    size = scaled_shape((part.shape[0], part.shape[1]), segmenter.input_size)
    scaled = functional.interpolate(image, size=size, mode="bilinear", align_corners=False, antialias=True)
    channels = scaled[0].permute(1, 2, 0).numpy().astype(np.float32) / np.float32(255)
    return segmenter.encode([channels[..., 0] if grey.ndim == 2 else channels])[0]


def _segment_crop(
    segmenter: Segmenter, encoding: Encoding, crop: Crop, shape: tuple[int, int], config: ProposalConfig
) -> _Found:
    scaled = scaled_shape(crop.shape, encoding.input_size)
    masks, quality, boxes = [], [], []
    for logits, scores in _answers(segmenter, encoding, scaled, config):
        full = _upscale(logits, encoding.input_size, scaled, crop.shape)
        good = torch.ones(len(full), dtype=torch.bool)
        if config.min_stability > 0:
            inner = (full > config.stability_offset).flatten(1).sum(1)
            outer = (full > -config.stability_offset).flatten(1).sum(1)
            good = inner / outer >= config.min_stability  # 0 / 0 is no mask, and is dropped
        binary = full[good] > 0
        # An empty mask has the empty box at the origin.
        at = mask_boxes(binary).clamp(min=0)
        off_edge = ~cut_off(at, crop, shape)
        masks.append(binary[off_edge])
        quality.append(scores[good][off_edge])
        boxes.append(at[off_edge])
    if not masks:
        return _Found(torch.zeros((0, *shape), dtype=torch.bool), torch.zeros(0), torch.zeros(0, 4), torch.zeros(0))
    all_masks, all_quality, all_boxes = torch.cat(masks), torch.cat(quality), torch.cat(boxes)
    if config.nms == "box":
        rows = box_nms(all_boxes, all_quality, config.nms_iou)
        all_masks, all_quality, all_boxes = all_masks[rows], all_quality[rows], all_boxes[rows]
    placed = torch.zeros((len(all_masks), *shape), dtype=torch.bool)
    placed[:, crop.y0 : crop.y1, crop.x0 : crop.x1] = all_masks
    offset = torch.tensor([crop.x0, crop.y0, crop.x0, crop.y0])
    area = torch.full((len(all_masks),), float(crop.shape[0] * crop.shape[1]))
    return _Found(placed, all_quality, all_boxes + offset, area)


def _answers(
    segmenter: Segmenter, encoding: Encoding, scaled: tuple[int, int], config: ProposalConfig
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (k, h, w) and quality (k,) of the masks of good quality, a few at a time, in the order of the points."""
    n = config.points_per_side
    line = (np.arange(n) + 0.5) / n
    x, y = np.meshgrid(line * scaled[1], line * scaled[0])
    # SAM scales the pixel's index, samreg its centre: ask for the point that samreg maps onto SAM's.
    ratio = np.array([scaled[1] / encoding.shape[1], scaled[0] / encoding.shape[0]])
    points = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / ratio - 0.5
    for start in range(0, len(points), _POINTS_AT_ONCE):
        asked = Prompts(points=points[start : start + _POINTS_AT_ONCE, None])
        answer = segmenter.prompt(encoding, asked, multimask=segmenter.supports_multimask)
        logits, quality = answer.logits.flatten(0, 1), answer.quality.flatten()
        if config.min_quality > 0:
            good = quality > config.min_quality
            logits, quality = logits[good], quality[good]
        for first in range(0, len(logits), _MASKS_AT_ONCE):
            yield logits[first : first + _MASKS_AT_ONCE], quality[first : first + _MASKS_AT_ONCE]


def _upscale(logits: Tensor, size: int, scaled: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """Logits at the crop's pixels by SAM's two interpolations: to the padded model input, then to the crop."""
    square = functional.interpolate(logits[None], (size, size), mode="bilinear", align_corners=False)
    inside = square[..., : scaled[0], : scaled[1]]
    return functional.interpolate(inside, shape, mode="bilinear", align_corners=False)[0]


def cut_off(boxes: Tensor, crop: Crop, shape: tuple[int, int]) -> Tensor:
    """Which boxes (n, 4) of a crop end within 20 px of an edge of it that is none of the slice: cut off there."""
    edges = torch.tensor([crop.x0, crop.y0, crop.x1, crop.y1], dtype=torch.float32)
    outer = torch.tensor([0, 0, shape[1], shape[0]], dtype=torch.float32)
    placed = boxes + edges[[0, 1, 0, 1]]
    return (((placed - edges).abs() <= _EDGE_PX) & ~((placed - outer).abs() <= _EDGE_PX)).any(dim=1)
