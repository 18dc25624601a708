"""Tensors of torch: channels first, then (z, y, x); without a geometry, which is given beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from samreg.bridges.arrays import field_from_numpy, from_numpy, labels_from_numpy
from samreg.errors import GeometryError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.types import LabelArray, Unit

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["field_from_torch", "from_torch", "labels_from_torch", "labels_to_torch", "to_torch"]


def from_torch(
    tensor: Tensor,
    spacing: Sequence[float],
    origin: Sequence[float] | None = None,
    direction: Sequence[Sequence[float]] | None = None,
    *,
    name: str = "image",
    unit: Unit = "mm",
) -> Image:
    """An image of a tensor and its geometry; of any device, gradients are left behind.

    Args:
        tensor: (1, z, y, x) or (1, y, x) grey values, (3, ...) RGB, or grey values without the axis of channels.
        spacing: size of a voxel along x, y and z: in the order of ITK, not of the tensor.
        origin: (x, y, z) world position of the first voxel's centre, LPS; zero by default.
        direction: rows of the direction matrix; the identity by default.
        name: what to call the image.
        unit: mm, or px for photographs.

    Raises:
        GeometryError: if the tensor has another shape (a batch is several images), or the geometry cannot be.
        InputError: if there are NaN values.
    """
    values = _array(tensor)
    colour = values.ndim == len(spacing) + 1 and len(values) == 3
    data = np.moveaxis(values, 0, -1) if colour else _without_channel(values, len(spacing), name)
    return from_numpy(data, spacing, origin, direction, colour=colour, name=name, unit=unit)


def labels_from_torch(
    tensor: Tensor,
    spacing: Sequence[float],
    origin: Sequence[float] | None = None,
    direction: Sequence[Sequence[float]] | None = None,
    *,
    unit: Unit = "mm",
) -> tuple[LabelArray, Grid]:
    """A label map of a tensor (1, z, y, x), or without the axis of channels, and its grid.

    Raises:
        GeometryError: as of `from_torch`; one-hot labels are turned by `tensor.argmax(0)` first.
        InputError: if the values are not whole numbers.
    """
    data = _without_channel(_array(tensor), len(spacing), "labels")
    return labels_from_numpy(data, spacing, origin, direction, unit=unit)


def field_from_torch(
    u: Tensor,
    spacing: Sequence[float],
    origin: Sequence[float] | None = None,
    direction: Sequence[Sequence[float]] | None = None,
    *,
    unit: Unit = "mm",
) -> DisplacementField:
    """A field of a tensor (3, z, y, x) or (2, y, x): displacements x, y, z in LPS mm, not voxels, pulling back.

    Raises:
        GeometryError: if it has another shape, or the geometry cannot be.
    """
    values = _array(u)
    if values.ndim != len(spacing) + 1:
        raise GeometryError(
            f"a {len(spacing)}D displacement field is a tensor of {len(spacing) + 1} axes, the first one x, y, z, got "
            f"shape {values.shape}"
        )
    return field_from_numpy(np.moveaxis(values, 0, -1), spacing, origin, direction, unit=unit)


def to_torch(thing: Image | DisplacementField) -> Tensor:
    """A float32 tensor on the CPU, a copy: (1, *shape) grey, (3, *shape) RGB, or (d, *shape) displacements x, y, z.

    The geometry is `thing.grid`; `geometry_of(grid)` gives it as `from_torch` takes it.
    """
    import torch

    if isinstance(thing, Image) and not thing.is_colour:
        return torch.from_numpy(thing.data[None].copy())
    values = thing.data if isinstance(thing, Image) else thing.u
    return torch.from_numpy(np.moveaxis(values, -1, 0).copy())


def labels_to_torch(labels: LabelArray) -> Tensor:
    """An int64 tensor (1, *shape) of a label map."""
    import torch

    return torch.from_numpy(np.asarray(labels)[None].astype(np.int64))


def _array(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().cpu())


def _without_channel(values: np.ndarray, d: int, name: str) -> np.ndarray:
    if values.ndim == d + 1 and len(values) == 1:
        return values.reshape(values.shape[1:])
    if values.ndim != d:
        raise GeometryError(
            f"{name}: a tensor of shape {values.shape} is no {d}D image; give (1, z, y, x) or (1, y, x), one of a "
            "batch, and a spacing for each axis"
        )
    return values
