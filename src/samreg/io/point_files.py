"""Point files that are carried along: labels, IDs, descriptions and columns stay, the positions are replaced.

Positions are written as LPS millimetres (pixels of photographs), columns of them are called x, y, z. Between different
kinds of file the labels go along, and whether a point is defined (placed).
"""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import InputError
from samreg.geometry.grid import Grid
from samreg.io.markups import LPS_FIDUCIALS
from samreg.io.point_tables import Table, parse_table, read_text
from samreg.io.points import read_labelled_points, write_points
from samreg.types import Points

__all__ = ["PointFile", "read_point_file", "write_point_file"]


@dataclass(frozen=True, eq=False)
class PointFile:
    """A file of points as it was read.

    Args:
        path: where it is.
        text: all of it.
        points: (n, d) world points, NaN where one is not defined.
        labels: of each point, empty where it has none.
    """

    path: Path
    text: str
    points: Points
    labels: list[str]

    @property
    def kind(self) -> str:
        """The ending of its name, in small letters."""
        return self.path.suffix.lower()


def read_point_file(path: str | Path, grid: Grid | None = None) -> PointFile:
    """Read a file of points with all that is in it.

    Args:
        path: the file.
        grid: of the image in which the points lie; voxels need it.

    Raises:
        ImageReadError: if it is not a list of points, or none of them is defined.
    """
    source = Path(path)
    points, labels = read_labelled_points(source, grid)
    return PointFile(source, read_text(source), points, labels)


def write_point_file(file: PointFile, points: Points, path: str | Path, marks: Mapping[str, np.ndarray]) -> Path:
    """Write the same points at other positions.

    Args:
        file: what was read.
        points: (n, d) new world points, NaN where one is not defined.
        path: its ending chooses the format.
        marks: more columns of a table, name to (n,) values; other formats leave them out.

    Raises:
        InputError: if the file name ends otherwise, or the format cannot hold these points.
    """
    target = Path(path)
    kind = target.suffix.lower()
    if kind == ".json" and file.kind == ".json":
        return _write(target, _markups(file, points))
    if kind == ".fcsv" and file.kind == ".fcsv":
        return _write(target, _fiducials(file, points))
    if kind == ".csv":
        return _write(target, _table(file, points, marks))
    return write_points(points, target, file.labels if any(file.labels) else None)


def _write(target: Path, text: str) -> Path:
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return target


def _markups(file: PointFile, points: Points) -> str:
    content: dict[str, Any] = copy.deepcopy(json.loads(file.text))
    rows = iter(points.tolist())
    for markup in content["markups"]:
        markup["coordinateSystem"], markup["coordinateUnits"] = "LPS", "mm"
        for point in markup["controlPoints"]:
            row = next(rows)
            if not np.isnan(row).any():
                point["position"] = row
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _fiducials(file: PointFile, points: Points) -> str:
    """Comments stay, but for the coordinate system."""
    columns, lines, said = ["id", "x", "y", "z"], [], False
    rows = iter(points.tolist())
    for line in filter(str.strip, file.text.splitlines()):
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip().lower() == "columns":
                columns = [name.strip().lower() for name in value.split(",")]
            if key.strip().lower() == "coordinatesystem":
                line, said = LPS_FIDUCIALS, True
            lines.append(line)
            continue
        cells = next(csv.reader([line]))
        for name, value in zip("xyz", next(rows), strict=True):
            cells[columns.index(name)] = repr(value)
        lines.append(_line(cells, ","))
    return "\n".join(lines if said else [LPS_FIDUCIALS, *lines]) + "\n"


def _table(file: PointFile, points: Points, marks: Mapping[str, np.ndarray]) -> str:
    names = list("xyz"[: points.shape[1]])
    table = parse_table(file.text) if file.kind not in (".json", ".fcsv") else None
    if table is None or table.coordinates is None:
        table = Table(names.copy(), [[""] * len(names) for _ in points], ",", list(range(len(names))))
        if any(file.labels):
            table.head.append("label")
            table.rows = [[*row, label] for row, label in zip(table.rows, file.labels, strict=True)]
    head, rows, places = list(table.head), [list(row) for row in table.rows], table.coordinates or []
    for name, place in zip(names, places, strict=True):
        head[place] = name
    more = dict(marks)
    if np.isnan(points).any() and "defined" not in [name.strip().lower() for name in head]:
        more = {"defined": np.isfinite(points).all(axis=1), **more}
    for name in more:
        if name not in head:
            head.append(name)
    for i, row in enumerate(rows):
        row += [""] * (len(head) - len(row))
        for place, value in zip(places, points[i].tolist(), strict=True):
            row[place] = "" if np.isnan(value) else repr(value)
        for name, values in more.items():
            row[head.index(name)] = "" if np.isnan(values[i]) else f"{float(values[i]):.6g}"
    return "\n".join(_line(cells, table.mark) for cells in [head, *rows]) + "\n"


def _line(cells: list[str], mark: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=mark, lineterminator="").writerow(cells)
    return text.getvalue()
