"""Image: voxel values and the grid they live on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from samreg.errors import GeometryError, InputError
from samreg.geometry.grid import Grid
from samreg.types import ScalarArray, VoxelArray

__all__ = ["Image", "check_image"]

_ALIKE, _ABOUT_0 = 0.1, 0.02  # of the range of the image
_LUMINANCE = np.asarray([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


@dataclass(frozen=True, eq=False)
class Image:
    """Voxel values on a grid; never mutated by samreg.

    Args:
        data: float32 `(*grid.shape)`, or `(*grid.shape, 3)` for RGB.
        grid: geometry of the voxels.
        name: what to call the image in messages and reports, for example the file it came from.
        stored: type of the values in the file it came from; None where that is not known.
        oriented: whether it is known which way the patient lies; a grid has axes of the world all the same.

    Raises:
        GeometryError: if the data do not have the shape of the grid.
        InputError: if there are NaN values.
    """

    data: VoxelArray
    grid: Grid
    name: str = "image"
    stored: np.dtype | None = None
    oriented: bool = True

    def __post_init__(self) -> None:
        data = np.asarray(self.data)
        if data.dtype != np.float32:
            data = data.astype(np.float32)
        if data.shape not in (self.grid.shape, (*self.grid.shape, 3)):
            raise GeometryError(
                f"Image(data, grid) wants data of shape {self.grid.shape} or {(*self.grid.shape, 3)}, got {data.shape}"
            )
        missing = int(np.count_nonzero(np.isnan(data)))
        if missing:
            raise InputError(
                f"Image(data, grid): {missing} of {data.size} values of {self.name} are NaN; replace them, for example "
                "by 0"
            )
        object.__setattr__(self, "data", data)

    def __repr__(self) -> str:
        """One line, without the values."""
        kind = "RGB" if self.is_colour else "grey"
        return f"Image({self.name!r}, {kind}, {self.data.min():g} to {self.data.max():g}, {self.grid})"

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

    @property
    def background(self) -> tuple[float, ...]:
        """The value of what surrounds the body, one for each channel: air in CT, about 0 in MR.

        It is the (lower) median of the voxels that lie in the outer sixteenth along two axes at least: the corners of a
        plane, the twelve edges of a volume, which bodies seldom touch. Where these are not alike (their 10th and 90th
        percentile are further apart than a tenth of the image's range), it is the smallest value of the image. Noise
        about 0 (a median within a fiftieth of the range) counts as 0.
        """
        outer = np.zeros(self.grid.shape, dtype=np.uint8)
        long = [axis for axis, n in enumerate(self.grid.shape) if n > 2]
        for axis in long:
            n = self.grid.shape[axis]
            rim = max(1, n // 16)
            place = np.arange(n).reshape([-1 if a == axis else 1 for a in range(self.grid.ndim)])
            outer += (place < rim) | (place >= n - rim)
        values = self.data[outer >= min(2, len(long))]
        low, middle, high = np.percentile(values, [10, 50, 90], axis=0, method="lower")
        least, span = self.data.min(axis=tuple(range(self.grid.ndim))), np.ptp(self.data)
        about_0 = (high > low) & (np.abs(middle) <= _ABOUT_0 * span)
        found = np.where(high - low > _ALIKE * span, least, np.where(about_0, 0.0, middle))
        return tuple(float(v) for v in np.atleast_1d(found))

    def with_data(self, data: VoxelArray) -> Image:
        """Other values on the same grid."""
        return replace(self, data=data)


_HOW = {
    "SimpleITK": "samreg.bridges.from_sitk(image)",
    "itk": "samreg.bridges.from_itk(image)",
    "monai": "samreg.bridges.from_monai(tensor)",
    "nibabel": "samreg.bridges.from_nibabel(image)",
    "numpy": "samreg.bridges.from_numpy(array, spacing)",
    "torch": "samreg.bridges.from_torch(tensor, spacing)",
    "builtins": "samreg.read_image(path)",
    "pathlib": "samreg.read_image(path)",
}
"""Package that an object is from -> how to make an Image of it."""


def check_image(value: object, what: str) -> None:
    """Make sure that a caller gave an Image.

    Args:
        value: what was given.
        what: its name in the call, for example `fixed`.

    Raises:
        InputError: if it is none; the message says how to make one of it.
    """
    if isinstance(value, Image):
        return
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    how = _HOW.get(package, "samreg.read_image(path) or samreg.bridges")
    raise InputError(f"{what} is a {package}.{kind.__name__} and must be a samreg.Image: make one by {how}")
