"""`propose`: the everything mode of one slice, with boxes or with points."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from samreg.config import ProposalConfig
from samreg.regions.everything.boxes import MARGIN, box_grid, grown, informative
from samreg.regions.everything.components import component_boxes
from samreg.regions.everything.filters import drop_overlapping, intersections, mask_nms, stability_score
from samreg.regions.everything.points import generate_exact
from samreg.regions.everything.proposals import Proposals
from samreg.regions.everything.rules import RULES
from samreg.segmenters.base import Encoding, Masks, Prompts, Segmenter, prompt_slices
from samreg.segmenters.pixels import mask_boxes, masks_to_slice

__all__ = ["propose", "propose_slices"]

_GRID = ((0.36, 0.5), (0.22, 0.4))
"""Side of the box prompts of each size, largest first, as a share of the longer side of the slice, and the share by
which neighbours overlap."""
_COMPONENT_LEVELS = 8
"""Grey levels whose connected components give box prompts of their own."""
_COVERED_QUALITY = 0.8
"""Predicted IoU from which a mask spares smaller box prompts."""


def propose(segmenter: Segmenter, encoding: Encoding, pixels: np.ndarray, config: ProposalConfig) -> Proposals:
    """Segment everything in one slice.

    Args:
        segmenter: answers the prompts.
        encoding: of the slice, from the same segmenter.
        pixels: the slice, float32 in [0, 1], `(y, x)` or `(y, x, 3)`.
        config: which masks stay.

    Returns:
        The masks that stay, best quality first; possibly none.
    """
    return propose_slices(segmenter, [encoding], [pixels], config)[0]


def propose_slices(
    segmenter: Segmenter, encodings: Sequence[Encoding], slices: Sequence[np.ndarray], config: ProposalConfig
) -> list[Proposals]:
    """`propose` for several slices, whose prompts are asked together: each is searched as if it were alone.

    Args:
        segmenter: as for `propose`.
        encodings: of the slices.
        slices: as `pixels` for `propose`, one each.
        config: as for `propose`.
    """
    kind = segmenter.prompt_kind
    if kind == "points" and RULES[config.mask_rules].exact_points:
        pairs = zip(encodings, slices, strict=True)
        return [generate_exact(segmenter, pixels, config, encoding=encoding) for encoding, pixels in pairs]
    searches = []
    for encoding, pixels in zip(encodings, slices, strict=True):
        grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
        search = _Search(segmenter.supports_multimask, encoding, grey, config)
        searches.append(search.by_boxes() if kind == "boxes" else search.by_points())
    return _together(segmenter, encodings, searches)


@dataclass(frozen=True, eq=False)
class _Question:
    """What a search asks next.

    Args:
        prompts: on its slice.
        multimask: three masks a prompt.
        coarse: masks at every fourth pixel.
    """

    prompts: Prompts
    multimask: bool = False
    coarse: bool = True


_Steps: TypeAlias = "Generator[_Question, Masks, Proposals]"
"""A search that yields questions, is sent their answers, and returns what stays."""


def _together(segmenter: Segmenter, encodings: Sequence[Encoding], searches: Sequence[_Steps]) -> list[Proposals]:
    """Run searches side by side: what they ask at one time, and in one way, is asked in one call."""
    found: dict[int, Proposals] = {}
    waiting: dict[int, _Question] = {}

    def go_on(row: int, answer: Masks | None) -> None:
        try:
            waiting[row] = next(searches[row]) if answer is None else searches[row].send(answer)
        except StopIteration as end:
            found[row] = end.value

    for row in range(len(searches)):
        go_on(row, None)
    while waiting:
        kind = next((q.multimask, q.coarse) for q in waiting.values())
        rows = [row for row, q in waiting.items() if (q.multimask, q.coarse) == kind]
        asked = [waiting.pop(row).prompts for row in rows]
        answers = prompt_slices(segmenter, [encodings[r] for r in rows], asked, multimask=kind[0], coarse=kind[1])
        for row, answer in zip(rows, answers, strict=True):
            go_on(row, answer)
    return [found[row] for row in range(len(searches))]


class _Pool:
    """Coarse masks found so far, on the device of the segmenter."""

    def __init__(self, shape: tuple[int, int], device: torch.device) -> None:
        self.masks = torch.zeros((0, *shape), dtype=torch.bool, device=device)
        self.quality = torch.zeros(0, device=device)

    def add(self, masks: Tensor, quality: Tensor) -> None:
        self.masks = torch.cat([self.masks, masks])
        self.quality = torch.cat([self.quality, quality])

    def keep(self, rows: Tensor) -> None:
        self.masks, self.quality = self.masks[rows], self.quality[rows]


class _Search:
    """One slice's search: score and deduplicate at every fourth pixel, compute full masks for survivors only."""

    def __init__(self, multimask: bool, encoding: Encoding, grey: np.ndarray, config: ProposalConfig) -> None:
        self.multimask, self.encoding, self.grey, self.config = multimask, encoding, grey, config
        self.rules = RULES[config.mask_rules]
        self.valid = encoding.valid
        self.n_prompts = 0
        self.pool = _Pool(self.valid, encoding.features.device)

    def by_boxes(self) -> _Steps:
        """The largest boxes of the grid, and boxes around connected components at several grey levels; then the grid's
        smaller boxes, each only where no mask of its size has been found yet, and as long as there is room for more.
        """
        config, longest = self.config, max(self.encoding.shape)
        for number, (share, overlap) in enumerate(_GRID):
            if 0 < config.max_rois <= len(self.pool.masks) or (number > 0 and self.rules.most_prompts):
                break
            boxes = box_grid(self.encoding.shape, share * longest, overlap)
            boxes = boxes[informative(boxes, self.grey)]
            boxes = boxes[~self._covered(boxes)]
            if number == 0:
                components = component_boxes(self.grey, _COMPONENT_LEVELS, config.areas)
                most = self.rules.most_prompts
                boxes = np.concatenate([components, boxes])[:most] if most else np.concatenate([boxes, components])
            if len(boxes):
                self.n_prompts += len(boxes)
                masks = yield _Question(Prompts(boxes=boxes))
                self._collect(masks.logits[:, 0], masks.quality[:, 0])
            self._deduplicate(0)
        return (yield from self._answer())

    def by_points(self) -> _Steps:
        """A grid of points, three masks each, where the slice is not flat."""
        side = max(self.encoding.shape) / self.rules.points_per_side
        cells = box_grid(self.encoding.shape, side, 0.0)
        around = grown(cells, side, self.encoding.shape)
        centres = (cells[:, :2] + cells[:, 2:])[informative(around, self.grey)] / 2
        for start in range(0, len(centres), 64):
            chunk = centres[start : start + 64]
            masks = yield _Question(Prompts(points=chunk[:, None]), multimask=self.multimask)
            self.n_prompts += len(chunk)
            self._collect(masks.logits.flatten(0, 1), masks.quality.flatten())
            self._deduplicate(0)
        return (yield from self._answer())

    def _answer(self) -> _Steps:
        """Full masks of the best: prompted again with their own bounding boxes, a little larger, then filtered and
        deduplicated at full resolution.
        """
        self._deduplicate(self.config.max_rois)
        config, encoding = self.config, self.encoding
        nothing = Proposals(np.zeros((0, *encoding.shape), dtype=bool), np.zeros(0, dtype=np.float32), self.n_prompts)
        if not len(self.pool.masks):
            return nothing
        boxes = grown(self._slice_boxes(self.pool.masks), MARGIN * max(encoding.shape), encoding.shape)
        masks = yield _Question(Prompts(boxes=boxes), coarse=False)
        self.n_prompts += len(boxes)
        logits, quality = masks_to_slice(masks.logits[:, 0], encoding), masks.quality[:, 0]
        area = (logits > 0).flatten(1).sum(1) / float(np.prod(encoding.shape))
        good = (area >= config.areas[0]) & (area <= config.areas[1]) & (quality >= config.min_quality)
        if self.rules.min_stability > 0:
            good &= stability_score(logits) >= self.rules.min_stability
        rows = torch.nonzero(good)[:, 0]
        if not len(rows):
            return nothing
        full, quality = logits[rows] > 0, quality[rows]
        shared = intersections(full)
        kept = mask_nms(shared, torch.argsort(quality, descending=True, stable=True), self.rules.nms_iou)
        kept = drop_overlapping(shared, kept, self.rules.max_overlap)
        if config.max_rois:
            kept = kept[: config.max_rois]
        return Proposals(full[kept].cpu().numpy(), quality[kept].cpu().numpy().astype(np.float32), self.n_prompts)

    def _collect(self, logits: Tensor, quality: Tensor) -> None:
        h, w = self.valid
        masks = logits[:, :h, :w] > 0
        area = masks.flatten(1).sum(1) / (h * w)
        # Coarse areas are rough, so that their bounds are wider than those of the final masks.
        good = (quality >= self.config.min_quality - 0.1) & (area > 0.5 * self.config.areas[0]) & (area > 0)
        good &= area < 1.2 * self.config.areas[1]
        self.pool.add(masks[good], quality[good])

    def _deduplicate(self, limit: int) -> None:
        if not len(self.pool.masks):
            return
        order = torch.argsort(self.pool.quality, descending=True, stable=True)
        kept = mask_nms(intersections(self.pool.masks), order, self.rules.nms_iou)
        self.pool.keep(kept[:limit] if limit else kept)

    def _slice_boxes(self, masks: Tensor) -> np.ndarray:
        """Bounding boxes of coarse masks in slice pixels; a coarse pixel is the first of four."""
        stride = self.encoding.stride
        boxes = mask_boxes(masks).cpu().numpy() * stride
        boxes[:, 2:] += 0.5 * stride
        return grown(boxes, 0.0, self.encoding.shape)

    def _covered(self, boxes: np.ndarray) -> np.ndarray:
        """Which boxes have their middle under a good mask of about their own size."""
        pool = self.pool
        good = torch.nonzero(pool.quality >= _COVERED_QUALITY)[:, 0]
        if not len(good) or not len(boxes):
            return np.zeros(len(boxes), dtype=bool)
        stride = self.encoding.stride
        masks = pool.masks[good].cpu()
        area = masks.flatten(1).sum(1).numpy() * stride**2
        box_area = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
        middle = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).astype(int)
        h, w = self.valid
        under = masks[:, middle[:, 1].clip(0, h - 1), middle[:, 0].clip(0, w - 1)].numpy()
        result: np.ndarray = (under & (area[:, None] <= box_area[None, :] * 1.5)).any(axis=0)
        return result
