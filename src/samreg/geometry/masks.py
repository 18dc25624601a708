"""Where an image counts: masks of what may be used, and of what may not."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from scipy import ndimage

from samreg.errors import GeometryError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid, check_pair
from samreg.geometry.image import Image
from samreg.geometry.rois import RoiSet
from samreg.types import MaskArray

__all__ = ["MaskLike", "filled", "inside_of", "mask_on"]

MaskLike: TypeAlias = Image | RoiSet | np.ndarray
"""What may be given as a mask: an image on any grid of the same world, whose values other than 0 belong to it; regions,
all of which belong to it; or an array of the shape of the image."""


def inside_of(image: Image, mask: MaskLike | None, exclude: MaskLike | None, side: str = "") -> MaskArray | None:
    """Where an image counts: in the mask, and not in what is excluded; None if it counts everywhere.

    Args:
        image: the image.
        mask: where it counts; None is everywhere.
        exclude: where it does not, such as a lesion or a cavity; None is nowhere.
        side: what to call the image in messages, `fixed` or `moving`.

    Raises:
        InputError: if nothing is left, or a mask is neither an image, nor regions, nor an array.
        GeometryError: if an array does not have the shape of the image, or a mask is of another kind of world.
    """
    if mask is None and exclude is None:
        return None
    name = side or image.name
    inside = np.ones(image.grid.shape, dtype=bool)
    if mask is not None:
        inside &= mask_on(image.grid, mask, f"the mask of the {name} image")
    if exclude is not None:
        inside &= ~mask_on(image.grid, exclude, f"what is excluded of the {name} image")
    if not inside.any():
        raise InputError(
            f"the masks leave nothing of the {name} image: its mask holds where it counts, --{side or 'fixed'}-exclude "
            "where it does not; were the two exchanged?"
        )
    return None if inside.all() else inside


def mask_on(grid: Grid, mask: MaskLike, what: str) -> MaskArray:
    """A mask on the grid of its image, (*grid.shape); one on another grid is resampled, half a voxel's share counts.

    Raises:
        InputError: if it is empty, or neither an image, nor regions, nor an array.
        GeometryError: if an array does not have the shape of the grid, or the mask is of another kind of world.
    """
    if isinstance(mask, Image):
        values, own = mask.grey() != 0, mask.grid
    elif isinstance(mask, RoiSet):
        values, own = mask.label_map() != 0, mask.grid
    elif isinstance(mask, np.ndarray):
        values, own = mask != 0, grid
        if values.shape != grid.shape:
            raise GeometryError(f"{what} has shape {values.shape}, the image {grid.shape}; give an Image with its grid")
    else:
        raise InputError(f"{what} is a {type(mask).__name__}; give a samreg.Image, regions or an array")
    if not values.any():
        raise InputError(f"{what} is 0 everywhere; values other than 0 belong to it")
    if own.same_as(grid):
        return np.asarray(values, dtype=bool)
    check_pair(own, grid, what, "its image")
    identity = DisplacementField.identity(grid)
    result: MaskArray = np.zeros(grid.shape, dtype=bool)
    if identity.coverage(own) > 0:
        result = identity.warp_labels(values.astype(np.int32), own) != 0
    if not result.any():
        raise InputError(f"{what} does not overlap with it; is it of the same patient and scan?")
    return result


def filled(image: Image, inside: MaskArray | None) -> Image:
    """The image with the value of the nearest place that counts where it does not count itself.

    So nothing that comes of it, windows and coarser levels among it, depends on what does not count.

    Args:
        image: the image.
        inside: (*grid.shape) where it counts; None is everywhere.
    """
    if inside is None:
        return image
    nearest = ndimage.distance_transform_edt(
        ~inside, sampling=image.grid.array_spacing, return_distances=False, return_indices=True
    )
    return image.with_data(image.data[tuple(nearest)])
