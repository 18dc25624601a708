"""Headers that promise more than their files hold, checked before a library reserves memory for it or crashes on it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path

from samreg.errors import ImageReadError

__all__ = ["check_extent", "check_meta_header", "whole_numbers"]

_DEFLATE = 1040
"""The most bytes that a byte of deflated data can become (zlib: 1032)."""
_SPARE = 1 << 16
_MOST_AXES = 10
"""As many axes as MetaIO has room for."""
_META_TYPES = {
    "char": 1, "uchar": 1, "short": 2, "ushort": 2, "int": 4, "uint": 4, "long": 4, "ulong": 4, "long_long": 8,
    "ulong_long": 8, "float": 4, "double": 8,
}  # fmt: skip


def check_extent(source: Path, shape: Sequence[int], value_bytes: int, stored_bytes: int, *, deflated: bool) -> None:
    """Refuse a file whose header promises more values than its data can hold.

    Args:
        source: the file, for the message.
        shape: of all values.
        value_bytes: bytes a value.
        stored_bytes: bytes of the data as they are stored.
        deflated: whether the data are compressed by zlib or gzip.

    Raises:
        ImageReadError: if there cannot be as many values.
    """
    needed = prod(shape) * value_bytes
    if needed > (stored_bytes * _DEFLATE + _SPARE if deflated else stored_bytes):
        text = " x ".join(map(str, shape))
        raise ImageReadError(
            f"{source}: is damaged or cut off: its header promises {text} values, {needed} bytes, and its data "
            f"take {stored_bytes}; copy it again"
        )


def whole_numbers(text: str) -> list[int] | None:
    """The whole numbers of a line of a header; None where a word is none."""
    try:
        return [int(word) for word in text.split()]
    except ValueError:
        return None


def check_meta_header(fields: dict[str, str], header_bytes: int, source: Path) -> None:
    """Refuse a MetaImage header that MetaIO would crash on: it trusts counts and sizes.

    Args:
        fields: the header, keys in lower case.
        header_bytes: length of the header with its last line.
        source: the file.

    Raises:
        ImageReadError: if the number of axes, the sizes, the channels or the type are not valid, a list of numbers is
            too short, or the data cannot hold what is promised.
    """
    axes = whole_numbers(fields.get("ndims", ""))
    if axes is None or len(axes) != 1 or not 1 <= axes[0] <= _MOST_AXES:
        raise ImageReadError(f"{source}: its header has NDims = {fields.get('ndims', '')}; an image has 2 or 3 axes")
    sizes = whole_numbers(fields.get("dimsize", "")) or []
    if len(sizes) < axes[0] or not all(0 < n < 1 << 31 for n in sizes):
        raise ImageReadError(
            f"{source}: its header has DimSize = {fields.get('dimsize', '')}; wanted are {axes[0]} positive numbers"
        )
    lengths = {
        "elementspacing": 1, "elementsize": 1, "offset": 1, "position": 1, "origin": 1, "centerofrotation": 1,
        "transformmatrix": axes[0], "rotation": axes[0], "orientation": axes[0],
    }  # fmt: skip
    for key, times in lengths.items():
        if key in fields and len(fields[key].split()) < times * axes[0]:
            raise ImageReadError(
                f"{source}: its header has {key} = {fields[key]}; wanted are {times * axes[0]} numbers"
            )
    channels = whole_numbers(fields.get("elementnumberofchannels", "1"))
    if channels is None or len(channels) != 1 or not 1 <= channels[0] <= 1 << 16:
        raise ImageReadError(
            f"{source}: its header has ElementNumberOfChannels = {fields['elementnumberofchannels']}; wanted is a "
            "positive number"
        )
    kind = fields.get("elementtype", "").lower().removeprefix("met_").removesuffix("_array")
    if kind not in _META_TYPES:
        raise ImageReadError(
            f"{source}: its header has ElementType = {fields.get('elementtype', '')}, which is no type of MetaImage"
        )
    stored = _stored_bytes(fields, header_bytes, source)
    if stored is not None:
        packed = fields.get("compresseddata", "").lower() in ("true", "1")
        text = fields.get("binarydata", fields.get("modality", "true")).lower() in ("false", "0")
        # A number in text takes a digit and a space at least.
        check_extent(source, (*sizes[: axes[0]], *channels), 1 if text else _META_TYPES[kind], stored, deflated=packed)


def _stored_bytes(fields: dict[str, str], header_bytes: int, source: Path) -> int | None:
    """Bytes of the data; None where they are in several files or in none that is there."""
    name = fields.get("elementdatafile", "")
    try:
        if name.upper() == "LOCAL":
            return source.stat().st_size - header_bytes
        return (source.parent / name).stat().st_size if name and len(name.split()) == 1 else None
    except (OSError, ValueError):
        return None
