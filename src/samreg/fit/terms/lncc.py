"""Local image similarity: LNCC."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from samreg.geometry.ops.smoothing import box_mean

__all__ = ["Lncc"]

_FLOOR = 1e-4
"""Local variance, in images in [0, 1], at which a place has half its say: flat regions have none."""
_ROUNDING = 1e-7
"""Below this a local variance is rounding."""


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

    def __call__(self, warped: Tensor) -> Tensor:
        """1 - LNCC^2, mean over the voxels, in [0, 1]; 0 is perfect.

        Args:
            warped: (1, *shape) in [0, 1].
        """
        mean = box_mean(warped, self.window)
        variance = (box_mean(warped * warped, self.window) - mean**2).clamp(min=0)
        covariance = box_mean(self.fixed * warped, self.window) - self.mean * mean
        squared = covariance**2 / ((self.variance + _FLOOR) * (variance + _ROUNDING))
        return 1 - squared.clamp(max=1).mean()
