"""Affine matrices of packages that count arrays as (x, y, z) in a RAS world, such as nibabel and MONAI."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from samreg.errors import InputError
from samreg.geometry.grid import Grid
from samreg.types import Matrix, Unit

__all__ = ["affine_of", "grid_of_affine"]

_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS to LPS, and back


def grid_of_affine(
    affine: Matrix, shape: Sequence[int], name: str = "image", *, ras: bool = True, unit: Unit = "mm"
) -> Grid:
    """The grid of an affine matrix.

    Args:
        affine: (4, 4), or (3, 3) of a plane, from index (x, y, z) to world.
        shape: (x, y, z) or (x, y) voxels.
        name: of the image, for messages.
        ras: whether that world is RAS; LPS otherwise.
        unit: of the world.

    Raises:
        GeometryError: if the matrix is sheared or not invertible.
        InputError: if the shape has not two or three axes, or two and the plane is tilted in space.
    """
    d = len(shape)
    if d not in (2, 3):
        raise InputError(f"{name}: has shape {tuple(shape)}; an image has 2 or 3 axes: take one frame of it")
    given = np.asarray(affine, dtype=float)
    matrix = np.eye(4)
    k = len(given) - 1
    matrix[:k, :k], matrix[:k, 3] = given[:k, :k], given[:k, k]
    if ras:
        matrix = _TURN @ matrix
    if d == 2 and not np.allclose(matrix[2, :2], 0):
        raise InputError(f"{name}: is a slice that is tilted in space; give it as a volume of shape {(*shape, 1)}")
    axes = matrix[:d, :d]
    spacing = np.linalg.norm(axes, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = axes / spacing
    return Grid(
        tuple(int(n) for n in shape[::-1]),
        tuple(spacing.tolist()),
        tuple(matrix[:d, 3].tolist()),
        tuple(map(tuple, direction.tolist())),
        unit,
    )


def affine_of(grid: Grid) -> Matrix:
    """The (4, 4) matrix from index (x, y, z) to the RAS world; a plane lies at z = 0."""
    d = grid.ndim
    matrix = np.eye(4)
    matrix[:d, :d], matrix[:d, 3] = grid.matrix[:d, :d], grid.matrix[:d, d]
    turned: Matrix = _TURN @ matrix
    return turned
