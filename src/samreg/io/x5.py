"""X5, the transform format of nitransforms: a field of RAS millimetres on a grid whose affine is RAS, as HDF5."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samreg.errors import ImageReadError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid

__all__ = ["read_x5", "write_x5"]

_LPS_RAS = np.diag([-1.0, -1.0, 1.0])


def write_x5(field: DisplacementField, path: str | Path) -> Path:
    """Write a field as X5; nitransforms reads it with `DenseFieldTransform.from_filename`.

    Raises:
        InputError: if the field is 2D or the name does not end in .x5.
    """
    import h5py

    target, grid = Path(path), field.grid
    if target.suffix != ".x5":
        raise InputError(f"{target}: X5 is written to a file name that ends in .x5")
    if grid.ndim != 3:
        raise InputError(f"{target}: X5 holds transforms of volumes; this field is {grid.ndim}D")
    affine = np.eye(4)
    affine[:3] = _LPS_RAS @ grid.matrix[:3]
    with h5py.File(target, "w") as file:
        file.attrs["Format"] = "X5"
        file.attrs["Version"] = np.uint16(1)
        group = file.create_group("TransformGroup").create_group("0")
        group.attrs["Type"] = "nonlinear"
        group.attrs["SubType"] = "densefield"
        group.attrs["Representation"] = "displacements"
        group.attrs["ArrayLength"] = 1
        deltas = (field.u @ _LPS_RAS.astype(np.float32)).transpose(2, 1, 0, 3)
        group.create_dataset("Transform", data=deltas, compression="gzip", compression_opts=1, shuffle=True)
        group.create_dataset("DimensionKinds", data=np.asarray(["space"] * 3 + ["vector"], dtype="S"))
        domain = group.create_group("Domain")
        domain.create_dataset("Grid", data=np.uint8(1))
        domain.create_dataset("Size", data=np.asarray(grid.shape[::-1]))
        domain.create_dataset("Mapping", data=affine)
        domain.attrs["Coordinates"] = "cartesian"
    return target


def read_x5(path: str | Path, grid: Grid) -> DisplacementField:
    """Read the field of an X5 file.

    Args:
        path: a file with one dense field.
        grid: the fixed grid, on which it has to lie.

    Raises:
        ImageReadError: if it holds another kind of transform, or lies on another grid.
    """
    import h5py

    try:
        with h5py.File(Path(path), "r") as file:
            group = file["TransformGroup/0"]
            kind = group.attrs["Type"], group.attrs.get("Representation")
            values = np.asarray(group["Transform"], dtype=float)
    except (OSError, KeyError) as error:
        raise ImageReadError(f"{path}: is no X5 file: {error}") from None
    if kind[0] != "nonlinear" or values.shape != (*grid.shape[::-1], 3):
        raise ImageReadError(
            f"{path}: holds a {kind[0]} transform of shape {values.shape}; wanted is a field on the grid"
        )
    u = values.transpose(2, 1, 0, 3) @ _LPS_RAS
    if kind[1] == "deformations":  # absolute positions
        u = u - grid.voxel_centres()
    return DisplacementField(u.astype(np.float32), grid)
