"""NIfTI-1 and NIfTI-2 files (.nii, .nii.gz), read without a library.

ITK reads a file that was cut in half as zeros without a word, puts zeros for NaN, knows no NIfTI-2 and takes only one
of the places in which a header says where the image is. The standard is short enough to be read whole:
https://nifti.nimh.nih.gov/nifti-1 and https://nifti.nimh.nih.gov/nifti-2.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from samreg.errors import ImageReadError
from samreg.geometry.grid import Grid
from samreg.io.frames import chosen_frame
from samreg.io.nifti_forms import Forms, nifti_grid, records_orientation

__all__ = ["check_nifti", "is_nifti", "is_oriented", "read_nifti"]

_CHUNK, _HEAD = 1 << 20, 2048
_MAGIC_1, _MAGIC_2 = (b"n+1", b"ni1"), (b"n+2", b"ni2")
_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
    1792: "c16",
}  # fmt: skip
_COLOURS = {128: 3, 2304: 4}  # RGB and RGBA, a byte a channel
_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 1e-3}  # xyzt_units: unknown, metre, millimetre, micrometre


@dataclass(frozen=True, eq=False)
class _Header:
    """The fields of a header that matter here, of either version."""

    order: Literal["<", ">"]
    second: bool
    dim: tuple[int, ...]
    code: int
    offset: float
    slope: float
    inter: float
    units: int
    forms: tuple[np.ndarray, tuple[int, int], np.ndarray, np.ndarray, np.ndarray]


def is_nifti(head: bytes) -> bool:
    """Whether these first bytes of a file are a NIfTI header."""
    return (len(head) >= 348 and head[344:347] in _MAGIC_1) or (len(head) >= 540 and head[4:7] in _MAGIC_2)


def read_nifti(source: Path, frame: int | None = None) -> tuple[np.ndarray, Grid]:
    """Read a NIfTI file.

    Args:
        source: the file.
        frame: number of the point in time, from 1, where the file has several.

    Returns:
        `(*shape)` values in their own type, or float64 where the header scales them; `(*shape, components)` of colour
        and vectors; and their grid.

    Raises:
        ImageReadError: if the file is damaged, holds NaN, or gives no geometry.
    """
    # The header first: a cine of gigabytes is refused without being read.
    header = _header(_head(source), source)
    size = (*header.dim[1 : 1 + header.dim[0]], 1, 1, 1, 1, 1, 1, 1)[:7]
    if any(n > 1 for n in size[5:]):
        raise ImageReadError(
            f"{source}: has {header.dim[0]} axes ({_times(header)}); give one 3D image of it as a file"
        )
    which = chosen_frame(source, frame, size[3], f"is 4D ({_times(header)})")
    content = _content(source)
    header, dtype, offset = _checked(content, source)
    components = _COLOURS.get(header.code, 1)
    stored = np.frombuffer(content, dtype, int(np.prod(size, dtype=object)) * components, offset)
    # The first axis is the fastest: components of a colour, x, y, z, time, components of a vector.
    array = stored.reshape(size[4], size[3], size[2], size[1], size[0], components)[:, which]
    data = np.moveaxis(array, 0, -1).reshape(size[2], size[1], size[0], -1)
    data = data.astype(data.dtype.newbyteorder("="), copy=True)
    scaled = header.slope != 0.0 and np.isfinite(header.slope) and (header.slope, header.inter) != (1.0, 0.0)
    if scaled and components == 1:  # colours are never scaled
        data = data * np.float64(header.slope) + np.float64(header.inter)
    shape = size[: max(2, min(3, header.dim[0]))]
    grid = _grid(header, shape, source)
    data = data.reshape(*grid.shape, data.shape[-1])
    return (data[..., 0] if data.shape[-1] == 1 else data), grid


def is_oriented(source: Path) -> bool:
    """Whether the header of a NIfTI file says which way the patient lies."""
    header = _header(_head(source), source)
    return records_orientation(_forms(header, header.dim[1:3]))


def check_nifti(source: Path) -> None:
    """Make sure that a NIfTI file is whole and without NaN.

    Raises:
        ImageReadError: if it is not.
    """
    _checked(_content(source), source)


def _checked(content: bytes, source: Path) -> tuple[_Header, np.dtype, int]:
    """The header, the type of the values and where they begin, once all of them are known to be there."""
    header = _header(content, source)
    if header.code not in _TYPES and header.code not in _COLOURS:
        raise ImageReadError(f"{source}: has values of the NIfTI type {header.code}; save it as float32 or integers")
    dtype = np.dtype("u1" if header.code in _COLOURS else _TYPES[header.code]).newbyteorder(header.order)
    if np.isinf(header.slope) or (header.slope and np.isfinite(header.slope) and not np.isfinite(header.inter)):
        raise ImageReadError(
            f"{source}: its header scales values by {header.slope:g} and adds {header.inter:g}; correct scl_slope and "
            "scl_inter"
        )
    count = int(np.prod(header.dim[1 : 1 + header.dim[0]], dtype=object)) * _COLOURS.get(header.code, 1)
    least = 544 if header.second else 352
    if not float(header.offset).is_integer() or (header.offset != 0 and header.offset < least - 4):
        raise ImageReadError(
            f"{source}: its header says that the values begin at byte {header.offset:g} (vox_offset); it is damaged"
        )
    offset = int(header.offset) or least
    needed = offset + count * dtype.itemsize
    if len(content) < needed:
        raise ImageReadError(
            f"{source}: is cut off: its header promises {needed} bytes and {len(content)} are there; copy it again"
        )
    if dtype.kind in "fc":
        bad = count - int(np.isfinite(np.frombuffer(content, dtype, count, offset)).sum())
        if bad:
            raise ImageReadError(f"{source}: holds {bad} NaN or infinite values; replace them, for example by 0")
    return header, dtype, offset


def _header(head: bytes, source: Path) -> _Header:
    """Unpack NIfTI-1 or NIfTI-2; the byte order is the one in which its own length makes sense."""
    if not is_nifti(head):
        raise ImageReadError(f"{source}: has no NIfTI header; it is damaged")
    second = head[4:7] in _MAGIC_2
    order: Literal["<", ">"] = "<" if struct.unpack("<i", head[:4])[0] == (540 if second else 348) else ">"

    def get(kind: str, at: int) -> tuple[float, ...]:
        return struct.unpack_from(order + kind, head, at)

    if second:
        sizes, (code,), pixdim = get("8q", 16), get("h", 12), get("8d", 104)
        (offset,), (slope, inter), (units,) = get("q", 168), get("2d", 176), get("i", 500)
        codes, quaternion, qoffset, rows = get("2i", 344), get("3d", 352), get("3d", 376), get("12d", 400)
    else:
        sizes, (code,), pixdim = get("8h", 40), get("h", 70), get("8f", 76)
        (offset,), (slope, inter), units = get("f", 108), get("2f", 112), head[123]
        codes, quaternion, qoffset, rows = get("2h", 252), get("3f", 256), get("3f", 268), get("12f", 280)
    dim = tuple(int(n) for n in sizes)
    if not (head[4:7] == b"n+2" if second else head[344:347] == b"n+1"):
        raise ImageReadError(f"{source}: is one half of a .hdr and .img pair; save it as one .nii file")
    if not 1 <= dim[0] <= 7 or any(n < 1 for n in dim[1 : 1 + dim[0]]):
        raise ImageReadError(f"{source}: its header has no valid size (dim {' '.join(map(str, dim))}); it is damaged")
    if dim[0] < 2:
        raise ImageReadError(f"{source}: has one axis; an image has 2 or 3")
    return _Header(
        order=order,
        second=second,
        dim=dim,
        code=int(code),
        offset=float(offset),
        slope=float(slope),
        inter=float(inter),
        units=int(units) & 7,
        forms=(
            np.asarray(pixdim, dtype=float),
            (int(codes[0]), int(codes[1])),
            np.asarray(quaternion, dtype=float),
            np.asarray(qoffset, dtype=float),
            np.asarray(rows, dtype=float).reshape(3, 4),
        ),
    )


def _grid(header: _Header, shape: tuple[int, ...], source: Path) -> Grid:
    if header.units not in _TO_MM:
        raise ImageReadError(f"{source}: its lengths are in an unknown unit (xyzt_units {header.units}); correct it")
    return nifti_grid(_forms(header, shape), source)


def _forms(header: _Header, shape: tuple[int, ...]) -> Forms:
    pixdim, codes, quaternion, qoffset, rows = header.forms
    mm = _TO_MM.get(header.units, 1.0)
    return Forms(shape, pixdim[1:4] * mm, pixdim[0], codes[0], quaternion, qoffset * mm, codes[1], rows * mm)


def _times(header: _Header) -> str:
    return " x ".join(map(str, header.dim[1 : 1 + header.dim[0]]))


def _head(source: Path) -> bytes:
    """The first bytes of the file, unpacked; enough for a header."""
    try:
        with source.open("rb") as stream:
            head = stream.read(_HEAD)
    except OSError as error:
        raise ImageReadError(f"{source}: cannot be opened: {error.strerror}") from None
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    except zlib.error as error:
        raise ImageReadError(f"{source}: is damaged ({error}); copy it again") from None


def _content(source: Path) -> bytes:
    """All bytes of the file, unpacked.

    Raises:
        ImageReadError: if it cannot be read, is cut off, or is packed where its name says that it is not.
    """
    try:
        with source.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        if packed != source.name.lower().endswith(".gz"):
            wanted = ".nii.gz" if packed else ".nii"
            state = "gzip-compressed" if packed else "not compressed"
            raise ImageReadError(f"{source}: is {state}; rename it to end in {wanted}")
        return _unpacked(source) if packed else source.read_bytes()
    except OSError as error:
        raise ImageReadError(f"{source}: cannot be opened: {error.strerror}") from None


def _unpacked(source: Path) -> bytes:
    """What a gzip file holds; its checksum is verified on the way."""
    unzip = zlib.decompressobj(wbits=31)
    parts: list[bytes] = []
    try:
        with source.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                while chunk:
                    parts.append(unzip.decompress(chunk))
                    chunk = unzip.unused_data
                    if unzip.eof and chunk:
                        if not chunk.startswith(b"\x1f\x8b"):  # padding after the end is harmless
                            return b"".join(parts)
                        unzip = zlib.decompressobj(wbits=31)
    except zlib.error as error:
        raise ImageReadError(f"{source}: is damaged ({error}); copy it again") from None
    if not unzip.eof:
        raise ImageReadError(f"{source}: is cut off: its gzip stream has no end; copy it again")
    return b"".join(parts)
