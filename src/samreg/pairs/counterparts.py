"""Corresponding prompts: each region of one image asks the other image for its counterpart, where a first registration
carries it.

Two independent everything modes seldom outline a structure in the same way. A box prompt at the carried place, as large
as the carried region, gives a mask of the same structure more often. Boxes of other sizes cost more than half of all
prompts and found nothing more (docs/decisions/pairs.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from samreg.pairs.planes import PlaneMaps, Planes
from samreg.regions.everything.boxes import MARGIN, grown
from samreg.regions.prototypes import cosine_similarity, slice_prototypes
from samreg.regions.slices import nearest_masks
from samreg.segmenters.base import Prompts
from samreg.segmenters.pixels import masks_to_slice

__all__ = ["Asked", "SlicePair", "answers", "ask", "contained", "extent", "iou", "mask_iou", "shared_pixels"]

_SAME = 0.7
"""IoU from which two masks show the same region."""
_SETTLED = 0.6
"""Agreement from which neither region of a pair that two everything modes found has to ask: asking changed nothing."""
_EXACT_PAIR = 0.95
"""The same between pairs, after the first registration has chosen the masks."""
_LEAST_SEEN = 0.5
"""Share of a region that has to lie in the other image."""
_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class SlicePair:
    """One region of a fixed slice, and one of a moving slice.

    Args:
        fixed: (y, x) mask of the fixed slice, voxels.
        moving: (y, x) mask of the moving slice.
        slices: number of the fixed and of the moving slice.
        quality: predicted IoU of both.
        similarity: cosine of the two prototypes.
        agreement: IoU of both where the first registration carries them.
        kind: `found` (both by everything mode), `counterpart` (one was asked for) or `ring`.
        rows: the regions of everything mode on either side; -1 for a mask that was asked for, and for rings.
        contained: share of the smaller of both that lies in the other there, where one was asked for.
    """

    fixed: np.ndarray
    moving: np.ndarray
    slices: tuple[int, int]
    quality: tuple[float, float]
    similarity: float
    agreement: float
    kind: str = "counterpart"
    rows: tuple[int, int] = (-1, -1)
    contained: float = 0.0

    @property
    def settled(self) -> bool:
        """Whether two everything modes found it, and the first registration agrees: nothing speaks louder."""
        return self.kind == "found" and self.agreement >= _SETTLED

    @property
    def score(self) -> float:
        """What decides between pairs of nearly the same regions.

        Where they lie counts twice as much as how they look: a chamber that contracts is less like itself than like
        what is as small as it in the other image.
        """
        return 0.5 * self.similarity + min(self.agreement, _EXACT_PAIR) + 0.25 * sum(self.quality)


@dataclass(frozen=True, eq=False)
class Asked:
    """What asking gave.

    Args:
        pairs: at most one for each region that asked.
        n_prompts: prompts that were answered.
        n_encoded: slices that had to be encoded again.
    """

    pairs: list[SlicePair]
    n_prompts: int
    n_encoded: int


@dataclass(frozen=True, eq=False)
class _Question:
    """One region that asks.

    Args:
        row: the region.
        mask: (y, x) of its own slice.
        number: of its own slice.
        box: (4,) where it is on the other slice, voxels.
        carried: its mask on the fixed slice: its own, or carried there.
        fixed: number of the fixed slice, on which both are compared.
    """

    row: int
    mask: np.ndarray
    number: int
    box: np.ndarray
    carried: np.ndarray
    fixed: int


def ask(fixed: Planes, moving: Planes, maps: PlaneMaps, skip: tuple[set[int], set[int]] = (set(), set())) -> Asked:
    """The counterparts of the regions of both images; the slices of both show about the same cut.

    Args:
        fixed: slices of the fixed image.
        moving: slices of the moving image.
        maps: where the first registration carries the fixed slices.
        skip: regions of the fixed and of the moving image that need no counterpart.
    """
    work = _Work(fixed, moving, maps)
    pairs = work.ask(_from_fixed(fixed, moving, maps, skip[0]), "moving")
    # What is part of such a pair already does not ask again.
    known: dict[int, list[np.ndarray]] = {}
    for p in pairs:
        known.setdefault(p.slices[1], []).append(p.moving)
    pairs += work.ask(_from_moving(fixed, moving, maps, skip[1], known), "fixed")
    return Asked(pairs, work.n_prompts, fixed.n_encoded + moving.n_encoded)


def _from_fixed(fixed: Planes, moving: Planes, maps: PlaneMaps, skip: set[int]) -> Iterator[tuple[int, _Question]]:
    """Questions of the fixed regions to slices of the moving image."""
    for number in range(len(fixed)):
        rows = [int(i) for i in fixed.rows(number) if int(i) not in skip]
        if not rows:
            continue
        plane = maps[number]
        for row, mask in zip(rows, fixed.masks(rows), strict=True):
            points = plane.target[mask & plane.inside]
            if len(points) < _LEAST_SEEN * mask.sum() or not len(points):
                continue
            other = int(np.floor(plane.depth[mask].mean() + 0.5))
            if 0 <= other < len(moving):
                yield other, _Question(row, mask, number, extent(points), mask, number)


def _from_moving(
    fixed: Planes, moving: Planes, maps: PlaneMaps, skip: set[int], known: dict[int, list[np.ndarray]]
) -> Iterator[tuple[int, _Question]]:
    """Questions of the moving regions to slices of the fixed image, but for those that a mask in `known` shows."""
    where: dict[int, tuple[int, int]] = {}  # row -> (pixels that a fixed slice sees of it, that slice)
    for number in range(len(fixed)):
        plane = maps[number]
        depth = np.floor(plane.depth + 0.5).astype(int)
        for other in np.unique(depth[plane.inside]):
            rows = [int(i) for i in moving.rows(int(other)) if int(i) not in skip] if 0 <= other < len(moving) else []
            if rows:
                seen = (plane.carried(moving.masks(rows)) & (depth == other)).sum(axis=(1, 2))
                for row, count in zip(rows, seen, strict=True):
                    where[row] = max(where.get(row, (0, 0)), (int(count), number))
    shown = _shown(moving, known)
    for number in range(len(fixed)):
        rows = [row for row, (count, s) in where.items() if s == number and count > 0 and row not in shown]
        if not rows:
            continue
        masks = moving.masks(rows)
        for row, mask, carried in zip(rows, masks, maps[number].carried(masks), strict=True):
            if carried.any():
                y, x = np.nonzero(carried)
                box = extent(np.stack([x, y], axis=1))
                yield number, _Question(row, mask, moving.number(row), box, carried, number)


def _shown(planes: Planes, known: dict[int, list[np.ndarray]]) -> set[int]:
    """The regions that are the same as one of the masks (y, x) of their slice."""
    found: set[int] = set()
    for number, masks in known.items():
        rows = planes.rows(number)
        if len(rows):
            same = (mask_iou(planes.masks(rows), np.stack(masks)) >= _SAME).any(axis=1)
            found |= set(rows[same].tolist())
    return found


class _Work:
    """Asks slice by slice, and counts the prompts."""

    def __init__(self, fixed: Planes, moving: Planes, maps: PlaneMaps) -> None:
        self.fixed, self.moving, self.maps = fixed, moving, maps
        self.n_prompts = 0

    def ask(self, questions: Iterable[tuple[int, _Question]], side: str) -> list[SlicePair]:
        """The answers of one image, slice by slice: its slices are encoded once each."""
        by_slice: dict[int, list[_Question]] = {}
        for number, question in questions:
            by_slice.setdefault(number, []).append(question)
        there, here = (self.moving, self.fixed) if side == "moving" else (self.fixed, self.moving)
        found = []
        for number in sorted(by_slice):
            found += self._slice(here, there, number, by_slice[number], side)
        return found

    def _slice(self, here: Planes, there: Planes, number: int, asked: list[_Question], side: str) -> list[SlicePair]:
        masks, quality, prototypes = answers(there, number, np.stack([question.box for question in asked]))
        self.n_prompts += len(asked)
        pairs = []
        for i, (question, mask) in enumerate(zip(asked, masks, strict=True)):
            if not mask.any():
                continue
            own = here.regions.prototypes[question.row][None]
            on_fixed = mask if side == "fixed" else self.maps[question.fixed].carried(mask[None])[0]
            answer = (mask, number, float(quality[i]), -1)
            asking = (question.mask, question.number, here.regions.rois[question.row].quality, question.row)
            fixed, moving = (asking, answer) if side == "moving" else (answer, asking)
            pairs.append(
                SlicePair(
                    fixed[0],
                    moving[0],
                    (fixed[1], moving[1]),
                    (fixed[2], moving[2]),
                    similarity=float(cosine_similarity(own, prototypes[i][None])[0, 0]),
                    agreement=iou(on_fixed, question.carried),
                    rows=(fixed[3], moving[3]),
                    contained=contained(on_fixed, question.carried),
                )
            )
        return pairs


def answers(planes: Planes, number: int, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What one slice answers to box prompts.

    Args:
        planes: slices of the image.
        number: of the slice.
        boxes: (n, 4) x0, y0, x1, y1 in voxels of the slice.

    Returns:
        (n, y, x) masks in voxels, (n,) predicted IoU, (n, c) prototypes.
    """
    encoding = planes.encoding(number)
    pixels = grown(planes.to_pixels(boxes), MARGIN * max(encoding.shape), encoding.shape).astype(np.float32)
    masks, quality = [], []
    for first in range(0, len(pixels), _AT_ONCE):
        answer = planes.segmenter.prompt(encoding, Prompts(boxes=pixels[first : first + _AT_ONCE]))
        masks.append((masks_to_slice(answer.logits[:, 0], encoding) > 0).cpu().numpy())
        quality.append(answer.quality[:, 0].float().cpu().numpy())
    full = np.concatenate(masks)
    return nearest_masks(full, planes.shape), np.concatenate(quality), slice_prototypes(encoding, full)


def extent(points: np.ndarray) -> np.ndarray:
    """Box (4,) around points (n, 2), (x, y), without the outermost percent on each side."""
    low, high = np.percentile(points, [1, 99], axis=0)
    return np.concatenate([low, high])


def contained(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the smaller mask that lies in the other."""
    least = min(int(np.count_nonzero(one)), int(np.count_nonzero(other)))
    return float(np.count_nonzero(one & other) / max(1, least))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two masks of one shape."""
    both = int(np.count_nonzero(one & other))
    return both / max(1, int(np.count_nonzero(one)) + int(np.count_nonzero(other)) - both)


def mask_iou(masks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of masks (n, y, x) with others (m, y, x), (n, m)."""
    both = shared_pixels(masks, others)
    sizes = (np.count_nonzero(m.reshape(len(m), -1), axis=1) for m in (masks, others))
    union = np.add.outer(*sizes) - both
    result: np.ndarray = both / np.maximum(union, 1)
    return result


def shared_pixels(masks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How many pixels masks (n, y, x) share with others (m, y, x), (n, m) float32."""
    a, b = masks.reshape(len(masks), -1), others.reshape(len(others), -1)
    used = a.any(axis=0) & b.any(axis=0)
    result: np.ndarray = a[:, used].astype(np.float32) @ b[:, used].astype(np.float32).T
    return result
