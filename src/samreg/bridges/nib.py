"""nibabel images: their world is RAS and their arrays are (x, y, z); both are turned here.

The affine that counts is that of the nibabel image. Where a file's sform is a mere default (ACDC: 1 mm), nibabel and
`samreg.read_image` may differ; read such files by `samreg.read_image`.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from samreg.bridges.arrays import whole_numbers
from samreg.bridges.ras import affine_of, grid_of_affine
from samreg.errors import GeometryError, InputError, MissingDependencyError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.types import LabelArray

if TYPE_CHECKING:
    import nibabel

__all__ = ["field_from_nibabel", "from_nibabel", "labels_from_nibabel", "labels_to_nibabel", "to_nibabel"]

_VECTOR = 1007  # the NIfTI intent of vectors, which ITK gives to displacement fields


def from_nibabel(image: nibabel.Nifti1Image, name: str = "image") -> Image:
    """An image of a nibabel image, slope and intercept applied, in LPS.

    Args:
        image: a grey volume, or a slice of (x, y) or (x, y, 1).
        name: what to call the image.

    Raises:
        GeometryError: if its affine is sheared or not invertible.
        InputError: if it has more axes, RGB values or NaN values, or no affine.
    """
    values, grid = _read(image, name)
    return Image(np.ascontiguousarray(values, dtype=np.float32), grid, name)


def labels_from_nibabel(image: nibabel.Nifti1Image, name: str = "labels") -> tuple[LabelArray, Grid]:
    """A label map of a nibabel image, int32 `(*grid.shape)`, and its grid.

    Raises:
        GeometryError: as of `from_nibabel`.
        InputError: as of `from_nibabel`, and if its values are not whole numbers.
    """
    values, grid = _read(image, name)
    return whole_numbers(values, name), grid


def field_from_nibabel(image: nibabel.Nifti1Image) -> DisplacementField:
    """A field of a nibabel image as ITK writes them: shape (x, y, z, 1, d), components in LPS mm, pulling back.

    Args:
        image: of a displacement.nii.gz, for example. A plane has shape (x, y, 1, 1, 2).

    Raises:
        GeometryError: if its affine is sheared or not invertible.
        InputError: if it has another shape.
    """
    values = np.asanyarray(image.dataobj)
    d = values.shape[-1]
    if values.ndim != 5 or values.shape[3] != 1 or d not in (2, 3) or (d == 2 and values.shape[2] != 1):
        raise InputError(f"a displacement field has shape (x, y, z, 1, 3) or (x, y, 1, 1, 2), this has {values.shape}")
    shape = values.shape[:d]
    grid = grid_of_affine(_affine(image, "the field"), shape, "the field")
    u = np.moveaxis(values.reshape(*shape, d).T, 0, -1)
    return DisplacementField(np.ascontiguousarray(u, dtype=np.float32), grid)


def to_nibabel(thing: Image | DisplacementField) -> nibabel.Nifti1Image:
    """A NIfTI image of nibabel, RAS.

    A field becomes what ITK writes: shape (x, y, z, 1, d), intent vector, components in LPS mm.

    Raises:
        InputError: if the image is in colour, or in pixels.
        MissingDependencyError: if nibabel is not installed.
    """
    grid, d = thing.grid, thing.grid.ndim
    if isinstance(thing, Image) and thing.is_colour:
        raise InputError("to_nibabel takes grey images and fields in mm; write pictures by samreg.write_image")
    if isinstance(thing, Image):
        return _written(thing.data.T, grid)
    image = _written(np.moveaxis(thing.u, -1, 0).T.reshape(*(*grid.shape[::-1], 1)[:3], 1, d), grid)
    image.header.set_intent(_VECTOR)
    return image


def labels_to_nibabel(labels: LabelArray, grid: Grid) -> nibabel.Nifti1Image:
    """A NIfTI image of nibabel, int32, of a label map `(*grid.shape)`.

    Raises:
        GeometryError: if the labels have not the shape of the grid.
        InputError: if the grid is in pixels.
        MissingDependencyError: if nibabel is not installed.
    """
    if np.shape(labels) != grid.shape:
        raise GeometryError(f"labels have shape {np.shape(labels)}, their grid has {grid.shape}")
    return _written(np.asarray(labels, dtype=np.int32).T, grid)


def _read(image: nibabel.Nifti1Image, name: str) -> tuple[np.ndarray, Grid]:
    """Values in array order (z, y, x), and the grid."""
    values = np.asanyarray(image.dataobj)
    affine = _affine(image, name)
    if values.ndim > 3 and values.size == np.prod(values.shape[:3]):
        values = values.reshape(values.shape[:3])
    if values.ndim not in (2, 3):
        raise InputError(f"{name}: has shape {values.shape}; take one frame: from_nibabel(image.slicer[..., 0])")
    return values.T, grid_of_affine(affine, values.shape, name)


def _affine(image: nibabel.Nifti1Image, name: str) -> np.ndarray:
    if image.affine is None or image.get_data_dtype().names is not None:
        raise InputError(
            f"{name}: a nibabel image without an affine, or of RGB, cannot be taken; read it by read_image"
        )
    return np.asarray(image.affine, dtype=float)


def _written(data: np.ndarray, grid: Grid) -> nibabel.Nifti1Image:
    if grid.unit != "mm":
        raise InputError("to_nibabel takes grey images and fields in mm; write pictures by samreg.write_image")
    affine = affine_of(grid)
    image = _nibabel().Nifti1Image(np.ascontiguousarray(data), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    return image


def _nibabel() -> ModuleType:
    try:
        import nibabel
    except ImportError:
        raise MissingDependencyError("nibabel", "images of nibabel") from None
    module: ModuleType = nibabel
    return module
