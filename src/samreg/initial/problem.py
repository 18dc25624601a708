"""Two segmented images, prepared for everything that follows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from samreg.config import RegisterConfig, SegmentConfig
from samreg.geometry.grid import Grid
from samreg.geometry.landmarks import Landmarks
from samreg.geometry.masks import filled
from samreg.geometry.ops.devices import CPU, fit_device
from samreg.regions.regions import Regions
from samreg.regions.slices import plan_slices, window
from samreg.types import MaskArray, ScalarArray

__all__ = ["ImagePair", "slices_correspond"]


@dataclass(frozen=True, eq=False)
class ImagePair:
    """Two segmented images, and how their slices are treated.

    Args:
        fixed: regions of the fixed image.
        moving: regions of the moving image.
        fixed_grey: grey values in [0, 1] on the fixed grid; where the image does not count, those of the nearest place
            that does.
        moving_grey: grey values in [0, 1] on the moving grid.
        same_slices: both are the same stack of thick slices, so that slice i shows the same place in both.
        linked: ROIs are paired as 3D ROIs, linked through the slices or given as such; otherwise slice by slice, or in
            2D.
        in_plane: the fit moves nothing across the slices.
        landmarks: points that pull the transform; None without them.
        device: where the start is searched for and the transform is fitted.
    """

    fixed: Regions
    moving: Regions
    fixed_grey: ScalarArray
    moving_grey: ScalarArray
    same_slices: bool
    linked: bool
    in_plane: bool
    landmarks: Landmarks | None = None
    device: torch.device = CPU

    @classmethod
    def of(
        cls, fixed: Regions, moving: Regions, config: RegisterConfig, landmarks: Landmarks | None = None
    ) -> ImagePair:
        """Of two segmented images, as the settings say."""
        if fixed.features is None or moving.features is None:
            fixed, moving = (_with_axis(regions, config.segment) for regions in (fixed, moving))
        same_slices = slices_correspond(fixed, moving)
        # Regions that were given are whole: none of them is cut into slices.
        by_slice = fixed.features is not None and (
            config.match.lift == "slices" or (config.match.lift == "auto" and same_slices)
        )
        # Slice ROIs alone say nothing about displacement across the slices.
        in_plane = same_slices and by_slice and config.fit.regions_alone
        grey = []
        for regions in (fixed, moving):
            values = window(filled(regions.image, regions.inside), config.segment.hounsfield)
            grey.append(values.mean(-1) if regions.image.is_colour else values)
        return cls(
            fixed,
            moving,
            grey[0],
            grey[1],
            same_slices,
            linked=not by_slice and fixed.slice_axis is not None,
            in_plane=in_plane and fixed.slice_axis is not None,
            landmarks=landmarks,
            device=fit_device(config.segment.device),
        )

    @property
    def fixed_grid(self) -> Grid:
        """Grid of the fixed image, on which the result lies."""
        return self.fixed.image.grid

    @property
    def moving_grid(self) -> Grid:
        """Grid of the moving image."""
        return self.moving.image.grid

    @property
    def inside(self) -> tuple[MaskArray | None, MaskArray | None]:
        """Where the fixed and the moving image count, each on its grid; None is everywhere."""
        return self.fixed.inside, self.moving.inside

    @property
    def swapped(self) -> ImagePair:
        """The same with the images in each other's place."""
        return replace(
            self,
            fixed=self.moving,
            moving=self.fixed,
            fixed_grey=self.moving_grey,
            moving_grey=self.fixed_grey,
            landmarks=None if self.landmarks is None else self.landmarks.swapped,
        )

    @property
    def segmented(self) -> bool:
        """Whether a segmenter has seen the images, so that there are embeddings."""
        return self.fixed.features is not None

    @property
    def stack_axis(self) -> int | None:
        """Array axis of the stack of thick slices that both images share; None if they share none."""
        return self.fixed.slice_axis if self.same_slices else None

    @property
    def frozen_axis(self) -> int | None:
        """Array axis along which the fit moves nothing; None if it may move everywhere."""
        return self.fixed.slice_axis if self.in_plane else None

    @property
    def roi_axis(self) -> int | None:
        """Array axis along which paired ROIs are one slice thick; None for ROIs of the full dimension."""
        return None if self.linked else self.fixed.slice_axis


def slices_correspond(fixed: Regions, moving: Regions) -> bool:
    """Whether both images are the same stack of thick slices, so that slice i shows the same place in both."""
    grid, axis = fixed.image.grid, fixed.slice_axis
    if axis is None or moving.slice_axis != axis:
        return False
    return grid.is_thick_stack(axis) and grid.same_as(moving.image.grid)


def _with_axis(regions: Regions, settings: SegmentConfig) -> Regions:
    return replace(regions, slice_axis=plan_slices(regions.image.grid, settings.slice_axis).axis)
