"""SimpleITK images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from samreg.bridges.arrays import whole_numbers
from samreg.errors import GeometryError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.io.itk import array_of, grid_of, to_itk
from samreg.types import LabelArray, Unit

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["field_from_sitk", "from_sitk", "labels_from_sitk", "labels_to_sitk", "to_sitk"]


def from_sitk(image: SimpleITK.Image, name: str = "image", unit: Unit = "mm") -> Image:
    """An image of a SimpleITK image, grey or RGB; the values are copied.

    Args:
        image: 2D or 3D.
        name: what to call the image.
        unit: mm, or px for photographs.

    Raises:
        GeometryError: if its geometry cannot be.
        InputError: if it has neither one nor three values a voxel, or NaN values.
    """
    n = image.GetNumberOfComponentsPerPixel()
    if n not in (1, 3) or image.GetDimension() not in (2, 3):
        raise InputError(
            f"{name}: has {n} values a voxel in {image.GetDimension()}D; an image has 1 or 3 (RGB) in 2D or 3D"
        )
    return Image(array_of(image).astype(np.float32), grid_of(image, unit), name)


def to_sitk(thing: Image | DisplacementField) -> SimpleITK.Image:
    """A SimpleITK image of an image (32-bit float) or of a field (64-bit vectors, as its transforms want them).

    `SimpleITK.DisplacementFieldTransform(to_sitk(field))` is the map.
    """
    if isinstance(thing, DisplacementField):
        return to_itk(thing.u.astype(np.float64), thing.grid)
    return to_itk(thing.data, thing.grid)


def field_from_sitk(image: SimpleITK.Image, unit: Unit = "mm") -> DisplacementField:
    """A field of a SimpleITK vector image: displacements in world units, LPS, on the fixed grid, pulling back.

    Raises:
        GeometryError: if its geometry cannot be.
        InputError: if it has not as many values a voxel as dimensions.
    """
    if image.GetNumberOfComponentsPerPixel() != image.GetDimension():
        raise InputError(
            f"a displacement field has {image.GetDimension()} values a voxel, this image has "
            f"{image.GetNumberOfComponentsPerPixel()}"
        )
    return DisplacementField(array_of(image).astype(np.float32), grid_of(image, unit))


def labels_from_sitk(image: SimpleITK.Image, name: str = "labels", unit: Unit = "mm") -> tuple[LabelArray, Grid]:
    """A label map of a SimpleITK image, int32 `(*grid.shape)`, and its grid.

    Raises:
        GeometryError: if its geometry cannot be.
        InputError: if it has several values a voxel, is neither 2D nor 3D, or has values that are not whole numbers.
    """
    n = image.GetNumberOfComponentsPerPixel()
    if n != 1 or image.GetDimension() not in (2, 3):
        raise InputError(f"{name}: has {n} values a voxel in {image.GetDimension()}D; a label map has 1 in 2D or 3D")
    return whole_numbers(array_of(image), name), grid_of(image, unit)


def labels_to_sitk(labels: LabelArray, grid: Grid) -> SimpleITK.Image:
    """A SimpleITK image of 32-bit whole numbers of a label map `(*grid.shape)`.

    Raises:
        GeometryError: if the labels have not the shape of the grid.
    """
    if np.shape(labels) != grid.shape:
        raise GeometryError(f"labels have shape {np.shape(labels)}, their grid has {grid.shape}")
    return to_itk(np.asarray(labels, dtype=np.int32), grid)
