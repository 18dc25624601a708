"""What a file claims to be, what it is, and whether all of it is there.

SimpleITK reads a NIfTI file that was cut in half as zeros, without a word, puts zeros for NaN, and opens a PNG
called `.nii`. All of that is found out here, before it is asked.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from samreg.errors import ImageReadError

__all__ = ["FORMATS", "Format", "format_of", "inspect"]


@dataclass(frozen=True)
class Format:
    """One kind of image file.

    Args:
        name: its name in messages.
        engine: name of the ITK reader.
        photograph: whether it is a 2D picture measured in pixels.
        writable: whether samreg writes it.
    """

    name: str
    engine: str
    photograph: bool = False
    writable: bool = True


_NIFTI = Format("NIfTI", "NiftiImageIO")
_META = Format("MetaImage", "MetaImageIO")
_NRRD = Format("NRRD", "NrrdImageIO")
FORMATS: dict[str, Format] = {
    ".nii.gz": _NIFTI,
    ".nii": _NIFTI,
    ".nrrd": _NRRD,
    ".nhdr": Format("NRRD", "NrrdImageIO", writable=False),
    ".mha": _META,
    ".mhd": Format("MetaImage", "MetaImageIO", writable=False),
    ".dcm": Format("DICOM", "GDCMImageIO", writable=False),
    ".png": Format("PNG", "PNGImageIO", photograph=True),
    ".jpg": Format("JPEG", "JPEGImageIO", photograph=True),
    ".jpeg": Format("JPEG", "JPEGImageIO", photograph=True),
    ".tif": Format("TIFF", "TIFFImageIO", photograph=True),
    ".tiff": Format("TIFF", "TIFFImageIO", photograph=True),
}
"""File name endings and what they stand for, longest first."""

_CHUNK = 1 << 20
_NIFTI_1, _NIFTI_2 = (b"n+1", b"ni1"), (b"n+2", b"ni2")
_HEAD = 2048


def format_of(path: Path) -> Format | None:
    """The format that the file name claims, or None."""
    name = path.name.lower()
    return next((known for suffix, known in FORMATS.items() if name.endswith(suffix)), None)


def inspect(path: Path) -> Format:
    """Make sure that a file is there, is of the format that its name claims, and is complete.

    Raises:
        ImageReadError: if it is not.
    """
    claimed = format_of(path)
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
    except FileNotFoundError:
        raise ImageReadError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ImageReadError(f"{path}: cannot be opened: {error.strerror}") from None
    if not head:
        raise ImageReadError(f"{path}: the file is empty (0 bytes)")
    found, packed = _sniff(head)
    if claimed is None:
        if found == "DICOM":  # exported series often have file names without an ending
            return FORMATS[".dcm"]
        known = " ".join(sorted(FORMATS))
        raise ImageReadError(f"{path}: unknown kind of image; samreg reads {known} and folders of one DICOM series")
    if found is None and claimed.name == "DICOM":  # old files have no preamble; GDCM decides
        return claimed
    if found != claimed.name:
        what = f"a {found} image" if found else "not an image that samreg knows"
        advice = "rename it" if found else "it may be a failed download or an export of another program"
        raise ImageReadError(f"{path}: is named as {claimed.name} but holds {what}; {advice}")
    if found == "NIfTI":
        _check_nifti(path, packed)
    # libjpeg fills the missing rest with grey; some cameras append bytes of their own after the end marker.
    if found == "JPEG" and b"\xff\xd9" not in path.read_bytes()[-_HEAD:]:
        raise ImageReadError(f"{path}: is cut off: its JPEG data have no end; copy it again")
    return claimed


def _sniff(head: bytes) -> tuple[str | None, bool]:
    """Name of the format by content, and whether it is compressed as a whole."""
    if head[:2] == b"\x1f\x8b":
        try:
            inner = zlib.decompressobj(wbits=31).decompress(head, _HEAD)
        except zlib.error:
            return None, True
        return ("NIfTI" if _is_nifti(inner) else None), True
    for magic, name in (
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"MM\0+", "TIFF"),
        (b"NRRD", "NRRD"),
    ):
        if head.startswith(magic):
            return name, False
    if head[128:132] == b"DICM":
        return "DICOM", False
    if _is_nifti(head):
        return "NIfTI", False
    if b"NDims" in head and b"ElementType" in head:
        return "MetaImage", False
    return None, False


def _is_nifti(head: bytes) -> bool:
    return (len(head) >= 348 and head[344:347] in _NIFTI_1) or (len(head) >= 540 and head[4:7] in _NIFTI_2)


def _check_nifti(path: Path, packed: bool) -> None:
    if packed != path.name.lower().endswith(".gz"):
        wanted = ".nii.gz" if packed else ".nii"
        state = "gzip-compressed" if packed else "not compressed"
        raise ImageReadError(f"{path}: is {state}; rename it to end in {wanted}")
    content = _unpacked(path) if packed else path.read_bytes()
    order, dtype, offset, count = _nifti_layout(content[:_HEAD])
    needed = offset + count * dtype.itemsize
    if len(content) < needed:
        raise ImageReadError(
            f"{path}: is cut off: its header promises {needed} bytes and {len(content)} are there; copy it again"
        )
    if dtype.kind == "f" and count:
        values = np.frombuffer(content, dtype.newbyteorder(order), count, offset)
        bad = count - int(np.isfinite(values).sum())
        if bad:
            raise ImageReadError(f"{path}: holds {bad} NaN or infinite values; replace them, for example by 0")


def _unpacked(path: Path) -> bytes:
    """What a gzip file holds; its checksum is verified on the way."""
    unzip = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                while chunk:
                    parts.append(unzip.decompress(chunk))
                    chunk = unzip.unused_data
                    if unzip.eof and chunk:
                        if not chunk.startswith(b"\x1f\x8b"):  # padding after the end is harmless
                            return b"".join(parts)
                        unzip = zlib.decompressobj(wbits=31)
    except zlib.error as error:
        raise ImageReadError(f"{path}: is damaged ({error}); copy it again") from None
    if not unzip.eof:
        raise ImageReadError(f"{path}: is cut off: its gzip stream has no end; copy it again")
    return b"".join(parts)


def _nifti_layout(head: bytes) -> tuple[Literal["<", ">"], np.dtype, int, int]:
    """Byte order, type, offset and number of the values that a NIfTI-1 or NIfTI-2 header promises."""
    order: Literal["<", ">"] = "<" if struct.unpack("<i", head[:4])[0] in (348, 540) else ">"
    if head[4:7] in _NIFTI_2:
        dim = struct.unpack(f"{order}8q", head[16:80])
        code, bits = struct.unpack(f"{order}2h", head[12:16])
        offset = struct.unpack(f"{order}q", head[168:176])[0]
    else:
        dim = struct.unpack(f"{order}8h", head[40:56])
        code, bits = struct.unpack(f"{order}2h", head[70:74])
        offset = int(struct.unpack(f"{order}f", head[108:112])[0])
    axes = [max(1, n) for n in dim[1 : 1 + min(7, max(0, dim[0]))]]
    dtype = np.dtype({16: "f4", 64: "f8"}.get(code, f"V{max(1, bits // 8)}"))
    return order, dtype, int(offset), int(np.prod(axes, dtype=object))
