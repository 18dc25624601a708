"""What a user gives to guide a registration, as files: masks and landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import InputError
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.landmarks import Landmarks
from samreg.io.known_regions import read_known_regions
from samreg.io.points import read_point_pairs

__all__ = ["GUIDES", "MASKS", "POINTS", "Guides", "read_mask"]

MASKS = ("fixed_mask", "moving_mask", "fixed_exclude", "moving_exclude")
"""Arguments of `samreg.register` that are masks; options and columns of tables have the same names."""
POINTS = ("fixed_points", "moving_points")
"""Options that are landmarks."""
GUIDES = (*MASKS, *POINTS)
"""Roles of all files that are read here."""


@dataclass(frozen=True)
class Guides:
    """What guides one registration.

    Args:
        files: where it came from, by role, for the manifest.
        arguments: of `samreg.register` and `samreg.register_regions`, by name.
    """

    files: dict[str, Path] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        given: Mapping[str, Path | None],
        fixed: Grid | None = None,
        moving: Grid | None = None,
        weight: float = 1.0,
    ) -> Guides:
        """Of files, by role; None is left out.

        Args:
            given: path of each role of `GUIDES`.
            fixed: grid of the fixed image; landmarks that are voxels need it.
            moving: grid of the moving image.
            weight: of the landmarks.

        Raises:
            ImageReadError: if a file cannot be read.
            InputError: if one of the images has landmarks and the other none.
        """
        files = {role: path for role in GUIDES if (path := given.get(role)) is not None}
        arguments: dict[str, Any] = {role: read_mask(files[role]) for role in MASKS if role in files}
        points = [files[role] for role in POINTS if role in files]
        if len(points) == 1:
            raise InputError(f"{points[0]}: landmarks of one image alone; give those of the other one as well")
        if points:
            arguments["landmarks"] = Landmarks(*read_point_pairs(points[0], points[1], fixed, moving), weight)
        return cls(files, arguments)


def read_mask(path: str | Path) -> Image:
    """A mask: any label map, segmentation or folder of masks; all regions of it belong to it."""
    rois = read_known_regions(path).rois
    return Image(np.asarray(rois.label_map() != 0, dtype=np.float32), rois.grid, Path(path).name)
