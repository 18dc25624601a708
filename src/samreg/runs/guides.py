"""What a user gives to guide a registration, as files: masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samreg.geometry.image import Image
from samreg.io.images import read_labels

__all__ = ["GUIDES", "MASKS", "Guides", "read_mask"]

MASKS = ("fixed_mask", "moving_mask", "fixed_exclude", "moving_exclude")
"""Arguments of `samreg.register` that are masks; options and columns of tables have the same names."""
GUIDES = MASKS
"""All that is read here."""


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
    def read(cls, given: Mapping[str, Path | None]) -> Guides:
        """Of files, by role; None is left out.

        Raises:
            ImageReadError: if a file cannot be read.
        """
        files = {role: path for role in GUIDES if (path := given.get(role)) is not None}
        return cls(files, {role: read_mask(files[role]) for role in MASKS if role in files})


def read_mask(path: str | Path) -> Image:
    """A mask: any label map or segmentation, whose values other than 0 belong to it."""
    labels, grid = read_labels(path)
    return Image(np.asarray(labels != 0, dtype=np.float32), grid, Path(path).name)
