"""Files of transforms, checked before ITK and HDF5 read them: on some damaged ones they crash or read without end."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from samreg.errors import ImageReadError
from samreg.io.extents import check_extent

__all__ = ["check_transform_file"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\1\0\0\0"
"""A collection of the global heap, version 1, which holds texts of any length (HDF5 file format, III.E)."""
_OBJECT = struct.Struct("<HH4xQ")
_MATLAB = {0: ("<", 8), 10: ("<", 4), 1000: (">", 8), 1010: (">", 4)}
"""Type of a Matlab v4 matrix, to byte order and bytes a number; the others are whole numbers and texts."""
_LONGEST_NAME = 256


def check_transform_file(source: Path) -> None:
    """Refuse an HDF5 or a Matlab v4 file of a transform that its library would crash on.

    Raises:
        ImageReadError: if it is damaged.
    """
    with source.open("rb") as stream:
        head = stream.read(len(_HDF5))
    if head == _HDF5:
        if not _heaps_are_whole(source) or not _datasets_are_whole(source):
            raise ImageReadError(f"{source}: is not an ITK transform, or it is damaged; write it again")
    elif source.suffix.lower() == ".mat" and not _columns_are_whole(source.read_bytes()):
        raise ImageReadError(f"{source}: is not an ITK transform in Matlab v4, or it is damaged; write it again")


def _heaps_are_whole(source: Path) -> bool:
    """Whether the objects of each heap fill it: HDF5 goes by their lengths, and stays where one is 0."""
    with source.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        begin = content.find(_HEAP)
        while begin >= 0:
            at, end = begin + 16, begin + int.from_bytes(content[begin + 8 : begin + 16], "little")
            if end > len(content):
                return False
            while end - at >= _OBJECT.size:
                number, _, length = _OBJECT.unpack_from(content, at)
                if number == 0 and length < _OBJECT.size:
                    return False
                # The length of what is free, number 0, counts its own header.
                at += length if number == 0 else _OBJECT.size + -(-length // 8) * 8
            if at > end:
                return False
            begin = content.find(_HEAP, begin + 1)
    return True


def _datasets_are_whole(source: Path) -> bool:
    """Whether h5py, which raises where ITK crashes, reads every value of every transform."""
    import h5py

    try:
        with h5py.File(source, "r") as file:
            for entry in file["TransformGroup"].values():
                for values in entry.values():
                    stored, packed = values.id.get_storage_size(), values.chunks is not None
                    check_extent(source, values.shape, values.dtype.itemsize, stored, deflated=packed)
                    values[()]
    except ImageReadError:
        raise
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError, MemoryError):
        return False
    return True


def _columns_are_whole(content: bytes) -> bool:
    """Whether a Matlab v4 file is columns of numbers: ITK makes room for the rows and reads rows times columns."""
    at = 0
    while at < len(content):
        if len(content) - at < 20:
            return False
        order, width = _MATLAB.get(int.from_bytes(content[at : at + 4], "little"), ("", 0))
        if not order:
            order, width = _MATLAB.get(int.from_bytes(content[at : at + 4], "big"), ("", 0))
        if not order:
            return False
        _, rows, columns, imaginary, name = struct.unpack_from(f"{order}5i", content, at)
        if rows < 1 or columns != 1 or imaginary != 0 or not 1 <= name <= _LONGEST_NAME:
            return False
        at += 20 + name + rows * width
    return at == len(content) > 0
