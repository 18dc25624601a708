"""An initial transform, from whatever a user has: a run folder, a transform file or a displacement field."""

from __future__ import annotations

from pathlib import Path

from samreg.errors import InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.io.transforms import read_displacement, read_transform
from samreg.runs.run_folder import read_run

__all__ = ["read_initial"]

_TRANSFORMS = (".h5", ".hdf5", ".tfm", ".mat", ".txt", ".xfm")


def read_initial(path: str | Path, grid: Grid) -> DisplacementField:
    """Read a map of fixed world to moving world.

    Args:
        path: a run folder; an ITK transform file (.h5, .tfm, .mat, .txt); or a displacement field (.nii.gz, .nrrd,
            .mha).
        grid: grid of the fixed image. A transform file is sampled on it, a displacement field keeps its own.

    Raises:
        InputError: if it is none of these, is damaged, or is of another dimension.
    """
    source = Path(path)
    if not source.exists():
        raise InputError(
            f"{source}: there is no such file; --initial wants a run folder, a transform or a displacement field"
        )
    if source.is_dir():
        return read_run(source).transform()
    if source.suffix.lower() in _TRANSFORMS:
        return read_transform(source, grid)
    return read_displacement(source, unit=grid.unit)
