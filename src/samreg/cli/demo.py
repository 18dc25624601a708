"""`samreg demo`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from samreg.cli.common import asked_preset, show, summary, table
from samreg.cli.output import report_run
from samreg.cli.progress import ProgressLines
from samreg.config import PresetName, RegisterConfig
from samreg.files import write_json

if TYPE_CHECKING:
    from samreg.geometry.phantom import Phantom

__all__ = ["Demo", "write_phantom"]


@dataclass(frozen=True)
class Demo:
    """Do the whole job on a built-in phantom: register it and compare with its true displacement field.

    Nothing is downloaded. The folder then holds `images` (the phantom and its labels) and `run` (the run folder).
    """

    out: Annotated[Path, tyro.conf.arg(metavar="DIR", aliases=("-o",))] = Path("samreg-demo")
    """Folder for images and result; must not exist or be empty."""
    data: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Write the images, labels and landmarks of the phantom into this folder, and register nothing."""
    dimension: Literal["2", "3"] = "2"
    """A single slice, or a volume of thick slices, which takes several times as long."""
    overwrite: bool = False
    """Replace an older demo in that folder."""
    preset: PresetName = "default"
    """What all settings start from: default, fast, regions or paper."""
    config: Annotated[RegisterConfig, tyro.conf.arg(name="")] = field(default_factory=RegisterConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> Demo:
        """All other options default to what the preset says."""
        return cls(config=asked_preset(arguments))

    def run(self) -> None:
        """Make the phantom, register it, compare with the truth."""
        from samreg import metrics
        from samreg.files import check_output
        from samreg.geometry.field import DisplacementField
        from samreg.geometry.phantom import phantom
        from samreg.runs.run_folder import write_run

        if self.data is not None:
            check_output(self.data, self.overwrite)
            write_phantom(phantom(2 if self.dimension == "2" else 3, seed=self.config.seed), self.data, self.overwrite)
            show(f"{self.data}: fixed and moving images of the phantom, their labels and landmarks, the true field")
            return
        for folder in (self.out / "images", self.out / "run") if self.overwrite else (self.out,):
            check_output(folder, self.overwrite)
        pair = phantom(2 if self.dimension == "2" else 3, seed=self.config.seed)
        from samreg.pipeline import register

        with ProgressLines() as progress:
            progress.begin("loading the segmenter")
            result = register(pair.fixed, pair.moving, self.config, progress=progress)
        still = DisplacementField.identity(pair.fixed.grid)
        fields = still, still if result.field is None else result.field
        warped = [f.warp_labels(pair.moving_labels, pair.moving.grid) for f in fields]
        dice = [metrics.dice(pair.fixed_labels, labels) for labels in warped]
        means = [metrics.mean(d.values()) for d in dice]
        body = pair.fixed_labels > 0
        error = [float(np.linalg.norm((f.u - pair.field.u)[body], axis=-1).mean()) for f in fields]
        facts = {
            f"mean Dice of {len(pair.names)} organs, {means[0]:.2f} before": f"{means[1]:.2f}",
            f"from the true field on average, {error[0]:.1f} mm before": f"{error[1]:.1f} mm",
        }
        inputs = write_phantom(pair, self.out / "images", self.overwrite)
        write_run(result, self.out / "run", inputs=inputs, overwrite=self.overwrite, facts=facts)
        report_run(result, self.out / "run")
        rows = [[name, *(f"{d[value]:.3f}" for d in dice)] for value, name in pair.names.items()]
        rows.append(["mean", *(f"{m:.3f}" for m in means)])
        rows.append(["from the true field, mm", *(f"{e:.2f}" for e in error)])
        show(table(["Dice", "before", "after"], rows), *summary(result, self.out / "run"))


def write_phantom(pair: Phantom, folder: Path, overwrite: bool = False) -> dict[str, Path]:
    """Write the images, the labels, the landmarks and the true field; returns the files of the two images.

    A landmark is the centre of an organ of the fixed image; its partner is where the true field leads it.
    """
    from samreg.files import staged
    from samreg.io.images import write_image, write_labels
    from samreg.io.points import write_points
    from samreg.io.transforms import write_displacement

    grid = pair.fixed.grid
    here = [np.argwhere(pair.fixed_labels == value).mean(axis=0)[::-1] for value in pair.names]
    points = grid.index_to_world(np.asarray(here))

    with staged(folder, overwrite) as stage:
        write_image(pair.fixed, stage / "fixed.nii.gz")
        write_image(pair.moving, stage / "moving.nii.gz")
        write_labels(pair.fixed_labels, pair.fixed.grid, stage / "fixed_labels.nii.gz")
        write_labels(pair.moving_labels, pair.moving.grid, stage / "moving_labels.nii.gz")
        write_points(points, stage / "fixed_points.csv", list(pair.names.values()))
        write_points(pair.field.transform_points(points), stage / "moving_points.csv", list(pair.names.values()))
        write_displacement(pair.field, stage / "true_displacement.nii.gz")
        manifest = {"format": "samreg phantom 1", "labels": pair.names}
        write_json(stage / "manifest.json", manifest)
    return {side: folder / f"{side}.nii.gz" for side in ("fixed", "moving")}
