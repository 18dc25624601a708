"""`samreg register`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from samreg.cli.common import pairs_from_labels, show, summary
from samreg.cli.output import report_run
from samreg.cli.progress import ProgressLines
from samreg.cli.settings_file import asked_settings
from samreg.config import PresetName, RegisterConfig
from samreg.errors import InputError
from samreg.geometry.grid import check_pair

if TYPE_CHECKING:
    from samreg.result import RegistrationResult

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
    out: Annotated[Path, tyro.conf.arg(metavar="RUN", aliases=("-o",))]
    """Folder for the result; must not exist or be empty."""
    fixed_labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Known regions: label map, .seg.nrrd, DICOM SEG or folder of masks."""
    moving_labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Known regions of the moving image."""
    label_names: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Names of label values: an ITK-SNAP label file or the dataset.json of nnU-Net; one beside the map is found."""
    labels_only: bool = False
    """Run no segmenter: the known regions, exactly as they are, and the grey values drive the fit."""
    fixed_mask: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Where the fixed image counts (values other than 0): outside nothing is compared, and no region is used."""
    moving_mask: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The same of the moving image."""
    fixed_exclude: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Where the fixed image does not count, such as a lesion or a cavity that the other image lacks."""
    moving_exclude: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The same of the moving image."""
    fixed_points: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Landmarks of the fixed image that pull the transform, softly."""
    moving_points: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The same places in the moving image, row by row."""
    points_weight: float = 1.0
    """How strongly they pull: at 1 about as much as the grey values around each."""
    initial: Annotated[Path | None, tyro.conf.arg(metavar="RUN|FILE")] = None
    """Transform to start from and compose with: a run, an ITK transform (.h5, .tfm, .mat) or a displacement field."""
    cache: bool = True
    """Keep the regions of both images (SAMREG_CACHE_DIR, else the user's cache folder) for the next registration;
    --no-cache finds them anew and keeps none."""
    inverse: bool = True
    """Write the inverse, on the moving grid, as well; --no-inverse leaves it out."""
    jacobian: Literal["none", "det", "log"] = "none"
    """Write the map of the Jacobian determinant (jacobian.nii.gz) or of its logarithm (log_jacobian.nii.gz) as well."""
    overwrite: bool = False
    """Replace an older run in that folder."""
    checks: Literal["quick", "all"] = "quick"
    """Checks of the result: what costs little, or also those that register again (swapped, perturbed and
    mirrored images)."""
    strict: bool = False
    """End with status 3 if the verdict is not PASS; the run folder is written all the same."""
    frame: int | None = None
    """Frame, phase or page to take of both images, from 1, where they hold several."""
    fixed_frame: int | None = None
    """The same of the fixed image alone."""
    moving_frame: int | None = None
    """The same of the moving image alone."""
    series: str | None = None
    """Number or UID of the DICOM series to take of both folders, where they hold several."""
    fixed_series: str | None = None
    """The same of the fixed folder alone."""
    moving_series: str | None = None
    """The same of the moving folder alone."""
    preset: PresetName = "default"
    """What all settings start from: default, fast, regions or paper."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config", metavar="FILE")] = None
    """Settings from a TOML file or the manifest.json of a run; options given here win over it."""
    config: Annotated[RegisterConfig, tyro.conf.arg(name="")] = field(default_factory=RegisterConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> Register:
        """All other options default to what preset and settings file say."""
        return cls(tyro.MISSING, tyro.MISSING, tyro.MISSING, config=asked_settings(arguments))

    def run(self) -> int:
        """Read, register, write; the exit status."""
        from samreg.files import check_output
        from samreg.io.images import read_image
        from samreg.notes import collected
        from samreg.runs.run_folder import write_run

        check_output(self.out, self.overwrite)
        if (self.fixed_labels is None) != (self.moving_labels is None):
            raise InputError("--fixed-labels and --moving-labels go together: regions are paired by value or name")
        if self.labels_only and self.fixed_labels is None:
            raise InputError("--labels-only wants --fixed-labels and --moving-labels")
        chosen = self.chosen()
        with ProgressLines() as progress, collected() as notes:
            progress.begin(f"reading {self.fixed.name} and {self.moving.name}")
            fixed, moving = read_image(self.fixed, **chosen["fixed"]), read_image(self.moving, **chosen["moving"])
        check_pair(fixed.grid, moving.grid, str(self.fixed), str(self.moving))
        inputs = {"fixed": self.fixed, "moving": self.moving}
        pairs = None
        if self.fixed_labels is not None and self.moving_labels is not None:
            with collected() as more:
                pairs = pairs_from_labels(
                    self.fixed_labels, self.moving_labels, fixed.grid, moving.grid, self.label_names
                )
            notes += more
            inputs |= {"fixed_labels": self.fixed_labels, "moving_labels": self.moving_labels}
        from samreg.runs.guides import GUIDES, Guides

        with collected() as more:
            given = {role: getattr(self, role) for role in GUIDES}
            guides = Guides.read(given, fixed.grid, moving.grid, self.points_weight)
        notes += more
        inputs |= guides.files
        initial = None
        if self.initial is not None:
            from samreg.runs.initial import read_initial

            initial = read_initial(self.initial, fixed.grid)
            inputs |= {"initial": self.initial}
        with ProgressLines() as progress:
            progress.begin("loading the method" if self.labels_only else "loading the segmenter")
            # The pipeline, and torch with it, is loaded after the input was found to be good.
            from samreg.pipeline import register
            from samreg.regions.cache import RegionsCache

            try:
                result = register(
                    fixed,
                    moving,
                    self.config,
                    cache=RegionsCache() if self.cache and not self.labels_only else None,
                    extra_pairs=pairs,
                    find=not self.labels_only,
                    initial=initial,
                    **guides.arguments,
                    checks=self.checks,
                    progress=progress,
                )
            except KeyboardInterrupt:
                raise progress.interrupted() from None
        noted = replace(result, notes=(*notes, *result.notes), maps={**result.maps, **self._jacobian(result)})
        write_run(noted, self.out, inputs=inputs, overwrite=self.overwrite, chosen=chosen, inverse=self.inverse)
        report_run(noted, self.out)
        show(*summary(result, self.out))
        return 3 if self.strict and result.verdict != "PASS" else 0

    def _jacobian(self, result: RegistrationResult) -> dict[str, Any]:
        from samreg.runs.export import jacobian_map

        if self.jacobian == "none" or result.field is None:
            return {}
        made = jacobian_map(result.field, log=self.jacobian == "log")
        return {made.name.replace(" ", "_"): made.data}

    def chosen(self) -> dict[str, dict[str, Any]]:
        """`frame` and `series` to take of each side."""
        frames = {"fixed": self.fixed_frame, "moving": self.moving_frame}
        series = {"fixed": self.fixed_series, "moving": self.moving_series}
        return {
            side: {
                "frame": self.frame if frames[side] is None else frames[side],
                "series": self.series if series[side] is None else series[side],
            }
            for side in ("fixed", "moving")
        }
