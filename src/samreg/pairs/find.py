"""Step 3 as one function: the pairs of two images, found and given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from samreg.config import MatchConfig
from samreg.geometry.rois import PairedRois
from samreg.initial.problem import ImagePair
from samreg.initial.start import Start
from samreg.pairs.verification import pair_regions
from samreg.regions.linking import link_regions

__all__ = ["find_pairs"]


def find_pairs(images: ImagePair, start: Start, config: MatchConfig, given: PairedRois | None = None) -> PairedRois:
    """Pairs of regions, checked against the start.

    Args:
        images: both, segmented.
        start: where their regions are carried for the check.
        config: epsilon, K, method, verify.
        given: pairs that are known; they come first and stay as they are.
    """
    fixed, moving = images.fixed, images.moving
    if images.linked:
        fixed, moving = link_regions(fixed), link_regions(moving)
    found = pair_regions(fixed, moving, start.affine, start.guide, config, by_slice=images.same_slices)
    return found if given is None else replace(given, given=np.ones(len(given), dtype=bool)).concatenate(found)
