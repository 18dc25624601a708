"""Slices of two segmented images, and where the pixels of a fixed slice lie on the slices of the moving image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.config import SliceConfig
from samreg.geometry.frame import Frame
from samreg.geometry.ops.displacement import rescaled_part
from samreg.geometry.ops.resample import resize
from samreg.geometry.rois import Roi, RoiSet
from samreg.regions.regions import Regions
from samreg.regions.slices import SlicePlan, plan_slices, window
from samreg.segmenters.base import Encoding, Segmenter, side_for
from samreg.segmenters.pixels import scaled_shape
from samreg.types import Matrix, ScalarArray

__all__ = ["PlaneMap", "PlaneMaps", "Planes", "facing", "plane_map"]

_FLAT = 0.2
"""Area of a piece of a fixed slice as the moving slices show it, below which the two are cut crosswise."""
_SLICES_KEPT = 2
_AXES: dict[int, Literal["0", "1", "2"]] = {0: "0", 1: "1", 2: "2"}


@dataclass(frozen=True, eq=False)
class PlaneMap:
    """Where each pixel of one fixed slice lies in the moving image.

    Args:
        target: (y, x, 2) pixels (x, y) of the moving slices, in voxels of the moving grid.
        depth: (y, x) number of the moving slice, continuous.
        shape: (y, x) of a moving slice.
    """

    target: np.ndarray
    depth: np.ndarray
    shape: tuple[int, int]

    @cached_property
    def _index(self) -> np.ndarray:
        """(y, x, 2) the nearest pixel (x, y) of a moving slice."""
        found: np.ndarray = np.floor(self.target + 0.5).astype(np.int64)
        return found

    @cached_property
    def inside(self) -> np.ndarray:
        """(y, x) whether a pixel lies on a moving slice."""
        inside = (self._index >= 0) & (self._index < np.asarray(self.shape[::-1]))
        return np.asarray(inside.all(axis=-1))

    @cached_property
    def _flat(self) -> np.ndarray:
        """(y * x,) flat index of the nearest pixel; 0 beyond the slice."""
        index = self._index
        found: np.ndarray = np.where(self.inside, index[..., 1] * self.shape[1] + index[..., 0], 0).ravel()
        return found

    def carried(self, masks: np.ndarray) -> np.ndarray:
        """Masks (n, y', x') of a moving slice as the fixed slice sees them, (n, y, x); nearest neighbour."""
        rows: np.ndarray = np.asarray(masks.reshape(len(masks), -1))
        found = rows[:, self._flat].reshape(len(masks), *self.depth.shape)
        return np.asarray(found & self.inside)


class Planes:
    """The slices of one image as everything mode sees them: their encodings and their regions.

    Args:
        regions: of the image; its ROIs lie in one slice each.
        segmenter: encodes a slice again where the regions do not hold its whole encoding.
        settings: slices and window.
        grey: grey values in [0, 1] on the image's grid.
    """

    def __init__(self, regions: Regions, segmenter: Segmenter, settings: SliceConfig, grey: ScalarArray) -> None:
        self.regions, self.segmenter, self.settings, self._grey = regions, segmenter, settings, grey
        self.axis = regions.slice_axis
        self.plan: SlicePlan = plan_slices(regions.image.grid, "auto" if self.axis is None else _AXES[self.axis])
        self.n_encoded = 0
        self._slices: list[np.ndarray] | None = None
        self._kept: dict[int, Encoding] = {}

    def __len__(self) -> int:
        return self.plan.n_slices

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x) of a slice in voxels."""
        return self.plan.plane_shape

    def rows(self, number: int) -> np.ndarray:
        """The regions of one slice."""
        index = self.regions.slice_index
        return np.arange(len(index)) if self.axis is None else np.flatnonzero(index == number)

    def number(self, row: int) -> int:
        """The slice of a region."""
        return 0 if self.axis is None else int(self.regions.slice_index[row])

    def masks(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, y, x) masks of regions within their slices, in voxels."""
        return flat_masks(self.regions.rois, rows, self.axis)

    def roi(self, mask: np.ndarray, number: int, quality: float) -> Roi:
        """The region of a mask (y, x) of one slice."""
        flat = Roi.from_mask(mask, quality)
        if self.axis is None:
            return flat
        start = [*flat.start]
        start.insert(self.axis, number)
        return Roi(np.expand_dims(flat.mask, self.axis), tuple(start), flat.quality)

    def to_pixels(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) in voxels of a slice as boxes in the square pixels that the segmenter sees."""
        ratio = np.asarray(self.plan.plane[::-1]) / np.asarray(self.shape[::-1])
        result: np.ndarray = (boxes + 0.5) * np.tile(ratio, 2) - 0.5
        return result

    def encoding(self, number: int) -> Encoding:
        """The encoding of one slice: from the embedding that the regions hold, or made again."""
        if number not in self._kept:
            while len(self._kept) >= _SLICES_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = self._held(number) or self._made(number)
        return self._kept[number]

    def grey(self, number: int, longest: int) -> np.ndarray:
        """(y, x) grey values of one slice, in square pixels; its longer side has at most so many."""
        pixels = self._grey if self.axis is None else np.take(self._grey, number, axis=self.axis)
        plane = self.plan.plane
        plane = scaled_shape(plane, longest) if max(plane) > longest else plane
        found: np.ndarray = resize(torch.from_numpy(np.ascontiguousarray(pixels))[None], plane)[0].numpy()
        return found

    def _held(self, number: int) -> Encoding | None:
        """From the cells that the regions keep, where the segmenter's decoder needs nothing else.

        What lies beyond the slice is repeated from its edge.
        """
        features = self.regions.features
        n_cells, side = getattr(self.segmenter, "whole_cells", 0), side_for(self.segmenter, self.plan.plane)
        if features is None or not n_cells:
            return None
        n_cells = n_cells * side // self.segmenter.input_size
        cells = features.data if self.axis is None else np.take(features.data, number, axis=1 + self.axis)
        rows = torch.from_numpy(np.ascontiguousarray(cells, dtype=np.float32))
        pad = (0, n_cells - rows.shape[2], 0, n_cells - rows.shape[1])
        whole = functional.pad(rows[None], pad, mode="replicate")[0]
        return Encoding(whole, self.plan.plane, side, ())

    def _made(self, number: int) -> Encoding:
        if self._slices is None:
            self._slices = self.plan.slices(window(self.regions.image, self.settings.hounsfield))
        self.n_encoded += 1
        return self.segmenter.encode([self._slices[number]])[0]


def flat_masks(rois: RoiSet, rows: Sequence[int] | np.ndarray, axis: int | None) -> np.ndarray:
    """(n, y, x) masks of regions that are one slice thick along the axis, within their slices."""
    kept = [n for a, n in enumerate(rois.grid.shape) if a != axis]
    out = np.zeros((len(rows), *kept), dtype=bool)
    for row, i in zip(out, rows, strict=True):
        roi = rois[int(i)]
        box = tuple(s for a, s in enumerate(roi.box) if a != axis)
        row[box] = roi.mask if axis is None else roi.mask.squeeze(axis)
    return out


def facing(fixed: Planes, moving: Planes, affine: Matrix) -> bool:
    """Whether the slices of both images show about the same cut, so that one mask can be carried to the other."""
    f, m = fixed.plan.grid, moving.plan.grid
    d = f.ndim
    directions = np.linalg.inv(np.asarray(m.direction)) @ affine[:d, :d] @ np.asarray(f.direction)
    if d == 3:
        keep = [[2 - a for a in range(3) if a != side.axis] for side in (moving, fixed)]
        directions = directions[np.ix_(*keep)]
    return bool(abs(np.linalg.det(directions)) > _FLAT)


def plane_map(
    fixed: Planes, moving: Planes, frame: Frame, displacement: Tensor, number: int, *, same_slices: bool = False
) -> PlaneMap:
    """Where one fixed slice lies in the moving image.

    Args:
        fixed: slices of the fixed image.
        moving: slices of the moving image.
        frame: of both grids and the affine map.
        displacement: (d, *any) over the fixed image, in its own voxels, array order.
        number: of the fixed slice.
        same_slices: both images share their stack of slices, and slice i looks for counterparts on slice i.
    """
    axis, shape = fixed.axis, fixed.plan.grid.shape
    ranges = [torch.arange(n).float() if a != axis else torch.tensor([float(number)]) for a, n in enumerate(shape)]
    index = torch.stack(torch.meshgrid(*ranges, indexing="ij"))
    part = [slice(number, number + 1) if a == axis else slice(None) for a in range(len(shape))]
    here = rescaled_part(displacement, shape, part)
    at = frame.moving_index(index + here).numpy()  # (x, y, z) last
    if axis is None:
        return PlaneMap(at, np.zeros(at.shape[:2]), moving.shape)
    at = at.squeeze(axis)
    across = 2 - (moving.axis or 0)
    depth = np.full(at.shape[:2], float(number)) if same_slices else at[..., across]
    return PlaneMap(np.delete(at, across, axis=-1), depth, moving.shape)


class PlaneMaps:
    """The plane maps of the fixed slices, each made when it is first needed.

    Args:
        fixed: slices of the fixed image.
        moving: slices of the moving image.
        frame: of both grids and the affine map.
        displacement: (d, *any) over the fixed image, in its own voxels, array order.
        same_slices: as for `plane_map`.
    """

    def __init__(
        self, fixed: Planes, moving: Planes, frame: Frame, displacement: Tensor, *, same_slices: bool = False
    ) -> None:
        self._parts = fixed, moving, frame, displacement
        self._same_slices = same_slices
        self._made: dict[int, PlaneMap] = {}

    def __getitem__(self, number: int) -> PlaneMap:
        if number not in self._made:
            self._made[number] = plane_map(*self._parts, number, same_slices=self._same_slices)
        return self._made[number]
