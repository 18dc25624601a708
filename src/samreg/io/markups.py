"""Markups of 3D Slicer: .fcsv and .mrk.json."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import ImageReadError
from samreg.types import Points

__all__ = ["LPS_FIDUCIALS", "read_fiducials", "read_markups"]

LPS_FIDUCIALS = "# CoordinateSystem = LPS"
"""The comment by which a .fcsv file says so."""

_RAS = {"RAS", "0"}
_LPS = {"LPS", "1"}
_TO_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "µm": 1e-3}


def read_fiducials(text: str, source: Path) -> tuple[Points, list[str]]:
    """Points of a .fcsv file, and their labels.

    Raises:
        ImageReadError: if it is not one, or its points are not numbers.
    """
    system, columns = "RAS", ["id", "x", "y", "z"]
    lines = []
    for line in filter(str.strip, text.splitlines()):
        if line.startswith("#"):
            key, _, value = line[1:].partition("=")
            if key.strip().lower() == "coordinatesystem":
                system = value.strip()
            if key.strip().lower() == "columns":
                columns = [name.strip().lower() for name in value.split(",")]
        else:
            lines.append(line)
    if not {"x", "y", "z"} <= set(columns):
        raise ImageReadError(
            f"{source}: has columns {', '.join(columns)}; a .fcsv has x, y and z; name it .csv if it is a table of "
            "l, p, s or r, a, s"
        )
    points, labels = [], []
    for number, row in enumerate(csv.reader(lines), start=1):
        try:
            points.append([float(row[columns.index(name)]) for name in "xyz"])
        except (ValueError, IndexError):
            raise ImageReadError(f"{source}: point {number} is not a row of numbers: {','.join(row)[:60]!r}") from None
        where = columns.index("label") if "label" in columns else len(row)
        labels.append(row[where] if where < len(row) else "")
    rows = np.asarray(points, dtype=float).reshape(-1, 3)
    if not np.isfinite(rows).all():
        raise ImageReadError(f"{source}: holds NaN or infinite coordinates")
    return _to_lps(rows, system, source), labels


def read_markups(text: str, source: Path) -> tuple[Points, list[str]]:
    """Points of a .mrk.json file, NaN where one is not placed, and their labels.

    Raises:
        ImageReadError: if it is not one, or is in an unknown unit or coordinate system.
    """
    try:
        markups: list[dict[str, Any]] = json.loads(text)["markups"]
        parts, labels = [np.zeros((0, 3))], []
        for markup in markups:
            rows = []
            for point in markup["controlPoints"]:
                placed = point.get("positionStatus", "defined") == "defined"
                rows.append([float(v) for v in point["position"]] if placed else [np.nan] * 3)
                labels.append(str(point.get("label", "")))
            points = np.asarray(rows, dtype=float).reshape(len(rows), 3)
            parts.append(_to_lps(points * _unit(markup, source), str(markup.get("coordinateSystem", "LPS")), source))
            if np.isinf(points).any() or np.isnan(points).any(axis=1).sum() > sum(np.isnan(row[0]) for row in rows):
                raise ImageReadError(f"{source}: holds NaN or infinite coordinates")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ImageReadError):
            raise
        raise ImageReadError(f"{source}: is not a markups file of 3D Slicer (.mrk.json)") from None
    return np.concatenate(parts), labels


def _unit(markup: dict[str, Any], source: Path) -> float:
    """Millimetres in the unit of a markup, which is one name or one an axis."""
    named = markup.get("coordinateUnits", "mm")
    names = {str(name) for name in (named if isinstance(named, list) else [named])}
    if len(names) != 1 or not names <= set(_TO_MM):
        raise ImageReadError(f"{source}: is in the unit {', '.join(sorted(names))!r}; save it in mm")
    return _TO_MM[names.pop()]


def _to_lps(points: Points, system: str, source: Path) -> Points:
    if system.upper() in _LPS:
        return points
    if system.upper() in _RAS:
        return points * [-1.0, -1.0, 1.0]
    raise ImageReadError(f"{source}: is in the coordinate system {system!r}; LPS and RAS are known")
