"""Whole structures of volumes: a region that goes through the slices of one image asks the other in some of them.

What answers, with what lies between, is its counterpart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from samreg.geometry.rois import PairedRois, Roi, RoiSet
from samreg.initial.overlaps import pair_overlaps
from samreg.pairs.choose import confirmed, weight_of
from samreg.pairs.counterparts import Asked, SlicePair, ask
from samreg.pairs.planes import PlaneMaps, Planes
from samreg.regions.linking import between, chains_of
from samreg.types import Matrix

__all__ = ["ask_for_structures"]

_ASKED = 6
"""Slices in which a structure asks at most, evenly over its extent."""
_LONGEST_STEP = 2
"""Slices from one region of a structure to its next one."""
_LEAST_CONFIRMED = 0.5
"""Share of the slices asked in which a counterpart has to be confirmed."""
_SETTLED = 0.7
"""Overlap, under the first registration, of a pair of whole regions from which neither asks."""
_SURE = 0.5
"""Overlap from which a pair of regions that were found in both images stays: what asking gives was looked for where the
first registration says, and agrees with it more for that reason alone."""
_SAME = 0.6
"""IoU from which two regions of one image are the same."""


@dataclass(frozen=True, eq=False)
class _Whole:
    """One pair of whole regions, with what decides about it."""

    fixed: Roi
    moving: Roi
    similarity: float
    agreement: float
    weight: float
    kind: str
    given: bool = False


def ask_for_structures(
    fixed: Planes,
    moving: Planes,
    maps: PlaneMaps,
    found: PairedRois,
    affine: Matrix,
    displacement: Tensor,
    epsilon: float,
) -> tuple[PairedRois, Asked]:
    """Pairs of whole regions: those that were found, and those that asking gives, without doubles.

    Args:
        fixed: slices of the fixed image.
        moving: slices of the moving image.
        maps: where the first registration carries the fixed slices.
        found: pairs of linked regions.
        affine: (d + 1, d + 1) fixed world to moving world.
        displacement: (d, *fixed shape) of the first registration, in fixed voxels.
        epsilon: cosine similarity below which two regions do not correspond.
    """
    overlap = pair_overlaps(found, affine, displacement)
    known = [
        _Whole(a, b, float(s), float(o), max(float(w), weight_of(float(o))), str(k), bool(g))
        for a, b, s, o, w, k, g in zip(
            found.fixed.rois,
            found.moving.rois,
            found.similarity,
            overlap,
            found.weights,
            found.kinds,
            found.is_given,
            strict=True,
        )
    ]
    settled = [p for p in known if p.agreement >= _SETTLED]
    chains = _open_chains(fixed, [p.fixed for p in settled]), _open_chains(moving, [p.moving for p in settled])
    rows = [[row for chain in side for row in _some(chain)] for side in chains]
    skip = tuple(set(range(len(p.regions))) - set(r) for p, r in zip((fixed, moving), rows, strict=True))
    asked = ask(fixed, moving, maps, (skip[0], skip[1]))
    counterparts = []
    for side, (here, side_chains) in enumerate(zip((fixed, moving), chains, strict=True)):
        answers = {p.rows[side]: p for p in asked.pairs if p.rows[side] >= 0}
        for chain in side_chains:
            wanted = _some(chain)
            good = [answers[row] for row in wanted if row in answers and confirmed(answers[row], epsilon)]
            if good and len(good) >= _LEAST_CONFIRMED * len(wanted):
                counterparts.append(_joined(here, moving if side == 0 else fixed, chain, good, side))
    kept = _without_doubles([*known, *_as_wholes(counterparts, found, affine, displacement)])
    kept.sort(key=lambda p: (p.kind == "counterpart", -p.similarity))
    result = PairedRois(
        RoiSet(tuple(p.fixed for p in kept), found.fixed.grid),
        RoiSet(tuple(p.moving for p in kept), found.moving.grid),
        np.asarray([p.similarity for p in kept], dtype=np.float32),
        np.asarray([p.weight for p in kept], dtype=np.float32),
        np.asarray([p.given for p in kept], dtype=bool),
        np.asarray([p.kind for p in kept], dtype=str),
    )
    return result, asked


def _as_wholes(pairs: Sequence[_Whole], found: PairedRois, affine: Matrix, displacement: Tensor) -> list[_Whole]:
    """The pairs with the overlap of their whole regions, as those have it that were found.

    Slices that were asked agree better than the whole does. Their mean still says how sure the pair is.
    """
    fixed = RoiSet(tuple(p.fixed for p in pairs), found.fixed.grid)
    moving = RoiSet(tuple(p.moving for p in pairs), found.moving.grid)
    overlap = pair_overlaps(PairedRois(fixed, moving, np.ones(len(pairs))), affine, displacement)
    return [replace(pair, agreement=float(o)) for pair, o in zip(pairs, overlap, strict=True)]


def _open_chains(planes: Planes, settled: Sequence[Roi]) -> list[list[int]]:
    """The chains through the slices of one image that no settled pair shows."""
    regions = planes.regions
    if planes.axis is None:
        return []
    chains = chains_of(regions.rois, regions.prototypes, regions.slice_index, planes.axis, longest_step=_LONGEST_STEP)
    covered = RoiSet(tuple(settled), regions.rois.grid)
    return [c for c in chains if not _shown(regions.rois.select(c), covered)]


def _shown(slices: RoiSet, settled: RoiSet) -> bool:
    """Whether one of the settled regions is what these slices show."""
    total = int(slices.n_voxels.sum())
    for roi in settled.rois:
        shared = sum(_shared(a, roi) for a in slices.rois)
        if shared >= _SAME * (total + roi.n_voxels - shared):
            return True
    return False


def _some(chain: Sequence[int]) -> list[int]:
    """The rows of a chain that ask, evenly over its slices, its ends among them."""
    places = np.linspace(0, len(chain) - 1, min(_ASKED, len(chain)))
    return [chain[i] for i in sorted({round(float(place)) for place in places})]


def _joined(here: Planes, there: Planes, chain: Sequence[int], good: Sequence[SlicePair], side: int) -> _Whole:
    """A chain, and its counterpart through the slices of the other image."""
    own = _solid(here, {here.number(row): here.masks([row])[0] for row in chain}, here.regions.rois[chain[0]].quality)
    best: dict[int, SlicePair] = {}
    for pair in good:
        number = pair.slices[1 - side]
        if number not in best or pair.score > best[number].score:
            best[number] = pair
    masks = {n: (p.moving if side == 0 else p.fixed) for n, p in best.items()}
    other = _solid(there, masks, float(np.mean([p.quality[1 - side] for p in good])))
    agreement = float(np.mean([p.agreement for p in good]))
    similarity = float(np.mean([p.similarity for p in good]))
    both = (own, other) if side == 0 else (other, own)
    return _Whole(*both, similarity, agreement, weight_of(agreement), "counterpart")


def _solid(planes: Planes, masks: dict[int, np.ndarray], quality: float) -> Roi:
    """One region of the masks of some slices and of what lies between them."""
    whole = {**masks, **between(masks)}
    full = np.zeros((len(planes), *planes.shape), dtype=bool)
    for number, mask in whole.items():
        full[number] = mask
    return Roi.from_mask(np.moveaxis(full, 0, planes.axis or 0), quality)


def _without_doubles(pairs: Iterable[_Whole]) -> list[_Whole]:
    """Of pairs that show the same region in either image, the one that the images agree on best."""
    kept: list[_Whole] = []
    by_trust = sorted(
        pairs, key=lambda p: (p.kind == "counterpart" or p.agreement < _SURE, -(p.similarity + p.agreement))
    )
    for pair in by_trust:
        if not any(_same(pair.fixed, k.fixed) or _same(pair.moving, k.moving) for k in kept):
            kept.append(pair)
    return kept


def _same(a: Roi, b: Roi) -> bool:
    shared = _shared(a, b)
    return shared >= _SAME * (a.n_voxels + b.n_voxels - shared)


def _shared(a: Roi, b: Roi) -> int:
    low = [max(p, q) for p, q in zip(a.start, b.start, strict=True)]
    high = [min(p, q) for p, q in zip(a.stop, b.stop, strict=True)]
    if any(p >= q for p, q in zip(low, high, strict=True)):
        return 0
    parts = [
        roi.mask[tuple(slice(p - s, q - s) for p, q, s in zip(low, high, roi.start, strict=True))] for roi in (a, b)
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))
