"""Step 3 as one function: the pairs of two images, found, asked for and given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from samreg.config import MatchConfig, SegmentConfig
from samreg.geometry.frame import Frame
from samreg.geometry.rois import PairedRois, Roi, RoiSet
from samreg.initial.problem import ImagePair
from samreg.initial.start import Start
from samreg.pairs.choose import choose, weight_of, without_doubles
from samreg.pairs.continued import continued
from samreg.pairs.counterparts import Asked, SlicePair, ask, iou
from samreg.pairs.planes import PlaneMaps, Planes, facing
from samreg.pairs.rings import rings
from samreg.pairs.verification import pair_regions
from samreg.pairs.walls import distinct, walls
from samreg.pairs.whole import ask_for_structures
from samreg.regions.linking import link_regions
from samreg.regions.regions import Regions
from samreg.segmenters.base import Segmenter

__all__ = ["Asking", "ask_for_pairs", "find_pairs"]


_LEAST_INSIDE = 0.5
"""Share of a region that lies where its image counts."""


@dataclass(frozen=True, eq=False)
class Asking:
    """What regions ask the other image with.

    Args:
        segmenter: answers the prompts.
        displacement: (d, *fixed shape) of a first registration, in fixed voxels: where they ask.
        settings: slices and window.
    """

    segmenter: Segmenter
    displacement: Tensor
    settings: SegmentConfig


def find_pairs(images: ImagePair, start: Start, config: MatchConfig, given: PairedRois | None = None) -> PairedRois:
    """Pairs of regions that were found in both images, checked against the start.

    Args:
        images: both, segmented.
        start: where their regions are carried for the check.
        config: epsilon, K, method, verify.
        given: pairs that are known; they come first and stay as they are.
    """
    fixed, moving = images.fixed, images.moving
    if images.linked:
        fixed, moving = link_regions(fixed), link_regions(moving)
    found = pair_regions(fixed, moving, start.affine, start.guide, config, by_slice=images.same_slices)
    if given is None:
        return found
    return replace(given, given=np.ones(len(given), dtype=bool), kind=None).concatenate(found)


def ask_for_pairs(
    images: ImagePair, start: Start, config: MatchConfig, pairs: PairedRois, asking: Asking
) -> tuple[PairedRois, dict[str, int]]:
    """Pairs, after each region without a sure partner has asked the other image for its counterpart.

    Args:
        images: both, segmented.
        start: whose affine map the displacement of the first registration goes with.
        config: epsilon and K.
        pairs: found and given; what was given stays as it is.
        asking: the segmenter and the first registration.

    Returns:
        The pairs: given, found, counterparts, rings; and what asking cost: `prompts`, and slices that were `encoded`
        once more.
    """
    sides = (images.fixed, images.fixed_grey), (images.moving, images.moving_grey)
    fixed, moving = (Planes(regions, asking.segmenter, asking.settings, grey) for regions, grey in sides)
    found = pairs.select(np.flatnonzero(pairs.kinds == "found"))
    given = pairs.select(np.flatnonzero(pairs.kinds != "found"))
    asked = Asked([], 0, 0)
    if len(images.fixed) and len(images.moving) and facing(fixed, moving, start.affine):
        frame = Frame(images.fixed_grid, images.moving_grid, start.affine)
        # Pairs of a stack that both images share lie in one slice, as those of two everything modes do.
        together = images.same_slices and not images.linked
        maps = PlaneMaps(fixed, moving, frame, asking.displacement, same_slices=together)
        if images.linked:
            found, asked = ask_for_structures(
                fixed, moving, maps, found, start.affine, asking.displacement, config.epsilon
            )
            found = found.select(range(min(len(found), config.max_pairs or len(found))))
        else:
            found, asked = _by_slice(fixed, moving, maps, found, config)
    seen = np.asarray(
        [
            all(_counts(regions, roi) for regions, roi in zip((images.fixed, images.moving), both, strict=True))
            for both in zip(found.fixed.rois, found.moving.rois, strict=True)
        ],
        dtype=bool,
    )
    return given.concatenate(found.select(np.flatnonzero(seen))), {
        "prompts": asked.n_prompts,
        "encoded": asked.n_encoded,
    }


def _counts(regions: Regions, roi: Roi) -> bool:
    """Whether a region lies where its image counts, as `Regions.within` says it."""
    return regions.inside is None or float(regions.inside[roi.box][roi.mask].mean()) >= _LEAST_INSIDE


def _by_slice(
    fixed: Planes, moving: Planes, maps: PlaneMaps, found: PairedRois, config: MatchConfig
) -> tuple[PairedRois, Asked]:
    known = _found(found, fixed, moving, maps)
    settled = [p.rows for p in known if p.settled]
    asked = ask(fixed, moving, maps, ({f for f, _ in settled}, {m for _, m in settled}))
    kept = choose([*known, *asked.pairs], config.epsilon)
    further, n_prompts = continued([p for p in kept if weight_of(p.agreement) > 0], fixed, moving, maps, config.epsilon)
    asked = replace(asked, n_prompts=asked.n_prompts + n_prompts)
    if further:
        kept = without_doubles([*kept, *further])

    def carried(pair: SlicePair) -> np.ndarray:
        found: np.ndarray = maps[pair.slices[0]].carried(pair.moving[None])[0]
        return found

    nested = rings(kept, carried)
    kept += distinct([*nested, *walls(kept, fixed, moving, carried)])
    if config.max_pairs:
        kept = sorted(kept, key=lambda p: -p.score)[: config.max_pairs]
    return _paired(kept, found, fixed, moving), asked


def _found(found: PairedRois, fixed: Planes, moving: Planes, maps: PlaneMaps) -> list[SlicePair]:
    """Pairs of two everything modes, with their agreement under the first registration."""
    number_of = [{id(roi): i for i, roi in enumerate(side.regions.rois.rois)} for side in (fixed, moving)]
    pairs = []
    for a, b, similarity in zip(found.fixed.rois, found.moving.rois, found.similarity, strict=True):
        rows = number_of[0][id(a)], number_of[1][id(b)]
        masks = fixed.masks([rows[0]])[0], moving.masks([rows[1]])[0]
        slices = fixed.number(rows[0]), moving.number(rows[1])
        agreement = iou(maps[slices[0]].carried(masks[1][None])[0], masks[0])
        pairs.append(SlicePair(*masks, slices, (a.quality, b.quality), float(similarity), agreement, "found", rows))
    return pairs


def _paired(kept: Sequence[SlicePair], found: PairedRois, fixed: Planes, moving: Planes) -> PairedRois:
    """Those that stay: what was found as it was, then counterparts, then rings; the surest first."""
    kinds = ("found", "counterpart", "ring")
    kept = sorted(kept, key=lambda p: (kinds.index(p.kind), -p.similarity))
    weights = {id(roi): float(w) for roi, w in zip(found.fixed.rois, found.weights, strict=True)}
    same_class = {id(roi): bool(g) for roi, g in zip(found.fixed.rois, found.is_given, strict=True)}
    sides: tuple[list[Roi], list[Roi]] = ([], [])
    confidence, given = [], []
    for pair in kept:
        for side, planes, mask, number, row, quality in zip(
            sides, (fixed, moving), (pair.fixed, pair.moving), pair.slices, pair.rows, pair.quality, strict=True
        ):
            side.append(planes.regions.rois[row] if row >= 0 else planes.roi(mask, number, quality))
        is_found = pair.kind == "found"
        # The start may not have reached what the first registration then brought together.
        confidence.append(max(weights[id(sides[0][-1])] if is_found else 0.0, weight_of(pair.agreement)))
        given.append(is_found and same_class[id(sides[0][-1])])
    return PairedRois(
        RoiSet(tuple(sides[0]), found.fixed.grid),
        RoiSet(tuple(sides[1]), found.moving.grid),
        np.asarray([p.similarity for p in kept], dtype=np.float32),
        np.asarray(confidence, dtype=np.float32),
        np.asarray(given, dtype=bool),
        np.asarray([p.kind for p in kept], dtype=str),
    )
