"""Arrays of numpy with a spacing: (z, y, x), colour and vectors on the last axis, as SimpleITK gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from samreg.errors import GeometryError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.types import LabelArray, Unit

__all__ = [
    "Geometry",
    "field_from_numpy",
    "from_numpy",
    "geometry_of",
    "labels_from_numpy",
    "to_numpy",
    "whole_numbers",
]

Geometry: TypeAlias = tuple[tuple[float, ...], tuple[float, ...], tuple[tuple[float, ...], ...]]
"""Spacing, origin and direction of a grid."""
Placed: TypeAlias = tuple[np.ndarray, tuple[float, ...], tuple[float, ...], tuple[tuple[float, ...], ...]]
"""An array, then spacing, origin and direction."""


def from_numpy(
    data: np.ndarray,
    spacing: Sequence[float],
    origin: Sequence[float] | None = None,
    direction: Sequence[Sequence[float]] | None = None,
    *,
    colour: bool = False,
    name: str = "image",
    unit: Unit = "mm",
) -> Image:
    """An image of an array and its geometry.

    Args:
        data: (z, y, x) or (y, x) grey values, with a last axis of 3 where `colour`.
        spacing: size of a voxel along x, y and z: in the order of ITK, not of the array.
        origin: (x, y, z) world position of the first voxel's centre, LPS; zero by default.
        direction: rows of the direction matrix, whose columns are the unit vectors of the index axes x, y, z; the
            identity by default.
        colour: whether the last axis holds RGB.
        name: what to call the image.
        unit: mm, or px for photographs.

    Raises:
        GeometryError: if the array has not as many axes as the spacing has values, or the geometry cannot be.
        InputError: if there are NaN values.
    """
    values = np.asarray(data)
    shape = values.shape[:-1] if colour else values.shape
    if len(shape) != len(spacing) or (colour and values.shape[-1] != 3):
        kind = "RGB" if colour else "grey"
        raise GeometryError(
            f"{name}: an array of shape {values.shape} as {kind} image wants a spacing for each of its axes, got "
            f"{len(spacing)} values"
        )
    return Image(values.astype(np.float32), _grid(shape, spacing, origin, direction, unit), name)


def labels_from_numpy(
    data: np.ndarray,
    spacing: Sequence[float],
    origin: Sequence[float] | None = None,
    direction: Sequence[Sequence[float]] | None = None,
    *,
    unit: Unit = "mm",
) -> tuple[LabelArray, Grid]:
    """A label map of an array, int32 `(*grid.shape)`, and its grid.

    Args:
        data: (z, y, x) or (y, x) whole numbers.
        spacing: as of `from_numpy`.
        origin: as of `from_numpy`.
        direction: as of `from_numpy`.
        unit: as of `from_numpy`.

    Raises:
        GeometryError: as of `from_numpy`.
        InputError: if the values are not whole numbers.
    """
    values = np.asarray(data)
    if values.ndim != len(spacing):
        raise GeometryError(f"labels of shape {values.shape} want a spacing for each axis, got {len(spacing)} values")
    return whole_numbers(values, "the array"), _grid(values.shape, spacing, origin, direction, unit)


def field_from_numpy(
    u: np.ndarray,
    spacing: Sequence[float],
    origin: Sequence[float] | None = None,
    direction: Sequence[Sequence[float]] | None = None,
    *,
    unit: Unit = "mm",
) -> DisplacementField:
    """A field of an array of displacements in world units (not voxels), on the fixed grid, pulling back.

    Args:
        u: (z, y, x, 3) or (y, x, 2), last axis (x, y, z), LPS mm.
        spacing: as of `from_numpy`.
        origin: as of `from_numpy`.
        direction: as of `from_numpy`.
        unit: as of `from_numpy`.

    Raises:
        GeometryError: if the array has not a last axis of as many values as the spacing, or the geometry cannot be.
    """
    values = np.asarray(u)
    d = len(spacing)
    if values.ndim != d + 1 or values.shape[-1] != d:
        raise GeometryError(
            f"a {d}D displacement field is an array of {d + 1} axes, the last one of {d} values (x, y, z), got shape "
            f"{values.shape}"
        )
    return DisplacementField(values.astype(np.float32), _grid(values.shape[:-1], spacing, origin, direction, unit))


def to_numpy(thing: Image | DisplacementField) -> Placed:
    """An array and its geometry, as `from_numpy` and `field_from_numpy` take them.

    Returns:
        A copy of the values, `(*shape)`, `(*shape, 3)` RGB or `(*shape, d)` displacements; spacing (x, y, z); origin;
        rows of the direction.
    """
    values = thing.data if isinstance(thing, Image) else thing.u
    return values.copy(), *geometry_of(thing.grid)


def geometry_of(grid: Grid) -> Geometry:
    """Spacing, origin and direction of a grid, (x, y, z)."""
    return grid.spacing, grid.origin, grid.direction


def whole_numbers(values: np.ndarray, name: str) -> LabelArray:
    """Values as int32.

    Raises:
        InputError: if one is no whole number, or beyond 32 bits.
    """
    limit = np.iinfo(np.int32)
    with np.errstate(invalid="ignore"):
        bad = ~((values >= limit.min) & (values <= limit.max) & (values == np.floor(values)))
    if bad.any():
        raise InputError(f"{name}: holds {values[bad].flat[0]:g}; a label map has whole numbers of 32 bits only")
    return np.ascontiguousarray(values).astype(np.int32)


def _grid(
    shape: Sequence[int],
    spacing: Sequence[float],
    origin: Sequence[float] | None,
    direction: Sequence[Sequence[float]] | None,
    unit: Unit,
) -> Grid:
    d = len(spacing)
    rows = np.eye(d) if direction is None else np.asarray(direction, dtype=float)
    start = (0.0,) * d if origin is None else tuple(map(float, origin))
    return Grid(tuple(map(int, shape)), tuple(map(float, spacing)), start, tuple(map(tuple, rows.tolist())), unit)
