"""Landmarks of a pair: two files of points, two tables of voxel indices, or one table that holds both."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from samreg.errors import DatasetError
from samreg.geometry.grid import Grid
from samreg.io.tables import PairRecord
from samreg.types import Points

__all__ = ["read_landmarks"]


def read_landmarks(pair: PairRecord, fixed: Grid, moving: Grid) -> tuple[Points, Points] | None:
    """Corresponding landmarks in world coordinates; None where the pair has none.

    Where one list is longer than the other, the surplus has no partner and is dropped, as the histology dataset
    does it.

    Args:
        pair: the pair.
        fixed: grid of the fixed image.
        moving: grid of the moving image.

    Returns:
        (n, d) fixed and (n, d) moving world points.

    Raises:
        DatasetError: if a table holds no points, or points of another dimension.
    """
    if pair.fixed_points is None or pair.moving_points is None:
        return None
    if pair.fixed_points == pair.moving_points:
        both = _read_table(pair.fixed_points, 2 * fixed.ndim)
        rows = both[:, : fixed.ndim], both[:, fixed.ndim :]
    elif pair.points == "index":
        rows = _read_table(pair.fixed_points, fixed.ndim), _read_table(pair.moving_points, moving.ndim)
    else:
        from samreg.io.points import read_points

        rows = read_points(pair.fixed_points, fixed), read_points(pair.moving_points, moving)
    n = min(len(rows[0]), len(rows[1]))
    a, b = rows[0][:n], rows[1][:n]
    if pair.points == "index":
        a, b = fixed.index_to_world(a), moving.index_to_world(b)
    return a, b


def _read_table(path: Path, n_columns: int) -> np.ndarray:
    """Numbers separated by commas or blanks, below at most one header line."""
    rows: list[list[float]] = []
    with path.open(newline="", encoding="utf-8-sig") as stream:
        for number, line in enumerate(csv.reader(text.replace(";", ",").replace("\t", ",") for text in stream)):
            cells = line if len(line) > 1 else " ".join(line).split()
            cells = [cell.strip() for cell in cells if cell.strip()]
            if not cells:
                continue
            try:
                values = [float(cell) for cell in cells]
            except ValueError:
                if number == 0:
                    continue
                raise DatasetError(f"{path} line {number + 1} holds {' '.join(line)!r}; wanted are numbers") from None
            # ImageJ puts a running number in front.
            if len(values) == n_columns + 1:
                values = values[1:]
            if len(values) != n_columns:
                raise DatasetError(f"{path} line {number + 1} has {len(values)} numbers; wanted are {n_columns}")
            rows.append(values)
    if not rows:
        raise DatasetError(f"{path} holds no landmarks; wanted is a row of {n_columns} numbers for each")
    return np.asarray(rows)
