"""Warping by ITK, for the interpolations that samreg does not have itself: cubic B-splines and windowed sinc."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from samreg.errors import ConfigError
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.io.itk import array_of, to_itk

__all__ = ["Smooth", "warp_smoothly"]

Smooth: TypeAlias = Literal["bspline", "sinc"]
"""Cubic B-splines, or a sinc in Lanczos' window of five voxels."""
_LEAST = 4
"""Voxels along an axis that a cubic B-spline wants."""


def warp_smoothly(
    field: DisplacementField, moving: Image, interpolation: Smooth, fill: float | Literal["auto"] = "auto"
) -> Image:
    """The moving image on the grid of a field, as `DisplacementField.warp`, sharper and with some overshoot at edges.

    Args:
        field: pulls back.
        moving: grey or RGB, in the same world.
        interpolation: of grey values.
        fill: the value where there is no moving image; `auto` is the image's own background.

    Raises:
        ConfigError: if the image has too few voxels along an axis.
    """
    import SimpleITK as sitk

    if min(moving.grid.shape) < _LEAST:
        raise ConfigError(
            f"--interpolation {interpolation} wants {_LEAST} voxels at least along every axis, and {moving.name} has "
            f"{min(moving.grid.shape)} along one; choose linear"
        )
    kind = sitk.sitkBSpline3 if interpolation == "bspline" else sitk.sitkLanczosWindowedSinc
    channels = np.moveaxis(moving.data, -1, 0) if moving.is_colour else moving.data[None]
    outside = moving.background if fill == "auto" else (float(fill),) * len(channels)
    grid = field.grid
    out = []
    for channel, value in zip(channels, outside, strict=True):
        # A transform takes its field along with it: a fresh one for every channel.
        transform = sitk.DisplacementFieldTransform(to_itk(field.u.astype(np.float64), grid))
        reference = to_itk(np.zeros(grid.shape, dtype=np.uint8), grid)
        image = to_itk(np.ascontiguousarray(channel), moving.grid)
        out.append(array_of(sitk.Resample(image, reference, transform, kind, float(value), sitk.sitkFloat32)))
    data = np.stack(out, axis=-1) if moving.is_colour else out[0]
    return Image(data.astype(np.float32), grid, moving.name)
