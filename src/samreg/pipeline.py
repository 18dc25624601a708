"""The method: two segmentations, then one registration. Nothing here touches a disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.registry import run_checks
from samreg.checks.score import score_of
from samreg.config import RegisterConfig, SegmentConfig, chosen
from samreg.errors import GeometryError
from samreg.fit.first import first_registration
from samreg.fit.rough import bring_near
from samreg.fit.transform import fit_transform
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import check_pair
from samreg.geometry.image import Image, check_image
from samreg.geometry.landmarks import LandmarkRecord, Landmarks
from samreg.geometry.masks import MaskLike, inside_of
from samreg.geometry.rois import PairedRois
from samreg.initial.problem import ImagePair
from samreg.initial.start import find_start
from samreg.pairs.find import Asking, ask_for_pairs, find_pairs
from samreg.regions.cache import RegionsCache
from samreg.regions.everything.finder import EverythingMode
from samreg.regions.find import RegionFinder, as_finder, find_regions, open_finder
from samreg.regions.regions import Regions
from samreg.result import RegistrationResult
from samreg.segmenters.base import Segmenter
from samreg.types import Progress

__all__ = ["register", "register_regions", "segment"]

_Further: TypeAlias = Callable[[Image], Regions]


def register(
    fixed: Image,
    moving: Image,
    config: RegisterConfig | None = None,
    *,
    preset: str | None = None,
    segmenter: RegionFinder | Segmenter | None = None,
    cache: RegionsCache | None = None,
    extra_pairs: PairedRois | None = None,
    find: bool = True,
    initial: DisplacementField | None = None,
    fixed_mask: MaskLike | None = None,
    moving_mask: MaskLike | None = None,
    fixed_exclude: MaskLike | None = None,
    moving_exclude: MaskLike | None = None,
    landmarks: Landmarks | None = None,
    checks: Literal["quick", "all"] = "quick",
    progress: Progress | None = None,
) -> RegistrationResult:
    """Register two images: segment both, pair their regions, fit a transform.

    Args:
        fixed: defines the grid of the result.
        moving: is brought onto it; may differ in size, spacing, direction and number of slices.
        config: settings.
        preset: the name of a preset in place of settings; `default` where neither is given.
        segmenter: what finds the regions; otherwise what `config.segment` names.
        cache: where regions are kept for the next registration of the same image.
        extra_pairs: pairs that are known, for example from label maps; they join the pairs that are found.
        find: False finds no regions: pairs that are known and the grey values alone drive the fit.
        initial: a transform to start from, fixed world to moving world, on any grid; a dense result composes with it.
        fixed_mask: where the fixed image counts. Outside no grey value and no embedding is compared, and there are no
            regions; the field goes on smoothly.
        moving_mask: the same of the moving image.
        fixed_exclude: where the fixed image does not count, such as a lesion or a cavity that the other one lacks.
        moving_exclude: the same of the moving image.
        landmarks: points of both images that pull the transform, softly.
        checks: `all` also runs those that register again, and take as long each time.
        progress: called along the way.

    Raises:
        ConfigError: if there is no such preset, or settings are given as well.
        InputError: if an image is none of samreg's; the message says how to make one of it.
        GeometryError: if one image is 2D and the other 3D, or one in mm and the other in pixels, or the initial
            transform lies elsewhere.
    """
    config = chosen(config, preset)
    check_image(fixed, "fixed")
    check_image(moving, "moving")
    check_pair(fixed.grid, moving.grid, fixed.name, moving.name)
    _check_initial(initial, fixed)
    insides = (
        inside_of(fixed, fixed_mask, fixed_exclude, "fixed"),
        inside_of(moving, moving_mask, moving_exclude, "moving"),
    )
    seconds: dict[str, float] = {}
    regions = Regions.none(fixed), Regions.none(moving)
    finder = None
    if find:
        with _timed(seconds, "load"):
            finder = open_finder(config.segment) if segmenter is None else as_finder(segmenter)
        with _timed(seconds, "segment"):
            regions = (
                find_regions(fixed, finder, config.segment, cache, _named(progress, "segment fixed")),
                find_regions(moving, finder, config.segment, cache, _named(progress, "segment moving")),
            )
    result = register_regions(
        regions[0].within(insides[0]),
        regions[1].within(insides[1]),
        config,
        extra_pairs=extra_pairs,
        initial=initial,
        landmarks=landmarks,
        checks=checks,
        segmenter=finder,
        cache=cache,
        progress=progress,
    )
    return replace(result, seconds={**seconds, **result.seconds})


def segment(
    image: Image,
    config: RegisterConfig | None = None,
    *,
    preset: str | None = None,
    segmenter: RegionFinder | Segmenter | None = None,
    cache: RegionsCache | None = None,
    progress: Progress | None = None,
) -> Regions:
    """Segment everything in one image: encode, propose, prototypes. ROIs of a volume lie in one slice each;
    `samreg.regions.linking.link_regions` links them into 3D ROIs.

    Args:
        image: 2D or 3D, grey or RGB.
        config: settings.
        preset: the name of a preset in place of settings; `default` where neither is given.
        segmenter: what finds the regions; otherwise what `config.segment` names.
        cache: where regions are kept that were found before.
        progress: called after each slice.

    Raises:
        ConfigError: if there is no such preset, or settings are given as well.
    """
    config = chosen(config, preset)
    check_image(image, "image")
    finder = open_finder(config.segment) if segmenter is None else as_finder(segmenter)
    return find_regions(image, finder, config.segment, cache, progress)


def register_regions(
    fixed: Regions,
    moving: Regions,
    config: RegisterConfig | None = None,
    *,
    preset: str | None = None,
    extra_pairs: PairedRois | None = None,
    initial: DisplacementField | None = None,
    landmarks: Landmarks | None = None,
    checks: Literal["quick", "all"] = "quick",
    segmenter: RegionFinder | Segmenter | None = None,
    cache: RegionsCache | None = None,
    progress: Progress | None = None,
) -> RegistrationResult:
    """Pair the regions of two segmented images and fit a transform to them.

    With `Regions.none(image)` for both images nothing is found: `extra_pairs` and the grey values alone drive the fit.
    Images that count in part are given as `regions.within(mask)`.

    Args:
        fixed: regions of the fixed image.
        moving: regions of the moving image, from the same finder.
        config: settings.
        preset: the name of a preset in place of settings; `default` where neither is given.
        extra_pairs: pairs that are known; they come first and their confidence is kept.
        initial: a transform to start from, fixed world to moving world, on any grid; a dense result composes with it.
        landmarks: points of both images that pull the transform, softly.
        checks: `all` also runs those that register again, and take as long each time.
        segmenter: what found the regions: each region without a partner asks it for its counterpart in the other image
            (`config.match.method` is `prompted`), and the check that has to segment once more needs it. Without it
            pairs are those of two everything modes, and that check is skipped.
        cache: where the embedding of the mirrored moving image is kept, which a check looks at.
        progress: called along the way.

    Raises:
        ConfigError: if there is no such preset, or settings are given as well.
        GeometryError: if the images or the finders do not fit together.
    """
    config = chosen(config, preset)
    check_pair(fixed.image.grid, moving.image.grid, fixed.image.name, moving.image.name)
    _check_finders(fixed, moving)
    _check_initial(initial, fixed.image)
    seconds: dict[str, float] = {}
    said: tuple[str, ...] = ()
    if landmarks is not None:
        landmarks, said = landmarks.within(fixed.image.grid, moving.image.grid)
    images = ImagePair.of(fixed, moving, config, landmarks)
    with _timed(seconds, "start"):
        start = find_start(images, config, bring_near, extra_pairs, initial)
    with _timed(seconds, "pair"):
        pairs = find_pairs(images, start, config.match, extra_pairs)
    promptable = _promptable(segmenter, images, config)
    # Pairs that alone drive the fit are needed before it; elsewhere the fit itself says where a region is to ask.
    first = config.fit.regions_alone or config.fit.transform == "none"
    asked: dict[str, int] = {}
    if promptable is not None and first:
        with _timed(seconds, "ask"):
            asking = Asking(promptable, first_registration(images, pairs, start, config.fit), config.segment)
            pairs, asked = ask_for_pairs(images, start, config.match, pairs, asking)
    with _timed(seconds, "fit"):
        fitted = fit_transform(images, pairs, start, config.fit, progress)
    evidence = pairs  # pairs that the transform itself led to cannot speak for it
    if promptable is not None and not first:
        with _timed(seconds, "ask"):
            asking = Asking(promptable, fitted.displacement, config.segment)
            pairs, asked = ask_for_pairs(images, start, config.match, pairs, asking)
    with _timed(seconds, "check"):
        segment, embed = (None, None) if segmenter is None else _further(segmenter, config, cache)
        finished = Finished(images, evidence, start, fitted, config, segment, embed)
        judged = run_checks(finished, checks)
        score = score_of(finished)
    return RegistrationResult(
        fixed=fixed.image,
        moving=moving.image,
        pairs=pairs,
        affine=fitted.affine,
        field=fitted.field,
        config=config,
        confidence=finished.confidence,
        score=score,
        origins=tuple(regions.origin for regions in (fixed, moving) if regions.origin is not None),
        same_slices=images.same_slices,
        linked=images.linked,
        in_plane=images.in_plane,
        start=start.record,
        agreement=finished.agreement,
        iterations=fitted.iterations,
        asked=asked,
        seconds=seconds,
        losses=fitted.losses,
        checks=judged,
        notes=(*_masked(fixed, "fixed"), *_masked(moving, "moving"), *said, *start.notes, *fitted.notes),
        landmarks=None if landmarks is None else LandmarkRecord.of(landmarks, fitted.field),
        maps=finished.maps,
    )


def _masked(regions: Regions, side: str) -> tuple[str, ...]:
    if regions.inside is None:
        return ()
    return (f"{100 * regions.inside.mean():.2g} % of the {side} image counts; the rest is masked out",)


def _check_finders(fixed: Regions, moving: Regions) -> None:
    channels = [None if r.features is None else len(r.features.data) for r in (fixed, moving)]
    if channels[0] != channels[1]:
        names = ["nothing" if r.origin is None else r.origin.segmenter for r in (fixed, moving)]
        raise GeometryError(
            f"the regions come from different segmenters ({names[0]} and {names[1]}): segment both images with the "
            "same one"
        )


def _check_initial(initial: DisplacementField | None, fixed: Image) -> None:
    if initial is None:
        return
    check_pair(initial.grid, fixed.grid, "the initial transform", fixed.name)
    # Nine or 27 points of the fixed image, or the centre of the other: whether the two touch at all.
    shares = np.argwhere(np.ones((3,) * fixed.grid.ndim)) / 2
    points = fixed.grid.index_to_world(shares * (np.asarray(fixed.grid.shape[::-1]) - 1))
    if not initial.grid.contains(points).any() and not fixed.grid.contains(np.asarray([initial.grid.centre])).any():
        raise GeometryError(
            f"the initial transform lies nowhere in {fixed.name}: give one that leads from the world of {fixed.name} "
            "to that of the moving image"
        )


def _promptable(
    segmenter: RegionFinder | Segmenter | None, images: ImagePair, config: RegisterConfig
) -> Segmenter | None:
    """What regions ask the other image with; None where they are not to, or nothing says where."""
    says_where = config.fit.is_dense or config.fit.transform == "none"
    wanted = config.match.method == "prompted" and config.match.verify and images.segmented and says_where
    # In volumes asking costs a third of everything mode and has not paired what people look for: off unless named, or
    # pairs are all that a fit has.
    wanted = wanted and (not images.linked or config.match.lift == "link" or config.fit.regions_alone)
    return as_finder(segmenter).segmenter if wanted and segmenter is not None else None


def _further(
    segmenter: RegionFinder | Segmenter, config: RegisterConfig, cache: RegionsCache | None
) -> tuple[_Further, _Further | None]:
    """What finds the regions of a further image, and what only encodes it; the latter takes a promptable segmenter."""
    finder = as_finder(segmenter)
    embed = None if finder.segmenter is None else _embedder(EverythingMode(finder.segmenter), config.segment, cache)
    return (lambda image: find_regions(image, finder, config.segment, None, None)), embed


def _embedder(everything: EverythingMode, settings: SegmentConfig, cache: RegionsCache | None) -> _Further:
    """What encodes a further image, or takes its embedding from the cache; nobody is told of either."""
    key = everything.name, f"{everything.fingerprint}, embedding alone"

    def embed(image: Image) -> Regions:
        if cache is None:
            return everything.embed(image, settings)
        return cache.find(image, settings, key, lambda: everything.embed(image, settings), level=logging.DEBUG)

    return embed


def _named(progress: Progress | None, name: str) -> Progress | None:
    return None if progress is None else (lambda _, done, total: progress(name, done, total))


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started
