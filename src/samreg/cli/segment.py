"""`samreg segment`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from samreg.cli.common import show
from samreg.cli.output import report
from samreg.cli.progress import ProgressLines
from samreg.cli.settings_file import asked_settings
from samreg.config import PresetName, RegisterConfig, SegmentConfig

__all__ = ["SegmentImage"]


@dataclass(frozen=True)
class SegmentImage:
    """Find all regions of one image: rois.seg.nrrd, rois.nii.gz, rois.json, prototypes.npy and preview.html."""

    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """The image."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR", aliases=("-o",))]
    """Folder for the result; must not exist or be empty."""
    overwrite: bool = False
    """Replace an older result in that folder."""
    frame: int | None = None
    """Frame, phase or page to take, from 1, where the image holds several."""
    series: str | None = None
    """Number or UID of the DICOM series to take, where the folder holds several."""
    cache: bool = True
    """Keep the regions (SAMREG_CACHE_DIR, else the user's cache folder) for the next registration of this image;
    --no-cache finds them anew and keeps none."""
    preset: PresetName = "default"
    """What all settings start from: default, fast, regions or paper."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config", metavar="FILE")] = None
    """Settings from a TOML file or the manifest.json of a run; options given here win over it."""
    config: Annotated[SegmentConfig, tyro.conf.arg(name="")] = field(default_factory=SegmentConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> SegmentImage:
        """All other options default to what preset and settings file say."""
        return cls(tyro.MISSING, tyro.MISSING, config=asked_settings(arguments).segment)

    def run(self) -> None:
        """Read, segment, write."""
        from samreg.files import check_output
        from samreg.io.images import read_image
        from samreg.runs.run_folder import write_regions

        check_output(self.out, self.overwrite)
        chosen = {"frame": self.frame, "series": self.series}
        with ProgressLines() as progress:
            progress.begin(f"reading {self.image}")
            image = read_image(self.image, frame=self.frame, series=self.series)
            progress.begin("loading the segmenter")
            from samreg.pipeline import segment
            from samreg.regions.cache import RegionsCache

            cache = RegionsCache() if self.cache else None
            regions = segment(image, RegisterConfig(segment=self.config), cache=cache, progress=progress)
        report(folder=str(self.out), regions=len(regions))
        write_regions(regions, self.out, source=self.image, overwrite=self.overwrite, chosen=chosen)
        show(f"{len(regions)} regions written to {self.out}; look at {self.out / 'preview.html'}")
