"""A second registration, for the checks that compare two."""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.fit.rough import bring_near
from samreg.fit.transform import FittedTransform, fit_transform
from samreg.geometry.rois import PairedRois
from samreg.initial.problem import ImagePair
from samreg.initial.start import find_start
from samreg.pairs.find import find_pairs
from samreg.regions.regions import Regions

__all__ = ["registered_again", "swapped_fit"]


def swapped_fit(finished: Finished) -> FittedTransform:
    """The registration with the images in each other's place; its field is on the moving grid."""
    images = finished.images
    return registered_again(finished, images.moving, images.fixed, _given(finished)).fitted


def registered_again(finished: Finished, fixed: Regions, moving: Regions, known: PairedRois | None = None) -> Finished:
    """The registration of two other images, with the same settings.

    Args:
        finished: the registration whose settings count.
        fixed: regions of the fixed image.
        moving: regions of the moving image.
        known: pairs that are known.
    """
    config = finished.config
    images = ImagePair.of(fixed, moving, config)
    start = find_start(images, config, bring_near, known)
    pairs = find_pairs(images, start, config.match, known)
    return Finished(images, pairs, start, fit_transform(images, pairs, start, config.fit), config)


def _given(finished: Finished) -> PairedRois | None:
    """The pairs that were given, the other way round; classes of a segmenter are found again by themselves."""
    origin, pairs = finished.images.fixed.origin, finished.pairs
    if (origin is not None and origin.classes) or not pairs.is_given.any():
        return None
    known = pairs.select(np.flatnonzero(pairs.is_given))
    return PairedRois(known.moving, known.fixed, known.similarity, known.weights)
