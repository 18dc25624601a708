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

from samreg.geometry.inverse import InverseResult
from samreg.io.transforms import write_affine, write_displacement, write_transform
from samreg.result import RegistrationResult

__all__ = ["INVERSE", "write_inverse", "write_transforms"]

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
    inverse, how = result.inverse_on(result.moving.grid)
    write_displacement(inverse, folder / INVERSE)
    affine = None if result.affine is None else np.linalg.inv(result.affine)
    write_transform(inverse, folder / "inverse_transform.h5", affine)
    return how
