"""Everything mode exactly as SAM's automatic mask generator defines it: a square grid of points, three masks each.

Quality above a threshold, then stability at full resolution, then non-maximum suppression of bounding boxes. No
shortcut changes a mask: this mode is what the paper used, and what `segment-anything` gives with the same weights.

Source: Kirillov et al., "Segment Anything" (ICCV 2023), section 5 and appendix B.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.config import ProposalConfig
from samreg.regions.everything.filters import drop_overlapping, intersections, stability_score
from samreg.regions.everything.proposals import Proposals
from samreg.regions.everything.rules import RULES, MaskRules
from samreg.segmenters.base import Encoding, Prompts, Segmenter
from samreg.segmenters.pixels import mask_boxes, scaled_shape

__all__ = ["automatic_masks", "box_nms", "generate_exact"]

_POINTS_AT_ONCE = 64
_MASKS_AT_ONCE = 16


def box_nms(boxes: Tensor, scores: Tensor, limit: float) -> Tensor:
    """Rows that greedy non-maximum suppression of boxes keeps, best first.

    Args:
        boxes: (n, 4) x0, y0, x1, y1.
        scores: (n,) higher is better; ties keep their order.
        limit: IoU above which the later of two boxes is dropped.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = boxes[order].float().cpu()  # one after the other: nothing for a graphics card
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    alive = torch.ones(len(boxes), dtype=torch.bool)
    for i in range(len(boxes)):
        if alive[i]:
            low = torch.maximum(boxes[i, :2], boxes[i + 1 :, :2])
            high = torch.minimum(boxes[i, 2:], boxes[i + 1 :, 2:])
            shared = (high - low).clamp(min=0).prod(dim=1)
            # Two boxes without area share nothing: 0 / 0 is no reason to drop one.
            alive[i + 1 :] &= ~(shared / (area[i] + area[i + 1 :] - shared) > limit)
    return order[alive.to(order.device)]


def generate_exact(
    segmenter: Segmenter, pixels: np.ndarray, config: ProposalConfig, *, encoding: Encoding | None = None
) -> Proposals:
    """SAM's generator, then the ROI filter of the paper: area bounds, overlap ratio, the number of ROIs.

    Args:
        segmenter: answers the prompts.
        pixels: the slice, float32 in [0, 1], `(y, x)` or `(y, x, 3)`.
        config: thresholds; `mask_rules` names those of SAM's generator.
        encoding: the slice's encoding where there is one already.
    """
    rules = RULES[config.mask_rules]
    masks, quality, n_prompts = automatic_masks(segmenter, pixels, rules, config.min_quality, encoding=encoding)
    area = masks.flatten(1).sum(1) / float(np.prod(pixels.shape[:2]))
    rows = torch.nonzero((area >= config.areas[0]) & (area <= config.areas[1]) & (area > 0))[:, 0]
    rows = rows[torch.argsort(quality[rows], descending=True, stable=True)]
    if len(rows) and rules.max_overlap < 1:
        every = torch.arange(len(rows), device=rows.device)
        rows = rows[drop_overlapping(intersections(masks[rows]), every, rules.max_overlap)]
    if config.max_rois:
        rows = rows[: config.max_rois]
    return Proposals(masks[rows].cpu().numpy(), quality[rows].cpu().numpy().astype(np.float32), n_prompts)


def automatic_masks(
    segmenter: Segmenter, pixels: np.ndarray, rules: MaskRules, min_quality: float, *, encoding: Encoding | None = None
) -> tuple[Tensor, Tensor, int]:
    """What SAM's automatic mask generator returns, in its order.

    Args:
        segmenter: answers the prompts.
        pixels: as for `generate_exact`.
        rules: points a side, stability and IoU of boxes.
        min_quality: predicted IoU that a mask must exceed; 0 keeps all.
        encoding: the slice's encoding where there is one already.

    Returns:
        (n, y, x) masks, their predicted IoU (n,), and the number of prompts that were asked.
    """
    shape = (pixels.shape[0], pixels.shape[1])
    encoding = segmenter.encode([pixels])[0] if encoding is None else encoding
    scaled = scaled_shape(shape, encoding.input_size)
    here = encoding.features.device
    masks = [torch.zeros((0, *shape), dtype=torch.bool, device=here)]
    quality, boxes = [torch.zeros(0, device=here)], [torch.zeros(0, 4, device=here)]
    for logits, scores in _answers(segmenter, encoding, scaled, rules.points_per_side, min_quality):
        full = _upscale(logits, encoding.input_size, scaled, shape)
        if rules.min_stability > 0:
            good = stability_score(full) >= rules.min_stability
            full, scores = full[good], scores[good]
        masks.append(full > 0)
        quality.append(scores)
        # An empty mask has the empty box at the origin.
        boxes.append(mask_boxes(full > 0).clamp(min=0))
    rows = box_nms(torch.cat(boxes), torch.cat(quality), rules.nms_iou)
    return torch.cat(masks)[rows], torch.cat(quality)[rows], rules.points_per_side**2


def _answers(
    segmenter: Segmenter, encoding: Encoding, scaled: tuple[int, int], n: int, min_quality: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (k, h, w) and quality (k,) of the masks of good quality, a few at a time, in the order of the points."""
    line = (np.arange(n) + 0.5) / n
    x, y = np.meshgrid(line * scaled[1], line * scaled[0])
    # SAM scales the pixel's index, samreg its centre: ask for the point that samreg maps onto SAM's.
    ratio = np.array([scaled[1] / encoding.shape[1], scaled[0] / encoding.shape[0]])
    points = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / ratio - 0.5
    for start in range(0, len(points), _POINTS_AT_ONCE):
        asked = Prompts(points=points[start : start + _POINTS_AT_ONCE, None])
        answer = segmenter.prompt(encoding, asked, multimask=segmenter.supports_multimask)
        logits, quality = answer.logits.flatten(0, 1), answer.quality.flatten()
        if min_quality > 0:
            good = quality > min_quality
            logits, quality = logits[good], quality[good]
        for first in range(0, len(logits), _MASKS_AT_ONCE):
            yield logits[first : first + _MASKS_AT_ONCE], quality[first : first + _MASKS_AT_ONCE]


def _upscale(logits: Tensor, size: int, scaled: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """Logits at the slice's pixels by SAM's two interpolations: to the padded model input, then to the slice."""
    square = functional.interpolate(logits[None], (size, size), mode="bilinear", align_corners=False)
    inside = square[..., : scaled[0], : scaled[1]]
    return functional.interpolate(inside, shape, mode="bilinear", align_corners=False)[0]
