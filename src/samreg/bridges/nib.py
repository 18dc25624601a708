"""nibabel images: their world is RAS and their arrays are (x, y, z); both are turned here.

The affine that counts is that of the nibabel image. Where a file's sform is a mere default (ACDC: 1 mm), nibabel and
`samreg.read_image` may differ; read such files by `samreg.read_image`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import InputError, MissingDependencyError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image

if TYPE_CHECKING:
    import nibabel

__all__ = ["from_nibabel", "to_nibabel"]

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
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
    values = np.asanyarray(image.dataobj)
    if image.affine is None or values.dtype.names is not None:
        raise InputError(
            f"{name}: a nibabel image without an affine, or of RGB, cannot be taken; read it by read_image"
        )
    if values.ndim > 3 and values.size == np.prod(values.shape[:3]):
        values = values.reshape(values.shape[:3])
    d = values.ndim
    if d not in (2, 3):
        raise InputError(f"{name}: has shape {values.shape}; take one frame: from_nibabel(image.slicer[..., 0])")
    affine = _TO_LPS @ np.asarray(image.affine, dtype=float)
    axes = affine[:d, :d]
    spacing = np.linalg.norm(axes, axis=0)
    if d == 2 and not np.allclose(affine[2, :2], 0):
        raise InputError(
            f"{name}: is a slice that is tilted in space; give it as a volume of shape {(*values.shape, 1)}"
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        direction = axes / spacing
    grid = Grid(
        tuple(map(int, values.shape[::-1])),
        tuple(spacing.tolist()),
        tuple(affine[:d, 3].tolist()),
        tuple(map(tuple, direction.tolist())),
    )
    return Image(np.ascontiguousarray(values.T, dtype=np.float32), grid, name)


def to_nibabel(thing: Image | DisplacementField) -> nibabel.Nifti1Image:
    """A NIfTI image of nibabel, RAS.

    A field becomes what ITK writes: shape (x, y, z, 1, d), intent vector, components in LPS mm.

    Raises:
        InputError: if the image is in colour, or in pixels.
        MissingDependencyError: if nibabel is not installed.
    """
    try:
        import nibabel as nib
    except ImportError:
        raise MissingDependencyError("nibabel", "images of nibabel") from None
    grid, d = thing.grid, thing.grid.ndim
    if grid.unit != "mm" or (isinstance(thing, Image) and thing.is_colour):
        raise InputError("to_nibabel takes grey images and fields in mm; write pictures by samreg.write_image")
    affine = np.eye(4)
    affine[:d, :d], affine[:d, 3] = grid.matrix[:d, :d], grid.matrix[:d, d]
    affine = _TO_LPS @ affine
    if isinstance(thing, Image):
        data = thing.data.T
    else:
        data = np.moveaxis(thing.u, -1, 0).T.reshape(*(*grid.shape[::-1], 1)[:3], 1, d)
    image = nib.Nifti1Image(np.ascontiguousarray(data), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    if isinstance(thing, DisplacementField):
        image.header.set_intent(_VECTOR)
    return image
