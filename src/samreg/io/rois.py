"""Regions in and out: label maps and segmentations, whichever a file is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samreg.geometry.rois import RoiSet
from samreg.io.images import read_labels, write_labels
from samreg.io.segmentation import read_segmentation, write_segmentation

__all__ = ["read_rois", "read_segmentation", "write_label_map", "write_segmentation"]


def write_label_map(rois: RoiSet, path: str | Path, values: Sequence[int] | None = None) -> Path:
    """Write one label a region, 1 to n unless values are given; where regions overlap the smaller one is on top."""
    return write_labels(rois.label_map(values), rois.grid, path)


def read_rois(path: str | Path) -> RoiSet:
    """Read regions from a segmentation (.seg.nrrd) or a label map of any image format.

    Regions of a label map are named by their value, regions of a segmentation as its segments.

    Raises:
        ImageReadError: if the file is neither.
    """
    if Path(path).name.lower().endswith(".seg.nrrd"):
        return read_segmentation(path)[0]
    labels, grid = read_labels(path)
    return RoiSet.from_labels(labels, grid)
