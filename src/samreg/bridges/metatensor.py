"""MetaTensors of MONAI: channels first, then (x, y, z), with an affine whose world is RAS (or LPS, as `meta` says).

A field becomes what MONAI calls a DDF: displacements in voxels of the fixed grid along (x, y, z), as
`monai.networks.blocks.Warp` takes it for a moving image that was brought onto the fixed grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.bridges.arrays import whole_numbers
from samreg.bridges.ras import affine_of, grid_of_affine
from samreg.errors import GeometryError, InputError, MissingDependencyError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.types import LabelArray, Matrix, Unit

if TYPE_CHECKING:
    from monai.data import MetaTensor

__all__ = [
    "field_from_monai",
    "from_monai",
    "labels_from_monai",
    "labels_to_monai",
    "made",
    "meta_grid",
    "read_tensor",
    "to_monai",
]


def from_monai(tensor: MetaTensor, name: str = "", unit: Unit = "mm") -> Image:
    """An image of a MetaTensor, in LPS.

    Args:
        tensor: (1, x, y, z) or (1, x, y) grey values, or three channels of RGB.
        name: what to call the image; by default the name of its file.
        unit: mm, or px for photographs, whose axes are taken as they are.

    Raises:
        GeometryError: if its affine is sheared or not invertible.
        InputError: if it is no MetaTensor, has other channels, or NaN values.
    """
    name = name or _name(tensor)
    values, grid = read_tensor(tensor, name, unit)
    if len(values) not in (1, 3):
        raise InputError(f"{name}: has {len(values)} channels; an image has 1, or 3 of RGB: choose one, tensor[:1]")
    data = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
    return Image(np.ascontiguousarray(data, dtype=np.float32), grid, name)


def labels_from_monai(tensor: MetaTensor, name: str = "") -> tuple[LabelArray, Grid]:
    """A label map of a MetaTensor (1, x, y, z), int32 `(*grid.shape)`, and its grid.

    Raises:
        GeometryError: as of `from_monai`.
        InputError: if it has several channels, or values that are not whole numbers.
    """
    name = name or _name(tensor)
    values, grid = read_tensor(tensor, name, "mm")
    if len(values) != 1:
        raise InputError(f"{name}: has {len(values)} channels; a label map has 1: tensor.argmax(0, keepdim=True)")
    return whole_numbers(values[0], name), grid


def field_from_monai(ddf: MetaTensor) -> DisplacementField:
    """A field of a DDF, (d, x, y, z): displacements in voxels along x, y, z of its own grid, the fixed one.

    Raises:
        GeometryError: if its affine is sheared or not invertible.
        InputError: if it is no MetaTensor, or has not as many channels as axes.
    """
    values, grid = read_tensor(ddf, "the DDF", "mm")
    d = grid.ndim
    if len(values) != d:
        raise InputError(f"a DDF of {d} axes has {d} channels, this has {len(values)}")
    u = np.moveaxis(values, 0, -1) @ grid.matrix[:d, :d].T
    return DisplacementField(u.astype(np.float32), grid)


def to_monai(thing: Image | DisplacementField) -> MetaTensor:
    """A float32 MetaTensor, channels first, RAS: (1, x, y, z) grey, (3, ...) RGB, or a DDF (d, x, y, z) in voxels.

    Raises:
        MissingDependencyError: if MONAI is not installed.
    """
    grid, d = thing.grid, thing.grid.ndim
    if isinstance(thing, DisplacementField):
        values = np.moveaxis(thing.u @ np.linalg.inv(grid.matrix[:d, :d]).T, -1, 0)
        return made(values.astype(np.float32), grid)
    values = np.moveaxis(thing.data, -1, 0) if thing.is_colour else thing.data[None]
    return made(values, grid, {"filename_or_obj": thing.name})


def labels_to_monai(labels: LabelArray, grid: Grid) -> MetaTensor:
    """An int32 MetaTensor (1, x, y, z), RAS, of a label map `(*grid.shape)`.

    Raises:
        GeometryError: if the labels have not the shape of the grid.
        MissingDependencyError: if MONAI is not installed.
    """
    if np.shape(labels) != grid.shape:
        raise GeometryError(f"labels have shape {np.shape(labels)}, their grid has {grid.shape}")
    return made(np.asarray(labels, dtype=np.int32)[None], grid)


def made(values: np.ndarray, grid: Grid, meta: dict[str, Any] | None = None) -> MetaTensor:
    """A MetaTensor of `(channels, *grid.shape)` values, and what MONAI keeps of a geometry."""
    try:
        from monai.data import MetaTensor
    except ImportError:
        raise MissingDependencyError("monai", "MetaTensors", "monai") from None
    import torch

    affine = torch.from_numpy(affine_of(grid))
    turned = np.ascontiguousarray(values.transpose(0, *range(values.ndim - 1, 0, -1)))
    about = {**(meta or {}), "space": "RAS", "spatial_shape": np.asarray(grid.shape[::-1])}
    about |= {"original_affine": affine_of(grid), "original_channel_dim": 0}
    result: MetaTensor = MetaTensor(torch.from_numpy(turned), affine=affine, meta=about)
    return result


def read_tensor(tensor: MetaTensor, name: str = "image", unit: Unit = "mm") -> tuple[np.ndarray, Grid]:
    """Values of a MetaTensor, `(channels, *grid.shape)`, array order, and its grid.

    Raises:
        GeometryError: if its affine is sheared or not invertible.
        InputError: if it is no MetaTensor of one image.
    """
    meta = getattr(tensor, "meta", None)
    if meta is None:
        raise InputError(f"{name}: is a {type(tensor).__name__} and no MetaTensor; use from_torch and a spacing")
    values: np.ndarray = np.asarray(tensor.detach().cpu().as_tensor())
    affine = np.asarray(tensor.affine.detach().cpu(), dtype=float)
    if affine.ndim != 2:
        raise InputError(f"{name}: is a batch; give its images one by one, monai.data.decollate_batch(batch)")
    grid = meta_grid(affine, values.shape[1:], str(meta.get("space", "RAS")), name, unit)
    return values.transpose(0, *range(values.ndim - 1, 0, -1)), grid


def meta_grid(affine: Matrix, shape: Sequence[int], space: str, name: str = "image", unit: Unit = "mm") -> Grid:
    """The grid of a MetaTensor.

    Args:
        affine: (4, 4), also of a plane, or (3, 3).
        shape: (x, y, z) or (x, y) voxels.
        space: of the affine, `RAS` or `LPS`.
        name: of the image, for messages.
        unit: mm, or px for photographs, whose axes are taken as they are.
    """
    if len(shape) == 2 and len(affine) == 4 and np.allclose(affine[:3, 2], 0):
        affine = affine.copy()  # MONAI leaves no third axis to a plane that it made of a (3, 3) affine
        affine[2, 2] = 1.0
    return grid_of_affine(affine, shape, name, ras=unit == "mm" and not space.endswith("LPS"), unit=unit)


def _name(tensor: MetaTensor) -> str:
    source = str(getattr(tensor, "meta", {}).get("filename_or_obj", ""))
    return source.replace("\\", "/").rpartition("/")[2] or "image"
