"""A time series as a batch: every frame registered to one of them, and how far everything moved in each."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from samreg.errors import DatasetError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.rois import RoiSet
from samreg.io.frames import chosen_frame
from samreg.io.known_regions import read_known_regions
from samreg.io.series import frame_count
from samreg.io.tables import PairRecord, split_image_name
from samreg.runs.run_folder import read_run
from samreg.types import MaskArray

__all__ = ["COLUMNS", "displacements", "frame_pairs", "is_series", "write_motion"]

COLUMNS = ("frame", "region", "n_voxels", "mean_displacement", "largest_displacement", "dx", "dy", "dz", "volume")
"""Of the table: displacements are world units (mm), `largest` is the 95th percentile, dx, dy and dz the mean vector in
LPS, and volume that of the region in the frame, relative to the frame that all are registered to."""
_LEAST_SHARE = 0.5
"""Share of the frames in which a region has to be paired to be listed."""
_LARGEST = 95


def is_series(path: Path) -> bool:
    """Whether a batch is given an image, of which every frame is to be registered, and not a table."""
    if path.is_dir():
        return not (path / "pairs.csv").is_file()
    return path.suffix.lower() not in (".csv", ".tsv", ".txt") and path.is_file()


def frame_pairs(path: Path, fixed_frame: int = 1) -> list[PairRecord]:
    """A pair for every other frame of a series, which is moved onto one of them.

    Args:
        path: a 4D file, or a folder with a DICOM cine.
        fixed_frame: the frame that stays, from 1.

    Raises:
        DatasetError: if the file holds one frame only.
        ImageReadError: if it cannot be read, or has no such frame.
    """
    count = frame_count(path)
    if count < 2:
        raise DatasetError(f"{path}: holds one frame; a batch wants a table of pairs, or an image of several frames")
    chosen_frame(path, fixed_frame, count, "")
    width, name = len(str(count)), split_image_name(path)[0]
    return [
        PairRecord(
            f"{name} frame {frame:0{width}d}",
            path,
            path,
            fixed_frame=fixed_frame,
            moving_frame=frame,
            intra_subject=True,
        )
        for frame in range(1, count + 1)
        if frame != fixed_frame
    ]


def write_motion(out: Path, runs: Mapping[int, Path], fixed_frame: int, labels: Path | None = None) -> Path:
    """`motion.csv`: how far each region of the fixed frame moved in every frame.

    Args:
        out: folder for the table.
        runs: run folder of each frame.
        fixed_frame: the frame that all were registered to.
        labels: label map or segmentation of that frame; without it, the regions that are paired in half the frames.

    Raises:
        InputError: if the labels lie on another grid than the frame.
    """
    opened = {frame: read_run(folder) for frame, folder in sorted(runs.items())}
    fields = {frame: run.field for frame, run in opened.items() if run.field is not None}
    grid = next(iter(opened.values())).fixed_grid if opened else None
    rows: list[Sequence[object]] = []
    if grid is not None and fields:
        regions = _labelled(labels, grid) if labels else _recurring([run.pairs.fixed for run in opened.values()])
        fields[fixed_frame] = DisplacementField.identity(grid)
        rows = _rows(dict(sorted(fields.items())), {"whole image": np.ones(grid.shape, dtype=bool), **regions})
    path = out / "motion.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return path


def displacements(field: DisplacementField, mask: MaskArray, determinant: np.ndarray | None = None) -> dict[str, float]:
    """How far a part of the fixed image moves: mean and 95th percentile of the length, mean vector, relative volume.

    Args:
        field: of the frame.
        mask: `(*grid.shape)` the part.
        determinant: `(*grid.shape)` Jacobian determinant of the field, where it is known already.
    """
    if determinant is None:
        determinant = field.jacobian_determinant()
    u = field.u[mask].astype(float)
    lengths = np.linalg.norm(u, axis=1)
    mean = [*u.mean(axis=0), 0.0][:3]
    volume = float(determinant[mask].mean())
    numbers = (float(lengths.mean()), float(np.percentile(lengths, _LARGEST)), *map(float, mean), volume)
    return dict(zip(COLUMNS[3:], numbers, strict=True))


def _rows(fields: Mapping[int, DisplacementField], regions: Mapping[str, MaskArray]) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = []
    for frame, field in fields.items():
        determinant = field.jacobian_determinant()
        for name, mask in regions.items():
            numbers = [round(value, 4) for value in displacements(field, mask, determinant).values()]
            rows.append([frame, name, int(mask.sum()), *numbers])
    return rows


def _labelled(path: Path, grid: Grid) -> dict[str, MaskArray]:
    rois = read_known_regions(path).rois
    if not rois.grid.same_as(grid):
        raise InputError(f"{path}: lies on another grid than the fixed frame; give labels of that frame")
    return {roi.name: mask for roi, mask in zip(rois.rois, rois.masks(), strict=True)}


def _recurring(sets: Sequence[RoiSet]) -> dict[str, MaskArray]:
    """Regions of the fixed frame that are paired in half of the frames at least, the largest first."""
    found: dict[bytes, tuple[MaskArray, int]] = {}
    for rois in sets:
        for mask in rois.masks():
            key = np.packbits(mask).tobytes()
            found[key] = mask, found.get(key, (mask, 0))[1] + 1
    kept = [mask for mask, count in found.values() if count >= _LEAST_SHARE * len(sets)]
    kept.sort(key=lambda mask: -int(mask.sum()))
    return {f"region {number}": mask for number, mask in enumerate(kept, start=1)}
