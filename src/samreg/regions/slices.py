"""Image to model input: a window of grey values, and a plan of 2D slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from samreg.errors import ConfigError
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.types import MaskArray, ScalarArray, VoxelArray

__all__ = ["TISSUE", "SlicePlan", "body_of", "nearest_masks", "plan_slices", "slice_step", "window"]

TISSUE = 0.03
"""Grey value in [0, 1] above which a place is not background."""

_BLACK_AND_WHITE = (0.5, 99.5)
"""Percentiles of the foreground."""
_SOFT_TISSUE_HU = (-160.0, 240.0)
_AIR_PERCENTILE = 0.5
_AIR_HU = -800.0
_LEAST_SOFT_TISSUE = 0.1
_FAT_HU = (-160.0, -20.0)
_LEAST_FAT = 0.005
"""Share of a CT volume that lies there at least. MR that was resampled onto a larger canvas, and filled with its
darkest value, has as much "air" as CT and nothing there (a prostate: 0.02 %)."""
_ANISOTROPIC_PIXELS = 1.1
_LONGEST = 4096
"""Pixels of the longer side of a slice that was resized to square pixels, at most: no network reads more than 1024."""
_CELLS = 64
"""Cells of the embedding along the longer side of a slice, in every network of the family."""
_LEAST_SLICES = 16
"""Slices of a volume that are encoded at least, where it has so many."""


def window(image: Image, hounsfield: str = "auto") -> VoxelArray:
    """Grey values mapped to [0, 1] by one window for the whole image, never slice by slice.

    Black and white are percentiles of the foreground: what is brighter than a twentieth of the range above the
    darkest value. CT in Hounsfield units gets the usual soft-tissue window of -160 to 240 HU instead.

    Args:
        image: grey or RGB.
        hounsfield: `yes`, `no`, or `auto`: a grey volume in mm that holds air, fat and other soft tissue.

    Returns:
        float32 in [0, 1], `(*shape)` or `(*shape, 3)`.
    """
    data = image.data
    if hounsfield == "yes" or (hounsfield == "auto" and _looks_like_ct(image)):
        low, high = _SOFT_TISSUE_HU
    else:
        darkest, bright = np.percentile(data, [0, 99.5])
        foreground = data[data > darkest + 0.05 * (bright - darkest)]
        low, high = np.percentile(foreground if foreground.size else data, _BLACK_AND_WHITE)
    if high <= low:
        low, high = float(data.min()), float(data.max())
    result: VoxelArray = np.empty(data.shape, dtype=np.float32)
    for part in image.grid.slabs():
        result[part] = np.clip((data[part] - low) / max(high - low, 1e-12), 0.0, 1.0)
    return result


def body_of(grey: ScalarArray) -> MaskArray:
    """Where an image shows a body: above the background, holes filled; everywhere if nothing is above it.

    Args:
        grey: grey values in [0, 1].
    """
    from scipy import ndimage  # slow to load, and the command line loads this module before its first line

    body: MaskArray = ndimage.binary_fill_holes(grey > TISSUE)
    return body if body.any() else np.ones(grey.shape, dtype=bool)


def _looks_like_ct(image: Image) -> bool:
    if image.is_colour or image.grid.unit != "mm" or image.grid.ndim != 3:
        return False
    # Interpolation makes a few voxels of an MR volume very negative; CT has much air, and soft tissue around 0.
    air = float(np.percentile(image.data, _AIR_PERCENTILE))
    soft, fat = (
        np.count_nonzero((image.data > low) & (image.data < high)) / image.data.size
        for low, high in (_SOFT_TISSUE_HU, _FAT_HU)
    )
    return bool(air < _AIR_HU and soft > _LEAST_SOFT_TISSUE and fat > _LEAST_FAT)


@dataclass(frozen=True)
class SlicePlan:
    """How an image is cut into slices with square pixels, and how slices map back.

    Args:
        grid: the grid of the image.
        axis: array axis the slices are stacked along; None for a 2D image, which is one slice.
        plane: (y, x) of a slice as the segmenter sees it; square pixels.
    """

    grid: Grid
    axis: int | None
    plane: tuple[int, int]

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return 1 if self.axis is None else self.grid.shape[self.axis]

    @property
    def plane_shape(self) -> tuple[int, int]:
        """(y, x) of a slice in voxels of the grid."""
        kept = tuple(n for a, n in enumerate(self.grid.shape) if a != self.axis)
        return kept[0], kept[1]

    def slices(self, values: VoxelArray) -> list[np.ndarray]:
        """The slices of windowed values, resized to square pixels; each `(y, x)` or `(y, x, 3)`."""
        stack = values[None] if self.axis is None else np.moveaxis(values, self.axis, 0)
        return [self._resize(np.ascontiguousarray(s)) for s in stack]

    def _resize(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.shape[:2] == self.plane:
            return pixels
        import torch

        from samreg.geometry.ops.resample import resize

        channels = torch.from_numpy(pixels if pixels.ndim == 3 else pixels[..., None]).permute(2, 0, 1)
        out = resize(channels, self.plane).permute(1, 2, 0).numpy()
        return out if pixels.ndim == 3 else out[..., 0]

    def feature_grid(self, cells: tuple[int, int], stride: float) -> Grid:
        """Where the cells of the embedding are in the world.

        Args:
            cells: (h, w) cells of a slice; the first cell starts at the edge of the first pixel.
            stride: plane pixels a cell.
        """
        scale = [n / p * stride for n, p in zip(self.plane_shape, self.plane, strict=True)]  # voxels a cell
        if self.axis is None:
            factor, shape = scale, list(cells)
        else:
            factor, shape = [*scale], [*cells]
            factor.insert(self.axis, 1.0)
            shape.insert(self.axis, self.n_slices)
        first = (np.asarray(factor) - 1.0) / 2.0
        origin = self.grid.index_to_world(first[::-1][None])[0]
        spacing = np.asarray(self.grid.array_spacing) * factor
        return Grid(tuple(shape), tuple(spacing[::-1]), tuple(origin), self.grid.direction, self.grid.unit)


def slice_step(plan: SlicePlan, reach: float) -> int:
    """Every how many slices one is encoded: thin slices show what their neighbours show.

    Args:
        plan: how the image is cut.
        reach: distance of two encoded slices at most, in cells of the embedding; 0 encodes all.
    """
    if plan.axis is None or reach <= 0:
        return 1
    spacing = plan.grid.array_spacing
    side = max(s * n for a, (s, n) in enumerate(zip(spacing, plan.grid.shape, strict=True)) if a != plan.axis)
    step = int(reach * side / _CELLS / spacing[plan.axis] + 1e-6)
    return max(1, min(step, plan.n_slices // _LEAST_SLICES))


def nearest_masks(masks: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
    """Masks (*any, y, x) on another number of pixels over the same extent, (*any, *plane), nearest neighbour."""
    if masks.shape[-2:] == plane:
        return masks
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * m / n).astype(int), m - 1)
        for n, m in zip(plane, masks.shape[-2:], strict=True)
    )
    result: np.ndarray = masks[..., rows, :][..., columns]
    return result


def plan_slices(grid: Grid, axis: Literal["auto", "0", "1", "2"] = "auto", side: int = 0) -> SlicePlan:
    """Choose the slices of an image: across the coarsest spacing, the first axis where that is a tie.

    Args:
        grid: 2D or 3D.
        axis: array axis (z, y, x), or `auto`. Ignored in 2D.
        side: pixels of the square that every slice becomes; 0 keeps the shape of the slices, with square pixels, the
            longer side with no more than 4096 or its own number.

    Raises:
        ConfigError: if the side is negative.
    """
    if side < 0:
        raise ConfigError(f"slices cannot be resized to {side} pixels; give 0 to keep their shape")
    if grid.ndim == 2:
        chosen = None
    elif axis == "auto":
        chosen = grid.coarsest_axis
    else:
        chosen = int(axis)
    plane = [n for a, n in enumerate(grid.shape) if a != chosen]
    pixel = [s for a, s in enumerate(grid.array_spacing) if a != chosen]
    if side:
        plane = [side, side]
    elif max(pixel) > _ANISOTROPIC_PIXELS * min(pixel):
        extents = [n * s for n, s in zip(plane, pixel, strict=True)]
        square = max(min(pixel), max(extents) / max(_LONGEST, *plane))
        plane = [max(1, round(extent / square)) for extent in extents]
    return SlicePlan(grid, chosen, (plane[0], plane[1]))
