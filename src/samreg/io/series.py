"""Files of several frames: how many, how far apart, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samreg.errors import InputError
from samreg.geometry.grid import Grid
from samreg.io.frames import SeveralFramesError
from samreg.io.images import read_values, save
from samreg.io.itk import quiet, to_itk

__all__ = ["check_frames_file", "frame_count", "frame_step", "write_frames"]

_HOLD_FRAMES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd")


def frame_count(path: str | Path, series: str | int | None = None) -> int:
    """How many frames a file or folder holds.

    Raises:
        ImageReadError: if it cannot be read.
    """
    try:
        read_values(path, series=series)
    except SeveralFramesError as found:
        return found.count
    return 1


def frame_step(path: str | Path) -> float:
    """The distance of two frames as a file records it, most often in seconds; 1 where it records none."""
    if not str(path).lower().endswith(_HOLD_FRAMES):
        return 1.0
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError:
        return 1.0
    spacing = reader.GetSpacing()
    return float(spacing[3]) if len(spacing) > 3 and spacing[3] > 0 else 1.0


def check_frames_file(path: Path, grid: Grid) -> None:
    """Refuse a file that cannot hold several frames.

    Raises:
        InputError: if the format or the image does not allow it.
    """
    if grid.ndim != 3 or not path.name.lower().endswith(_HOLD_FRAMES):
        raise InputError(
            f"{path}: several frames of a volume go into one of {' '.join(_HOLD_FRAMES)}; choose that, or one frame by "
            "--frame"
        )


def write_frames(frames: Sequence[np.ndarray], grid: Grid, path: str | Path, step: float = 1.0) -> Path:
    """Write volumes of one grid as one 4D file.

    Args:
        frames: `(*grid.shape)` each, of one type.
        grid: their grid; 3D.
        path: a NIfTI, MetaImage or NRRD file.
        step: distance of two frames, most often in seconds.

    Raises:
        InputError: if the format cannot hold them.
    """
    import SimpleITK as sitk

    target = Path(path)
    check_frames_file(target, grid)
    return save(sitk.JoinSeries([to_itk(np.asarray(frame), grid) for frame in frames], 0.0, step), target)
