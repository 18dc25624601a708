"""Whether a displacement is anatomy, and whether both images show one body: what a fit gained, judged."""

from __future__ import annotations

import torch
from torch import Tensor

from samreg.fit.terms.lncc import Lncc
from samreg.initial.edges import agreement_behind
from samreg.initial.pyramid import GreyPyramid
from samreg.initial.search import on_grid
from samreg.types import Matrix

__all__ = ["ONE_ANATOMY", "has_earned_its_place", "local_correlation"]

_COARSE, _FINE = (1, 2), (-1,)
"""Levels of the pyramid at which edges judge: where noise is averaged out, 1/48 and 1/96 of the image; the finest."""
_EARNED = 0.02
"""Gain in the agreement of edges at the coarse levels that a displacement has to bring,"""
_SAME_ANATOMY = 0.7
"""or agreement at the finest level that only images of one anatomy reach,"""
ONE_ANATOMY = 0.85
"""Local correlation behind a fit that only images of one anatomy reach: copies have .95 to .99, brains of two people
.62 to .68."""
_SHARPENED = 0.1
"""and a gain there that noise does not bring."""


def has_earned_its_place(pyramid: GreyPyramid, affine: Matrix, u: Tensor) -> bool:
    """Whether edges agree better behind a displacement than without it.

    What grey values gain by bending may also be noise that is made to fit. Then edges gain nothing where noise is
    averaged out, nor do they agree at the finest level as those of one anatomy do.

    Args:
        pyramid: both images.
        affine: (d + 1, d + 1) fixed world to moving world.
        u: (d, *any) displacement over the fixed image, in its own voxels, array order.
    """
    nothing = torch.zeros_like(u)
    gain = agreement_behind(pyramid, affine, u, _COARSE) - agreement_behind(pyramid, affine, nothing, _COARSE)
    if gain > _EARNED:
        return True
    before, after = (agreement_behind(pyramid, affine, v, _FINE) for v in (nothing, u))
    return after > _SAME_ANATOMY and after - before > _SHARPENED


def local_correlation(pyramid: GreyPyramid, affine: Matrix, u: Tensor) -> float:
    """Share of what the fixed image holds that the moving image explains, at the finest level; in [0, 1].

    The mean of LNCC^2 over all places, each with the say that it has in the fit. Noise lowers it.

    Arguments as for `has_earned_its_place`.
    """
    level = pyramid.level(len(pyramid.pixels) - 1)
    warped, held = level.warped(affine, on_grid(u, pyramid.grids[0], level.fixed_grid))
    lncc = Lncc(level.fixed, level.window)
    return float((lncc.squared(warped, held) * held).sum() / (lncc.say * held).sum().clamp(min=1e-9))
