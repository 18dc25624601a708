"""`propose`: the everything mode of one slice, with boxes or with points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samreg.config import ProposalConfig
from samreg.regions.everything.boxes import MARGIN, box_grid, grown, informative
from samreg.regions.everything.components import component_boxes
from samreg.regions.everything.filters import drop_overlapping, intersections, mask_nms, stability_score
from samreg.segmenters.base import Encoding, Prompts, Segmenter
from samreg.segmenters.pixels import mask_boxes, masks_to_slice

__all__ = ["Proposals", "propose"]


@dataclass(frozen=True, eq=False)
class Proposals:
    """The masks of one slice, best first.

    Args:
        masks: (n, y, x) booleans in slice pixels.
        quality: (n,) predicted IoU.
        n_prompts: prompts that were asked.
    """

    masks: np.ndarray
    quality: np.ndarray
    n_prompts: int


def propose(segmenter: Segmenter, encoding: Encoding, pixels: np.ndarray, config: ProposalConfig) -> Proposals:
    """Segment everything in one slice.

    Args:
        segmenter: answers the prompts.
        encoding: of the slice, from the same segmenter.
        pixels: the slice, float32 in [0, 1], `(y, x)` or `(y, x, 3)`.
        config: which prompts, which masks stay.

    Returns:
        The masks that stay, best quality first; possibly none.
    """
    kind = segmenter.prompt_kind if config.prompts == "auto" else config.prompts
    if kind == "points" and config.exact_points:
        from samreg.regions.everything.points import generate_exact

        return generate_exact(segmenter, pixels, config, encoding=encoding)
    grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    search = _Search(segmenter, encoding, grey, config)
    if kind == "boxes":
        search.ask_boxes()
    else:
        search.ask_points()
    search.refine()
    return search.answer()


class _Pool:
    """Coarse masks found so far, with the prompt that would give each again."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.masks = torch.zeros((0, *shape), dtype=torch.bool)
        self.quality = torch.zeros(0)
        self.boxes = np.zeros((0, 4), dtype=np.float32)

    def add(self, masks: Tensor, quality: Tensor, boxes: np.ndarray) -> None:
        self.masks = torch.cat([self.masks, masks])
        self.quality = torch.cat([self.quality, quality])
        self.boxes = np.concatenate([self.boxes, boxes])

    def keep(self, rows: Tensor) -> None:
        self.masks, self.quality, self.boxes = self.masks[rows], self.quality[rows], self.boxes[rows.numpy()]


class _Search:
    """One slice's search: score and deduplicate at every fourth pixel, compute full masks for survivors only."""

    def __init__(self, segmenter: Segmenter, encoding: Encoding, grey: np.ndarray, config: ProposalConfig) -> None:
        self.segmenter, self.encoding, self.grey, self.config = segmenter, encoding, grey, config
        self.valid = encoding.valid
        self.n_prompts = 0
        self.pool = _Pool(self.valid)

    def ask_boxes(self) -> None:
        """The largest boxes of the grid, and boxes around what hangs together at some grey level; then the grid's
        smaller boxes, each only where no mask of its size has been found yet, and as long as there is room for more.
        """
        config, longest = self.config, max(self.encoding.shape)
        grid = sorted(zip(config.box_sizes, config.box_overlaps, strict=True), reverse=True)
        for number, (share, overlap) in enumerate(grid):
            if config.adaptive and 0 < config.max_rois <= len(self.pool.masks):
                break
            boxes = box_grid(self.encoding.shape, share * longest, overlap)
            boxes = boxes[informative(boxes, self.grey)]
            if config.adaptive:
                boxes = boxes[~self._covered(boxes)]
            if number == 0 and config.component_levels > 0:
                areas = (config.min_area, config.max_area)
                boxes = np.concatenate([boxes, component_boxes(self.grey, config.component_levels, areas)])
            self._ask(boxes)
            self._deduplicate(0)

    def ask_points(self) -> None:
        """A grid of points, three masks each, where the slice is not flat."""
        side = max(self.encoding.shape) / self.config.points_per_side
        cells = box_grid(self.encoding.shape, side, 0.0)
        around = grown(cells, side, self.encoding.shape)
        centres = (cells[:, :2] + cells[:, 2:])[informative(around, self.grey)] / 2
        for start in range(0, len(centres), 64):
            chunk = centres[start : start + 64]
            masks = self.segmenter.prompt(
                self.encoding, Prompts(points=chunk[:, None]), multimask=self.segmenter.supports_multimask, coarse=True
            )
            self.n_prompts += len(chunk)
            self._collect(masks.logits.flatten(0, 1), masks.quality.flatten())
            self._deduplicate(0)

    def refine(self) -> None:
        """Prompt again with each mask's own bounding box, a little larger; the last round is left to `answer`."""
        for _ in range(self.config.refine_rounds - 1):
            self._deduplicate(self.config.max_rois)
            self._ask(self._own_boxes())
        self._deduplicate(self.config.max_rois)

    def _own_boxes(self) -> np.ndarray:
        return grown(self._slice_boxes(self.pool.masks), MARGIN * max(self.encoding.shape), self.encoding.shape)

    def answer(self) -> Proposals:
        """Full masks of what is left, filtered and deduplicated at full resolution."""
        config, encoding = self.config, self.encoding
        nothing = Proposals(np.zeros((0, *encoding.shape), dtype=bool), np.zeros(0, dtype=np.float32), self.n_prompts)
        if not len(self.pool.masks):
            return nothing
        boxes = self._own_boxes() if config.refine_rounds else self.pool.boxes
        masks = self.segmenter.prompt(encoding, Prompts(boxes=boxes))
        self.n_prompts += len(boxes)
        logits, quality = masks_to_slice(masks.logits[:, 0], encoding), masks.quality[:, 0]
        area = (logits > 0).flatten(1).sum(1) / float(np.prod(encoding.shape))
        good = (area >= config.min_area) & (area <= config.max_area) & (quality >= config.min_quality)
        if config.min_stability > 0:
            good &= stability_score(logits, config.stability_offset) >= config.min_stability
        rows = torch.nonzero(good)[:, 0]
        if not len(rows):
            return nothing
        full, quality = logits[rows] > 0, quality[rows]
        shared = intersections(full)
        kept = mask_nms(shared, torch.argsort(quality, descending=True, stable=True), config.nms_iou)
        kept = drop_overlapping(shared, kept, config.max_overlap)
        if config.max_rois:
            kept = kept[: config.max_rois]
        return Proposals(full[kept].numpy(), quality[kept].numpy().astype(np.float32), self.n_prompts)

    def _ask(self, boxes: np.ndarray) -> None:
        if len(boxes) == 0:
            return
        masks = self.segmenter.prompt(self.encoding, Prompts(boxes=boxes), coarse=True)
        self.n_prompts += len(boxes)
        self._collect(masks.logits[:, 0], masks.quality[:, 0], boxes)

    def _collect(self, logits: Tensor, quality: Tensor, boxes: np.ndarray | None = None) -> None:
        h, w = self.valid
        masks = logits[:, :h, :w] > 0
        area = masks.flatten(1).sum(1) / (h * w)
        # Coarse areas are rough, so that their bounds are wider than those of the final masks.
        good = (quality >= self.config.min_quality - 0.1) & (area > 0.5 * self.config.min_area) & (area > 0)
        good &= area < 1.2 * self.config.max_area
        masks, quality = masks[good], quality[good]
        kept_boxes = self._slice_boxes(masks) if boxes is None else boxes[good.numpy()]
        self.pool.add(masks, quality, kept_boxes)

    def _deduplicate(self, limit: int) -> None:
        if not len(self.pool.masks):
            return
        order = torch.argsort(self.pool.quality, descending=True, stable=True)
        kept = mask_nms(intersections(self.pool.masks), order, self.config.nms_iou)
        self.pool.keep(kept[:limit] if limit else kept)

    def _slice_boxes(self, masks: Tensor) -> np.ndarray:
        """Bounding boxes of coarse masks in slice pixels; a coarse pixel is the first of four."""
        stride = self.encoding.stride
        boxes = mask_boxes(masks).numpy() * stride
        boxes[:, 2:] += 0.5 * stride
        return grown(boxes, 0.0, self.encoding.shape)

    def _covered(self, boxes: np.ndarray) -> np.ndarray:
        """Which boxes have their middle under a good mask of about their own size."""
        pool = self.pool
        good = torch.nonzero(pool.quality >= self.config.covered_quality)[:, 0]
        if not len(good) or not len(boxes):
            return np.zeros(len(boxes), dtype=bool)
        stride = self.encoding.stride
        area = pool.masks[good].flatten(1).sum(1).numpy() * stride**2
        box_area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
        middle = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).astype(int)
        h, w = self.valid
        under = pool.masks[good][:, middle[:, 1].clip(0, h - 1), middle[:, 0].clip(0, w - 1)].numpy()
        result: np.ndarray = (under & (area[:, None] <= box_area[None, :] * 1.5)).any(axis=0)
        return result
