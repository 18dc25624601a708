"""Regions: one image, segmented; half of a registration, and what the cache keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from samreg.grid import Grid
from samreg.image import Image
from samreg.rois import RoiSet
from samreg.types import Prototypes

__all__ = ["FeatureVolume", "Regions"]


@dataclass(frozen=True, eq=False)
class FeatureVolume:
    """The image embedding of all slices as one multi-channel volume with a geometry of its own.

    Args:
        data: float16 `(c, *grid.shape)`.
        grid: where the feature cells are in the world; its axes run along those of the image.
    """

    data: np.ndarray
    grid: Grid


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
        provenance: segmenter, weights, engine and settings, for the manifest.
    """

    image: Image
    rois: RoiSet
    prototypes: Prototypes
    features: FeatureVolume | None
    slice_axis: int | None
    slice_index: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def none(cls, image: Image) -> Regions:
        """No regions, no embedding, no slices: an image that is registered by given pairs and grey values alone."""
        nothing = np.zeros((0, 0), dtype=np.float32)
        no_slices = np.zeros(0, dtype=np.int64)
        return cls(image, RoiSet((), image.grid), nothing, None, None, no_slices, {"segmenter": "none"})

    def __len__(self) -> int:
        return len(self.rois)
