"""Layers of masks of the moving image, carried onto the fixed grid: many channels under one displacement."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samreg.geometry.frame import Frame
from samreg.geometry.ops.resample import sample_each

__all__ = ["Layers"]

_MEETS = 1e-3
"""Slices by which a slice of the fixed image may miss one of the moving image and still lie on it."""


class Layers:
    """Channels of the moving image that are sampled at every step of a fit.

    Args:
        values: (c, *moving shape) floating point.
        frame: the level's grids.
        slice_axis: array axis along which nothing is displaced; None where everything is.
    """

    def __init__(self, values: Tensor, frame: Frame, slice_axis: int | None = None) -> None:
        self.values, self.frame, self.slice_axis = values, frame, slice_axis
        self.slices: Tensor | None = None
        if slice_axis is not None:
            self.flat = frame.identity()[slice_axis]
            numbers = _slices(frame, slice_axis)
            # Within a slice there are four corners in place of eight, and torch has faster code for them.
            self.slices = None if numbers is None else values.movedim(1 + slice_axis, 0)[numbers].contiguous()

    def at(self, index: Tensor) -> Tensor:
        """The channels at displaced fixed indices (d, *fixed shape), array order: (c, *fixed shape)."""
        axis = self.slice_axis
        if axis is None:
            return self.frame.warp(self.values, index)
        index = torch.stack([self.flat if a == axis else x for a, x in enumerate(index)])
        if self.slices is None:
            return self.frame.warp(self.values, index)
        within = [x for a, x in enumerate(reversed(self.frame.moving_index(index).unbind(-1))) if a != axis]
        points = torch.stack(within[::-1], dim=-1).movedim(axis, 0)
        return sample_each(self.slices, points).movedim(0, 1 + axis)


def _slices(frame: Frame, axis: int) -> Tensor | None:
    """(n,) the slice of the moving grid on which each slice of the fixed grid lies; None if one lies on none."""
    along = frame.fixed.ndim - 1 - axis
    row = frame.joint[along]
    aslant = sum(abs(row[a]) * n for a, n in enumerate(reversed(frame.fixed.shape)) if a != along)
    places = row[along] * np.arange(frame.fixed.shape[axis]) + row[-1]
    numbers = places.round()
    if aslant + np.abs(places - numbers).max() > _MEETS:
        return None
    return torch.as_tensor(numbers.clip(0, frame.moving.shape[axis] - 1)).long()
