"""Regions of a network that knows its classes: the class is the prototype, the class probabilities are the embedding.

With it the first case of the paper's section 3 needs no pipeline of its own: ROIs of the same class have cosine
similarity 1, of different classes 0, and pairing and fitting go on as with any other segmenter.
"""

from __future__ import annotations

import numpy as np

from samreg.config import SegmentConfig
from samreg.grid import Grid
from samreg.image import Image
from samreg.preprocess import plan_slices
from samreg.regions import FeatureVolume, Regions
from samreg.rois import Roi, RoiSet
from samreg.segmenters.labels import ClassSegmenter, binarise
from samreg.types import ScalarArray

__all__ = ["segment_by_class"]

_STRIDE = 4
"""Voxels a cell of the embedding, within a slice."""


def segment_by_class(image: Image, segmenter: ClassSegmenter, settings: SegmentConfig | None = None) -> Regions:
    """Segment the classes that a network knows.

    Args:
        image: 2D or 3D.
        segmenter: the network.
        settings: only the slice axis is used.

    Returns:
        Regions whose ROIs are named by class, in a volume cut slice by slice; prototypes are (n, k) with a single 1;
        the embedding has k + 1 channels: the background's probability and those of the k classes.
    """
    settings = settings or SegmentConfig()
    names, probabilities = segmenter.segment_classes(image)
    classes = binarise(names, probabilities, image.grid)
    axis = plan_slices(image.grid, settings.slice_axis).axis
    rois: list[Roi] = []
    owners: list[int] = []
    for roi in classes.rois:
        for number, part in _slices(roi, axis):
            rois.append(part)
            owners.append(number)
    prototypes = np.zeros((len(rois), len(names)), dtype=np.float32)
    for row, roi in enumerate(rois):
        prototypes[row, names.index(roi.name)] = 1.0
    provenance = {
        "segmenter": segmenter.name,
        "weights_sha256": segmenter.fingerprint,
        "engine": segmenter.engine,
        "classes": list(names),
        "slice_axis": axis,
        "n_slices": 1 if axis is None else image.grid.shape[axis],
        "settings": settings.decisive(),
    }
    return Regions(
        image,
        RoiSet(tuple(rois), image.grid),
        prototypes,
        _embedding(probabilities, image.grid, axis),
        axis,
        np.asarray(owners, dtype=np.int64),
        provenance,
    )


def _slices(roi: Roi, axis: int | None) -> list[tuple[int, Roi]]:
    """The parts of a region in each slice, with the slice's number; the whole region, as slice 0, in 2D."""
    if axis is None:
        return [(0, roi)]
    out = []
    for offset in range(roi.mask.shape[axis]):
        mask = np.take(roi.mask, [offset], axis=axis)
        if mask.any():
            part = Roi.from_mask(mask, roi.quality, roi.name)
            start = [a + b for a, b in zip(roi.start, part.start, strict=True)]
            start[axis] = roi.start[axis] + offset
            out.append((roi.start[axis] + offset, Roi(part.mask, tuple(start), roi.quality, roi.name)))
    return out


def _embedding(probabilities: ScalarArray, grid: Grid, axis: int | None) -> FeatureVolume:
    import torch

    from samreg.ops.resample import resize

    background = np.clip(1.0 - probabilities.sum(axis=0, keepdims=True), 0.0, 1.0)
    channels = torch.from_numpy(np.concatenate([background, probabilities]).astype(np.float32))
    shape = tuple(n if a == axis else max(1, n // _STRIDE) for a, n in enumerate(grid.shape))
    return FeatureVolume(resize(channels, shape).numpy().astype(np.float16), grid.with_shape(shape))
