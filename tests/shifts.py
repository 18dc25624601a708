"""A body and its twin, (6, -4, 3) mm further: the true map is that shift, and pairs of labels give it exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from bodies import OBLIQUE, shifted_pair
from samreg import Image, PairedRois, RegisterConfig, RoiSet, preset
from samreg.config import SegmentConfig
from samreg.io.images import write_image, write_labels
from samreg.regions.regions import Regions
from samreg.types import LabelArray, Progress

SHIFT = (6.0, -4.0, 3.0)


class NoRegions:
    """A finder that finds nothing, so that given pairs alone drive the fit."""

    name, fingerprint, segmenter = "nothing", "", None

    def find(self, image: Image, settings: SegmentConfig, progress: Progress | None = None) -> Regions:
        return Regions.none(image)


def images() -> tuple[Image, Image]:
    return shifted_pair(OBLIQUE, SHIFT)


def labels() -> LabelArray:
    """Eight boxes, the same voxels in both images."""
    found = np.zeros(OBLIQUE.shape, np.int32)
    corners = [(z, y, x) for z in (4, 14) for y in (5, 16) for x in (5, 18)]
    for i, (z, y, x) in enumerate(corners, start=1):
        found[z : z + 4, y : y + 5, x : x + 6] = i
    return found


def settings() -> RegisterConfig:
    config = preset("fast")
    return dataclasses.replace(config, fit=dataclasses.replace(config.fit, transform="affine"))


def options() -> dict[str, Any]:
    """What `samreg.register` takes to find the shift in a second."""
    fixed, moving = (RoiSet.from_labels(labels(), image.grid) for image in images())
    ones = np.ones(len(fixed))
    pairs = PairedRois(fixed, moving, ones, ones, ones.astype(bool))
    return {"config": settings(), "segmenter": NoRegions(), "extra_pairs": pairs}


def write(folder: Path) -> dict[str, Path]:
    """Both images and label maps as files."""
    files = {}
    for side, image in zip(("fixed", "moving"), images(), strict=True):
        files[side] = write_image(image, folder / f"{side}.nii.gz")
        files[f"{side}_labels"] = write_labels(labels(), image.grid, folder / f"{side}_labels.nii.gz")
    return files
