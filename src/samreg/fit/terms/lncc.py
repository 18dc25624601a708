"""Local image similarity: LNCC."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from samreg.geometry.ops.smoothing import box_mean

__all__ = ["LEAST_SHARE", "Lncc", "weighted_squared"]

_FLOOR = 1e-4
"""Local variance, in images in [0, 1], at which a place has half its say: flat regions have none."""
_ROUNDING = 1e-7
"""Below this a local variance is rounding."""
_LEAST_HELD = 0.5
"""Share of a window that has to hold both images."""
LEAST_SHARE = 1e-3
"""Share of a window that has to count: below this nothing is divided by it."""


def weighted_squared(fixed: Tensor, warped: Tensor, weight: Tensor, window: Sequence[int]) -> tuple[Tensor, Tensor]:
    """LNCC^2 at every voxel where voxels have weights, which make every local mean a weighted one.

    Args:
        fixed: (1, *shape) in [0, 1].
        warped: (1, *shape) in [0, 1].
        weight: (1, *shape) in [0, 1].
        window: odd window size along each array axis.

    Returns:
        (1, *shape) mean weight in the window, and (1, *shape) LNCC^2 in [0, 1], times the say of the place.
    """
    f, w = fixed * weight, warped * weight
    sums = box_mean(torch.cat([weight, f, w, fixed * f, warped * w, fixed * w]), window)
    share = sums[:1]
    means = sums[1:] / share.clamp(min=LEAST_SHARE)
    mean_f, mean = means[:1], means[1:2]
    variance_f = (means[2:3] - mean_f**2).clamp(min=0)
    variance = (means[3:4] - mean**2).clamp(min=0)
    covariance = means[4:5] - mean_f * mean
    squared = covariance**2 / ((variance_f + _FLOOR) * (variance + _ROUNDING))
    return share, squared.clamp(max=1)


class Lncc:
    """1 - mean of the squared local normalised cross-correlation (Avants et al., MedIA 2008, equation (5)).

    Every place has a say of s / (s + floor), with s the local variance of the fixed image. The floor is not added to
    the warped image's variance too: more contrast would then match better, and an image would not match itself best.

    Args:
        fixed: (1, *shape) in [0, 1].
        window: odd window size along each array axis.
    """

    def __init__(self, fixed: Tensor, window: Sequence[int]) -> None:
        self.fixed, self.window = fixed, tuple(window)
        self.mean = box_mean(fixed, self.window)
        self.variance = (box_mean(fixed * fixed, self.window) - self.mean**2).clamp(min=0)

    def __call__(self, warped: Tensor, held: Tensor | None = None) -> Tensor:
        """1 - LNCC^2, mean over the voxels, in [0, 1]; 0 is perfect.

        Args:
            warped: (1, *shape) in [0, 1].
            held: (1, *shape) 1 where there is a moving image, 0 elsewhere; None is everywhere. Nothing is compared with
                what is not there, and windows that are mostly empty have no say.
        """
        return 1 - self.squared(warped, held).mean()

    def squared(self, warped: Tensor, held: Tensor | None = None) -> Tensor:
        """LNCC^2 at every voxel, (1, *shape) in [0, 1], times the say of the place; arguments as for the call."""
        if held is None:
            mean = box_mean(warped, self.window)
            variance = (box_mean(warped * warped, self.window) - mean**2).clamp(min=0)
            covariance = box_mean(self.fixed * warped, self.window) - self.mean * mean
            squared = covariance**2 / ((self.variance + _FLOOR) * (variance + _ROUNDING))
            return squared.clamp(max=1)
        share, squared = weighted_squared(self.fixed, warped, held, self.window)
        return squared * (share > _LEAST_HELD)

    @property
    def say(self) -> Tensor:
        """(1, *shape) what LNCC^2 is where both images agree."""
        return self.variance / (self.variance + _FLOOR)
