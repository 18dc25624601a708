"""DICOM segmentation objects (SEG), read and written by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import ImageReadError, InputError, MissingDependencyError
from samreg.geometry.grid import Grid
from samreg.geometry.rois import RoiSet

__all__ = ["is_dicom_seg", "read_dicom_seg", "write_dicom_seg"]

_SEG = "1.2.840.10008.5.1.4.1.1.66.4"


def is_dicom_seg(path: str | Path) -> bool:
    """Whether a path is a DICOM segmentation: such a file, or a folder that holds one file, which is one."""
    return _file(Path(path)) is not None


def read_dicom_seg(path: str | Path) -> tuple[RoiSet, list[int]]:
    """The segments of a DICOM SEG, each for itself, and their numbers.

    Raises:
        ImageReadError: if it is none, its frames make no volume, or no segment holds anything.
        MissingDependencyError: without highdicom.
    """
    hd = _highdicom()
    file = _file(Path(path))
    if file is None:
        raise ImageReadError(f"{path}: is no DICOM segmentation (SEG)")
    try:
        seg = hd.seg.segread(str(file))
        numbers = [int(n) for n in seg.segment_numbers]
        volume = seg.get_volume(segment_numbers=numbers, combine_segments=False)
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ImageReadError(f"{file}: its segments make no volume: {error}") from None
    grid = _grid(np.asarray(volume.affine, dtype=float), volume.spatial_shape)
    values = np.asarray(volume.array)
    kept = [row for row in range(len(numbers)) if values[..., row].any()]
    if not kept:
        raise ImageReadError(f"{file}: none of its segments holds anything")
    names = [str(seg.get_segment_description(numbers[row]).segment_label) for row in kept]
    rois = RoiSet.from_masks([values[..., row] > 0 for row in kept], grid, names=names)
    return rois, [numbers[row] for row in kept]


def write_dicom_seg(rois: RoiSet, images: Sequence[Path], path: str | Path) -> Path:
    """Write regions as a DICOM SEG of the series that they were found in.

    Args:
        rois: on the grid of that series.
        images: the files of the series.
        path: the file to write.

    Raises:
        InputError: if the regions do not lie on the slices of the series, or have no names.
        MissingDependencyError: without highdicom.
    """
    hd = _highdicom()
    import pydicom
    from pydicom.sr.codedict import codes

    import samreg

    if rois.grid.ndim != 3:
        raise InputError("a DICOM segmentation holds regions of a volume; these are 2D")
    series = [pydicom.dcmread(str(file)) for file in images]
    normal = np.asarray(rois.grid.direction)[:, 2]
    series.sort(key=lambda file: float(np.dot(normal, file.ImagePositionPatient)))
    if len(series) != rois.grid.shape[0] or (series[0].Rows, series[0].Columns) != rois.grid.shape[1:]:
        raise InputError(
            f"{path}: the regions are on {rois.grid.shape} voxels and the series has {len(series)} slices of "
            f"{series[0].Rows} x {series[0].Columns}; give the regions of that series"
        )
    algorithm = hd.AlgorithmIdentificationSequence(
        name="samreg", version=samreg.__version__, family=codes.DCM.ArtificialIntelligence
    )
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=(roi.name or f"region {number}")[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.AnatomicalStructure,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, roi in enumerate(rois.rois, start=1)
    ]
    pixels = np.stack(list(rois.masks()), axis=-1).astype(np.uint8)
    made = hd.seg.Segmentation(
        source_images=series,
        pixel_array=pixels,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=900,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="samreg",
        manufacturer_model_name="samreg",
        software_versions=samreg.__version__,
        device_serial_number="0",
    )
    made.save_as(str(path))
    return Path(path)


def _file(path: Path) -> Path | None:
    import pydicom
    from pydicom.errors import InvalidDicomError

    if path.is_dir():
        inside = [p for p in path.iterdir() if p.is_file()]
        if len(inside) != 1:
            return None
        path = inside[0]
    if not path.is_file():
        return None
    try:
        head = pydicom.dcmread(str(path), stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except (InvalidDicomError, OSError):
        return None
    return path if str(head.get("SOPClassUID", "")) == _SEG else None


def _grid(affine: np.ndarray, shape: Sequence[int]) -> Grid:
    """The grid of an array whose index (slice, row, column) an affine maps to LPS."""
    columns = affine[:3, :3][:, ::-1]
    spacing = np.linalg.norm(columns, axis=0)
    direction = columns / spacing
    rows = tuple(tuple(float(v) for v in row) for row in direction)
    return Grid(tuple(int(n) for n in shape), tuple(map(float, spacing)), tuple(map(float, affine[:3, 3])), rows)


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError:
        raise MissingDependencyError("highdicom", "DICOM segmentations", "dicom") from None
    return highdicom
