"""`samreg register`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from samreg.cli.common import asked_preset, pairs_from_labels, register_with_cache, show, summary
from samreg.cli.progress import ProgressLines
from samreg.config import PresetName, RegisterConfig
from samreg.errors import GeometryError, InputError

__all__ = ["Register"]


@dataclass(frozen=True)
class Register:
    """Register MOVING onto FIXED and write a run folder: pairs, transform, warped image, report.

    Images are NIfTI, NRRD, MetaImage, DICOM series folders, PNG, JPEG or TIFF.
    """

    fixed: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FIXED")]
    """The image that stays; the result lies on its grid."""
    moving: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MOVING")]
    """The image that is brought onto it."""
    out: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder for the result; must not exist or be empty."""
    fixed_labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Known regions of the fixed image (label map or .seg.nrrd), paired by value or name."""
    moving_labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Known regions of the moving image."""
    labels_only: bool = False
    """Run no segmenter: the known regions, exactly as they are, and the grey values drive the fit."""
    cache: bool = True
    """Keep the regions of both images (SAMREG_CACHE_DIR, else the user's cache folder) for the next registration."""
    overwrite: bool = False
    """Replace an older run in that folder."""
    preset: PresetName = "default"
    """Where all settings below start from."""
    config: Annotated[RegisterConfig, tyro.conf.arg(name="")] = field(default_factory=RegisterConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> Register:
        """All other options default to what the preset says."""
        return cls(tyro.MISSING, tyro.MISSING, tyro.MISSING, config=asked_preset(arguments))

    def run(self) -> None:
        """Read, register, write."""
        from samreg.io.folders import check_output
        from samreg.io.images import read_image
        from samreg.io.run_folder import write_run

        check_output(self.out, self.overwrite)
        if (self.fixed_labels is None) != (self.moving_labels is None):
            raise InputError("--fixed-labels and --moving-labels go together: regions are paired by value or name")
        if self.labels_only and self.fixed_labels is None:
            raise InputError("--labels-only wants --fixed-labels and --moving-labels")
        fixed, moving = read_image(self.fixed), read_image(self.moving)
        if (fixed.grid.ndim, fixed.grid.unit) != (moving.grid.ndim, moving.grid.unit):
            raise GeometryError(
                f"{self.fixed} is {fixed.grid.ndim}D in {fixed.grid.unit} and {self.moving} is {moving.grid.ndim}D in "
                f"{moving.grid.unit}; give two images of one kind"
            )
        inputs = {"fixed": self.fixed, "moving": self.moving}
        pairs = None
        if self.fixed_labels is not None and self.moving_labels is not None:
            pairs = pairs_from_labels(self.fixed_labels, self.moving_labels, fixed.grid, moving.grid)
            inputs |= {"fixed_labels": self.fixed_labels, "moving_labels": self.moving_labels}
        with ProgressLines() as progress:
            # The pipeline, and torch with it, is loaded after the input was found to be good.
            from samreg.regions import Regions
            from samreg.registration import register, register_regions

            if self.labels_only:
                nothing = Regions.none(fixed), Regions.none(moving)
                result = register_regions(*nothing, self.config, extra_pairs=pairs, progress=progress)
            elif self.cache:
                result = register_with_cache(fixed, moving, self.config, extra_pairs=pairs, progress=progress)
            else:
                result = register(fixed, moving, self.config, extra_pairs=pairs, progress=progress)
        write_run(result, self.out, inputs=inputs, overwrite=self.overwrite)
        show(*summary(result, self.out))
