"""Two segmentations, then one registration: the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.class_segmentation import segment_by_class
from samreg.config import RegisterConfig, chosen
from samreg.errors import GeometryError
from samreg.image import Image
from samreg.preprocess import SlicePlan, nearest_masks, plan_slices, window
from samreg.regions import FeatureVolume, Regions
from samreg.result import RegistrationResult
from samreg.rois import PairedRois, Roi, RoiSet
from samreg.segmenters.labels import ClassSegmenter

if TYPE_CHECKING:
    from samreg.segmenters.base import Segmenter

__all__ = ["Progress", "register", "register_regions", "segment"]

Progress = Callable[[str, int, int], None]
"""Called with the stage, the steps done and the steps in all."""

_SLICES_AT_ONCE = 8


def register(
    fixed: Image,
    moving: Image,
    config: RegisterConfig | None = None,
    *,
    preset: str | None = None,
    segmenter: Segmenter | ClassSegmenter | None = None,
    extra_pairs: PairedRois | None = None,
    progress: Progress | None = None,
) -> RegistrationResult:
    """Register two images: segment both, pair their regions, fit a transform.

    Args:
        fixed: defines the grid of the result.
        moving: is brought onto it; may differ in size, spacing, direction and number of slices.
        config: settings.
        preset: the name of a preset in place of settings; `default` where neither is given.
        segmenter: a loaded segmenter; otherwise `config.segment.segmenter` is loaded.
        extra_pairs: pairs that are given, for example from label maps; they join the pairs that are found.
        progress: called along the way.

    Raises:
        ConfigError: if there is no such preset, or settings are given as well.
        GeometryError: if one image is 2D and the other 3D, or one in mm and the other in pixels.
    """
    config = chosen(config, preset)
    _check_pair(fixed, moving)
    seconds: dict[str, float] = {}
    with _timed(seconds, "load"):
        segmenter = segmenter or _load(config)
    with _timed(seconds, "segment"):
        fixed_regions = segment(fixed, config, segmenter=segmenter, progress=_renamed(progress, "segment fixed"))
        moving_regions = segment(moving, config, segmenter=segmenter, progress=_renamed(progress, "segment moving"))
    result = register_regions(fixed_regions, moving_regions, config, extra_pairs=extra_pairs, progress=progress)
    return replace(result, seconds={**seconds, **result.seconds})


def segment(
    image: Image,
    config: RegisterConfig | None = None,
    *,
    preset: str | None = None,
    segmenter: Segmenter | ClassSegmenter | None = None,
    progress: Progress | None = None,
) -> Regions:
    """Segment everything in one image: encode, propose, prototypes. ROIs of a volume lie in one slice each;
    `samreg.lifting.lift` links them into 3D ROIs.

    Args:
        image: 2D or 3D, grey or RGB.
        config: settings.
        preset: the name of a preset in place of settings; `default` where neither is given.
        segmenter: a loaded segmenter; otherwise `config.segment.segmenter` is loaded.
        progress: called after each slice.

    Raises:
        ConfigError: if there is no such preset, or settings are given as well.
    """
    config = chosen(config, preset)
    segmenter = segmenter or _load(config)
    settings = config.segment
    if isinstance(segmenter, ClassSegmenter):
        return segment_by_class(image, segmenter, settings)
    from samreg.proposals.rules import RULES

    plan = plan_slices(image.grid, settings.slice_axis, RULES[settings.proposals.mask_rules].side)
    slices = plan.slices(window(image, settings.hounsfield))
    rois, prototypes, slice_index, features = _segment_slices(plan, slices, segmenter, config, progress)
    provenance = {
        "segmenter": segmenter.name,
        "weights_sha256": segmenter.fingerprint,
        "engine": segmenter.engine,
        "prompts": segmenter.prompt_kind,
        "slice_axis": plan.axis,
        "n_slices": plan.n_slices,
        "settings": settings.decisive(),
    }
    return Regions(image, rois, prototypes, features, plan.axis, slice_index, provenance)


def _segment_slices(
    plan: SlicePlan, slices: list[np.ndarray], segmenter: Segmenter, config: RegisterConfig, progress: Progress | None
) -> tuple[RoiSet, np.ndarray, np.ndarray, FeatureVolume]:
    from samreg.proposals import propose
    from samreg.prototypes import slice_prototypes

    rois: list[Roi] = []
    rows: list[np.ndarray] = []
    owners: list[int] = []
    volume: np.ndarray | None = None
    stride = 1.0
    for start in range(0, len(slices), _SLICES_AT_ONCE):
        chunk = slices[start : start + _SLICES_AT_ONCE]
        for number, encoding in enumerate(segmenter.encode(chunk), start):
            found = propose(segmenter, encoding, slices[number], config.segment.proposals)
            rows.append(slice_prototypes(encoding, found.masks))
            masks = nearest_masks(found.masks, plan.plane_shape)
            rois += [_slice_roi(m, plan.axis, number, q) for m, q in zip(masks, found.quality, strict=True)]
            owners += [number] * len(masks)
            cells = encoding.valid_features.numpy().astype(np.float16)
            if volume is None:
                volume = np.empty((len(cells), len(slices), *cells.shape[1:]), dtype=np.float16)
                stride = encoding.stride
            volume[:, number] = cells
            if progress:
                progress("segment", number + 1, len(slices))
    if volume is None:
        raise GeometryError("an image without slices cannot be segmented")
    grid = plan.feature_grid((volume.shape[2], volume.shape[3]), stride)
    data = volume[:, 0] if plan.axis is None else np.moveaxis(volume, 1, 1 + plan.axis)
    prototypes = np.concatenate(rows) if rows else np.zeros((0, volume.shape[0]), dtype=np.float32)
    return RoiSet(tuple(rois), plan.grid), prototypes, np.asarray(owners, dtype=np.int64), FeatureVolume(data, grid)


def _slice_roi(mask: np.ndarray, axis: int | None, number: int, quality: float) -> Roi:
    flat = Roi.from_mask(mask, quality)
    if axis is None:
        return flat
    start = list(flat.start)
    start.insert(axis, number)
    return Roi(np.expand_dims(flat.mask, axis), tuple(start), flat.quality)


def register_regions(
    fixed: Regions,
    moving: Regions,
    config: RegisterConfig | None = None,
    *,
    preset: str | None = None,
    extra_pairs: PairedRois | None = None,
    progress: Progress | None = None,
) -> RegistrationResult:
    """Pair the regions of two segmented images and fit a transform to them.

    With `Regions.none(image)` for both images nothing is found: `extra_pairs` and the grey values alone drive the fit.

    Args:
        fixed: regions of the fixed image.
        moving: regions of the moving image, from the same segmenter.
        config: settings.
        preset: the name of a preset in place of settings; `default` where neither is given.
        extra_pairs: given pairs that join those found; they and their confidence stay as they are.
        progress: called along the way.

    Raises:
        ConfigError: if there is no such preset, or settings are given as well.
        GeometryError: if the images or the segmenters do not fit together.
    """
    from samreg.alignment import align

    config = chosen(config, preset)
    _check_pair(fixed.image, moving.image)
    channels = [None if r.features is None else r.features.data.shape[0] for r in (fixed, moving)]
    if channels[0] != channels[1]:
        raise GeometryError(
            f"the regions come from different segmenters ({fixed.provenance.get('segmenter')} and "
            f"{moving.provenance.get('segmenter')}): segment both images with the same one"
        )
    found = align(fixed, moving, config, extra_pairs=extra_pairs, progress=progress)
    provenance: dict[str, Any] = {
        "fixed": fixed.provenance,
        "moving": moving.provenance,
        "n_rois": {"fixed": len(fixed), "moving": len(moving)},
        "n_pairs": len(found.pairs),
        **found.notes,
    }
    return RegistrationResult(
        fixed=fixed.image,
        moving=moving.image,
        pairs=found.pairs,
        affine=found.affine,
        field=found.field,
        config=config,
        confidence=found.confidence,
        provenance=provenance,
        seconds=found.seconds,
        losses=found.losses,
        warnings=found.warnings,
    )


def _check_pair(fixed: Image, moving: Image) -> None:
    if fixed.grid.ndim != moving.grid.ndim:
        raise GeometryError(
            f"{fixed.name} is {fixed.grid.ndim}D and {moving.name} is {moving.grid.ndim}D; "
            "both must have as many dimensions"
        )
    if fixed.grid.unit != moving.grid.unit:
        raise GeometryError(
            f"{fixed.name} is measured in {fixed.grid.unit} and {moving.name} in {moving.grid.unit}; "
            "both must share a unit"
        )


def _load(config: RegisterConfig) -> Segmenter | ClassSegmenter:
    from samreg.segmenters.classes import configured_segmenter

    return configured_segmenter(config.segment)


def _renamed(progress: Progress | None, name: str) -> Progress | None:
    return None if progress is None else (lambda _, done, total: progress(name, done, total))


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started
