"""The bridge to SimpleITK: grids and arrays in and out, and its chatter kept off the screen."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from samreg.geometry.grid import Grid
from samreg.types import Unit

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["Chatter", "array_of", "grid_of", "quiet", "to_itk"]

_STDERR = threading.Lock()


class Chatter:
    """What the C++ libraries printed while `quiet` held; `text` is filled in when it ends."""

    text: str = ""


@contextlib.contextmanager
def quiet() -> Iterator[Chatter]:
    """Keep what ITK, nifti, libjpeg and MetaIO print away from the user's terminal.

    They write to file descriptor 2 directly (for example on each ACDC header, whose sform has unit scale), where
    neither Python nor SimpleITK's warning switch sees it all. The text is kept, since for some formats it is the
    only sign of a damaged file.
    """
    chatter = Chatter()
    with _STDERR, tempfile.TemporaryFile() as kept:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # a process without a stderr has nobody to spare
            yield chatter
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield chatter
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            kept.seek(0)
            chatter.text = kept.read().decode(errors="replace")


def to_itk(data: np.ndarray, grid: Grid) -> SimpleITK.Image:
    """A SimpleITK image of an array on a grid.

    Args:
        data: `(*grid.shape)`, or `(*grid.shape, components)` for a vector image.
        grid: its geometry.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(data), isVector=data.ndim == grid.ndim + 1)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection([value for row in grid.direction for value in row])
    return image


def grid_of(image: SimpleITK.Image, unit: Unit = "mm") -> Grid:
    """The grid of a SimpleITK image.

    Raises:
        GeometryError: if the header holds no usable geometry.
    """
    d = image.GetDimension()
    direction = np.asarray(image.GetDirection(), dtype=float).reshape(d, d)
    return Grid(
        tuple(image.GetSize()[::-1]),
        tuple(image.GetSpacing()),
        tuple(image.GetOrigin()),
        tuple(map(tuple, direction)),
        unit,
    )


def array_of(image: SimpleITK.Image) -> np.ndarray:
    """A copy of the voxels, array order; vector components last."""
    import SimpleITK as sitk

    return np.asarray(sitk.GetArrayFromImage(image))
