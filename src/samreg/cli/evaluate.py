"""`samreg evaluate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np
import tyro

from samreg.cli.common import check_file, show, table
from samreg.cli.output import report
from samreg.errors import GeometryError, InputError
from samreg.files import to_json, write_json
from samreg.geometry.grid import check_pair

if TYPE_CHECKING:
    from samreg.geometry.grid import Grid
    from samreg.metrics import Metric
    from samreg.runs.run_folder import Run
    from samreg.types import LabelArray

__all__ = ["Evaluate", "evaluate_run"]

Rows: TypeAlias = tuple[list[str], list[list[str]]]
"""The head of a table and its rows."""


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
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", aliases=("-o",))] = None
    """Also write all numbers to this JSON file."""
    overwrite: bool = False
    """Replace the file if it is there."""

    def run(self) -> None:
        """Read, measure, show."""
        from samreg.runs.run_folder import read_run

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
        report(run=str(self.run_folder), numbers=numbers)
        found, alone = rows_of(numbers, run.fixed_grid.unit)
        show(*(table(head, rows) for head, rows in found), alone)
        self._into_the_report(found, alone)
        if self.out is not None:
            try:
                write_json(self.out, numbers)
            except OSError as error:
                raise InputError(f"{self.out}: cannot be written: {error.strerror}") from None

    def _into_the_report(self, found: list[Rows], alone: str) -> None:
        """Put the numbers into the page of the run, in place of older ones."""
        from samreg.files import written
        from samreg.notes import note
        from samreg.report.evaluation import add_numbers

        given = (self.fixed_labels, self.moving_labels, self.fixed_points, self.moving_points)
        names = ", ".join(path.name for path in given if path is not None)
        page = self.run_folder / "report.html"
        try:
            text = add_numbers(
                page.read_text(encoding="utf-8"), found, f"Measured with {names or 'the field'}. {alone}"
            )
            with written(page) as partial:
                partial.write_text(text, encoding="utf-8")
        except (InputError, OSError) as error:
            note(f"{page}: the numbers were not added ({error})")


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
    from samreg.geometry.field import DisplacementField
    from samreg.io.points import read_point_pairs
    from samreg.metrics import FieldCase, LabelCase, PointCase
    from samreg.metrics.score import measure
    from samreg.notes import note

    field = run.transform()
    transforms = {"before": DisplacementField.identity(field.grid), "after": field}
    numbers: dict[str, Any] = dict(measure(FieldCase(field)))
    if fixed_labels is not None and moving_labels is not None:
        fixed, moving, grid = _labels(run, fixed_labels, moving_labels)
        numbers["labels"] = {
            when: measure(LabelCase(fixed, transform.warp_labels(moving, grid), field.grid))
            for when, transform in transforms.items()
        }
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
        for when, transform in transforms.items():
            for name, value in measure(PointCase(*points, transform)).items():
                numbers.setdefault(name, {})[when] = value
    cleaned: dict[str, Any] = to_json(numbers)
    return cleaned


def _labels(run: Run, fixed_path: Path, moving_path: Path) -> tuple[LabelArray, LabelArray, Grid]:
    """Labels of the fixed image on the fixed grid of the run, labels of the moving image, and their grid."""
    from samreg.geometry.field import DisplacementField
    from samreg.io.images import read_labels

    field = run.transform()
    fixed, fixed_grid = read_labels(fixed_path)
    moving, moving_grid = read_labels(moving_path)
    for path, grid in ((fixed_path, fixed_grid), (moving_path, moving_grid)):
        check_pair(grid, field.grid, str(path), "the run")
    _refuse_wrong_side(run, (fixed_path, fixed_grid), (moving_path, moving_grid))
    if _by_name(fixed_path, moving_path):
        moving = _values_by_name(fixed_path, moving_path, moving)
    if not fixed_grid.same_as(field.grid):
        fixed = DisplacementField.identity(field.grid).warp_labels(fixed, fixed_grid)
    if not fixed.any():
        raise GeometryError(f"{fixed_path}: has no label within the fixed image of the run")
    common = set(np.unique(fixed).tolist()) & set(np.unique(moving).tolist()) - {0}
    if not common:
        raise GeometryError(f"{fixed_path} and {moving_path}: have no label in common; give the same values in both")
    if field.coverage(moving_grid) == 0:
        raise GeometryError(
            f"{moving_path}: lies nowhere in the fixed image of the run; give labels of the moving image"
        )
    return fixed, moving, moving_grid


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


def rows_of(numbers: dict[str, Any], unit: str) -> tuple[list[Rows], str]:
    """The numbers as tables, each a head and its rows, and those of the field alone in a line."""
    from samreg.metrics import all_metrics, single_number

    shown = {name: metric for name, metric in all_metrics().items() if metric.in_tables}
    made: list[Rows] = []
    if "labels" in numbers:
        parts = numbers["labels"]["before"], numbers["labels"]["after"]
        names = [name for name in shown if isinstance(parts[1].get(name), dict)]
        head = ["label"]
        for name in names:
            head += [f"{shown[name].title(unit)} before", "after"]
        rows = [[label] for label in parts[1]["dice"]] + [["mean"]]
        for row in rows:
            for name in names:
                values = [single_number(p[name] if row[0] == "mean" else p[name].get(row[0])) for p in parts]
                row += [shown[name].text(value) for value in values]
        made.append((head, rows))
    for name, metric in shown.items():
        if metric.needs == "points" and name in numbers:
            made.append(_before_and_after(metric, numbers[name], unit))
    alone = [f"{m.title(unit)} {m.text(single_number(numbers.get(n)))}" for n, m in shown.items() if m.needs == "field"]
    return made, ", ".join(alone)


def _before_and_after(metric: Metric, value: dict[str, Any], unit: str) -> Rows:
    """A table of one metric of landmarks: a column a statistic, or one column where it is one number."""
    after = value["after"] if isinstance(value["after"], dict) else {"value": value["after"]}
    keys = [key for key in after if key != "n"]
    rows = [
        [when, *(metric.text(value[when][key] if isinstance(value[when], dict) else value[when]) for key in keys)]
        for when in ("before", "after")
    ]
    count = f", {after['n']} landmarks" if "n" in after else ""
    return [metric.title(unit) + count, *keys], rows
