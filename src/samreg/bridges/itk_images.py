"""Images and transforms of ITK's own Python package, `itk`; and a registration from and to them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.bridges.arrays import whole_numbers
from samreg.errors import GeometryError, InputError, MissingDependencyError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.io.transforms import write_transform
from samreg.types import LabelArray, Matrix, Unit

if TYPE_CHECKING:
    import itk

__all__ = [
    "field_from_itk",
    "from_itk",
    "labels_from_itk",
    "labels_to_itk",
    "register_itk",
    "to_itk",
    "transform_to_itk",
]


def register_itk(fixed: itk.Image, moving: itk.Image, **options: Any) -> tuple[itk.Transform, itk.Transform]:
    """Register two ITK images.

    Args:
        fixed: defines the grid of the result, 2D or 3D.
        moving: is brought onto it.
        options: those of `samreg.register`: preset, config, segmenter, cache, initial and others.

    Returns:
        Two composite transforms of ITK: from fixed to moving points, which is what a resampling of the moving image
        onto the fixed one wants, and back.

    Raises:
        InputError: if the images cannot be taken, or the settings ask for pairs alone.
        MissingDependencyError: if itk is not installed.
    """
    from samreg.pipeline import register

    result = register(from_itk(fixed, "fixed"), from_itk(moving, "moving"), **options)
    if result.field is None:
        raise InputError("register_itk gives transforms, and transform=none asks for pairs alone: choose another one")
    inverse, _ = result.inverse_on(result.moving.grid)
    back = None if result.affine is None else np.linalg.inv(result.affine)
    return transform_to_itk(result.field, result.affine), transform_to_itk(inverse, back)


def from_itk(image: itk.Image, name: str = "image", unit: Unit = "mm") -> Image:
    """An image of an ITK image, grey or RGB; the values are copied.

    Raises:
        GeometryError: if its geometry cannot be.
        InputError: if it has neither one nor three values a voxel, is neither 2D nor 3D, or has NaN values.
    """
    values, grid = _read(image, name, unit)
    if values.shape not in (grid.shape, (*grid.shape, 3)):
        raise InputError(f"{name}: has {values.shape[-1]} values a voxel; an image has 1 or 3 (RGB)")
    return Image(values.astype(np.float32), grid, name)


def labels_from_itk(image: itk.Image, name: str = "labels") -> tuple[LabelArray, Grid]:
    """A label map of an ITK image, int32 `(*grid.shape)`, and its grid.

    Raises:
        InputError: if it has several values a voxel, or values that are not whole numbers.
    """
    values, grid = _read(image, name, "mm")
    if values.shape != grid.shape:
        raise InputError(f"{name}: has {values.shape[-1]} values a voxel; a label map has one")
    return whole_numbers(values, name), grid


def field_from_itk(image: itk.Image, unit: Unit = "mm") -> DisplacementField:
    """A field of an ITK vector image: displacements in world units, LPS, on the fixed grid, pulling back.

    Raises:
        InputError: if it has not as many values a voxel as dimensions.
    """
    values, grid = _read(image, "the field", unit)
    if values.shape != (*grid.shape, grid.ndim):
        raise InputError(f"a displacement field has {grid.ndim} values a voxel, this image has shape {values.shape}")
    return DisplacementField(values.astype(np.float32), grid)


def to_itk(thing: Image | DisplacementField) -> itk.Image:
    """An ITK image of an image (32-bit float) or of a field (64-bit vectors, as its transforms want them).

    Raises:
        InputError: if the image is in colour.
        MissingDependencyError: if itk is not installed.
    """
    package = _itk()
    d = thing.grid.ndim
    if isinstance(thing, DisplacementField):
        # The kind of image that DisplacementFieldTransform wants: a constructor from arrays would choose another.
        image = package.Image[package.Vector[package.D, d], d].New()
        image.SetRegions(list(thing.grid.shape[::-1]))
        image.Allocate()
        package.array_view_from_image(image)[:] = thing.u
    elif thing.is_colour:
        raise InputError("to_itk takes grey images and fields; write pictures by samreg.write_image")
    else:
        image = package.image_from_array(thing.data)
    return _placed(image, thing.grid)


def labels_to_itk(labels: LabelArray, grid: Grid) -> itk.Image:
    """An ITK image of 16 bits (32 where a value needs it) of a label map `(*grid.shape)`.

    Raises:
        GeometryError: if the labels have not the shape of the grid.
        MissingDependencyError: if itk is not installed.
    """
    values = np.asarray(labels)
    if values.shape != grid.shape:
        raise GeometryError(f"labels have shape {values.shape}, their grid has {grid.shape}")
    small = values.size == 0 or (values.min() >= -(2**15) and values.max() < 2**15)
    return _placed(_itk().image_from_array(values.astype(np.int16 if small else np.int32)), grid)


def transform_to_itk(field: DisplacementField, affine: Matrix | None = None) -> itk.Transform:
    """The map of a field as an ITK composite transform: what `transform.h5` of a run folder holds.

    Args:
        field: the whole transform, affine part included.
        affine: (d + 1, d + 1) its affine part, which then also holds beyond the grid.

    Raises:
        MissingDependencyError: if itk is not installed.
    """
    package = _itk()
    with tempfile.TemporaryDirectory() as folder:
        path = write_transform(field, Path(folder) / "transform.h5", affine)
        (transform,) = package.transformread(str(path))
    return transform


def _read(image: itk.Image, name: str, unit: Unit) -> tuple[np.ndarray, Grid]:
    package = _itk()
    d = image.GetImageDimension()
    if d not in (2, 3):
        raise InputError(f"{name}: has {d} dimensions; an image has 2 or 3: take one frame of it")
    values = np.asarray(package.array_from_image(image))
    direction = np.asarray(package.array_from_matrix(image.GetDirection()), dtype=float)
    grid = Grid(
        values.shape[:d],
        tuple(map(float, image.GetSpacing())),
        tuple(map(float, image.GetOrigin())),
        tuple(map(tuple, direction.tolist())),
        unit,
    )
    return values, grid


def _placed(image: itk.Image, grid: Grid) -> itk.Image:
    image.SetSpacing(list(grid.spacing))
    image.SetOrigin(list(grid.origin))
    image.SetDirection(_itk().matrix_from_array(np.asarray(grid.direction, dtype=float)))
    return image


def _itk() -> ModuleType:
    try:
        import itk
    except ImportError:
        raise MissingDependencyError("itk", "images and transforms of ITK", "itk") from None
    module: ModuleType = itk
    return module
