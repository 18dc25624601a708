"""An image as slices that are encoded when they are looked at, and the way between slice pixels and the world."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from samreg.config import SliceConfig
from samreg.errors import GeometryError
from samreg.geometry.image import Image
from samreg.geometry.ops.resample import resize
from samreg.geometry.rois import Roi
from samreg.regions.everything.components import component_boxes
from samreg.regions.slices import nearest_masks, plan_slices, window
from samreg.segmenters.base import Encoding, Segmenter
from samreg.types import MaskArray, Points

__all__ = ["AREAS", "Stack", "View"]

AREAS = (0.0008, 0.4)
"""Smallest and largest region that a prompt may mean, as shares of the slice."""
_LEVELS = 8
_LONGEST = 512
"""Pixels of the longer side in which masks are handled: the networks draw them in 256 x 256."""
_KEPT = 64
"""Encoded slices that are kept: about 4 MB each with LiteMedSAM."""


@dataclass(frozen=True, eq=False)
class View:
    """One slice as the segmenter and as the eye see it.

    Args:
        encoding: of the slice.
        grey: (y, x) in [0, 1].
    """

    encoding: Encoding
    grey: np.ndarray

    @cached_property
    def components(self) -> np.ndarray:
        """Boxes (n, 4) around connected components at several grey levels; see `component_boxes`."""
        return component_boxes(self.grey, _LEVELS, AREAS)


class Stack:
    """The slices of one image for one segmenter.

    Slices are encoded when first asked for, and those looked at last are kept: a prompt needs a few slices, not the
    volume. `n_encoded` counts them. Encoded is the slice as it is. Pixels of a slice are those of `plane`, (y, x): in a
    large photograph it has fewer than the image.

    Args:
        image: 2D (one slice) or 3D.
        segmenter: encodes.
        settings: slice axis and window.
    """

    def __init__(self, image: Image, segmenter: Segmenter, settings: SliceConfig) -> None:
        self.image, self.segmenter = image, segmenter
        self.plan = plan_slices(image.grid, settings.slice_axis)
        shrink = min(1.0, _LONGEST / max(self.plan.plane))
        self.plane = max(1, round(self.plan.plane[0] * shrink)), max(1, round(self.plan.plane[1] * shrink))
        self._slices = self.plan.slices(window(image, settings.hounsfield))
        self._views: OrderedDict[int, View] = OrderedDict()
        self.n_encoded = 0

    def __len__(self) -> int:
        return self.plan.n_slices

    @property
    def pixel_size(self) -> float:
        """Side of a slice pixel in world units."""
        spacing = [s for a, s in enumerate(self.image.grid.array_spacing) if a != self.plan.axis]
        return spacing[0] * self.plan.plane_shape[0] / self.plane[0]

    def view(self, number: int) -> View:
        """One slice with its encoding."""
        if number not in self._views:
            pixels = self._slices[number]
            grey = pixels if pixels.ndim == 2 else np.ascontiguousarray(pixels.mean(axis=-1))
            encoding = self.segmenter.encode([pixels])[0]
            if self.plane != self.plan.plane:
                encoding = dataclasses.replace(encoding, shape=self.plane)
                grey = resize(torch.from_numpy(grey)[None], self.plane)[0].numpy()
            self._views[number] = View(encoding, grey)
            self.n_encoded += 1
            while len(self._views) > _KEPT:
                self._views.popitem(last=False)
        self._views.move_to_end(number)
        return self._views[number]

    def encoding(self, number: int) -> Encoding:
        """The encoding of one slice."""
        return self.view(number).encoding

    def locate(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Slice coordinates of world points.

        Args:
            points: (n, d) world points.

        Returns:
            (n,) continuous slice numbers, and (n, 2) slice pixels (x, y).
        """
        index = self.image.grid.world_to_index(points)[:, ::-1]
        numbers = np.zeros(len(index)) if self.plan.axis is None else index[:, self.plan.axis]
        plane = index if self.plan.axis is None else np.delete(index, self.plan.axis, axis=1)
        ratio = np.asarray(self.plane) / np.asarray(self.plan.plane_shape)
        return numbers, ((plane + 0.5) * ratio - 0.5)[:, ::-1]

    def world(self, number: float, pixels: np.ndarray) -> Points:
        """World points (n, d) of slice pixels (n, 2), (x, y): the inverse of `locate`."""
        ratio = np.asarray(self.plan.plane_shape) / np.asarray(self.plane)
        index = (np.asarray(pixels, dtype=float)[:, ::-1] + 0.5) * ratio - 0.5
        if self.plan.axis is not None:
            index = np.insert(index, self.plan.axis, number, axis=1)
        return self.image.grid.index_to_world(index[:, ::-1])

    def cut(self, mask: MaskArray) -> dict[int, np.ndarray]:
        """Slice number -> mask in slice pixels, for the slices where a mask over the grid is not empty."""
        rows = mask[None] if self.plan.axis is None else np.moveaxis(mask, self.plan.axis, 0)
        marked = np.flatnonzero(rows.any(axis=(1, 2)))
        return {int(i): nearest_masks(rows[i], self.plane) for i in marked}

    def roi(self, masks: Mapping[int, np.ndarray], quality: float) -> Roi:
        """One region of masks in slice pixels, by slice number.

        Raises:
            GeometryError: if all masks are empty.
        """
        if not masks:
            raise GeometryError("a region without slices is empty")
        full = np.zeros((len(self), *self.plan.plane_shape), dtype=bool)
        for number, mask in masks.items():
            full[number] = self._enlarged(mask)
        if self.plan.axis is None:
            return Roi.from_mask(full[0], quality)
        return Roi.from_mask(np.moveaxis(full, 0, self.plan.axis), quality)

    def _enlarged(self, mask: np.ndarray) -> np.ndarray:
        """A mask in slice pixels on the voxels of the slice."""
        shape = self.plan.plane_shape
        if self.plane != self.plan.plane:
            smooth: np.ndarray = resize(torch.from_numpy(mask)[None].float(), shape)[0].numpy() >= 0.5
            if smooth.any():
                return smooth
        return nearest_masks(mask, shape)
