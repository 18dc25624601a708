"""A transform as a DICOM registration: Spatial Registration for a matrix, Deformable Spatial Registration for a field.

DICOM PS3.3, C.20.2 and C.20.3. A matrix leads from the frame of reference of the moving series to that of the fixed
one. The grid of a field lies in the frame of the fixed series, and its vectors lead from there to the moving one, in
LPS mm, as those of samreg do.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.errors import InputError
from samreg.files import written
from samreg.geometry.field import DisplacementField
from samreg.types import Matrix

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["write_dicom_registration"]

_SPATIAL, _DEFORMABLE = "1.2.840.10008.5.1.4.1.1.66.1", "1.2.840.10008.5.1.4.1.1.66.3"
_SHARED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "ReferringPhysicianName"),
)


def write_dicom_registration(
    transform: DisplacementField | Matrix, fixed: Sequence[Path], moving: Sequence[Path], path: str | Path
) -> Path:
    """Write a transform between two DICOM series.

    Args:
        transform: the field on the grid of the fixed series, or a (4, 4) map, fixed world to moving world.
        fixed: the files of the fixed series.
        moving: the files of the moving series.
        path: the file to write.

    Raises:
        InputError: if a series names no frame of reference, or the transform is not of a volume in mm.
    """
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    target = Path(path)
    field = transform if isinstance(transform, DisplacementField) else None
    if field is not None and (field.grid.ndim != 3 or field.grid.unit != "mm"):
        raise InputError(f"{target}: a DICOM registration is one of volumes in mm; this is {field.grid.ndim}D")
    headers = [[pydicom.dcmread(str(file), stop_before_pixels=True) for file in side] for side in (fixed, moving)]
    frames = [str(side[0].get("FrameOfReferenceUID", "")) for side in headers]
    if not all(frames):
        raise InputError(f"{target}: a series names no frame of reference, which a DICOM registration refers to")
    made = pydicom.Dataset()
    for name in _SHARED:
        setattr(made, name, headers[0][0].get(name, ""))
    now = datetime.datetime.now()
    made.SOPClassUID, made.SOPInstanceUID = _SPATIAL if field is None else _DEFORMABLE, generate_uid()
    made.SeriesInstanceUID, made.SeriesNumber, made.InstanceNumber, made.Modality = generate_uid(), 901, 1, "REG"
    made.Manufacturer = made.ManufacturerModelName = "samreg"
    made.FrameOfReferenceUID, made.PositionReferenceIndicator = frames[0], ""
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.ContentLabel, made.ContentDescription, made.ContentCreatorName = "REGISTRATION", "samreg", "samreg"
    made.ReferencedSeriesSequence = [_series(side) for side in headers]
    if field is not None:
        item = pydicom.Dataset()
        item.SourceFrameOfReferenceUID = frames[1]
        item.ReferencedImageSequence = _images(headers[1])
        item.RegistrationTypeCodeSequence = [_code("125024", "Image Content-based Alignment")]
        item.DeformableRegistrationGridSequence = [_grid(field)]
        made.DeformableRegistrationSequence = [item]
    else:
        # From each series to the frame of the fixed one.
        maps = (np.eye(4), np.linalg.inv(np.asarray(transform, dtype=float)))
        made.RegistrationSequence = [
            _placed(side, frame, matrix) for side, frame, matrix in zip(headers, frames, maps, strict=True)
        ]
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta = meta
    try:
        with written(target, ".dcm") as partial:
            made.save_as(str(partial), enforce_file_format=True)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return target


def _grid(field: DisplacementField) -> Dataset:
    """The vectors of a field; DICOM's third axis is the cross product of the other two."""
    import pydicom

    grid, u = field.grid, field.u
    axes = np.asarray(grid.direction)
    origin = np.asarray(grid.origin, dtype=float)
    if np.linalg.det(axes) < 0:
        origin = origin + axes[:, 2] * grid.spacing[2] * (grid.shape[0] - 1)
        u = u[::-1]
    item = pydicom.Dataset()
    item.ImagePositionPatient = [f"{v:.10g}" for v in origin]
    item.ImageOrientationPatient = [f"{v:.10g}" for v in (*axes[:, 0], *axes[:, 1])]
    item.GridDimensions = [int(n) for n in grid.shape[::-1]]
    item.GridResolution = [float(s) for s in grid.spacing]
    item.VectorGridData = np.ascontiguousarray(u, dtype="<f4").tobytes()
    return item


def _placed(headers: Sequence[Any], frame: str, matrix: np.ndarray) -> Dataset:
    import pydicom

    part, registration, item = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    part.FrameOfReferenceTransformationMatrix = [f"{v:.10g}" for v in matrix.ravel()]
    part.FrameOfReferenceTransformationMatrixType = "AFFINE"
    registration.MatrixSequence = [part]
    registration.RegistrationTypeCodeSequence = [_code("125024", "Image Content-based Alignment")]
    item.FrameOfReferenceUID = frame
    item.ReferencedImageSequence = _images(headers)
    item.MatrixRegistrationSequence = [registration]
    return item


def _series(headers: Sequence[Any]) -> Dataset:
    import pydicom

    item = pydicom.Dataset()
    item.SeriesInstanceUID = headers[0].SeriesInstanceUID
    item.ReferencedInstanceSequence = _images(headers)
    return item


def _images(headers: Sequence[Any]) -> list[Dataset]:
    import pydicom

    items = []
    for header in headers:
        item = pydicom.Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
        items.append(item)
    return items


def _code(value: str, meaning: str) -> Dataset:
    import pydicom

    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
