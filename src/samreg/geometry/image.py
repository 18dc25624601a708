"""Image: voxel values and the grid they live on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from samreg.errors import GeometryError
from samreg.geometry.grid import Grid
from samreg.types import ScalarArray, VoxelArray

__all__ = ["Image"]

_LUMINANCE = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


@dataclass(frozen=True, eq=False)
class Image:
    """Voxel values on a grid; never mutated by samreg.

    Args:
        data: float32 `(*grid.shape)`, or `(*grid.shape, 3)` for RGB.
        grid: geometry of the voxels.
        name: what to call the image in messages and reports, for example the file it came from.

    Raises:
        GeometryError: if the data do not have the shape of the grid.
    """

    data: VoxelArray
    grid: Grid
    name: str = "image"

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        if data.dtype != np.float32:
            data = data.astype(np.float32)
        if data.shape not in (self.grid.shape, (*self.grid.shape, 3)):
            raise GeometryError(
                f"Image(data, grid) wants data of shape {self.grid.shape} or {(*self.grid.shape, 3)}, got {data.shape}"
            )
        object.__setattr__(self, "data", data)

    @property
    def is_colour(self) -> bool:
        """Whether the last axis of `data` holds RGB values."""
        return self.data.ndim == self.grid.ndim + 1

    def grey(self) -> ScalarArray:
        """Grey values `(*shape)`: the data, or the luminance of a colour image."""
        if not self.is_colour:
            return self.data
        result: ScalarArray = self.data @ _LUMINANCE
        return result

    def with_data(self, data: VoxelArray) -> Image:
        """Other values on the same grid."""
        return replace(self, data=data)
