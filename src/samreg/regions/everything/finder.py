"""A promptable segmenter that segments everything in an image, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samreg.config import SegmentConfig
from samreg.errors import GeometryError
from samreg.geometry.image import Image
from samreg.geometry.rois import Roi, RoiSet
from samreg.regions.everything.proposals import Proposals
from samreg.regions.everything.propose import propose_slices
from samreg.regions.everything.rules import RULES
from samreg.regions.prototypes import slice_prototypes
from samreg.regions.regions import FeatureVolume, Regions
from samreg.regions.slices import SlicePlan, nearest_masks, plan_slices, slice_step, window
from samreg.result import Origin
from samreg.segmenters.base import Encoding, Segmenter, slices_at_once
from samreg.segmenters.registry import open_segmenter
from samreg.types import Progress

__all__ = ["EverythingMode"]

_SLICES_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class EverythingMode:
    """The `RegionFinder` that any promptable segmenter becomes: encode each slice, prompt all over it, keep good masks.

    Args:
        segmenter: answers the prompts.
    """

    segmenter: Segmenter

    @classmethod
    def open(cls, settings: SegmentConfig) -> EverythingMode:
        """With the promptable segmenter that the settings name; its weights are read when it is first used."""
        opened = open_segmenter(
            settings.segmenter, engine=settings.engine, device=settings.device, precision=settings.precision
        )
        return cls(opened)

    @property
    def name(self) -> str:
        """The name the user gave."""
        return self.segmenter.name

    @property
    def fingerprint(self) -> str:
        """sha256 of the weights."""
        return self.segmenter.fingerprint

    def find(self, image: Image, settings: SegmentConfig, progress: Progress | None = None) -> Regions:
        """The regions of one image; those of a volume lie in one slice each. See `RegionFinder.find`."""
        return self._find(image, settings, progress, prompted=True)

    def embed(self, image: Image, settings: SegmentConfig) -> Regions:
        """The embedding of one image alone: nothing is prompted, and there are no regions."""
        return self._find(image, settings, None, prompted=False)

    def _find(self, image: Image, settings: SegmentConfig, progress: Progress | None, *, prompted: bool) -> Regions:
        rules = RULES[settings.proposals.mask_rules]
        plan = plan_slices(image.grid, settings.slice_axis, rules.side)
        slices = plan.slices(window(image, settings.hounsfield))
        collected = _Collected(plan, slice_step(plan, rules.reach))
        slices = [slices[number] for number in collected.encoded]
        together = slices_at_once(self.segmenter)
        at_once = max(_SLICES_AT_ONCE, together)
        for first in range(0, len(slices), at_once):
            encodings = self.segmenter.encode(slices[first : first + at_once])
            for start in range(0, len(encodings), together):
                some = encodings[start : start + together]
                begin = first + start
                searched = (
                    propose_slices(self.segmenter, some, slices[begin : begin + len(some)], settings.proposals)
                    if prompted
                    else [_nothing(encoding) for encoding in some]
                )
                for row, (encoding, found) in enumerate(zip(some, searched, strict=True), begin):
                    masks = nearest_masks(found.masks, plan.plane_shape)
                    seen = masks.any(axis=(1, 2))  # flat pixels: a thin region can lie between the rows of voxels
                    prototypes = slice_prototypes(encoding, found.masks[seen])
                    cells = encoding.valid_features.cpu().numpy()
                    collected.add(row, masks[seen], found.quality[seen], prototypes, cells)
                    collected.stride = encoding.stride
                    if progress:
                        progress("segment", row + 1, len(slices))
        segmenter = self.segmenter
        origin = Origin(
            segmenter.name,
            segmenter.fingerprint,
            segmenter.engine,
            prompts=segmenter.prompt_kind,
            n_slices=plan.n_slices,
            n_rois=len(collected.rois),
        )
        return collected.regions(image, origin)


def _nothing(encoding: Encoding) -> Proposals:
    """No masks at all of a slice."""
    return Proposals(np.zeros((0, *encoding.shape), dtype=bool), np.zeros(0, dtype=np.float32), 0)


class _Collected:
    """Regions, prototypes and embedding of the slices seen so far.

    Slices that are not encoded have the regions of the nearest one that is, and an embedding between those of their
    neighbours.

    Args:
        plan: how the image is cut.
        step: one in so many slices is encoded.
    """

    def __init__(self, plan: SlicePlan, step: int = 1) -> None:
        self.plan, self.stride = plan, 1.0
        n = plan.n_slices
        self.encoded = [min(first + (step - 1) // 2, n - 1) for first in range(0, n, step)]
        self._blocks = [range(first, min(first + step, n)) for first in range(0, n, step)]
        self.rois: list[Roi] = []
        self._prototypes: list[np.ndarray] = []
        self._owners: list[int] = []
        self._embedding: np.ndarray | None = None

    def add(self, row: int, masks: np.ndarray, quality: np.ndarray, prototypes: np.ndarray, cells: np.ndarray) -> None:
        """Take in encoded slice `row`: masks (n, y, x) in voxels, quality (n,), prototypes (n, c), cells (c, h, w)."""
        for number in self._blocks[row]:
            self.rois += [_slice_roi(m, self.plan.axis, number, q) for m, q in zip(masks, quality, strict=True)]
            self._prototypes.append(prototypes)
            self._owners += [number] * len(masks)
        if self._embedding is None:
            self._embedding = np.empty((len(cells), self.plan.n_slices, *cells.shape[1:]), dtype=np.float16)
        here = self.encoded[row]
        self._embedding[:, here] = cells.astype(np.float16)
        before = self.encoded[row - 1] if row else -1
        for number in range(before + 1, here):
            share = np.float32((number - before) / (here - before))
            earlier = cells if row == 0 else self._embedding[:, before].astype(np.float32)
            self._embedding[:, number] = ((1 - share) * earlier + share * cells).astype(np.float16)
        if row == len(self.encoded) - 1:
            self._embedding[:, here + 1 :] = cells[:, None].astype(np.float16)

    def regions(self, image: Image, origin: Origin) -> Regions:
        """All of it.

        Raises:
            GeometryError: if there was no slice.
        """
        plan, volume = self.plan, self._embedding
        if volume is None:
            raise GeometryError(f"{image.name} has no slice: there is nothing to segment")
        grid = plan.feature_grid((volume.shape[2], volume.shape[3]), self.stride)
        data = volume[:, 0] if plan.axis is None else np.moveaxis(volume, 1, 1 + plan.axis)
        return Regions(
            image,
            RoiSet(tuple(self.rois), plan.grid),
            np.concatenate(self._prototypes),
            FeatureVolume(data, grid),
            plan.axis,
            np.asarray(self._owners, dtype=np.int64),
            origin,
        )


def _slice_roi(mask: np.ndarray, axis: int | None, number: int, quality: float) -> Roi:
    flat = Roi.from_mask(mask, quality)
    if axis is None:
        return flat
    start = list(flat.start)
    start.insert(axis, number)
    return Roi(np.expand_dims(flat.mask, axis), tuple(start), flat.quality)
