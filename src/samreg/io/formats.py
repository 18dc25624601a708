"""What a file claims to be, what it is, and whether all of it is there.

ITK opens a PNG called `.nii`, and fills what is missing of a JPEG with grey: that is found out here, before it is
asked.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from samreg.errors import ImageReadError
from samreg.io.nifti import is_nifti

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

_HEAD = 2048


def format_of(path: Path) -> Format | None:
    """The format that the file name claims, or None."""
    name = path.name.lower()
    return next((known for suffix, known in FORMATS.items() if name.endswith(suffix)), None)


def inspect(path: Path) -> Format:
    """Make sure that a file is there, and is of the format that its name claims.

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
    found = _sniff(head)
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
    # libjpeg fills the missing rest with grey; some cameras append bytes of their own after the end marker.
    if found == "JPEG" and b"\xff\xd9" not in path.read_bytes()[-_HEAD:]:
        raise ImageReadError(f"{path}: is cut off: its JPEG data have no end; copy it again")
    return claimed


def _sniff(head: bytes) -> str | None:
    """Name of the format by content."""
    if head[:2] == b"\x1f\x8b":
        try:
            inner = zlib.decompressobj(wbits=31).decompress(head, _HEAD)
        except zlib.error:
            return None
        return "NIfTI" if is_nifti(inner) else None
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
            return name
    if head[128:132] == b"DICM":
        return "DICOM"
    if is_nifti(head):
        return "NIfTI"
    if b"NDims" in head and b"ElementType" in head:
        return "MetaImage"
    return None
