"""Terms where images count in part: a place has the weight of what the masks of both images leave of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from samreg.errors import ConfigError
from samreg.fit.terms.lncc import LEAST_SHARE, Correlation
from samreg.geometry.frame import Frame
from samreg.geometry.ops.resample import resize
from samreg.types import MaskArray

__all__ = ["Inside", "MaskedLncc", "masked_similarity"]


class Inside:
    """The weight of every place of a level under a displacement: 1 where both images count, 0 where one does not.

    No derivative goes through it: no place wins by leaving what counts.

    Args:
        frame: the level's grids.
        fixed: `(*fixed shape)` where the fixed image counts, at its full resolution; None is everywhere.
        moving: `(*moving shape)` the same of the moving image.
    """

    def __init__(self, frame: Frame, fixed: MaskArray | None, moving: MaskArray | None) -> None:
        self.frame = frame
        self.fixed, self.moving = _share(fixed, frame.fixed.shape), _share(moving, frame.moving.shape)

    def __call__(self, index: Tensor) -> Tensor:
        """(1, *level shape) for displaced fixed indices (d, *level shape), array order."""
        if self.moving is None:
            return torch.ones(1, *self.frame.fixed.shape) if self.fixed is None else self.fixed
        with torch.no_grad():
            moving = self.frame.warp(self.moving, index)
        return moving if self.fixed is None else self.fixed * moving


class MaskedLncc:
    """`Lncc` with a weight at each voxel, which makes every local mean a weighted one.

    With a weight of 1 everywhere it is `Lncc`; grey values where the weight is 0 have no influence at all.

    Args:
        fixed: (1, *shape) in [0, 1].
        window: odd window size along each array axis.
    """

    def __init__(self, fixed: Tensor, window: Sequence[int]) -> None:
        self.fixed, self.window = fixed, tuple(window)

    def __call__(self, warped: Tensor, weight: Tensor) -> Tensor:
        """1 - LNCC^2, weighted mean over the voxels, in [0, 1]; 0 is perfect.

        Args:
            warped: (1, *shape) in [0, 1].
            weight: (1, *shape) in [0, 1].
        """
        found = Correlation.weighted(self.fixed, warped, weight, self.window)
        held = (found.share > LEAST_SHARE).float() * weight
        return 1 - (found.squared * held).sum() / held.sum().clamp(min=1e-6)


def masked_similarity(name: str, fixed: Tensor, window: Sequence[int]) -> MaskedLncc:
    """The term of that name for images that count in part.

    Raises:
        ConfigError: if that term compares whole images only.
    """
    if name != "lncc":
        raise ConfigError(f"similarity (--similarity) is {name!r}, which takes no masks; leave them out, or give lncc")
    return MaskedLncc(fixed, window)


def _share(inside: MaskArray | None, shape: tuple[int, ...]) -> Tensor | None:
    """(1, *shape) the share of each voxel of a level that counts."""
    if inside is None:
        return None
    return resize(torch.as_tensor(np.ascontiguousarray(inside)).float()[None], shape)
