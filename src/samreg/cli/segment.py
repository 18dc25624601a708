"""`samreg segment`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from samreg.cli.common import asked_preset, show
from samreg.cli.progress import ProgressLines
from samreg.config import PresetName, RegisterConfig, SegmentConfig

__all__ = ["SegmentImage"]


@dataclass(frozen=True)
class SegmentImage:
    """Find all regions of one image: rois.seg.nrrd, rois.nii.gz, rois.json, prototypes.npy and preview.html."""

    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """The image."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the result; must not exist or be empty."""
    overwrite: bool = False
    """Replace an older result in that folder."""
    frame: int | None = None
    """Frame, phase or page to take, from 1, where the image holds several."""
    series: str | None = None
    """Number or UID of the DICOM series to take, where the folder holds several."""
    preset: PresetName = "default"
    """Where all settings below start from."""
    config: Annotated[SegmentConfig, tyro.conf.arg(name="")] = field(default_factory=SegmentConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> SegmentImage:
        """All other options default to what the preset says."""
        return cls(tyro.MISSING, tyro.MISSING, config=asked_preset(arguments).segment)

    def run(self) -> None:
        """Read, segment, write."""
        from samreg.files import check_output
        from samreg.io.images import read_image
        from samreg.runs.run_folder import write_regions

        check_output(self.out, self.overwrite)
        image = read_image(self.image, frame=self.frame, series=self.series)
        chosen = {"frame": self.frame, "series": self.series}
        from samreg.pipeline import segment

        with ProgressLines() as progress:
            regions = segment(image, RegisterConfig(segment=self.config), progress=progress)
        write_regions(regions, self.out, source=self.image, overwrite=self.overwrite, chosen=chosen)
        show(f"{len(regions)} regions written to {self.out}; look at {self.out / 'preview.html'}")
