"""`samreg evaluate`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from samreg.cli.common import check_file, show, table
from samreg.errors import GeometryError, InputError

if TYPE_CHECKING:
    from samreg.grid import Grid
    from samreg.io.run_folder import Run
    from samreg.types import LabelArray

__all__ = ["Evaluate", "evaluate_run"]


@dataclass(frozen=True)
class Evaluate:
    """Measure a finished run with labels or landmarks of both images: before and after registration."""

    run_folder: Annotated[Path, tyro.conf.arg(name="run", metavar="RUN")]
    """The folder that samreg register wrote."""
    fixed_labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Label map or .seg.nrrd of the fixed image."""
    moving_labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Label map or .seg.nrrd of the moving image, with the same values."""
    fixed_points: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Landmarks of the fixed image, world coordinates."""
    moving_points: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The same landmarks of the moving image, in the same order."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write all numbers to this JSON file."""
    overwrite: bool = False
    """Replace the file if it is there."""

    def run(self) -> None:
        """Read, measure, say."""
        from samreg.io.run_folder import read_run

        if self.out is not None:
            check_file(self.out, self.overwrite)
        for a, b, what in (
            (self.fixed_labels, self.moving_labels, "labels"),
            (self.fixed_points, self.moving_points, "points"),
        ):
            if (a is None) != (b is None):
                raise InputError(f"--fixed-{what} and --moving-{what} go together")
        run = read_run(self.run_folder)
        numbers = evaluate_run(run, self.fixed_labels, self.moving_labels, self.fixed_points, self.moving_points)
        show(*tables(numbers, run.fixed_grid.unit))
        if self.out is not None:
            self.out.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


def evaluate_run(
    run: Run,
    fixed_labels: Path | None = None,
    moving_labels: Path | None = None,
    fixed_points: Path | None = None,
    moving_points: Path | None = None,
) -> dict[str, Any]:
    """All numbers of a run: the field alone, labels and landmarks before and after; NaN becomes None.

    Raises:
        GeometryError: if labels or points do not belong to the images of the run.
    """
    from samreg.evaluation import metrics
    from samreg.io.notes import note
    from samreg.io.points import read_point_pairs

    field = run.transform()
    determinant = field.jacobian_determinant()
    numbers: dict[str, Any] = {
        "folding_fraction": metrics.folding_fraction(determinant),
        "sdlogj": metrics.sdlogj(determinant),
    }
    if fixed_labels is not None and moving_labels is not None:
        numbers |= _labels(run, fixed_labels, moving_labels)
    if fixed_points is not None and moving_points is not None:
        points = read_point_pairs(fixed_points, moving_points, run.fixed_grid, run.moving_grid)
        for path, rows in zip((fixed_points, moving_points), points, strict=True):
            if rows.shape[1] != field.grid.ndim:
                raise GeometryError(f"{path}: holds {rows.shape[1]}D points and the run is {field.grid.ndim}D")
        for path, rows, grid, side in (
            (fixed_points, points[0], run.fixed_grid, "fixed"),
            (moving_points, points[1], run.moving_grid, "moving"),
        ):
            outside = int(np.count_nonzero(~grid.contains(rows)))
            if outside == len(rows):
                raise GeometryError(
                    f"{path}: none of its {len(rows)} landmarks lies in the {side} image; were the two files "
                    "exchanged, or are they in other coordinates?"
                )
            if outside:
                note(f"{path}: {outside} of {len(rows)} landmarks lie outside the {side} image")
        for when, transform in (("before", None), ("after", field)):
            errors = metrics.tre(*points, transform)
            numbers.setdefault("landmark_tre", {})[when] = {
                "mean": float(errors.mean()),
                "median": float(np.median(errors)),
                "max": float(errors.max()),
                "n": len(errors),
            }
    cleaned: dict[str, Any] = _clean(numbers)
    return cleaned


def _labels(run: Run, fixed_path: Path, moving_path: Path) -> dict[str, Any]:
    from samreg.evaluation.score import score_labels
    from samreg.field import DisplacementField
    from samreg.io.images import read_labels

    field = run.transform()
    fixed, fixed_grid = read_labels(fixed_path)
    moving, moving_grid = read_labels(moving_path)
    for path, grid in ((fixed_path, fixed_grid), (moving_path, moving_grid)):
        if (grid.ndim, grid.unit) != (field.grid.ndim, field.grid.unit):
            raise GeometryError(
                f"{path}: is {grid.ndim}D in {grid.unit} and the run is {field.grid.ndim}D in {field.grid.unit}"
            )
    _refuse_wrong_side(run, (fixed_path, fixed_grid), (moving_path, moving_grid))
    if _by_name(fixed_path, moving_path):
        moving = _values_by_name(fixed_path, moving_path, moving)
    still = DisplacementField.identity(field.grid)
    if not fixed_grid.same_as(field.grid):
        fixed = still.warp_labels(fixed, fixed_grid)
    if not fixed.any():
        raise GeometryError(f"{fixed_path}: has no label within the fixed image of the run")
    common = set(np.unique(fixed).tolist()) & set(np.unique(moving).tolist()) - {0}
    if not common:
        raise GeometryError(f"{fixed_path} and {moving_path}: have no label in common; give the same values in both")
    if field.coverage(moving_grid) == 0:
        raise GeometryError(
            f"{moving_path}: lies nowhere in the fixed image of the run; give labels of the moving image"
        )
    return {
        "labels": {
            "before": score_labels(fixed, still.warp_labels(moving, moving_grid), field.grid),
            "after": score_labels(fixed, field.warp_labels(moving, moving_grid), field.grid),
        }
    }


def _refuse_wrong_side(run: Run, fixed: tuple[Path, Grid], moving: tuple[Path, Grid]) -> None:
    """Labels that lie on the grid of the other image are exchanged: where the grids differ, that shows."""
    if run.fixed_grid.same_as(run.moving_grid):
        return
    for (path, grid), own, other, side in (
        (fixed, run.fixed_grid, run.moving_grid, "moving"),
        (moving, run.moving_grid, run.fixed_grid, "fixed"),
    ):
        if grid.same_as(other) and not grid.same_as(own):
            raise GeometryError(
                f"{path}: lies on the grid of the {side} image; were --fixed-labels and --moving-labels exchanged?"
            )


def _by_name(*paths: Path) -> bool:
    return all(path.name.lower().endswith(".seg.nrrd") for path in paths)


def _values_by_name(fixed_path: Path, moving_path: Path, moving: LabelArray) -> LabelArray:
    """The moving labels with the values that segments of the same name have in the fixed file.

    Two segmentations number their segments as they please, and say by names what is the same. Where names repeat, the
    values count. Names that the fixed file lacks get values of their own.
    """
    from samreg.io.rois import read_segmentation

    names = []
    for path in (fixed_path, moving_path):
        rois, values = read_segmentation(path)
        names.append({roi.name: value for roi, value in zip(rois.rois, values, strict=True)})
        if len(names[-1]) != len(rois):
            return moving
    new = max([*names[0].values(), *names[1].values()]) + 1
    target = {value: names[0].get(name, new + i) for i, (name, value) in enumerate(names[1].items())}
    present, number = np.unique(moving, return_inverse=True)
    return np.asarray([target.get(int(v), 0) for v in present], dtype=np.int32)[number].reshape(moving.shape)


def tables(numbers: dict[str, Any], unit: str) -> list[object]:
    """The numbers as tables for the screen."""
    made: list[object] = []
    if "labels" in numbers:
        before, after = numbers["labels"]["before"], numbers["labels"]["after"]
        rows = []
        for label in after["dice"]:
            row = [label]
            for metric, digits in (("dice", 3), ("centroid_tre", 1), ("hd95", 1)):
                row += [_text(part[metric].get(label), digits) for part in (before, after)]
            rows.append(row)
        means = ["mean"]
        for metric, digits in (("dice", 3), ("centroid_tre", 1), ("hd95", 1)):
            means += [_text(_mean(part[metric].values()), digits) for part in (before, after)]
        head = ["label", "Dice before", "after", f"centroid TRE {unit} before", "after", f"HD95 {unit} before", "after"]
        made.append(table(head, [*rows, means]))
    if "landmark_tre" in numbers:
        tre = numbers["landmark_tre"]
        rows = [[when, *(f"{tre[when][k]:.2f}" for k in ("mean", "median", "max"))] for when in ("before", "after")]
        made.append(table([f"TRE of {tre['after']['n']} landmarks, {unit}", "mean", "median", "max"], rows))
    folding, sdlogj = numbers["folding_fraction"], numbers["sdlogj"]
    made.append(f"folding {100 * folding:.2g} %, SDlogJ {_text(sdlogj, 3)}")
    return made


def _text(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _mean(values: Any) -> float | None:
    present = [v for v in values if v is not None]
    return float(np.mean(present)) if present else None


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
