"""DICOM: a file, or a series of files in a folder, as one volume.

pydicom reads the headers, every one of them; what they say together is decided in `samreg.io.dicom_stack`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import ImageReadError
from samreg.geometry.grid import Grid
from samreg.io.dicom_frames import Frame, frames_of, open_dicom, stored_pixels
from samreg.io.dicom_stack import stack_frames, straightened
from samreg.notes import hushed, note

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["read_file", "read_folder", "series_files"]

_ENDINGS = (".dcm", ".dicom", ".dic", ".ima")
_SHOWN = 8  # series in a message


@dataclass(frozen=True)
class _Series:
    """One series of a folder: its number for the user, its UID, what it is called, and its files."""

    number: int
    uid: str
    text: str
    files: tuple[Path, ...]


def read_file(path: Path, *, frame: int | None = None, labels: bool = False) -> tuple[np.ndarray, Grid]:
    """Read one DICOM file: a slice, or a volume of frames.

    Args:
        path: the file.
        frame: which of several frames at one position to take, from 1.
        labels: keep stored values as they are, whatever is white in them.

    Returns:
        `(z, y, x)` values, or `(z, y, x, 3)` colours, and their grid.

    Raises:
        ImageReadError: if the file is damaged or its frames do not make one volume.
    """
    with _parsing(path):
        return _read([path], path, frame, labels)


def read_folder(
    folder: Path, *, frame: int | None = None, series: str | int | None = None, labels: bool = False
) -> tuple[np.ndarray, Grid]:
    """Read one DICOM series of a folder, slices sorted by position.

    Args:
        folder: the folder; folders in it are not searched.
        frame: which of several frames at one position to take, from 1.
        series: number or UID of the series, where the folder holds several.
        labels: keep stored values as they are, whatever is white in them.

    Returns:
        `(z, y, x)` values, or `(z, y, x, 3)` colours, and their grid.

    Raises:
        ImageReadError: if the folder holds no series, or several and none was chosen, if a file is damaged, or if the
            files do not make one volume.
    """
    with _parsing(folder):
        return _read(_chosen(_series_of(folder), folder, series).files, folder, frame, labels)


@contextlib.contextmanager
def _parsing(source: Path) -> Iterator[None]:
    """Pydicom parses a value when it is asked for, and raises whatever its parser meets."""
    try:
        yield
    except ImageReadError:
        raise
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise ImageReadError(f"{source}: is damaged or cut off ({reason}); copy it again") from None


def series_files(folder: Path, series: str | int | None = None) -> tuple[Path, ...]:
    """The files of one DICOM series of a folder.

    Raises:
        ImageReadError: if the folder holds no series, or several and none was chosen.
    """
    return _chosen(_series_of(folder), folder, series).files


def _series_of(folder: Path) -> list[_Series]:
    """The series of images in a folder; a file that is meant to be DICOM and cannot be read is an error."""
    found: dict[str, list[tuple[Path, Dataset]]] = {}
    doubtful: list[Path] = []
    plain = False
    for path in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
        file = None if path.name.upper() == "DICOMDIR" else open_dicom(path, pixels=False)
        ending = path.suffix.lower()
        bare = not ending or ending[1:].isdigit()
        if file is None:
            if ending in _ENDINGS or (bare and path.name.upper() != "DICOMDIR"):
                doubtful.append(path)
        elif "Rows" in file:
            plain = plain or bare
            with hushed():
                found.setdefault(str(file.get("SeriesInstanceUID", "")), []).append((path, file))
    for path in doubtful:
        if path.suffix.lower() in _ENDINGS or plain:
            raise ImageReadError(f"{path}: is damaged or cut off: it is not DICOM; copy it again, or remove it")
    with hushed():
        return _numbered(found)


def _numbered(found: dict[str, list[tuple[Path, Dataset]]]) -> list[_Series]:
    """Series by their own numbers where each has one of its own, else counted from 1."""
    rows = []
    for uid, files in found.items():
        first = files[0][1]
        try:
            number = int(first.get("SeriesNumber"))
        except (TypeError, ValueError):
            number = None
        text = " ".join(str(first.get("SeriesDescription") or first.get("Modality") or "").split())
        rows.append((number, uid, text, tuple(path for path, _ in files)))
    numbers = [row[0] for row in rows]
    own = None not in numbers and len(set(numbers)) == len(numbers)
    rows.sort(key=lambda row: (row[0] is None, row[0] or 0, row[1]))
    return [
        _Series(number if own and number is not None else i, uid, text, files)
        for i, (number, uid, text, files) in enumerate(rows, start=1)
    ]


def _chosen(all_series: Sequence[_Series], folder: Path, series: str | int | None) -> _Series:
    if not all_series:
        raise ImageReadError(f"{folder}: is a folder without DICOM files; give an image file or a DICOM series folder")
    shown = [f"{s.number} ({len(s.files)} files{', ' if s.text else ''}{s.text})" for s in all_series[:_SHOWN]]
    more = f" and {len(all_series) - _SHOWN} more" if len(all_series) > _SHOWN else ""
    listed = f"{', '.join(shown)}{more}"
    if series is None:
        if len(all_series) > 1:
            raise ImageReadError(
                f"{folder}: holds {len(all_series)} DICOM series: {listed}; choose one with --series NUMBER or UID"
            )
        return all_series[0]
    wanted = str(series).strip()
    hit = [s for s in all_series if s.uid == wanted] or [s for s in all_series if str(s.number) == wanted]
    if not hit:
        raise ImageReadError(f"{folder}: has no DICOM series {wanted}; it holds {listed}")
    return hit[0]


def _read(files: Sequence[Path], source: Path, frame: int | None, labels: bool) -> tuple[np.ndarray, Grid]:
    opened: list[tuple[Path, Dataset]] = []
    for path in files:
        file = open_dicom(path)
        if file is None or "Rows" not in file:
            raise ImageReadError(f"{path}: is not a DICOM image, or it is damaged")
        opened.append((path, file))
    _check_kind(opened, source)
    frames = [f for path, file in opened for f in frames_of(file, path)]
    pixels = _Pixels({id(file): path for path, file in opened})
    stack = stack_frames(frames, source, frame, pixels.digest)
    if not labels and any(_white_is_zero(f) for f in stack.frames):
        note(f"{source}: shows its lowest value white (MONOCHROME1); its values are turned over, as viewers show them")
    planes = [pixels.values(f, turn=not labels and _white_is_zero(f)) for f in stack.frames]
    return straightened(np.stack(planes), stack, labels=labels), stack.grid


def _check_kind(opened: Sequence[tuple[Path, Dataset]], source: Path) -> None:
    """Refuse files of one series that are not of one kind."""
    kinds: dict[tuple[str, ...], Path] = {}
    worlds: set[str] = set()
    with hushed():
        for path, file in opened:
            kinds.setdefault(
                (str(file.get("PhotometricInterpretation", "")).upper(), str(file.get("SamplesPerPixel", 1))), path
            )
            worlds.add(str(file.get("FrameOfReferenceUID") or ""))
    if len(kinds) > 1:
        (a, first), (b, second) = list(kinds.items())[:2]
        raise ImageReadError(f"{source}: {first.name} is {a[0]} and {second.name} is {b[0]}; remove one kind")
    if len(worlds - {""}) > 1:
        note(f"{source}: its files name {len(worlds - {''})} frames of reference; their positions are taken as of one")


def _white_is_zero(frame: Frame) -> bool:
    return str(frame.file.get("PhotometricInterpretation", "")).strip().upper() == "MONOCHROME1"


class _Pixels:
    """Values of frames; a file of many frames is decoded once."""

    def __init__(self, paths: dict[int, Path]) -> None:
        self._paths = paths
        self._decoded: dict[int, np.ndarray] = {}

    def stored(self, frame: Frame) -> np.ndarray:
        key = id(frame.file)
        if key not in self._decoded:
            self._decoded = {key: stored_pixels(frame.file, self._paths[key])}  # a file at a time is held
        plane: np.ndarray = self._decoded[key][frame.index]
        return plane

    def digest(self, frame: Frame) -> bytes:
        return hashlib.sha256(np.ascontiguousarray(self.stored(frame)).tobytes()).digest()

    def values(self, frame: Frame, *, turn: bool) -> np.ndarray:
        """Stored values times slope plus intercept, in float64 unless nothing is to be done to them."""
        plane = self.stored(frame)
        if turn:
            plane = _turned(plane, frame)
        if frame.file.get("ModalityLUTSequence"):
            from pydicom.pixels.processing import apply_modality_lut

            with hushed():
                return np.asarray(apply_modality_lut(plane, frame.file), dtype=np.float64)
        if (frame.slope, frame.intercept) == (1.0, 0.0) or plane.ndim == 3:
            return plane
        return plane.astype(np.float64) * frame.slope + frame.intercept


def _turned(plane: np.ndarray, frame: Frame) -> np.ndarray:
    """Stored values with black and white exchanged, within the range that their bits can hold."""
    bits = int(frame.file.get("BitsStored") or frame.file.get("BitsAllocated") or 16)
    wide = plane.astype(np.int64)
    return -1 - wide if int(frame.file.get("PixelRepresentation") or 0) else (1 << bits) - 1 - wide
