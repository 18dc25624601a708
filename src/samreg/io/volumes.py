"""NRRD and MetaImage: read by ITK, with what ITK skips of their headers read beside it.

ITK takes a list of three frames for colour, a list of two for a grey image, centimetres for millimetres, and a
geometry that is not a number for 0 or 1. NRRD: https://teem.sourceforge.net/nrrd/format.html; MetaImage:
https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from samreg.errors import ImageReadError
from samreg.geometry.grid import Grid
from samreg.io.extents import check_extent, check_meta_header, whole_numbers
from samreg.io.frames import chosen_frame
from samreg.io.itk import array_of, file_grid, read_itk
from samreg.notes import note

__all__ = ["nrrd_scale", "read_meta", "read_nrrd", "scaled"]

_HEAD = 1 << 20  # bytes; headers of segmentations with thousands of segments are long
_TO_MM = {
    "": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "millimetres": 1.0,
    "cm": 10.0, "centimeter": 10.0, "centimeters": 10.0, "centimetre": 10.0, "centimetres": 10.0,
    "m": 1e3, "meter": 1e3, "meters": 1e3, "metre": 1e3, "metres": 1e3,
    "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "micrometers": 1e-3,
    "micrometre": 1e-3, "micrometres": 1e-3, "nm": 1e-6, "nanometer": 1e-6, "nanometers": 1e-6,
}  # fmt: skip
_PATIENT = ("left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las")
_DOMAIN = ("domain", "space", "???", "none", "")
_COLOUR = {"rgb-color": 3, "rgba-color": 4, "3-color": 3, "4-color": 4}
_DEFLATED = ("gzip", "gz")
_BYTES = {
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t", "ushort"), 2),
    **dict.fromkeys(("unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(
        ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 4
    ),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int"), 8),
    **dict.fromkeys(("int64", "int64_t", "ulonglong", "unsigned long long", "unsigned long long int"), 8),
    **dict.fromkeys(("uint64", "uint64_t", "double"), 8),
}
_MOST_AXES = 16
_VECTOR = re.compile(r"vector|normal|gradient|quaternion|complex|matrix|-color")


def read_nrrd(source: Path, frame: int | None = None) -> tuple[np.ndarray, Grid]:
    """Read a NRRD file.

    Args:
        source: the file.
        frame: number of the frame, from 1, where an axis of the file is a list of frames.

    Returns:
        `(*shape)` values in their own type, or `(*shape, components)` of colour and vectors; and their grid.

    Raises:
        ImageReadError: if the file is damaged, is a sequence of which no frame was chosen, or gives no geometry.
    """
    fields = _nrrd_fields(source)
    check_nrrd_extent(source)
    count = _frames(fields, source)
    which = chosen_frame(source, frame, count, "is a sequence") if count else 0
    image = read_itk(source, "NrrdImageIO", "NRRD", None if count else frame)
    data, grid = array_of(image), scaled(file_grid(image, source), nrrd_scale(source))
    if count > 1:
        data = np.ascontiguousarray(data[..., which])
    return data, grid


def check_nrrd_extent(source: Path) -> None:
    """Refuse a NRRD file whose data cannot hold the sizes of its header.

    Raises:
        ImageReadError: if a size is no positive number, or there are more values than data.
    """
    fields = _nrrd_fields(source)
    sizes = whole_numbers(fields.get("sizes", ""))
    if not sizes or not all(0 < n < 1 << 31 for n in sizes) or len(sizes) > _MOST_AXES:
        raise ImageReadError(
            f"{source}: is damaged: its header has sizes: {fields.get('sizes', '')}; wanted is a positive number for "
            "each axis"
        )
    if "data file" in fields or "datafile" in fields:
        return  # the data are elsewhere, and in as many files as they like
    encoding = fields.get("encoding", "raw").lower()
    size = _BYTES.get(fields.get("type", "").lower(), 1) if encoding == "raw" or encoding in _DEFLATED else 1
    if encoding in ("raw", *_DEFLATED, "text", "txt", "ascii", "hex"):
        check_extent(source, sizes, size, source.stat().st_size, deflated=encoding in _DEFLATED)


def _frames(fields: dict[str, str], source: Path) -> int:
    """How many frames an axis lists that is neither space, nor colour, nor vector; 0 where there is no such axis."""
    sizes = [int(n) for n in fields.get("sizes", "").split() if n.isdigit()]
    kinds = [kind.lower() for kind in fields.get("kinds", "").split()]
    if len(kinds) != len(sizes):
        kinds = ["???"] * len(sizes)
    other = [(kind, n) for kind, n in zip(kinds, sizes, strict=True) if kind not in _DOMAIN and n > 1]
    for kind, n in other:
        if kind in _COLOUR or _VECTOR.search(kind):
            if kind.startswith(("hsv", "xyz")):
                raise ImageReadError(f"{source}: has colours of the kind {kind}; save it as RGB")
            continue
        if kind == "list" and len(other) == 1:
            return n
        raise ImageReadError(f"{source}: is a sequence of {n} (axis of the kind {kind}); give one 3D frame as a file")
    return 0


def nrrd_scale(source: Path) -> float:
    """Millimetres in a unit of length of a NRRD file; what else ITK skips of the geometry is checked on the way.

    Raises:
        ImageReadError: if lengths are in an unknown unit, or a number of the geometry is none.
    """
    fields = _nrrd_fields(source)
    for name in ("space origin", "space directions", "spacings", "axis mins"):
        text = re.sub(r"\bnone\b", "", fields.get(name, "").lower())
        # Axes that are no space have a spacing that is not a number.
        found = re.findall(r"[^\s(),]+", text)
        domain = name.startswith("space ") or len(found) <= _axes(fields)
        if domain and not all(_finite(word) for word in found):
            raise ImageReadError(f"{source}: its header has {name} that are not numbers; correct the header")
    space = fields.get("space", "").lower().removesuffix("-time")
    if space and space not in _PATIENT:
        note(f"{source}: its space is {space!r}, which says nothing about the patient; it is taken as LPS")
    if "space directions" not in fields and "spacings" not in fields:
        note(f"{source}: records no spacing; 1 mm is assumed")
    named = fields.get("space units") or fields.get("units", "")
    units = {_unit(unit) for unit in re.findall(r'"([^"]*)"', named)} or {""}
    units -= {"", "???"} if len(units) > 1 else set()
    return _mm({unit.replace("???", "") for unit in units}, source)


def _axes(fields: dict[str, str]) -> int:
    """How many axes of the file are space."""
    kinds = [kind.lower() for kind in fields.get("kinds", "").split()]
    return sum(kind in _DOMAIN for kind in kinds) if kinds else len(fields.get("sizes", "").split())


def _unit(text: str) -> str:
    return text.strip().lower()


def _mm(units: set[str], source: Path) -> float:
    known = {_TO_MM.get(unit) for unit in units}
    if len(known) != 1 or None in known:
        names = ", ".join(sorted(units))
        raise ImageReadError(f"{source}: its lengths are in {names!r}; save it in one known unit, such as mm")
    factor = known.pop()
    return 1.0 if factor is None else factor


def _finite(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return False


def _nrrd_fields(source: Path) -> dict[str, str]:
    """The fields of a NRRD header, without its key-value pairs."""
    with source.open("rb") as stream:
        head = stream.read(_HEAD)
    fields: dict[str, str] = {}
    for line in head.decode("utf-8", errors="replace").splitlines()[1:]:
        if not line.strip():
            break
        key, mark, value = line.partition(":")
        if mark and not line.startswith("#") and not value.startswith("="):
            fields[key.strip().lower()] = value.strip()
    return fields


def read_meta(source: Path, frame: int | None = None) -> tuple[np.ndarray, Grid]:
    """Read a MetaImage file.

    Args:
        source: the file.
        frame: number of the image along the fourth axis, from 1, where there are several.

    Returns:
        `(*shape)` values in their own type, or `(*shape, components)` of colour and vectors; and their grid.

    Raises:
        ImageReadError: if the file is damaged or gives no geometry.
    """
    fields: dict[str, str] = {}
    with source.open("rb") as stream:
        head = stream.read(_HEAD)
    length = 0
    for line in head.splitlines(keepends=True):
        key, mark, value = line.decode("utf-8", errors="replace").partition("=")
        if not mark:
            break
        length += len(line)
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            break
    for key in ("elementspacing", "offset", "position", "origin", "transformmatrix", "rotation", "orientation"):
        if not all(_finite(word) for word in fields.get(key, "").split()):
            raise ImageReadError(f"{source}: its header has {key} that are not numbers; correct the header")
    check_meta_header(fields, length, source)
    if "elementspacing" not in fields and "elementsize" not in fields:
        note(f"{source}: records no spacing; 1 mm is assumed")
    image = read_itk(source, "MetaImageIO", "MetaImage", frame)
    unit = _unit(fields.get("distanceunits", ""))
    return array_of(image), scaled(file_grid(image, source), _mm({"" if unit == "?" else unit}, source))


def scaled(grid: Grid, factor: float) -> Grid:
    """A grid in another unit of length."""
    if factor == 1.0:
        return grid
    return replace(grid, spacing=tuple(s * factor for s in grid.spacing), origin=tuple(o * factor for o in grid.origin))
