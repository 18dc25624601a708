"""Which pairs stay: those that the first registration and the embeddings confirm, and one of each that are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samreg.pairs.counterparts import SlicePair, mask_iou

__all__ = ["choose", "confirmed", "confirmed_within", "weight_of", "without_doubles"]

_LEAST_AGREEMENT = 0.6
"""IoU with the carried region below which an answer is no counterpart."""
_LENIENCE = 0.15
"""By how much perfect agreement lowers epsilon: a region that contracts looks different, and yet is the same."""
_SHRUNK = 0.35
"""The same where the answer is a smaller region within the carried one, or holds it: a chamber empties further than
the first registration follows."""
_WITHIN = 0.8
"""Share of the smaller region that then lies in the larger one,"""
_GOOD = 0.8
"""least predicted IoU of both,"""
_LESS_LIKE = 0.2
"""and how much less alike they may be: a cell of the embedding around a small region holds more of its surroundings."""
_SAME = 0.8
"""IoU from which two masks show the same region."""
_CERTAIN = (0.3, 0.8)
"""Agreement at which a pair begins to count, and at which it counts in full."""


def choose(pairs: Sequence[SlicePair], epsilon: float) -> list[SlicePair]:
    """The pairs that stay, best first within each slice.

    A pair that asking gave has to agree with the carried region, or to lie within it, and to be similar. Of pairs whose
    fixed regions, or whose moving regions, are the same, the best stays; a settled pair comes before all that asking
    gave.

    Args:
        pairs: found and asked.
        epsilon: cosine similarity below which two regions do not correspond.
    """
    return without_doubles(
        [p for p in pairs if p.kind == "found" or confirmed(p, epsilon) or confirmed_within(p, epsilon)]
    )


def without_doubles(pairs: Sequence[SlicePair]) -> list[SlicePair]:
    """The best of pairs whose fixed regions, or whose moving regions, are the same; best first within each slice."""
    kept: list[SlicePair] = []
    for number in sorted({p.slices[0] for p in pairs}):
        here = sorted((p for p in pairs if p.slices[0] == number), key=lambda p: (not p.settled, -p.score))
        conflict = mask_iou(*[np.stack([p.fixed for p in here])] * 2) >= _SAME
        for other in {p.slices[1] for p in here}:
            rows = [i for i, p in enumerate(here) if p.slices[1] == other]
            masks = np.stack([here[i].moving for i in rows])
            conflict[np.ix_(rows, rows)] |= mask_iou(masks, masks) >= _SAME
        alive = np.ones(len(here), dtype=bool)
        for i, pair in enumerate(here):
            if alive[i]:
                kept.append(pair)
                alive &= ~conflict[i]
    return kept


def confirmed(pair: SlicePair, epsilon: float) -> bool:
    """Whether the first registration and the embeddings confirm what asking gave."""
    return pair.agreement >= _LEAST_AGREEMENT and pair.similarity >= epsilon - _LENIENCE * pair.agreement


def confirmed_within(pair: SlicePair, epsilon: float, least_quality: float = _GOOD) -> bool:
    """Whether one region lies in the other, clearly outlined, and is much smaller than the first registration says."""
    within = pair.contained >= _WITHIN and pair.agreement >= _SHRUNK
    return within and min(pair.quality) >= least_quality and pair.similarity >= epsilon - _LESS_LIKE


def weight_of(agreement: float) -> float:
    """The weight of a pair in equation (2), in [0, 1]: a false pair pulls harder than a true one."""
    low, high = _CERTAIN
    return float(np.clip((agreement - low) / (high - low), 0.0, 1.0))
