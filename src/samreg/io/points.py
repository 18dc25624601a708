"""Points in and out: CSV, plain text, and the markups of 3D Slicer (.fcsv, .mrk.json).

In memory points are (n, d) world points, (x, y, z), LPS millimetres; of photographs they are pixels, 0 at the centre
of the first one. A table names what its columns are: x, y, z and l, p, s are these numbers, r, a, s have the first two
negated, and i, j, k are voxels of an image. Slicer's files say whether they are LPS or RAS and are converted.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samreg.errors import GeometryError, ImageReadError, InputError
from samreg.files import written
from samreg.geometry.grid import Grid
from samreg.io.markups import LPS_FIDUCIALS, read_fiducials, read_markups
from samreg.io.point_tables import read_table, read_text
from samreg.notes import note
from samreg.types import Points

__all__ = ["read_labelled_points", "read_point_pairs", "read_points", "write_points"]


def read_points(path: str | Path, grid: Grid | None = None) -> Points:
    """Read points.

    A CSV or text file has columns named x, y and z, or l, p, s, or r, a, s, or i, j, k, in any order and among others;
    or 2 or 3 numbers a row. Three numbers that may be voxels as well as millimetres are refused.

    Args:
        path: the file.
        grid: of the image in which the points lie; voxels need it.

    Returns:
        (n, 2) or (n, 3) world points.

    Raises:
        ImageReadError: if the file is missing or is not a list of points, or if a point of it is not defined.
    """
    source = Path(path)
    points, _ = read_labelled_points(source, grid)
    undefined = np.flatnonzero(np.isnan(points).any(axis=1)) + 1
    if len(undefined):
        raise ImageReadError(
            f"{source}: point {undefined[0]} is not defined (placed); place it, or delete it, and its partner too"
        )
    return points


def read_point_pairs(
    fixed: str | Path, moving: str | Path, fixed_grid: Grid | None = None, moving_grid: Grid | None = None
) -> tuple[Points, Points]:
    """Read corresponding points of two images, row by row, or by their labels where these are in another order.

    A pair of which one point is not defined is left out, with a note.

    Args:
        fixed: points of the fixed image.
        moving: the same points of the moving image.
        fixed_grid: grid of the fixed image; voxels need it.
        moving_grid: grid of the moving image.

    Returns:
        (n, d) fixed and (n, d) moving world points.

    Raises:
        ImageReadError: if a file is not a list of points, or no pair is defined.
        GeometryError: if one file has more points than the other.
    """
    (a, a_labels), (b, b_labels) = (read_labelled_points(p, g) for p, g in ((fixed, fixed_grid), (moving, moving_grid)))
    if len(a) != len(b):
        raise GeometryError(f"{fixed} holds {len(a)} points and {moving} {len(b)}; give the same points in both")
    if a_labels != b_labels and len(set(a_labels)) == len(a_labels) and set(a_labels) == set(b_labels):
        b = b[[b_labels.index(label) for label in a_labels]]
        note(f"{moving}: has the points of {fixed} in another order; they are paired by their labels")
    defined = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    if not defined.any():
        raise ImageReadError(f"{fixed} and {moving}: no point is defined in both")
    if not defined.all():
        rows = ", ".join(str(i + 1) for i in np.flatnonzero(~defined)[:10])
        note(f"{fixed} and {moving}: points that are not defined in both are left out (rows {rows})")
    return a[defined], b[defined]


def read_labelled_points(path: str | Path, grid: Grid | None = None) -> tuple[Points, list[str]]:
    """Points, NaN where one is not defined (placed), and their labels, empty where they have none.

    Args:
        path: the file.
        grid: of the image in which the points lie; voxels need it.

    Raises:
        ImageReadError: if the file is missing or is not a list of points.
    """
    source = Path(path)
    text = read_text(source)
    if source.suffix.lower() == ".json":
        points, labels = read_markups(text, source)
    elif source.suffix.lower() == ".fcsv":
        points, labels = read_fiducials(text, source)
    else:
        points, labels = read_table(text, source, grid)
    if not len(points):
        raise ImageReadError(f"{source}: holds no points")
    return points, labels


def write_points(points: Points, path: str | Path, labels: Sequence[str] | None = None) -> Path:
    """Write points as .csv, .txt, .fcsv or .mrk.json (3D only for the last two), chosen by the file name.

    Args:
        points: (n, d) world points; NaN in one that is not defined, which of these .mrk.json alone can say.
        path: the file.
        labels: of each point in Slicer's files; its number by default.

    Raises:
        InputError: if the file name ends otherwise, or the format cannot hold these points.
    """
    target, rows = Path(path), np.asarray(points, dtype=float)
    suffix = target.suffix.lower()
    if suffix not in (".csv", ".txt", ".fcsv", ".json"):
        raise InputError(f"{target}: points are written as .csv .txt .fcsv or .mrk.json")
    if suffix in (".fcsv", ".json") and rows.shape[1] != 3:
        raise InputError(f"{target}: 3D Slicer's markups are 3D and these points are {rows.shape[1]}D; choose .csv")
    if suffix != ".json" and np.isnan(rows).any():
        raise InputError(f"{target}: {suffix} cannot say that a point is not defined; choose .csv or .mrk.json")
    names = [str(i) for i in range(1, len(rows) + 1)] if labels is None else list(labels)
    if suffix in (".csv", ".txt"):
        text = (_as_csv if suffix == ".csv" else _as_text)(rows)
    else:
        text = (_as_fiducials if suffix == ".fcsv" else _as_markups)(rows, names)
    try:
        with written(target) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return target


def _as_csv(rows: Points) -> str:
    head = ",".join("xyz"[: rows.shape[1]])
    return "\n".join([head, *(",".join(repr(float(v)) for v in row) for row in rows)]) + "\n"


def _as_text(rows: Points) -> str:
    # The heading says that these are no voxels.
    head = f"# {' '.join('xyz'[: rows.shape[1]])}\n"
    return head + "".join(" ".join(repr(float(v)) for v in row) + "\n" for row in rows)


def _as_fiducials(rows: Points, labels: list[str]) -> str:
    columns = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
    text = io.StringIO(f"# Markups fiducial file version = 4.11\n{LPS_FIDUCIALS}\n# columns = {columns}\n")
    text.seek(0, io.SEEK_END)
    table = csv.writer(text, lineterminator="\n")
    for i, (row, label) in enumerate(zip(rows, labels, strict=True), start=1):
        table.writerow([i, *(repr(float(v)) for v in row), 0, 0, 0, 1, 1, 1, 0, label, "", ""])
    return text.getvalue()


def _as_markups(rows: Points, labels: list[str]) -> str:
    points = []
    for i, (row, label) in enumerate(zip(rows, labels, strict=True), start=1):
        defined = bool(np.isfinite(row).all())
        place = {"position": [float(v) if defined else 0.0 for v in row]}
        points.append({"id": str(i), "label": label, **place, "positionStatus": "defined" if defined else "undefined"})
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    return json.dumps({"markups": [markup]}, indent=1, ensure_ascii=False) + "\n"
