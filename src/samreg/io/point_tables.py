"""Tables of points as people and programs write them: with or without a heading, in any common encoding."""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samreg.errors import ImageReadError
from samreg.geometry.grid import Grid
from samreg.notes import note
from samreg.types import Points

__all__ = ["Table", "parse_table", "read_table", "read_text"]

# Names of the coordinates, the number of them that must be there, and the factors that make them LPS; None for voxels.
_SYSTEMS: tuple[tuple[str, int, tuple[float, ...] | None], ...] = (
    ("xyz", 2, (1.0, 1.0, 1.0)),
    ("lps", 3, (1.0, 1.0, 1.0)),
    ("ras", 3, (-1.0, -1.0, 1.0)),
    ("ijk", 2, None),
)
_UNIT = re.compile(r"^([a-z])\s*[\[(_ ]\s*(?:mm|px|pixel|pixels|vox|voxel|voxels)\s*[\])]?$")
_WANTED = "columns named x, y (and z), or l, p, s, or r, a, s, or i, j (and k) are wanted"
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f]")


def read_text(source: Path) -> str:
    """The text of a file in UTF-8, UTF-16 or, where it is neither, Latin-1.

    Raises:
        ImageReadError: if the file is missing or holds no text.
    """
    try:
        content = source.read_bytes()
    except FileNotFoundError:
        raise ImageReadError(f"{source}: there is no such file") from None
    except OSError as error:
        raise ImageReadError(f"{source}: cannot be opened: {error.strerror}") from None
    for encoding in _encodings(content):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text):
            return text
    raise ImageReadError(f"{source}: is not a text file; points are read from .csv .txt .fcsv and .mrk.json")


def _encodings(content: bytes) -> tuple[str, ...]:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ("utf-16",)
    if b"\0" in content[:64]:  # no byte order mark; the zero is the high byte of a digit or letter
        return ("utf-16-be",) if content[:1] == b"\0" else ("utf-16-le",)
    return "utf-8-sig", "cp1252", "latin-1"


def read_table(text: str, source: Path, grid: Grid | None = None) -> tuple[Points, list[str]]:
    """Points of a table, and their labels; NaN where the column `defined`, or empty cells, say that one is not placed.

    Args:
        text: the table.
        source: its file, for messages.
        grid: of the image, for tables of voxels.

    Raises:
        ImageReadError: if it is not a table of points, or nothing says what its numbers are.
    """
    heading, rows, mark = _cells(text)
    if not rows:
        return np.zeros((0, 3)), []
    if mark == ";":  # where a comma is the decimal point
        rows = [[cell.replace(",", ".") for cell in row] for row in rows]
    head = [_name(cell) for cell in rows[0]]
    if not all(_is_number(cell) for cell in head if cell):
        return _named(head, rows[1:], source, grid)
    if heading is not None:
        return _named(heading, rows, source, grid)
    return _unnamed(_numbers(rows, None, source), source, grid), [""] * len(rows)


@dataclass
class Table:
    """A table as it stands in its file.

    Args:
        head: names of the columns, as written.
        rows: cells of each row.
        mark: what separates cells.
        coordinates: numbers of the columns that hold x, y (and z), whatever they are called; None where nothing names
            them.
    """

    head: list[str]
    rows: list[list[str]]
    mark: str
    coordinates: list[int] | None


def parse_table(text: str) -> Table:
    """The cells of a table that `read_table` reads."""
    heading, rows, mark = _cells(text)
    head = rows[0] if rows else []
    named = not all(_is_number(cell) for cell in head if cell.strip())
    if named:
        rows = rows[1:]
    elif heading is not None:
        head, named = list(heading), True
    names = [_name(cell) for cell in head]
    known = next((entry for entry in _SYSTEMS if set(entry[0][: entry[1]]) <= set(names)), None) if named else None
    coordinates = [names.index(name) for name in known[0] if name in names] if known else None
    return Table(head if named else [], rows, mark or ",", coordinates)


def _cells(text: str) -> tuple[list[str] | None, list[list[str]], str | None]:
    """A heading that stands in a comment, the rows, a heading among them, and what separates their cells."""
    lines = text.splitlines()
    heading = next((h for line in lines if line.lstrip().startswith("#") and (h := _heading(line.lstrip("# ")))), None)
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    mark = next((m for m in (";", ",") if lines and m in lines[0]), None)
    if mark:
        table = csv.reader(io.StringIO("\n".join(lines)), delimiter=mark)
        rows = list(table)
        while rows and not any(map(str.strip, rows[-1])):
            rows.pop()  # spreadsheets write empty rows at the end; one between others is a point without a place
        return heading, rows, mark
    return heading, [line.split() for line in lines], None


def _heading(comment: str) -> list[str] | None:
    """The names of the columns, if a comment is nothing but these."""
    names = [_name(cell) for cell in re.split(r"[,;\s]+", comment.strip())]
    known = any(names == list(system[:n]) for system, least, _ in _SYSTEMS for n in range(least, 4))
    return names if known else None


def _name(cell: str) -> str:
    text = cell.strip().lower()
    unit = _UNIT.match(text)
    return unit[1] if unit else text


def _named(head: list[str], rows: list[list[str]], source: Path, grid: Grid | None) -> tuple[Points, list[str]]:
    known = next((entry for entry in _SYSTEMS if set(entry[0][: entry[1]]) <= set(head)), None)
    if known is None:
        raise ImageReadError(f"{source}: has columns {', '.join(head)}; {_WANTED}")
    system, _, factors = known
    names = [name for name in system if name in head]
    if any(head.count(name) > 1 for name in names):
        raise ImageReadError(f"{source}: has two columns of one name ({', '.join(head)}); keep one of each")
    columns = [head.index(name) for name in names]
    placed = [_is_placed(row, head) and any("".join(row[i : i + 1]).strip() for i in columns) for row in rows]
    points = np.full((len(rows), len(names)), np.nan)
    points[placed] = _numbers([row for row, keep in zip(rows, placed, strict=True) if keep], columns, source)
    label = next((head.index(name) for name in ("label", "name", "id") if name in head), None)
    labels = [row[label].strip() if label is not None and label < len(row) else "" for row in rows]
    if factors is not None:
        return points * factors[: points.shape[1]], labels
    if grid is None:
        raise ImageReadError(f"{source}: holds voxels (i, j, k), which need their image; convert them to x, y, z in mm")
    return _of_voxels(points, source, grid), labels


def _is_placed(row: list[str], head: list[str]) -> bool:
    where = head.index("defined") if "defined" in head else len(row)
    return where >= len(row) or row[where].strip().lower() not in ("0", "false", "no")


def _unnamed(points: Points, source: Path, grid: Grid | None) -> Points:
    """Points of a table without a heading: as millimetres or as voxels, where only one of them can be."""
    if points.shape[1] != 3 or (points < 0).any():
        return points
    if grid is not None and grid.ndim == 3:
        of_voxels = grid.index_to_world(points)
        as_mm, as_voxels = (bool(grid.contains(p).all()) for p in (points, of_voxels))
        if as_mm and not as_voxels:
            return points
        if as_voxels and not as_mm:
            note(
                f"{source}: its points lie in the image as voxels only, and are taken as voxels; name its columns i,j,k"
            )
            return of_voxels
    raise ImageReadError(
        f"{source}: holds three numbers a row without a heading, which may be millimetres or voxels (Learn2Reg); name "
        "the columns x,y,z (LPS mm) or i,j,k (voxels)"
    )


def _of_voxels(points: Points, source: Path, grid: Grid) -> Points:
    if points.shape[1] != grid.ndim:
        raise ImageReadError(f"{source}: holds {points.shape[1]}D voxels and its image is {grid.ndim}D")
    return grid.index_to_world(points)


def _numbers(rows: list[list[str]], columns: list[int] | None, source: Path) -> Points:
    """The rows as numbers: those columns, or all.

    Raises:
        ImageReadError: if a cell is not a finite number, or a row has another length than 2 or 3.
    """
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
    array = np.asarray(points, dtype=float).reshape(len(points), max(widths, default=len(columns or "xyz")))
    if not np.isfinite(array).all():
        raise ImageReadError(f"{source}: holds NaN or infinite coordinates")
    return array


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
