"""`samreg warp`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro

from samreg.cli.common import check_file, show, some
from samreg.cli.output import report
from samreg.errors import ConfigError, GeometryError, ImageReadError, InputError

if TYPE_CHECKING:
    from samreg.geometry.field import DisplacementField
    from samreg.geometry.grid import Grid
    from samreg.geometry.image import Image
    from samreg.runs.chain import Passage
    from samreg.types import LabelArray

__all__ = ["Warp"]


@dataclass(frozen=True)
class Warp:
    """Carry another image or label map along a finished run: from the moving image onto the fixed grid.

    With --inverse, from the fixed image onto the moving grid. With --run A --run B, where the fixed image of B is the
    moving image of A, along both: from the moving image of B onto the fixed grid of A.
    """

    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """What to warp; it shares the world of the moving image and may have a grid of its own."""
    run_folder: Annotated[tyro.conf.UseAppendAction[tuple[Path, ...]], tyro.conf.arg(name="run", metavar="RUN")]
    """The folder that samreg register wrote; several times for a chain of runs."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE", aliases=("-o",))]
    """The file to write; its ending chooses the format."""
    inverse: bool = False
    """Carry what lies in the fixed image onto the moving grid."""
    reference: Annotated[Path | None, tyro.conf.arg(metavar="IMAGE")] = None
    """Grid of the result, where it is not to be that of the fixed image (with --inverse: of the moving image)."""
    interpolation: Literal["auto", "linear", "nearest", "label", "bspline", "sinc"] = "auto"
    """How values between voxels are made: label for label maps and .seg.nrrd, linear for grey values and colour,
    where bspline and sinc (cubic, Lanczos) are sharper and overshoot at edges; auto looks whether the values are labels
    (docs/conventions.md)."""
    fill: float | Literal["auto"] = "auto"
    """Grey value where there is no moving image; auto is the image's own background. Labels are filled with 0."""
    overwrite: bool = False
    """Replace the file if it is there."""
    on_fixed_grid: bool = False
    """The image lies in the world of the moving image although its grid is that of the fixed one (with --inverse: the
    other way round)."""
    frame: int | None = None
    """Frame, phase or page to take, from 1, where the image holds several; all of a 4D file without it."""
    series: str | None = None
    """Number or UID of the DICOM series to take, where the folder holds several."""

    def run(self) -> None:
        """Read, warp, write."""
        from samreg.runs.chain import passage
        from samreg.runs.run_folder import read_run

        check_file(self.out, self.overwrite)
        if not self.run_folder:
            raise InputError("warp wants a run: give --run and the folder that samreg register wrote")
        run = passage([read_run(folder) for folder in self.run_folder], self.inverse)
        if self.reference is not None:
            run = self._onto(run, self.reference)
        if _is_segmentation(self.image) and self.interpolation not in ("auto", "label"):
            raise ConfigError(f"{self.image}: its segments are carried as labels, not {self.interpolation}")
        frames = self._n_frames()
        if frames > 1:
            self._frames(run, frames)
        elif _is_segmentation(self.out):
            self._segmentation(run)
        elif _is_segmentation(self.image):
            self._labels(run)
        else:
            self._image(run)
        report(file=str(self.out))
        show(f"written to {self.out}")

    def _onto(self, run: Passage, reference: Path) -> Passage:
        """The passage onto the grid of another image of the same world; beyond the field its edge goes on."""
        from samreg.geometry.field import DisplacementField
        from samreg.io.images import read_values

        grid = read_values(reference)[1]
        if run.field.coverage(run.source) and DisplacementField.identity(grid).coverage(run.target) == 0:
            raise GeometryError(
                f"{reference}: lies nowhere in the {run.target_name} image; --reference wants a grid of its world"
            )
        return dataclasses.replace(run, field=DisplacementField.identity(grid).compose(run.field), target=grid)

    def _warped(self, field: DisplacementField, image: Image) -> Image:
        if self.interpolation in ("bspline", "sinc"):
            from samreg.io.resample import warp_smoothly

            return warp_smoothly(field, image, self.interpolation, self.fill)
        return field.warp(image, "nearest" if self.interpolation == "nearest" else "linear", self.fill)

    def _n_frames(self) -> int:
        from samreg.io.series import frame_count

        if self.frame is not None or _is_segmentation(self.image):
            return 1
        return frame_count(self.image, self.series)

    def _frames(self, run: Passage, count: int) -> None:
        """Every frame of a time series, along the same run; the first one decides whether they are labels."""
        from samreg.io.images import as_type, checked_image, read_labels, read_values
        from samreg.io.series import check_frames_file, frame_step, write_frames

        check_frames_file(self.out, run.target)
        values, grid = read_values(self.image, frame=1, series=self.series)
        first = dataclasses.replace(self, frame=1)
        labels = self.interpolation == "label"
        if self.interpolation == "auto":
            labels = first._as_labels(values, grid) is not None
        how = "label" if labels else "linear" if self.interpolation == "auto" else self.interpolation
        if labels:
            self._filled_with_0()
        field, dtype = self._fitting(run, grid), values.dtype
        warped = []
        for frame in range(1, count + 1):
            if labels:
                read, own = read_labels(self.image, frame=frame, series=self.series)
                data: np.ndarray = field.warp_labels(read, own)
            else:
                image = checked_image(*read_values(self.image, frame=frame, series=self.series), self.image)
                data = self._warped(field, image).data
            warped.append(as_type(data, dtype))
        # A type that holds every frame.
        kind = np.result_type(*(frame.dtype for frame in warped))
        write_frames([frame.astype(kind) for frame in warped], run.target, self.out, frame_step(self.image))
        show(f"interpolation: {how}; {count} frames")

    def _image(self, run: Passage) -> None:
        from samreg.io.images import checked_image, read_values, write_image
        from samreg.notes import note

        if self.interpolation == "label":
            self._labels(run)
            return
        values, grid = read_values(self.image, frame=self.frame, series=self.series)
        if self.interpolation == "auto":
            labels = self._as_labels(values, grid)
            if labels is not None:
                show(
                    f"interpolation: label (whole numbers, {len(np.unique(labels))} different ones, few neighbours "
                    "differ); --interpolation linear blends them"
                )
                self._labels(run, (labels, grid), values.dtype)
                return
            show(
                "interpolation: linear (the values are not those of a label map); --interpolation label says otherwise"
            )
        field = self._fitting(run, grid)
        image = checked_image(values, grid, self.image)
        warped = self._warped(field, image)
        if np.ptp(warped.data) == 0:
            note(f"{self.image}: the result is {warped.data.flat[0]:g} everywhere")
        write_image(warped, self.out, values.dtype)
        share = field.coverage(grid)
        if share < 1:
            outside = image.background if self.fill == "auto" else (self.fill,)
            text = ", ".join(f"{v:g}" for v in outside)
            show(f"{100 * share:.0f} % of the {run.target_name} image lies within it, the rest is filled with {text}")

    def _as_labels(self, values: np.ndarray, grid: Grid) -> LabelArray | None:
        """The values as labels, if they look like these; also those of a picture with a palette."""
        from samreg.geometry.label_maps import is_label_map
        from samreg.io.images import read_labels

        if values.ndim == grid.ndim and not is_label_map(values):
            return None
        try:
            labels, _ = read_labels(self.image, frame=self.frame, series=self.series)
        except ImageReadError:
            return None
        return labels if is_label_map(labels) else None

    def _labels(self, run: Passage, read: tuple[LabelArray, Grid] | None = None, dtype: np.dtype | None = None) -> None:
        from samreg.io.images import read_labels, write_labels
        from samreg.notes import note

        self._filled_with_0()
        if read is None:
            read = read_labels(self.image, frame=self.frame, series=self.series)
        labels, grid = read
        warped = self._fitting(run, grid).warp_labels(labels, grid)
        before, after = (set(np.unique(a).tolist()) - {0} for a in (labels, warped))
        if before and not after:
            raise GeometryError(
                f"{self.image}: none of its labels lies within the {run.target_name} image: is it the right one?"
            )
        lost = sorted(before - after)
        if lost:
            note(f"{self.image}: {len(lost)} of {len(before)} labels have no voxel in the result: {some(lost)}")
        write_labels(warped, run.target, self.out, dtype)

    def _segmentation(self, run: Passage) -> None:
        """Segments each for itself, so that overlaps stay; IDs, names, colours and terminology stay as well."""
        from samreg.io.rois import read_rois, read_segmentation, write_segmentation
        from samreg.io.segments import entries_of, segment_entries
        from samreg.notes import note

        self._filled_with_0()
        entries = None
        if _is_segmentation(self.image):
            rois, values = read_segmentation(self.image)
            entries = entries_of(rois, values, segment_entries(self.image))
            if entries is None:
                note(f"{self.image}: its segments have names in common; their IDs and colours are not kept")
        else:
            rois = read_rois(self.image)
            entries = [{"ID": f"Segment_{roi.name}", "LabelValue": roi.name, "Layer": "0"} for roi in rois.rois]
        warped, kept = self._fitting(run, rois.grid).warp_rois(rois)
        if not kept:
            raise GeometryError(
                f"{self.image}: none of its segments lies within the {run.target_name} image: is it the right one?"
            )
        lost = [roi.name for i, roi in enumerate(rois.rois) if i not in set(kept)]
        if lost:
            note(f"{self.image}: {len(lost)} of {len(rois)} segments have no voxel in the result: {some(lost)}")
        write_segmentation(warped, self.out, entries=None if entries is None else [entries[i] for i in kept])

    def _filled_with_0(self) -> None:
        if self.fill not in ("auto", 0):
            raise ConfigError(f"--fill {self.fill:g}: labels are filled with 0; give --fill for grey values only")

    def _fitting(self, run: Passage, grid: Grid) -> DisplacementField:
        """The field of the run, if something on this grid can be carried by it.

        Raises:
            GeometryError: if nothing of it reaches the image of the result, or it lies on that image's grid.
        """
        field, source, target = run.field, run.source_name, run.target_name
        if field.coverage(grid) == 0:
            raise GeometryError(
                f"{self.image}: lies nowhere in the {target} image; its centre is at {_text(grid.centre)} {grid.unit}, "
                f"that of the {source} image at {_text(run.source.centre)}; give a file of the {source} image's world"
            )
        if grid.same_as(run.target) and not grid.same_as(run.source) and not self.on_fixed_grid:
            other = "leave out --inverse" if self.inverse else "say --inverse"
            raise GeometryError(
                f"{self.image}: lies on the grid of the {target} image, and warp carries what lies in the {source} "
                f"image: were the two exchanged? To carry it onto the {source} grid, {other}. If it shows the {source} "
                "image all the same, say --on-fixed-grid"
            )
        return field


def _is_segmentation(path: Path) -> bool:
    return path.name.lower().endswith(".seg.nrrd")


def _text(point: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{v:.0f}" for v in point) + ")"
