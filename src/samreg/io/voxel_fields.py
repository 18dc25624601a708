"""Fields in voxels: Learn2Reg's displacement files, MONAI's dense displacement fields, and keypoints in voxels.

Both want d(i) = phi(i) - i, with i the index (x, y, z) of a fixed voxel and phi(i) the index in the moving image that
it comes from. Arrays are in the order of nibabel, (x, y, z). Source: learn2reg.grand-challenge.org, submission format;
MONAI, `monai.networks.blocks.Warp`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samreg.errors import ImageReadError, InputError
from samreg.files import written
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.types import Points

__all__ = [
    "from_voxel_field",
    "read_keypoints",
    "read_learn2reg",
    "read_monai_ddf",
    "to_voxel_field",
    "write_keypoints",
    "write_learn2reg",
    "write_monai_ddf",
]


def to_voxel_field(field: DisplacementField, moving: Grid) -> np.ndarray:
    """d(i) = phi(i) - i, `(x, y, z, 3)` or `(x, y, 2)` float32.

    Args:
        field: on the fixed grid.
        moving: grid of the moving image, which may differ from the fixed one.
    """
    d = field.grid.ndim
    steps = field.moving_index(moving) - field.grid.indices()
    return np.ascontiguousarray(steps.transpose(*range(d)[::-1], d)).astype(np.float32)


def from_voxel_field(steps: np.ndarray, fixed: Grid, moving: Grid) -> DisplacementField:
    """The field that `to_voxel_field` gave.

    Args:
        steps: `(x, y, z, 3)` or `(x, y, 2)`.
        fixed: grid of the fixed image.
        moving: grid of the moving image.

    Raises:
        ImageReadError: if the array does not have the shape of the fixed grid.
    """
    d = fixed.ndim
    if steps.shape != (*fixed.shape[::-1], d):
        raise ImageReadError(f"a field in voxels has shape {(*fixed.shape[::-1], d)} for this grid, got {steps.shape}")
    index = steps.transpose(*range(d)[::-1], d).astype(float) + fixed.indices()
    world = moving.index_to_world(index.reshape(-1, d)).reshape(index.shape)
    return DisplacementField((world - fixed.voxel_centres()).astype(np.float32), fixed)


def write_learn2reg(field: DisplacementField, moving: Grid, path: str | Path) -> Path:
    """Write a displacement file of Learn2Reg: NIfTI, `(x, y, z, 3)`, voxels."""
    import SimpleITK as sitk

    from samreg.io.images import save
    from samreg.io.itk import to_itk

    target = Path(path)
    if not target.name.endswith((".nii.gz", ".nii")):
        raise InputError(f"{target}: a displacement file of Learn2Reg is NIfTI; choose .nii.gz")
    steps = to_voxel_field(field, moving)
    d = field.grid.ndim
    parts = [to_itk(np.ascontiguousarray(steps[..., k].transpose(*range(d)[::-1])), field.grid) for k in range(d)]
    return save(sitk.JoinSeries(parts), target)


def read_learn2reg(path: str | Path, fixed: Grid, moving: Grid) -> DisplacementField:
    """Read a displacement file of Learn2Reg.

    Args:
        path: NIfTI, `(x, y, z, 3)` or `(x, y, 2)`, voxels.
        fixed: grid of the fixed image.
        moving: grid of the moving image.

    Raises:
        ImageReadError: if it is none for these grids.
    """
    import SimpleITK as sitk

    from samreg.io.itk import quiet

    source = Path(path)
    try:
        with quiet():
            values = sitk.GetArrayFromImage(sitk.ReadImage(str(source)))
    except RuntimeError:
        raise ImageReadError(f"{source}: cannot be read as NIfTI") from None
    if values.shape != (fixed.ndim, *fixed.shape):
        raise ImageReadError(
            f"{source}: holds values of shape {values.shape[::-1]}; a displacement file of Learn2Reg for this grid has "
            f"{(*fixed.shape[::-1], fixed.ndim)}"
        )
    return from_voxel_field(np.moveaxis(values, 0, -1).transpose(*range(fixed.ndim)[::-1], fixed.ndim), fixed, moving)


def write_monai_ddf(field: DisplacementField, moving: Grid, path: str | Path) -> Path:
    """Write a dense displacement field of MONAI, `(3, x, y, z)` in voxels, as .npy: what `Warp` adds to its grid."""
    target = Path(path)
    if target.suffix != ".npy":
        raise InputError(f"{target}: a field of MONAI is written as an array; choose .npy")
    with written(target, ".npy") as part:
        np.save(part, np.moveaxis(to_voxel_field(field, moving), -1, 0))
    return target


def read_monai_ddf(path: str | Path, fixed: Grid, moving: Grid) -> DisplacementField:
    """Read what `write_monai_ddf` wrote.

    Raises:
        ImageReadError: if it is no array of the fixed grid.
    """
    try:
        steps = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ImageReadError(f"{path}: is no array: {error}") from None
    return from_voxel_field(np.moveaxis(steps, 0, -1), fixed, moving)


def write_keypoints(points: Points, grid: Grid, path: str | Path) -> Path:
    """Write keypoints of Learn2Reg: a row of voxel indices x, y, z a point, separated by commas, without a heading."""
    target = Path(path)
    with written(target, ".csv") as part:
        np.savetxt(part, grid.world_to_index(np.asarray(points, dtype=float)), fmt="%.6f", delimiter=",")
    return target


def read_keypoints(path: str | Path, grid: Grid) -> Points:
    """Read keypoints of Learn2Reg as world points (n, d).

    Raises:
        ImageReadError: if a row does not have one number a dimension.
    """
    try:
        rows = np.loadtxt(Path(path), delimiter=",", ndmin=2)
    except (OSError, ValueError) as error:
        raise ImageReadError(f"{path}: is no table of numbers: {error}") from None
    if rows.shape[1] != grid.ndim:
        raise ImageReadError(f"{path}: has {rows.shape[1]} numbers a row; keypoints of this image have {grid.ndim}")
    return grid.index_to_world(rows)
