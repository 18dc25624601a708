"""Local image similarity: LNCC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from samreg.geometry.ops.smoothing import box_mean

__all__ = ["LEAST_SHARE", "Correlation", "Lncc"]

_FLOOR = 1e-4
"""Local variance, in images in [0, 1], at which a place has half its say: flat regions have none."""
_ROUNDING = 1e-7
"""Below this a local variance is rounding."""
_LEAST_HELD = 0.5
"""Share of a window that has to hold both images."""
LEAST_SHARE = 1e-3
"""Share of a window that has to count: below this nothing is divided by it."""


@dataclass(frozen=True, eq=False)
class Correlation:
    """LNCC^2 at every voxel, and its derivative with respect to the warped image, from the same local means.

    Args:
        fixed: (1, *shape) in [0, 1].
        warped: (1, *shape) in [0, 1].
        window: odd window size along each array axis.
        means: (1, *shape) local mean of the fixed and of the warped image.
        variances: (1, *shape) local variances of both; rounding may make them negative.
        covariance: (1, *shape).
        weight: (1, *shape) in [0, 1] of each voxel, and its local mean; None where all count alike.
    """

    fixed: Tensor
    warped: Tensor
    window: Sequence[int]
    means: tuple[Tensor, Tensor]
    variances: tuple[Tensor, Tensor]
    covariance: Tensor
    weight: tuple[Tensor, Tensor] | None = None

    @classmethod
    def weighted(cls, fixed: Tensor, warped: Tensor, weight: Tensor, window: Sequence[int]) -> Correlation:
        """Where voxels have weights, which make every local mean a weighted one; arguments as of the class."""
        f, w = fixed * weight, warped * weight
        sums = box_mean(torch.cat([weight, f, w, fixed * f, warped * w, fixed * w]), window)
        share = sums[:1]
        mean_f, mean, square_f, square, product = (sums[1:] / share.clamp(min=LEAST_SHARE)).chunk(5)
        variances = square_f - mean_f**2, square - mean**2
        return cls(fixed, warped, window, (mean_f, mean), variances, product - mean_f * mean, (weight, share))

    @property
    def squared(self) -> Tensor:
        """(1, *shape) LNCC^2 in [0, 1], times the say of the place."""
        return self._ratio.clamp(max=1)

    @property
    def share(self) -> Tensor:
        """(1, *shape) mean weight in the window."""
        return torch.ones_like(self.covariance) if self.weight is None else self.weight[1]

    def pull(self, each: Tensor | float) -> Tensor:
        """sum_i each_i d squared_i / d warped, (1, *shape).

        With B the box mean, c the covariance, s = c^2 / (v_f v_w), p = 2 s / c and q = -s / v_w, that is
        B^T p fixed - B^T (p m_f + 2 q m_w) + 2 B^T q warped. Autograd takes three times as long.

        Args:
            each: derivative with respect to `squared`, (1, *shape) or one number.
        """
        ratio, (mean_f, mean) = self._ratio, self.means
        each = torch.where(ratio <= 1, each, 0.0)
        below_f, below = self._denominators
        p = each * 2 * self.covariance / (below_f * below)
        q = torch.where(self.variances[1] >= 0, -each * ratio / below, 0.0)
        outer = torch.cat([p, p * mean_f + 2 * q * mean, q])
        if self.weight is not None:
            outer = outer / self.weight[1].clamp(min=LEAST_SHARE)
        p, shift, q = _transposed_mean(outer, self.window).chunk(3)
        pull = p * self.fixed - shift + 2 * q * self.warped
        return pull if self.weight is None else pull * self.weight[0]

    @cached_property
    def _denominators(self) -> tuple[Tensor, Tensor]:
        variance_f, variance = self.variances
        return variance_f.clamp(min=0) + _FLOOR, variance.clamp(min=0) + _ROUNDING

    @cached_property
    def _ratio(self) -> Tensor:
        below_f, below = self._denominators
        return self.covariance**2 / (below_f * below)


def _transposed_mean(values: Tensor, window: Sequence[int]) -> Tensor:
    """The transpose of the box mean: each voxel gets a share of every window that holds it; arguments as for that."""
    counts = values.new_ones(1)
    for axis, (n, w) in enumerate(zip(values.shape[1:], window, strict=True), start=1):
        if w > 1 and n > 1:
            at = torch.arange(n)
            held = (at + w // 2).clamp(max=n - 1) - (at - w // 2).clamp(min=0) + 1
            counts = counts * held.to(values).reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    # A box mean is a symmetric band after division by how many voxels each window holds.
    return box_mean(values / counts, window) * counts


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
        self.variance = box_mean(fixed * fixed, self.window) - self.mean**2

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
        found = self._correlation(warped, held)
        return found.squared if held is None else found.squared * (found.share > _LEAST_HELD)

    def squared_and_pull(self, warped: Tensor, held: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`squared`, and the derivative of the call with respect to the warped image, both (1, *shape)."""
        found = self._correlation(warped, held)
        each = -1.0 / warped.numel()
        if held is None:
            return found.squared, found.pull(each)
        seen = found.share > _LEAST_HELD
        return found.squared * seen, found.pull(each * seen)

    def _correlation(self, warped: Tensor, held: Tensor | None) -> Correlation:
        if held is not None:
            return Correlation.weighted(self.fixed, warped, held, self.window)
        means = box_mean(torch.cat([warped, warped * warped, self.fixed * warped]), self.window)
        mean, square, product = means.chunk(3)
        variances = self.variance, square - mean**2
        covariance = product - self.mean * mean
        return Correlation(self.fixed, warped, self.window, (self.mean, mean), variances, covariance)

    @property
    def say(self) -> Tensor:
        """(1, *shape) what LNCC^2 is where both images agree."""
        variance = self.variance.clamp(min=0)
        return variance / (variance + _FLOOR)
