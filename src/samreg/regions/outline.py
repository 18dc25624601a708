"""Prompts to masks on one slice: the region at a point, in a box, and through neighbouring slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from samreg.errors import InputError
from samreg.regions.everything.boxes import MARGIN, box_iou, grown
from samreg.regions.everything.filters import intersections, mask_nms
from samreg.regions.prototypes import cosine_similarity, slice_prototypes
from samreg.regions.stack import AREAS, Stack, View
from samreg.segmenters.base import Encoding, Prompts, Segmenter
from samreg.segmenters.pixels import mask_boxes, masks_to_slice

__all__ = [
    "Outline",
    "ask_boxes",
    "ask_each_box",
    "ask_points",
    "at_point",
    "distinct",
    "in_box",
    "iou_with",
    "joined",
    "through_slices",
]

_SIDES = (0.05, 0.07, 0.1, 0.14, 0.2, 0.28, 0.4)
"""Sides of the boxes tried around a point, as shares of the longer side of the slice."""
_SAME = 0.8
"""IoU from which two masks show the same region."""
_MIN_QUALITY = 0.5
_ALIKE = 0.85
"""IoU from which two boxes ask the same."""
_COMPONENT_VOTES = 2
_SUPPORT_POWER = 1 / 16
"""Chosen on points in 102 structures of hearts, prostates and abdomens: more power prefers small parts that every box
finds, none prefers large ones."""
_AT_ONCE = 64
_MIN_NEIGHBOUR_IOU = 0.4


@dataclass(frozen=True, eq=False)
class Outline:
    """Masks of one slice.

    Args:
        masks: (n, y, x) booleans in slice pixels; none empty.
        quality: (n,) predicted IoU.
        encoding: of the slice.
    """

    masks: np.ndarray
    quality: np.ndarray
    encoding: Encoding

    def __len__(self) -> int:
        return len(self.masks)

    @cached_property
    def prototypes(self) -> np.ndarray:
        """(n, c) mean embedding under each mask; computed when asked for, since most masks are dropped before."""
        return slice_prototypes(self.encoding, self.masks)

    def select(self, rows: np.ndarray) -> Outline:
        """The masks at `rows`, in that order."""
        return Outline(self.masks[rows], self.quality[rows], self.encoding)


def iou_with(masks: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """IoU of n masks (n, y, x) with one (y, x); (n,)."""
    both = (masks & mask).sum(axis=(1, 2))
    union = (masks | mask).sum(axis=(1, 2))
    result: np.ndarray = both / np.maximum(union, 1)
    return result


def ask_boxes(segmenter: Segmenter, encoding: Encoding, boxes: np.ndarray, rounds: int = 1) -> Outline:
    """Masks of box prompts, prompted again `rounds` times with their own bounding boxes; empty ones left out.

    Boxes that are alike are asked once.

    Args:
        segmenter: answers.
        encoding: of the slice.
        boxes: (n, 4) x0, y0, x1, y1 in slice pixels.
        rounds: refinements.
    """
    asked = boxes[_questions(boxes)[0]].astype(np.float32)
    masks, quality, _ = _answers(segmenter, encoding, Prompts(boxes=asked))
    newest = masks
    for _ in range(rounds):
        own = _own_boxes(encoding, newest[_different(newest)])
        own = own[_questions(own, asked)[0]]
        if not len(own):
            break
        newest, better, _ = _answers(segmenter, encoding, Prompts(boxes=own))
        masks, quality = np.concatenate([masks, newest]), np.concatenate([quality, better])
        asked = np.concatenate([asked, own])
    return Outline(masks, quality, encoding)


def ask_each_box(
    segmenter: Segmenter, encoding: Encoding, boxes: np.ndarray, more: np.ndarray
) -> tuple[Outline, np.ndarray]:
    """Masks of some boxes, each asked for itself, and of more boxes together, all prompted again with their own boxes.

    Boxes that are alike are asked once.

    Args:
        segmenter: answers.
        encoding: of the slice.
        boxes: (n, 4) each for itself.
        more: (m, 4) these together.

    Returns:
        k different answers, and (k, n + 1) which of the boxes led to each, at once or by its own box; the last column
        stands for all of `more`.
    """
    n, given = len(boxes), np.concatenate([boxes, more]).astype(np.float32)
    rows, question = _questions(given)
    masks, quality, numbers = _answers(segmenter, encoding, Prompts(boxes=given[rows]))
    answer = np.full(len(rows), -1)
    answer[numbers] = np.arange(len(masks))
    led = np.zeros((len(masks), n + 1), dtype=bool)
    column = np.minimum(np.arange(len(given)), n)
    answered = answer[question] >= 0
    led[answer[question][answered], column[answered]] = True
    together = np.flatnonzero(led[:, n])
    again = np.union1d(np.flatnonzero(led[:, :n].any(axis=1)), together[_different(masks[together])])
    own = _own_boxes(encoding, masks[again])
    rows, question = _questions(own, given[rows])
    if len(rows):
        newest, better, numbers = _answers(segmenter, encoding, Prompts(boxes=own[rows]))
        fresh = np.full(len(rows), -1)
        fresh[numbers] = len(masks) + np.arange(len(newest))
        answer = np.concatenate([answer, fresh])
        masks, quality = np.concatenate([masks, newest]), np.concatenate([quality, better])
        led = np.concatenate([led, np.zeros((len(newest), n + 1), dtype=bool)])
    before = led.copy()
    for row, number in zip(again, question, strict=True):
        if answer[number] >= 0:
            led[answer[number]] |= before[row]
    return Outline(masks, quality, encoding), led


def _questions(boxes: np.ndarray, known: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Which boxes have to be asked: to one that is nearly another one the network gives nearly the same mask.

    Args:
        boxes: (n, 4).
        known: (m, 4) boxes that were asked before; none by default.

    Returns:
        Rows of `boxes` that have to be asked, and (n,) the question of each box: below m it is that of `known`, and
        m + i stands for row i.
    """
    m = 0 if known is None else len(known)
    everything = boxes if known is None else np.concatenate([known, boxes])
    alike = box_iou(everything, everything) >= _ALIKE
    questions, rows, number = list(range(m)), [], []
    for i in range(len(boxes)):
        same = np.flatnonzero(alike[m + i, questions])
        number.append(int(same[0]) if len(same) else len(questions))
        if not len(same):
            questions.append(m + i)
            rows.append(i)
    return np.asarray(rows, dtype=int), np.asarray(number, dtype=int)


def _different(masks: np.ndarray) -> np.ndarray:
    """Rows of masks of which none is nearly another one.

    Prompts cost more than anything else here: what is already its own box's answer is not asked again.
    """
    result: np.ndarray = mask_nms(intersections(torch.from_numpy(masks)), torch.arange(len(masks)), _SAME).numpy()
    return result


def _own_boxes(encoding: Encoding, masks: np.ndarray) -> np.ndarray:
    own = mask_boxes(torch.from_numpy(masks)).numpy()
    return grown(own, MARGIN * max(encoding.shape), encoding.shape)


def ask_points(segmenter: Segmenter, encoding: Encoding, points: np.ndarray) -> Outline:
    """Masks of single foreground points (n, 2), three a point where the segmenter can."""
    masks, quality, _ = _answers(segmenter, encoding, Prompts(points=points[:, None].astype(np.float32)))
    return Outline(masks, quality, encoding)


def joined(*outlines: Outline) -> Outline:
    """The masks of all, which are of one slice."""
    return Outline(
        np.concatenate([o.masks for o in outlines]),
        np.concatenate([o.quality for o in outlines]),
        outlines[0].encoding,
    )


def at_point(segmenter: Segmenter, view: View, point: np.ndarray) -> Outline:
    """The region at a point, as one mask.

    Boxes of several sizes are tried around the point, and boxes around connected components at some grey level.
    The mask with the highest predicted IoU wins, with a slight advantage for what many prompts agree on: that is a
    structure, and not only the shape of its prompt.

    Args:
        segmenter: answers the prompts.
        view: the slice.
        point: (2,) x, y in slice pixels.

    Raises:
        InputError: if no mask holds the point.
    """
    encoding, fitting = view.encoding, view.components
    half = np.asarray(_SIDES)[:, None] * max(encoding.shape) / 2
    boxes = grown(np.concatenate([point - half, point + half], axis=1), 0.0, encoding.shape)
    fitting = fitting[((fitting[:, :2] <= point) & (fitting[:, 2:] >= point)).all(axis=1)]
    everything, led = ask_each_box(segmenter, encoding, boxes, fitting)
    n_boxed = len(everything)
    if segmenter.prompt_kind == "points":
        everything = joined(everything, ask_points(segmenter, encoding, point[None]))
        led = np.pad(led, ((0, len(everything) - n_boxed), (0, 0)))
    x, y = np.clip(np.round(point).astype(int), 0, np.asarray(encoding.shape[::-1]) - 1)
    rows = np.flatnonzero(everything.masks[:, y, x] & (everything.quality >= _MIN_QUALITY))
    rows = rows[everything.masks[rows].mean(axis=(1, 2)) <= AREAS[1]]
    if not len(rows):
        raise InputError("no region of the fixed image holds the point: move it, or give a box or a mask")
    kept = everything.select(rows)
    support = _support(kept, led[rows])
    # A point prompt speaks for every size.
    support = np.where(rows < n_boxed, support, np.maximum(support, 2 / len(_SIDES)))
    best = int(np.argmax(kept.quality * support**_SUPPORT_POWER))
    return kept.select(np.asarray([best]))


def _support(outline: Outline, led: np.ndarray) -> np.ndarray:
    """(n,) share of the prompts that found the region of each mask; the boxes that fit have several votes together.

    Args:
        outline: n masks.
        led: (n, sizes + 1) which sizes of box led to each, and in the last column whether a box that fits did.
    """
    shared = intersections(torch.from_numpy(outline.masks))
    area = shared.diagonal()
    same = (shared / (area[:, None] + area[None, :] - shared).clamp(min=1) >= _SAME).numpy()
    votes = np.asarray([1] * len(_SIDES) + [_COMPONENT_VOTES])
    found = (same[:, :, None] & led[None]).any(axis=1)
    result: np.ndarray = found @ votes / votes.sum()
    return result


def in_box(segmenter: Segmenter, encoding: Encoding, box: np.ndarray) -> Outline:
    """The region that fills a box (4,) x0, y0, x1, y1, as one mask.

    Raises:
        InputError: if there is none.
    """
    answer = ask_boxes(segmenter, encoding, grown(box[None], 0.0, encoding.shape), rounds=0)
    if not len(answer):
        raise InputError("no region of the fixed image fills the box: give another box, or a mask")
    return answer.select(np.asarray([int(answer.quality.argmax())]))


def through_slices(
    segmenter: Segmenter, stack: Stack, start: int, outline: Outline, epsilon: float, span: tuple[int, int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Follow a region from slice to slice; each mask's bounding box is the prompt on the next slice.

    It ends where the predicted IoU, the similarity of prototypes or the overlap with the slice before falls.

    Args:
        segmenter: answers.
        stack: the image.
        start: slice of `outline`.
        outline: one mask.
        epsilon: cosine similarity to the slice before, below which the region has ended.
        span: first and last slice allowed.

    Yields:
        Slice number and mask, one slice at a time, `start` left out.
    """
    for step in (1, -1):
        last, number = outline, start + step
        while span[0] <= number <= span[1]:
            following = _next(segmenter, stack.encoding(number), last, epsilon)
            if following is None:
                break
            yield number, following.masks[0]
            last, number = following, number + step


def _next(segmenter: Segmenter, encoding: Encoding, last: Outline, epsilon: float) -> Outline | None:
    box = mask_boxes(torch.from_numpy(last.masks)).numpy()
    middle, half = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]) / 2
    boxes = np.concatenate([np.concatenate([middle - half * f, middle + half * f], axis=1) for f in (1.05, 0.8)])
    answer = ask_boxes(segmenter, encoding, grown(boxes, 0.0, encoding.shape), rounds=0)
    if not len(answer):
        return None
    overlap = iou_with(answer.masks, last.masks[0])
    similarity = cosine_similarity(answer.prototypes, last.prototypes)[:, 0]
    good = (answer.quality >= _MIN_QUALITY) & (similarity >= epsilon) & (overlap >= _MIN_NEIGHBOUR_IOU)
    if not good.any():
        return None
    best = int(np.argmax(np.where(good, overlap * answer.quality, -1.0)))
    return answer.select(np.asarray([best]))


def _answers(segmenter: Segmenter, encoding: Encoding, prompts: Prompts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks that are not empty, their predicted IoU, and the number of the prompt of each."""
    masks, quality = [np.zeros((0, *encoding.shape), dtype=bool)], [np.zeros(0, dtype=np.float32)]
    numbers = [np.zeros(0, dtype=int)]
    for rows in _chunks(len(prompts)):
        multimask = prompts.points is not None and segmenter.supports_multimask
        answer = segmenter.prompt(encoding, prompts[rows], multimask=multimask)
        full = (masks_to_slice(answer.logits.flatten(0, 1), encoding) > 0).cpu().numpy()
        some = np.flatnonzero(full.reshape(len(full), -1).any(axis=1))
        masks.append(full if len(some) == len(full) else full[some])
        quality.append(answer.quality.flatten().float().cpu().numpy()[some])
        numbers.append(rows.start + some // answer.quality.shape[1])
    return np.concatenate(masks), np.concatenate(quality), np.concatenate(numbers)


def _chunks(n: int) -> Iterator[slice]:
    return (slice(i, min(i + _AT_ONCE, n)) for i in range(0, n, _AT_ONCE))


def distinct(outline: Outline, limit: float) -> Outline:
    """The best of masks that overlap by an IoU of more than `limit`, by predicted IoU."""
    if not len(outline):
        return outline
    order = torch.argsort(torch.from_numpy(outline.quality), descending=True, stable=True)
    return outline.select(mask_nms(intersections(torch.from_numpy(outline.masks)), order, limit).numpy())
