"""`samreg warp` and `samreg warp-points`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from samreg.cli.common import check_file, show
from samreg.errors import GeometryError, InputError

if TYPE_CHECKING:
    from samreg.field import DisplacementField

__all__ = ["Warp", "WarpPoints"]


@dataclass(frozen=True)
class Warp:
    """Carry an image, label map or segmentation that lies in the moving image onto the fixed grid of a run."""

    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """What to warp; it shares the world of the moving image and may have a grid of its own."""
    run_folder: Annotated[Path, tyro.conf.arg(name="run", metavar="RUN")]
    """The folder that samreg register wrote."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The file to write; its ending chooses the format."""
    interpolation: Literal["linear", "nearest", "label"] = "linear"
    """How values between voxels are made; label for label maps and .seg.nrrd."""
    overwrite: bool = False
    """Replace the file if it is there."""
    frame: int | None = None
    """Frame, phase or page to take, from 1, where the image holds several."""
    series: str | None = None
    """Number or UID of the DICOM series to take, where the folder holds several."""

    def run(self) -> None:
        """Read, warp, write."""
        from samreg.io.images import read_image, read_labels, write_image, write_labels
        from samreg.io.run_folder import read_run

        check_file(self.out, self.overwrite)
        field = read_run(self.run_folder).transform()
        if self.image.name.lower().endswith(".seg.nrrd") and self.out.name.lower().endswith(".seg.nrrd"):
            self._segmentation(field)
        elif self.interpolation == "label" or self.image.name.lower().endswith(".seg.nrrd"):
            labels, grid = read_labels(self.image, frame=self.frame, series=self.series)
            write_labels(field.warp_labels(labels, grid), field.grid, self.out)
        else:
            image = read_image(self.image, frame=self.frame, series=self.series)
            write_image(field.warp(image, self.interpolation), self.out)
        show(f"written to {self.out}")

    def _segmentation(self, field: DisplacementField) -> None:
        """Segments one by one, so that overlaps stay."""
        from samreg.io.rois import read_rois, write_segmentation
        from samreg.rois import Roi, RoiSet

        rois = read_rois(self.image)
        warped = []
        for i, roi in enumerate(rois.rois):
            mask = field.warp_labels(rois.mask(i).astype(np.int32), rois.grid) > 0
            if mask.any():
                warped.append(Roi.from_mask(mask, roi.quality, roi.name))
        if not warped:
            raise InputError(f"{self.image}: none of its segments lies within the fixed image")
        write_segmentation(RoiSet(tuple(warped), field.grid), self.out)


@dataclass(frozen=True)
class WarpPoints:
    """Carry points between the two images of a run; world coordinates (LPS mm, or pixels of photographs)."""

    points: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="POINTS")]
    """Points to carry: .csv, .txt, .fcsv or .mrk.json."""
    run_folder: Annotated[Path, tyro.conf.arg(name="run", metavar="RUN")]
    """The folder that samreg register wrote."""
    to: Literal["fixed", "moving"]
    """The image to carry them into; they lie in the other one."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """The file to write."""
    overwrite: bool = False
    """Replace the file if it is there."""

    def run(self) -> None:
        """Read, carry, write."""
        from samreg.io.points import read_points, write_points
        from samreg.io.run_folder import read_run

        check_file(self.out, self.overwrite)
        run = read_run(self.run_folder)
        field = run.transform()
        start = run.fixed_grid if self.to == "moving" else run.moving_grid
        points = read_points(self.points, start)
        if points.shape[1] != field.grid.ndim:
            raise GeometryError(f"{self.points}: holds {points.shape[1]}D points and the run is {field.grid.ndim}D")
        outside = int((~start.contains(points)).sum())
        carried = field.transform_points(points) if self.to == "moving" else field.invert_points(points)
        write_points(carried, self.out)
        if outside:
            show(f"note: {outside} of {len(points)} points lie outside their image; the nearest displacement was used")
        show(f"{len(points)} points written to {self.out}")
