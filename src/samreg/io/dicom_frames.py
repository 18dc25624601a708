"""Frames of DICOM files: where each is, and its pixels.

A file of one slice has one frame. An enhanced file says where each frame is in its functional groups (DICOM PS3.3,
C.7.6.16), a dose grid by offsets from its first frame (C.8.8.3), and a cine of ultrasound not at all.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.errors import ImageReadError
from samreg.io.itk import array_of, quiet
from samreg.notes import hushed

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Frame", "frames_of", "open_dicom", "stored_pixels"]

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_CENTIMETRES = 3  # code of PhysicalUnits in an ultrasound region


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice of a DICOM file.

    Args:
        name: the file, and the number of the frame where it has several, for messages.
        file: the data set that it is part of.
        index: which frame of the file it is, from 0.
        position: (3,) centre of the first pixel, LPS mm; None where it is not recorded.
        axes: (2, 3) world directions along a row (x) and along a column (y); None where they are not recorded.
        spacing: (2,) mm between pixels along x and y; None where it is not recorded.
        thickness: of the slice, mm; None where it is not recorded.
        slope: of the stored values.
        intercept: of the stored values.
        order: what may say which of several frames at one position comes first, best first; None where not recorded.
    """

    name: str
    file: Dataset
    index: int
    position: np.ndarray | None
    axes: np.ndarray | None
    spacing: np.ndarray | None
    thickness: float | None
    slope: float
    intercept: float
    order: tuple[float | None, ...]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.file.Rows), int(self.file.Columns)


def open_dicom(path: Path, *, pixels: bool = True) -> Dataset | None:
    """Read a data set; None where the file is not DICOM.

    Raises:
        ImageReadError: if it is DICOM and damaged.
    """
    import pydicom

    try:
        with path.open("rb") as stream:
            marked = stream.read(132)[128:] == b"DICM"
        with hushed():
            found = pydicom.dcmread(path, force=not marked, stop_before_pixels=not pixels)
            usable = "SOPClassUID" in found or "Rows" in found
            kinds = found.get("SOPClassUID"), found.file_meta.get("MediaStorageSOPClassUID")
            image = any("Image Storage" in str(getattr(kind, "name", "")) for kind in kinds)
            image = image or "Rows" in found or "Columns" in found
            if image and not ("Rows" in found and "Columns" in found and (not pixels or _has_pixels(found))):
                raise ImageReadError(
                    f"{path}: is damaged or cut off: its DICOM data end before the pixels; copy it again"
                )
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be opened: {error.strerror}") from None
    except ImageReadError:
        raise
    except Exception as error:
        # pydicom raises whatever its parser meets.
        if not marked:
            return None
        reason = str(error).strip().splitlines()[0][:80] if str(error).strip() else type(error).__name__
        raise ImageReadError(f"{path}: is damaged or cut off ({reason}); copy it again") from None
    if not usable:
        if marked:
            raise ImageReadError(f"{path}: is damaged or cut off: its DICOM data end in the header; copy it again")
        return None
    if "TransferSyntaxUID" not in found.file_meta:
        implicit = found.original_encoding[0]
        found.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        )
    return found


def _has_pixels(file: Dataset) -> bool:
    return any(name in file for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"))


def frames_of(file: Dataset, path: Path) -> list[Frame]:
    """All frames of a file, in the order in which they are stored.

    Raises:
        ImageReadError: if the file is not an image that has one meaning, or its geometry is not made of numbers.
    """
    with hushed():
        if str(file.get("SOPClassUID", "")).startswith("1.2.840.10008.5.1.4.1.1.66"):
            raise ImageReadError(
                f"{path}: is a DICOM segmentation; save it as .seg.nrrd or NIfTI, for example in Slicer"
            )
        if "MOSAIC" in [str(v).upper() for v in _values(file.get("ImageType"))]:
            raise ImageReadError(f"{path}: is a mosaic of slices in one picture; convert it with dcm2niix")
        count = int(file.get("NumberOfFrames") or 1)
        shared = _first(file, "SharedFunctionalGroupsSequence")
        own = list(file.get("PerFrameFunctionalGroupsSequence") or [])
        if own and len(own) != count:
            raise ImageReadError(f"{path}: has {count} frames and describes {len(own)}; it is damaged")
        offsets = _numbers(file, "GridFrameOffsetVector", path) if count > 1 else None
        frames = []
        for index in range(count):
            groups = [own[index] if own else None, shared]
            name = path.name if count == 1 else f"{path.name} frame {index + 1}"
            frames.append(_frame(file, groups, index, name, path))
    if offsets is not None and len(offsets) == count and not own:
        return [_at_offset(frame, offsets) for frame in frames]
    if count > 1 and not own:
        # One position for all frames says where the first is, if anything.
        return [_replace(frame, position=None) for frame in frames]
    return frames


def _frame(file: Dataset, groups: list[Any], index: int, name: str, path: Path) -> Frame:
    def group(sequence: str) -> Any:
        """The item of a functional group: the frame's own, else the shared one, else the file itself."""
        items = (_first(g, sequence) for g in groups if g is not None)
        return next((item for item in items if item is not None), file)

    position = _numbers(group("PlanePositionSequence"), "ImagePositionPatient", path, 3)
    orientation = _numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", path, 6)
    measures = group("PixelMeasuresSequence")
    values = group("PixelValueTransformationSequence")
    content, heart = group("FrameContentSequence"), group("CardiacSynchronizationSequence")
    slope = _number(values, "RescaleSlope", path)
    if slope is None:
        slope = _number(file, "DoseGridScaling", path)
    if slope == 0:
        raise ImageReadError(f"{path}: scales its values by 0 (RescaleSlope); correct the header")
    return Frame(
        name=name,
        file=file,
        index=index,
        position=position,
        axes=None if orientation is None else _axes(orientation, path),
        spacing=_spacing(file, measures, path),
        thickness=_thickness(measures, path),
        slope=1.0 if slope is None else slope,
        intercept=_number(values, "RescaleIntercept", path) or 0.0,
        order=(
            _number(file, "TemporalPositionIdentifier", path),
            _number(content, "TemporalPositionIndex", path),
            _number(file, "TriggerTime", path),
            _number(heart, "NominalCardiacTriggerDelayTime", path),
            _number(file, "InstanceNumber", path) if not groups[0] else index,
        ),
    )


def _replace(frame: Frame, position: np.ndarray | None) -> Frame:
    from dataclasses import replace

    return replace(frame, position=position)


def _at_offset(frame: Frame, offsets: np.ndarray) -> Frame:
    """A frame of a dose grid: so far from the first along the normal, or, from older systems, at this height."""
    if frame.position is None or frame.axes is None:
        return frame
    normal = np.cross(*frame.axes)
    first = 0.0 if offsets[0] == 0 else float(frame.position @ normal)
    return _replace(frame, frame.position + (float(offsets[frame.index]) - first) * normal)


def _axes(orientation: np.ndarray, path: Path) -> np.ndarray:
    axes = orientation.reshape(2, 3)
    length = np.linalg.norm(axes, axis=1)
    if np.abs(length - 1).max() > 0.01 or abs(float(axes[0] @ axes[1])) > 0.01:
        raise ImageReadError(f"{path}: its ImageOrientationPatient is no pair of perpendicular directions; correct it")
    x = axes[0] / length[0]
    y = axes[1] - (axes[1] @ x) * x  # headers round
    return np.stack([x, y / np.linalg.norm(y)])


def _spacing(file: Dataset, measures: Any, path: Path) -> np.ndarray | None:
    """(2,) mm along x and y; DICOM names the distance between rows, which is y, first."""
    for place, name in ((measures, "PixelSpacing"), (file, "ImagerPixelSpacing"), (file, "NominalScannedPixelSpacing")):
        found = _numbers(place, name, path, 2)
        if found is not None:
            if (found <= 0).any():
                raise ImageReadError(f"{path}: its {name} is zero or negative; correct the header")
            x_first: np.ndarray = found[::-1]
            return x_first
    region = _first(file, "SequenceOfUltrasoundRegions")
    if region is not None and {region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")} == {
        _CENTIMETRES
    }:
        delta = [_number(region, "PhysicalDeltaX", path), _number(region, "PhysicalDeltaY", path)]
        if all(delta):
            millimetres: np.ndarray = np.abs(np.asarray(delta, dtype=float)) * 10.0
            return millimetres
    return None


def _thickness(measures: Any, path: Path) -> float | None:
    for name in ("SliceThickness", "SpacingBetweenSlices"):
        found = _number(measures, name, path)
        if found:
            return abs(found)
    return None


def _first(item: Any, sequence: str) -> Any:
    found = item.get(sequence)
    return found[0] if found else None


def _values(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, (str, int, float)) else list(value)


def _number(item: Any, name: str, path: Path) -> float | None:
    found = _numbers(item, name, path)
    return None if found is None else float(found[0])


def _numbers(item: Any, name: str, path: Path, count: int | None = None) -> np.ndarray | None:
    """The numbers of an element; None where it is not there or empty.

    Raises:
        ImageReadError: if they are not finite numbers, or too few or many.
    """
    try:
        values = np.asarray([float(v) for v in _values(item.get(name))])
    except (TypeError, ValueError):
        values = np.asarray([np.nan])
    if not len(values):
        return None
    if not np.isfinite(values).all() or (count is not None and len(values) != count):
        raise ImageReadError(f"{path}: its {name} is not made of {count or ''} numbers".replace("  ", " "))
    return values


def stored_pixels(file: Dataset, path: Path) -> np.ndarray:
    """The values of all frames as they are stored, `(frames, rows, columns)` or with a last axis of three for colour.

    Raises:
        ImageReadError: if they are not all there, or cannot be decoded.
    """
    syntax = file.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax:
        raise ImageReadError(f"{path}: its transfer syntax {str(syntax)!r} is none; save it again from its source")
    count = int(file.get("NumberOfFrames") or 1)
    samples = int(file.get("SamplesPerPixel") or 1)
    if not syntax.is_encapsulated and "PixelData" in file:
        needed = count * int(file.Rows) * int(file.Columns) * samples * int(file.BitsAllocated)
        if str(file.get("PhotometricInterpretation", "")).upper() == "YBR_FULL_422":
            needed = needed * 2 // 3
        if len(file.PixelData) * 8 < needed:
            raise ImageReadError(
                f"{path}: is damaged or cut off: it promises {needed // 8} bytes of pixels and {len(file.PixelData)} "
                "are there; copy it again"
            )
    ours = not syntax.is_encapsulated or syntax.name.startswith("RLE") or samples > 1
    try:
        with hushed():
            data = _by_pydicom(file) if ours else _by_gdcm(file)
    except ImageReadError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[-1][:120] if str(error).strip() else type(error).__name__
        raise ImageReadError(f"{path}: its pixels are damaged or cut off ({reason}); copy it again") from None
    shape = (count, int(file.Rows), int(file.Columns))
    if data.size not in (np.prod(shape), 3 * np.prod(shape)):
        raise ImageReadError(f"{path}: its pixels are damaged: they do not make {count} frames; copy it again")
    return data.reshape(*shape, *((3,) if data.size == 3 * np.prod(shape) else ()))


def _by_pydicom(file: Dataset) -> np.ndarray:
    from pydicom.pixels.processing import apply_color_lut

    data = np.asarray(file.pixel_array)
    if str(file.get("PhotometricInterpretation", "")).upper() == "PALETTE COLOR":
        data = np.asarray(apply_color_lut(data, file))
    return data


def _by_gdcm(file: Dataset) -> np.ndarray:
    """Compressed pixels, decoded by ITK: a copy of the file without all that would change the values."""
    import SimpleITK as sitk
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID

    bare = Dataset()
    for element in file.group_dataset(0x0028):
        if element.keyword not in ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelSpacing"):
            bare.add(element)
    bare.SOPClassUID, bare.SOPInstanceUID = _SECONDARY_CAPTURE, "1.2.3"
    bare.PixelData = file.PixelData
    bare["PixelData"].VR, bare["PixelData"].is_undefined_length = "OB", True
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = file.file_meta.TransferSyntaxUID
    bare.file_meta.MediaStorageSOPClassUID = UID(_SECONDARY_CAPTURE)
    bare.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    with tempfile.TemporaryDirectory(prefix="samreg-") as folder:
        place = Path(folder) / "bare.dcm"
        bare.save_as(place, enforce_file_format=True)
        with quiet():
            return array_of(sitk.ReadImage(str(place), imageIO="GDCMImageIO"))
