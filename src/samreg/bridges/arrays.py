"""Arrays with a spacing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samreg.errors import GeometryError
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.types import Unit

__all__ = ["from_numpy"]


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
    d = len(spacing)
    if len(shape) != d or (colour and values.shape[-1] != 3):
        kind = "RGB" if colour else "grey"
        raise GeometryError(
            f"{name}: an array of shape {values.shape} as {kind} image wants a spacing for each of its axes, got {d} "
            "values"
        )
    rows = np.eye(d) if direction is None else np.asarray(direction, dtype=float)
    start = (0.0,) * d if origin is None else tuple(map(float, origin))
    grid = Grid(tuple(map(int, shape)), tuple(map(float, spacing)), start, tuple(map(tuple, rows.tolist())), unit)
    return Image(values.astype(np.float32), grid, name)
