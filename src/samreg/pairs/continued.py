"""Pairs through the stack: where a structure that goes through slices is missed, its neighbours ask both images.

Everything mode finds a ventricle in most slices, and misses it where it is small. Its box in the slice beside shows
both images where to look; each is asked with its own, so that a chamber may be smaller in one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samreg.pairs.choose import confirmed, confirmed_within
from samreg.pairs.counterparts import SlicePair, answers, contained, extent, iou, mask_iou
from samreg.pairs.planes import PlaneMaps, Planes
from samreg.regions.prototypes import cosine_similarity

__all__ = ["continued"]

_CONTINUES = 0.4
"""IoU from which regions of neighbouring slices are one structure."""
_LEAST_OVERLAP = 0.3
"""IoU of an answer with the region of the slice beside,"""
_WITHIN, _LEAST_SHARE = 0.8, 0.15
"""or share of it that lies in that region, and its size as a share of that region's: structures taper."""
_LEAST_QUALITY = 0.7
"""Predicted IoU of an answer."""
_LEAST_PIXELS = 50
"""A smaller region does not ask: what is beside the end of a structure is smaller still."""


@dataclass(frozen=True, eq=False)
class _Gap:
    """A slice of both images in which a structure is missed, beside one in which it is paired."""

    pair: SlicePair
    slices: tuple[int, int]


def continued(
    pairs: Sequence[SlicePair], fixed: Planes, moving: Planes, maps: PlaneMaps, epsilon: float
) -> tuple[list[SlicePair], int]:
    """The pairs of the slices in which structures go on, and the prompts that were asked.

    A pair asks the slice beside it where none continues it there, and one does on its other side.

    Args:
        pairs: of both images.
        fixed: slices of the fixed image.
        moving: slices of the moving image.
        maps: where the first registration carries the fixed slices.
        epsilon: cosine similarity below which two regions do not correspond.
    """
    by_slice: dict[int, list[_Gap]] = {}
    for gap in _gaps(pairs, len(fixed), len(moving)):
        by_slice.setdefault(gap.slices[0], []).append(gap)
    found, n_prompts = [], 0
    for number, gaps in sorted(by_slice.items()):
        asked, seen = _asked(gaps, fixed, 0)
        n_prompts += asked
        others: dict[int, list[tuple[_Gap, _Answer]]] = {}
        for gap, answer in seen:
            others.setdefault(gap.slices[1], []).append((gap, answer))
        for both in others.values():
            asked, back = _asked([gap for gap, _ in both], moving, 1)
            n_prompts += asked
            of = {id(gap): answer for gap, answer in back}
            found += [
                _pair(gap, answer, of[id(gap)], maps[number].carried(of[id(gap)].mask[None])[0])
                for gap, answer in both
                if id(gap) in of
            ]
    # That the slice beside has the pair speaks for it: its outline need not be as sure as that of one found alone.
    return [p for p in found if confirmed(p, epsilon) or confirmed_within(p, epsilon, _LEAST_QUALITY)], n_prompts


@dataclass(frozen=True, eq=False)
class _Answer:
    """What a slice answered: mask (y, x), predicted IoU, prototype (c,)."""

    mask: np.ndarray
    quality: float
    prototype: np.ndarray


def _gaps(pairs: Sequence[SlicePair], n_fixed: int, n_moving: int) -> list[_Gap]:
    if n_fixed < 3:
        return []  # a structure has two slices, and the gap is the one beside them
    by_slice: dict[int, list[SlicePair]] = {}
    for pair in pairs:
        by_slice.setdefault(pair.slices[0], []).append(pair)
    found = []
    for number, here in by_slice.items():
        masks = np.stack([p.fixed for p in here])
        goes_on = {
            step: (mask_iou(masks, np.stack([p.fixed for p in there])).max(axis=1) >= _CONTINUES)
            if (there := by_slice.get(number + step))
            else np.zeros(len(here), dtype=bool)
            for step in (-1, 1)
        }
        for step in (-1, 1):
            if not 0 <= number + step < n_fixed:
                continue
            for i in np.flatnonzero(~goes_on[step] & goes_on[-step]):
                other = here[i].slices[1] + step
                least = min(np.count_nonzero(here[i].fixed), np.count_nonzero(here[i].moving))
                if 0 <= other < n_moving and least >= _LEAST_PIXELS:
                    found.append(_Gap(here[i], (number + step, other)))
    return found


def _asked(gaps: Sequence[_Gap], planes: Planes, side: int) -> tuple[int, list[tuple[_Gap, _Answer]]]:
    """Prompts, and the answers of one slice that go on with the region beside it."""
    beside = np.stack([gap.pair.moving if side else gap.pair.fixed for gap in gaps])
    boxes = np.stack([extent(np.argwhere(mask)[:, ::-1]) for mask in beside])
    masks, quality, prototypes = answers(planes, gaps[0].slices[side], boxes)
    kept = []
    for gap, near, mask, value, prototype in zip(gaps, beside, masks, quality, prototypes, strict=True):
        if value >= _LEAST_QUALITY and _goes_on(mask, near):
            kept.append((gap, _Answer(mask, float(value), prototype)))
    return len(boxes), kept


def _goes_on(mask: np.ndarray, near: np.ndarray) -> bool:
    """Whether an answer is the region beside it, or a smaller part of it."""
    both, size, whole = (int(np.count_nonzero(m)) for m in (mask & near, mask, near))
    tapers = both >= _WITHIN * size and size >= _LEAST_SHARE * whole
    return both >= _LEAST_OVERLAP * (size + whole - both) or tapers


def _pair(gap: _Gap, one: _Answer, other: _Answer, carried: np.ndarray) -> SlicePair:
    return SlicePair(
        one.mask,
        other.mask,
        gap.slices,
        (one.quality, other.quality),
        similarity=float(cosine_similarity(one.prototype[None], other.prototype[None])[0, 0]),
        agreement=iou(carried, one.mask),
        contained=contained(carried, one.mask),
    )
