"""The transforms of a run folder: the map, its inverse on the moving grid, and the affine part alone.

| file | map |
| --- | --- |
| `displacement.nii.gz`, `transform.h5` | fixed world to moving world, on the fixed grid |
| `inverse_displacement.nii.gz`, `inverse_transform.h5` | moving world to fixed world, on the moving grid |
| `affine.mat`, `affine.tfm` | the affine part alone, fixed world to moving world, as ITK's Matlab and text files |
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.inverse import InverseResult
from samreg.io.transforms import write_affine, write_displacement, write_transform
from samreg.result import RegistrationResult

__all__ = ["INVERSE", "inverse_for", "write_inverse", "write_transforms"]

INVERSE = "inverse_displacement.nii.gz"
"""The file that holds the inverse."""


def write_transforms(result: RegistrationResult, folder: Path) -> None:
    """The map as a displacement field and as a composite transform, and its affine part, where there are any."""
    if result.affine is not None:
        write_affine(result.affine, folder / "affine.mat")
        write_affine(result.affine, folder / "affine.tfm")
    if result.field is not None:
        write_displacement(result.field, folder / "displacement.nii.gz")
        write_transform(result.field, folder / "transform.h5", result.affine)


def write_inverse(result: RegistrationResult, folder: Path) -> InverseResult | None:
    """The inverse as a displacement field and as a composite transform; None where there is no map.

    Returns:
        How nearly the voxel centres of the moving grid arrive where they should.
    """
    if result.field is None:
        return None
    inverse, how = inverse_for(result, result.moving.grid)
    write_displacement(inverse, folder / INVERSE)
    affine = None if result.affine is None else np.linalg.inv(result.affine)
    write_transform(inverse, folder / "inverse_transform.h5", affine)
    return how


def inverse_for(result: RegistrationResult, grid: Grid) -> tuple[DisplacementField, InverseResult]:
    """The inverse of a result on a grid of the moving world, and its residual at each voxel.

    A map that is affine has the inverse of its matrix everywhere; any other is inverted as it is, with the
    displacement of the nearest edge beyond the fixed grid (`DisplacementField.inverse_on`).

    Raises:
        ValueError: if the result has no map.
    """
    if result.field is None:
        raise ValueError("the result has no transform, and so no inverse")
    if result.config.fit.is_dense or result.affine is None:
        return result.field.inverse_on(grid)
    inverse = DisplacementField.from_matrix(np.linalg.inv(result.affine), grid)
    x = inverse.transform_points(grid.voxel_centres().reshape(-1, grid.ndim))
    n = len(x)
    return inverse, InverseResult(x, np.zeros(n), np.ones(n, dtype=bool), result.field.grid.contains(x))
