"""DICOM files for tests: slices and enhanced files with whatever tags a test wants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

CT, ENHANCED_MR, ULTRASOUND = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.3.1"
VOXELS = ((np.arange(6 * 5 * 4).reshape(6, 5, 4) ** 2) % 251 + 10).astype(np.int16)  # x, y, z


def write_slice(
    path: Path,
    pixels: np.ndarray,
    position: tuple[float, ...] | None,
    number: int,
    row: tuple[float, ...] = (1, 0, 0),
    column: tuple[float, ...] = (0, 1, 0),
    sop: str = CT,
    **tags: Any,
) -> FileDataset:
    """Write one file; `pixels` are (x, y), or (x, y, frame) with NumberOfFrames among the tags."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.UID(sop)
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.SeriesInstanceUID, file.StudyInstanceUID, file.InstanceNumber = "1.2.3", "1.2", number
    if position is not None:
        file.ImagePositionPatient = [f"{v:.6f}" for v in position]
        file.ImageOrientationPatient = [f"{v:.8f}" for v in (*row, *column)]
        file.PixelSpacing, file.SliceThickness = ["1", "1"], "3"
    stored = np.ascontiguousarray(pixels.T)
    file.Rows, file.Columns = stored.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    file.PixelRepresentation = int(stored.dtype.kind == "i")
    file.PixelData = stored.tobytes()
    for key, value in tags.items():
        if value is None:
            delattr(file, key)
        else:
            setattr(file, key, value)
    file.save_as(path, enforce_file_format=True)
    return file


def write_series(folder: Path, positions: list[tuple[float, ...]], **tags: Any) -> Path:
    """A slice of VOXELS at each position; a tag that is a list has one value a slice."""
    folder.mkdir(exist_ok=True)
    for k, position in enumerate(positions):
        own = {key: value[k] if isinstance(value, list) else value for key, value in tags.items()}
        write_slice(folder / f"{k}.dcm", VOXELS[:, :, k % 4], position, k + 1, **own)
    return folder


def straight(n: int = 4, gap: float = 3.0) -> list[tuple[float, ...]]:
    return [(0.0, 0.0, gap * k) for k in range(n)]


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def write_enhanced(path: Path, frames: np.ndarray, groups: list[dict[str, Any]], **tags: Any) -> Path:
    """An enhanced MR file; of each frame `position`, and perhaps `time`, `spacing`, `orientation` and `slope`."""
    file = write_slice(path, frames, None, 1, sop=ENHANCED_MR, NumberOfFrames=frames.shape[2], **tags)
    measures = _item(PixelSpacing=["1.5", "1.5"], SliceThickness="3", SpacingBetweenSlices="3")
    plane = _item(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])
    file.SharedFunctionalGroupsSequence = [_item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[plane])]
    own = []
    for entry in groups:
        group = Dataset()
        if "position" in entry:
            group.PlanePositionSequence = [_item(ImagePositionPatient=[str(v) for v in entry["position"]])]
        if "time" in entry:
            group.FrameContentSequence = [_item(TemporalPositionIndex=entry["time"])]
        if "spacing" in entry:
            group.PixelMeasuresSequence = [_item(PixelSpacing=[str(v) for v in entry["spacing"]])]
        if "orientation" in entry:
            group.PlaneOrientationSequence = [_item(ImageOrientationPatient=[str(v) for v in entry["orientation"]])]
        if "slope" in entry:
            slope, intercept = str(entry["slope"]), str(entry.get("intercept", 0))
            group.PixelValueTransformationSequence = [_item(RescaleSlope=slope, RescaleIntercept=intercept)]
        own.append(group)
    file.PerFrameFunctionalGroupsSequence = own
    file.save_as(path, enforce_file_format=True)
    return path
