"""Two segmented images, prepared for everything that follows."""

from __future__ import annotations

from dataclasses import dataclass

from samreg.config import RegisterConfig
from samreg.geometry.grid import Grid
from samreg.regions.regions import Regions
from samreg.regions.slices import window
from samreg.types import ScalarArray

__all__ = ["ImagePair", "slices_correspond"]


@dataclass(frozen=True, eq=False)
class ImagePair:
    """Two segmented images, and how their slices are treated.

    Args:
        fixed: regions of the fixed image.
        moving: regions of the moving image.
        fixed_grey: grey values in [0, 1] on the fixed grid.
        moving_grey: grey values in [0, 1] on the moving grid.
        same_slices: both are the same stack of thick slices, so that slice i shows the same place in both.
        linked: ROIs are paired as 3D ROIs, linked through the slices; otherwise slice by slice (or in 2D).
        in_plane: the fit moves nothing across the slices.
    """

    fixed: Regions
    moving: Regions
    fixed_grey: ScalarArray
    moving_grey: ScalarArray
    same_slices: bool
    linked: bool
    in_plane: bool

    @classmethod
    def of(cls, fixed: Regions, moving: Regions, config: RegisterConfig) -> ImagePair:
        """Of two segmented images, as the settings say."""
        same_slices = slices_correspond(fixed, moving)
        lift, plane = config.segment.lift, config.fit.in_plane
        linked = fixed.slice_axis is not None and (lift == "link" or (lift == "auto" and not same_slices))
        # Slice ROIs alone say nothing about displacement across the slices.
        regions_only = config.fit.similarity_weight == 0 and config.fit.feature_weight == 0
        in_plane = plane == "yes" or (plane == "auto" and same_slices and not linked and regions_only)
        grey = []
        for regions in (fixed, moving):
            values = window(regions.image, config.segment.window, config.segment.hounsfield)
            grey.append(values.mean(-1) if regions.image.is_colour else values)
        return cls(
            fixed, moving, grey[0], grey[1], same_slices, linked, in_plane=in_plane and fixed.slice_axis is not None
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
