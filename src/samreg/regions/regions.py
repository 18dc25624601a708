"""Regions: one image, segmented; half of a registration, and what the cache keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import RoiSet
from samreg.result import Origin
from samreg.types import MaskArray, Prototypes

__all__ = ["FeatureVolume", "Regions"]

_LEAST_INSIDE = 0.5
"""Share of a region that has to lie where its image counts."""


@dataclass(frozen=True, eq=False)
class FeatureVolume:
    """The image embedding of all slices as one multi-channel volume with a geometry of its own.

    Args:
        data: float16 `(c, *grid.shape)`.
        grid: where the feature cells are in the world; its axes run along those of the image.
        inside: `(*grid.shape)` the cells that count; None where all do.
    """

    data: np.ndarray
    grid: Grid
    inside: MaskArray | None = None


@dataclass(frozen=True, eq=False)
class Regions:
    """What `segment` finds in one image.

    Args:
        image: the image.
        rois: its regions: 3D, or one slice thick where `slice_index` says so.
        prototypes: (n, c) mean embedding under each region.
        features: the embedding itself; None where no segmenter has seen the image.
        slice_axis: array axis that was sliced along; None in 2D.
        slice_index: (n,) the slice each region lies in, or -1 for regions that span slices.
        origin: what found them; None where nothing did.
        inside: `(*image.grid.shape)` where the image counts; None where it does everywhere.
    """

    image: Image
    rois: RoiSet
    prototypes: Prototypes
    features: FeatureVolume | None
    slice_axis: int | None
    slice_index: np.ndarray
    origin: Origin | None = None
    inside: MaskArray | None = None

    @classmethod
    def none(cls, image: Image) -> Regions:
        """No regions, no embedding, no slices: an image that is registered by given pairs and grey values alone."""
        nothing = np.zeros((0, 0), dtype=np.float32)
        no_slices = np.zeros(0, dtype=np.int64)
        return cls(image, RoiSet((), image.grid), nothing, None, None, no_slices)

    def within(self, inside: MaskArray | None) -> Regions:
        """The same where the image counts: outside there are no regions, no embedding, and no grey value is compared.

        A region stays, whole, if at least half of it lies inside; it is then compared inside alone. Regions that are
        found without masks can so be used with any.

        Args:
            inside: `(*image.grid.shape)`, for example of `samreg.geometry.masks.inside_of`; None changes nothing.
        """
        if inside is None:
            return self
        share = [float(inside[roi.box][roi.mask].mean()) for roi in self.rois.rois]
        kept = np.flatnonzero(np.asarray(share) >= _LEAST_INSIDE)
        features = self.features
        if features is not None:
            cells = DisplacementField.identity(features.grid).warp_labels(inside.astype(np.int32), self.image.grid)
            features = replace(features, inside=cells != 0)
        return replace(
            self,
            rois=self.rois.select(kept),
            prototypes=self.prototypes[kept],
            features=features,
            slice_index=self.slice_index[kept],
            inside=inside,
        )

    def __len__(self) -> int:
        return len(self.rois)
