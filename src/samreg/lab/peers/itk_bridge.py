"""Images for tools of the ITK family, and their transforms as fields of samreg.

Every tool gets the images as they are, with their geometry; nothing is resampled for it unless it needs one grid
for both. Every result becomes displacements at the centres of the fixed voxels, so no accuracy is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.errors import RegistrationError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid, apply_affine
from samreg.geometry.image import Image
from samreg.types import Matrix

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = [
    "FEWEST_SLICES",
    "MOST_ANISOTROPIC",
    "after_affine",
    "at_voxels",
    "field_from_sitk",
    "field_from_slices",
    "isotropic_grid",
    "matrix_of",
    "onto_grid",
    "quiet",
    "ras_to_lps",
    "register_slices",
    "slice_stack",
    "to_sitk",
    "with_interpolated_slices",
]

MOST_ANISOTROPIC = 2.5
"""Thickness of a slice, in pixels, beyond which `with_interpolated_slices` adds some."""
FEWEST_SLICES = 16
"""Slices below which it adds some, however thin: a pyramid that halves twice then still has four."""

_RAS_LPS = {2: np.diag([-1.0, -1.0, 1.0]), 3: np.diag([-1.0, -1.0, 1.0, 1.0])}
"""By dimension."""


def to_sitk(image: Image) -> sitk.Image:
    """The grey values as a SimpleITK image with the same geometry."""
    import SimpleITK as sitk

    out = sitk.GetImageFromArray(np.ascontiguousarray(image.grey()))
    out.SetSpacing(image.grid.spacing)
    out.SetOrigin(image.grid.origin)
    out.SetDirection(tuple(np.ravel(image.grid.direction)))
    return out


def field_from_sitk(displacement: sitk.Image, grid: Grid) -> DisplacementField:
    """A vector image (LPS, pull-back) on the fixed grid as a field.

    Raises:
        RegistrationError: if the tool answered on another lattice.
    """
    import SimpleITK as sitk

    u = sitk.GetArrayFromImage(displacement)
    if u.shape != (*grid.shape, grid.ndim):
        raise RegistrationError(f"the tool returned a field of shape {u.shape} for a fixed grid of {grid.shape}")
    return DisplacementField(u.astype(np.float32), grid)


def after_affine(warp: DisplacementField, affine: Matrix) -> DisplacementField:
    """The field of x -> A (x + w(x)): a deformation in the fixed world, then an affine map into the moving one.

    Args:
        warp: w on the fixed grid.
        affine: (d + 1, d + 1) fixed world to moving world.
    """
    x = warp.grid.voxel_centres()
    mapped = apply_affine(affine, x + warp.u)
    return DisplacementField((mapped - x).astype(np.float32), warp.grid)


def ras_to_lps(matrix: Matrix) -> Matrix:
    """A homogeneous (d + 1, d + 1) map of RAS points as a map of LPS points; the inverse of itself."""
    flip = _RAS_LPS[len(matrix) - 1]
    result: Matrix = flip @ np.asarray(matrix, dtype=float) @ flip
    return result


def onto_grid(image: Image, grid: Grid, affine: Matrix | None = None) -> Image:
    """The image resampled linearly at A x for each voxel centre x of another grid."""
    field = DisplacementField.identity(grid) if affine is None else DisplacementField.from_matrix(affine, grid)
    return field.warp(image, fill=0.0)


def with_interpolated_slices(fixed: Image) -> Image:
    """The fixed image with slices in between where they are thick or few, for tools that treat all axes alike.

    Pyramids that halve every axis cannot halve a stack of ten slices twice, and neighbourhoods in voxels would span
    the whole heart across thick slices. An expert resamples first.
    """
    grid = fixed.grid
    finest = MOST_ANISOTROPIC * min(grid.spacing)
    shape = tuple(
        max(FEWEST_SLICES, round(n * max(1.0, spacing / finest)))
        for n, spacing in zip(grid.shape, grid.array_spacing, strict=True)
    )
    return fixed if shape == grid.shape else onto_grid(fixed, grid.with_shape(shape))


def isotropic_grid(grid: Grid, most_voxels: int, fewest: int = 1) -> Grid:
    """Isotropic voxels over the extent of a grid, for tools that count in voxels, alike along all axes.

    Args:
        grid: the grid whose extent is kept.
        most_voxels: voxels in all; more than that makes them larger than the finest spacing.
        fewest: voxels along an axis at least, isotropic or not.
    """
    extent = np.asarray(grid.extent[::-1])
    spacing = max(min(grid.spacing), float(np.prod(extent) / most_voxels) ** (1 / 3))
    return grid.with_shape([max(fewest, round(n)) for n in extent / spacing])


def at_voxels(warp: DisplacementField, grid: Grid) -> DisplacementField:
    """A deformation that was found on a working grid, at the voxel centres of the fixed grid."""
    x = grid.voxel_centres()
    u = warp.transform_points(x.reshape(-1, grid.ndim)).reshape(x.shape) - x
    return DisplacementField(u.astype(np.float32), grid)


def slice_stack(fixed: Image, moving: Image, axis: int) -> tuple[list[tuple[Image, Image]], Grid]:
    """Corresponding slices of two stacks, as pairs of 2D images in the plane of the fixed slices.

    The moving stack is first brought onto the fixed grid; where both share one grid that changes nothing.

    Returns:
        A pair of images a slice, and the 2D grid they share (origin 0, identity direction).
    """
    same = moving.grid.same_as(fixed.grid)
    on_fixed = moving if same else onto_grid(moving, fixed.grid)
    plane = fixed.grid.slice_grid(axis)
    a, b = np.moveaxis(fixed.grey(), axis, 0), np.moveaxis(on_fixed.grey(), axis, 0)
    rows = []
    for p, q in zip(a, b, strict=True):
        rows.append((Image(np.array(p), plane, "fixed slice"), Image(np.array(q), plane, "moving slice")))
    return rows, plane


def field_from_slices(slices: list[np.ndarray], grid: Grid, axis: int) -> DisplacementField:
    """In-plane displacements of each slice as one field in the world of the volume.

    Args:
        slices: `(y, x, 2)` displacements (x, y) in the plane, in world units, one array a slice.
        grid: the fixed grid.
        axis: the array axis that runs across the slices.
    """
    in_plane = [2 - a for a in range(3) if a != axis][::-1]  # index axes (x, y, z) of the plane's x and y
    along = np.zeros((len(slices), *slices[0].shape[:2], 3))
    for component, index_axis in enumerate(in_plane):
        along[..., index_axis] = np.stack([u[..., component] for u in slices])
    u = np.moveaxis(along, 0, axis) @ np.asarray(grid.direction).T
    return DisplacementField(u.astype(np.float32), grid)


def register_slices(fixed: Image, moving: Image, register: Callable[[Image, Image], np.ndarray]) -> DisplacementField:
    """Register two stacks of thick slices slice by slice, across the coarsest axis of the fixed one.

    Args:
        fixed: the fixed stack.
        moving: the moving stack.
        register: two 2D images to displacements `(y, x, 2)`; it is not called for slices without any contrast.
    """
    axis = fixed.grid.coarsest_axis
    rows, plane = slice_stack(fixed, moving, axis)
    empty = np.zeros((*plane.shape, 2))
    found = [empty if np.ptp(a.data) == 0 or np.ptp(b.data) == 0 else register(a, b) for a, b in rows]
    return field_from_slices(found, fixed.grid, axis)


def matrix_of(transform: sitk.Transform) -> Matrix:
    """The homogeneous matrix of a SimpleITK transform that is affine, from where it puts the unit vectors."""
    d = transform.GetDimension()
    corners = np.vstack([np.zeros(d), np.eye(d)])
    images = np.asarray([transform.TransformPoint(tuple(p)) for p in corners])
    matrix = np.eye(d + 1)
    matrix[:d, :d] = (images[1:] - images[0]).T
    matrix[:d, d] = images[0]
    return matrix


def quiet(call: Any, *args: Any, **kwargs: Any) -> Any:
    """Call something that writes to the standard streams of the process, with both discarded."""
    import os
    import sys

    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as null:  # noqa: PTH123 (a file descriptor is wanted)
        try:
            os.dup2(null.fileno(), 1)
            os.dup2(null.fileno(), 2)
            return call(*args, **kwargs)
        finally:
            sys.stdout.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
