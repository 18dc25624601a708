"""The first registration, where the fit that was asked for cannot say where regions of one image ask the other."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from samreg.config import FitConfig
from samreg.fit.levels import fit_dense
from samreg.fit.problem import DenseProblem
from samreg.geometry.ops.devices import on_device
from samreg.geometry.rois import PairedRois
from samreg.initial.problem import ImagePair
from samreg.initial.start import Start

__all__ = ["first_registration"]


def first_registration(images: ImagePair, pairs: PairedRois, start: Start, config: FitConfig) -> Tensor:
    """Where a region of one image lies in the other, well enough to ask there: the default fit.

    A fit to pairs alone needs its pairs first, and a run without a transform has none. The field of such a run owes
    nothing to this one but the pairs.

    Args:
        images: both.
        pairs: found and given.
        start: where it starts.
        config: of the fit that was asked for: what compares grey values.

    Returns:
        (d, *start.guide.shape[1:]) displacement over the fixed image, in its own voxels, array order, beside the affine
        map of the start.
    """
    fit = FitConfig(similarity=config.similarity)
    begin = replace(start, displacement=start.guide)
    with on_device(images.device):
        return fit_dense(DenseProblem.of(images, pairs, begin, fit), fit).displacement.cpu()
