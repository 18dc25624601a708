"""A second registration, for the check that compares two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from samreg.checks.finished import Finished
from samreg.fit.rough import bring_near
from samreg.fit.transform import FittedTransform, fit_transform
from samreg.geometry.rois import PairedRois
from samreg.initial.start import find_start
from samreg.pairs.find import find_pairs

__all__ = ["swapped_fit"]


def swapped_fit(finished: Finished) -> FittedTransform:
    """The registration with the images in each other's place, same settings; its field is on the moving grid."""
    config, known = finished.config, _given(finished)
    images = replace(finished.images.swapped, landmarks=None)
    start = find_start(images, config, bring_near, known)
    return fit_transform(images, find_pairs(images, start, config.match, known), start, config.fit)


def _given(finished: Finished) -> PairedRois | None:
    """The pairs that were given, the other way round; classes of a segmenter are found again by themselves."""
    origin, pairs = finished.images.fixed.origin, finished.pairs
    if (origin is not None and origin.classes) or not pairs.is_given.any():
        return None
    return pairs.select(np.flatnonzero(pairs.is_given)).swapped
