"""Points in and out: CSV, plain text, and the markups of 3D Slicer (.fcsv, .mrk.json).

In memory points are (n, d) world points, (x, y, z), LPS millimetres; of photographs they are pixels, 0 at the centre
of the first one. CSV and text files hold exactly these numbers; Slicer's files say whether they are LPS or RAS and
are converted.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import ImageReadError, InputError
from samreg.files import written
from samreg.types import Points

__all__ = ["read_points", "write_points"]

_RAS = {"RAS", "0"}
_LPS = {"LPS", "1"}


def read_points(path: str | Path) -> Points:
    """Read points.

    A CSV or text file has 2 or 3 numbers a row, or columns named x, y and z, in any order and among others.

    Returns:
        (n, 2) or (n, 3) world points.

    Raises:
        ImageReadError: if the file is missing or is not a list of points.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ImageReadError(f"{source}: there is no such file") from None
    except (OSError, UnicodeDecodeError):
        raise ImageReadError(
            f"{source}: is not a text file; points are read from .csv .txt .fcsv and .mrk.json"
        ) from None
    if source.suffix.lower() == ".json":
        points = _markups(text, source)
    elif source.suffix.lower() == ".fcsv":
        points = _fiducials(text, source)
    else:
        points = _table(text, source)
    if not len(points):
        raise ImageReadError(f"{source}: holds no points")
    if not np.isfinite(points).all():
        raise ImageReadError(f"{source}: holds NaN or infinite coordinates")
    return points


def write_points(points: Points, path: str | Path) -> Path:
    """Write points as .csv, .txt, .fcsv or .mrk.json (3D only for the last two), chosen by the file name.

    Raises:
        InputError: if the file name ends otherwise, or the format cannot hold these points.
    """
    target, rows = Path(path), np.asarray(points, dtype=float)
    suffix = target.suffix.lower()
    if suffix not in (".csv", ".txt", ".fcsv", ".json"):
        raise InputError(f"{target}: points are written as .csv .txt .fcsv or .mrk.json")
    if suffix in (".fcsv", ".json") and rows.shape[1] != 3:
        raise InputError(f"{target}: 3D Slicer's markups are 3D and these points are {rows.shape[1]}D; choose .csv")
    text = {".csv": _as_csv, ".txt": _as_text, ".fcsv": _as_fiducials, ".json": _as_markups}[suffix](rows)
    try:
        with written(target) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return target


def _table(text: str, source: Path) -> Points:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return np.zeros((0, 3))
    if any(mark in lines[0] for mark in ",;"):
        rows = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=";" if ";" in lines[0] else ","))
    else:
        rows = [line.split() for line in lines]
    head = [cell.strip().lower() for cell in rows[0]]
    columns: list[int] | None = None
    if not all(_is_number(cell) for cell in head if cell):
        if not {"x", "y"} <= set(head):
            raise ImageReadError(f"{source}: has columns {', '.join(head)}; columns named x, y (and z) are wanted")
        columns = [head.index(name) for name in ("x", "y", "z") if name in head]
        rows = rows[1:]
    return _numbers(rows, columns, source)


def _numbers(rows: list[list[str]], columns: list[int] | None, source: Path) -> Points:
    points = []
    for number, row in enumerate(rows, start=1):
        try:
            values = [float(row[i]) for i in columns] if columns else [float(cell) for cell in row if cell.strip()]
        except (ValueError, IndexError):
            raise ImageReadError(f"{source}: point {number} is not a row of numbers: {' '.join(row)[:60]!r}") from None
        points.append(values)
    widths = {len(values) for values in points}
    if widths - {2} and widths - {3}:
        raise ImageReadError(
            f"{source}: has rows of {' and '.join(map(str, sorted(widths)))} numbers; a point has 2 or 3 "
            "(name the columns where there are more)"
        )
    return np.asarray(points, dtype=float).reshape(len(points), -1)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _to_lps(points: Points, system: str, source: Path) -> Points:
    if system.upper() in _LPS:
        return points
    if system.upper() in _RAS:
        return points * [-1.0, -1.0, 1.0]
    raise ImageReadError(f"{source}: is in the coordinate system {system!r}; LPS and RAS are known")


def _fiducials(text: str, source: Path) -> Points:
    system, columns = "RAS", ["id", "x", "y", "z"]
    rows: list[list[str]] = []
    for line in filter(str.strip, text.splitlines()):
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip().lower() == "coordinatesystem":
                system = value.strip()
            if key.strip().lower() == "columns":
                columns = [name.strip().lower() for name in value.split(",")]
        else:
            rows.append(line.split(","))
    return _to_lps(_numbers(rows, [columns.index(name) for name in "xyz"], source).reshape(-1, 3), system, source)


def _markups(text: str, source: Path) -> Points:
    try:
        markups: list[dict[str, Any]] = json.loads(text)["markups"]
        parts = []
        for markup in markups:
            rows = [p["position"] for p in markup["controlPoints"] if p.get("positionStatus", "defined") == "defined"]
            points = np.asarray(rows, dtype=float).reshape(len(rows), 3)
            parts.append(_to_lps(points, str(markup.get("coordinateSystem", "LPS")), source))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(f"{source}: is not a markups file of 3D Slicer (.mrk.json)") from None
    return np.concatenate(parts) if parts else np.zeros((0, 3))


def _as_csv(rows: Points) -> str:
    head = ",".join("xyz"[: rows.shape[1]])
    return "\n".join([head, *(",".join(repr(float(v)) for v in row) for row in rows)]) + "\n"


def _as_text(rows: Points) -> str:
    return "".join(" ".join(repr(float(v)) for v in row) + "\n" for row in rows)


def _as_fiducials(rows: Points) -> str:
    columns = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
    head = f"# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = {columns}\n"
    lines = [f"{i},{','.join(repr(float(v)) for v in row)},0,0,0,1,1,1,0,{i},," for i, row in enumerate(rows, start=1)]
    return head + "\n".join(lines) + "\n"


def _as_markups(rows: Points) -> str:
    points = [
        {"id": str(i), "label": str(i), "position": [float(v) for v in row], "positionStatus": "defined"}
        for i, row in enumerate(rows, start=1)
    ]
    markup = {"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": points}
    return json.dumps({"markups": [markup]}, indent=1) + "\n"
