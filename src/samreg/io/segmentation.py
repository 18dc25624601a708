"""Regions as 3D Slicer segmentations (.seg.nrrd) and as plain label maps.

A `.seg.nrrd` keeps overlaps: regions that share voxels are in different layers, and each names its layer and the
label value it has there. The layout is that of 3D Slicer's segmentation nodes. A 2D image becomes one slice of a
volume, since Slicer knows no other; the key `samreg_dimension` brings it back as 2D.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import ImageReadError, InputError
from samreg.files import written
from samreg.geometry.grid import Grid
from samreg.geometry.label_maps import layers
from samreg.geometry.rois import Roi, RoiSet
from samreg.io.formats import inspect
from samreg.io.itk import array_of, file_grid, quiet
from samreg.io.palette import pair_colour
from samreg.io.volumes import check_nrrd_extent, nrrd_scale, scaled

if TYPE_CHECKING:
    import SimpleITK

_TYPES = (("unsigned char", np.dtype("u1")), ("unsigned short", np.dtype("<u2")), ("int", np.dtype("<i4")))

__all__ = ["read_segmentation", "write_segmentation"]

_MOST_SEGMENTS = 1_000_000
_SEGMENT = re.compile(r"^Segment(\d+)_ID$")


def write_segmentation(
    rois: RoiSet,
    path: str | Path,
    ids: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    entries: Sequence[Mapping[str, str]] | None = None,
) -> Path:
    """Write regions as a 3D Slicer segmentation; overlaps are kept.

    Args:
        rois: the regions.
        path: a file name that ends in .seg.nrrd.
        ids: segment ID of each; `roi_1` to `roi_n` by default.
        names: segment name of each; the region's own name, or its ID, by default.
        entries: what the file that the regions come from says of each (`samreg.io.segments`): ID, Name, Color, Tags
            (which hold the terminology), LabelValue, Layer and whatever else stay as they are, over `ids` and `names`.

    Raises:
        InputError: if the file name ends otherwise or the file cannot be written.
    """
    target = Path(path)
    if not target.name.lower().endswith(".seg.nrrd"):
        raise InputError(f"{target}: a segmentation is written to a file name that ends in .seg.nrrd")
    ids = [f"roi_{i + 1}" for i in range(len(rois))] if ids is None else list(ids)
    names = [roi.name or ids[i] for i, roi in enumerate(rois.rois)] if names is None else list(names)
    layer, value = _place(rois, entries)
    n_layers = max(layer, default=0) + 1
    kind, dtype = next(t for t in _TYPES if max(value, default=0) <= np.iinfo(t[1]).max)
    # In a NRRD the first axis is the fastest: the list of layers, then x, y, z.
    data = np.zeros((*rois.grid.shape, n_layers), dtype=dtype)
    for roi, where, number in zip(rois.rois, layer, value, strict=True):
        data[..., where][roi.box][roi.mask] = number
    header = _header(rois.grid, n_layers, kind)
    for i, (roi, where, number) in enumerate(zip(rois.rois, layer, value, strict=True)):
        header += _segment(i, roi, where, number, ids[i], names[i], {} if entries is None else entries[i])
    pack = zlib.compressobj(6, wbits=31)
    content = "\n".join(header).encode() + b"\n\n" + pack.compress(data.tobytes()) + pack.flush()
    try:
        with written(target) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    return target


def _place(rois: RoiSet, entries: Sequence[Mapping[str, str]] | None) -> tuple[list[int], list[int]]:
    """Layer and label value of each region: what its entry says, or the first layer in which it overlaps nothing."""
    with contextlib.suppress(KeyError, ValueError):
        if entries is not None:
            given = [(int(entry.get("Layer", "0")), int(entry["LabelValue"])) for entry in entries]
            if len(set(given)) == len(given) and all(a >= 0 and b > 0 for a, b in given):
                return [a for a, _ in given], [b for _, b in given]
    layer = layers(rois)
    value, used = [], dict.fromkeys(layer, 0)
    for where in layer:
        used[where] += 1
        value.append(used[where])
    return layer, value


def _header(grid: Grid, n_layers: int, kind: str) -> list[str]:
    matrix = np.eye(4)
    d = grid.ndim
    matrix[:d, :d], matrix[:d, 3] = grid.matrix[:d, :d], grid.matrix[:d, d]
    size = (*grid.shape[::-1], 1)[:3]

    def vector(values: np.ndarray) -> str:
        return "(" + ",".join(repr(float(v)) for v in values) + ")"

    axes = " ".join(vector(matrix[:3, j]) for j in range(3))
    return [
        "NRRD0005",
        f"type: {kind}",
        "dimension: 4",
        "space: left-posterior-superior",
        f"sizes: {n_layers} {size[0]} {size[1]} {size[2]}",
        f"space directions: none {axes}",
        "kinds: list domain domain domain",
        *([] if kind == "unsigned char" else ["endian: little"]),
        "encoding: gzip",
        f"space origin: {vector(matrix[:3, 3])}",
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_ConversionParameters:=",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
        f"samreg_dimension:={d}",
        f"samreg_unit:={grid.unit}",
    ]


def _segment(i: int, roi: Roi, layer: int, value: int, identity: str, name: str, kept: Mapping[str, str]) -> list[str]:
    colour = " ".join(f"{c / 255:.6g}" for c in pair_colour(i))
    first, last = (*roi.start[::-1], 0)[:3], (*(n - 1 for n in roi.stop[::-1]), 0)[:3]
    extent = " ".join(f"{a} {b}" for a, b in zip(first, last, strict=True))
    made = {
        "Color": colour,
        "ColorAutoGenerated": "0",
        "ID": _one_line(identity),
        "Name": _one_line(name),
        "NameAutoGenerated": "0",
        "Tags": f"samreg.quality:{roi.quality:.6g}|",
    }
    here = {"Extent": extent, "LabelValue": str(value), "Layer": str(layer)}
    entry = {**made, **kept, **here}
    return [f"Segment{i}_{key}:={entry[key]}" for key in sorted(entry)]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def read_segmentation(path: str | Path) -> tuple[RoiSet, list[int]]:
    """Read a 3D Slicer segmentation, of samreg or of Slicer itself; empty segments are left out.

    Returns:
        The regions, named as the segments, and a label value of each: its own where all are unique, 1 to n
        otherwise.

    Raises:
        ImageReadError: if the file is not a segmentation.
    """
    import SimpleITK as sitk

    source = Path(path)
    inspect(source)
    check_nrrd_extent(source)
    with quiet():
        try:
            image = sitk.ReadImage(str(source), imageIO="NrrdImageIO")
        except RuntimeError:
            raise ImageReadError(f"{source}: cannot be read as NRRD, it is damaged or incomplete") from None
    keys = _keys(image)
    data = array_of(image)
    if image.GetDimension() == 4:  # a list of one layer is an axis to ITK
        raise ImageReadError(f"{source}: has four spatial axes; a segmentation has three and a list of layers")
    if image.GetNumberOfComponentsPerPixel() == 1:
        data = data[..., None]
    grid = scaled(file_grid(image, source), nrrd_scale(source))
    if keys.get("samreg_dimension") == "2":
        data, grid = data[0], _flat(grid, keys.get("samreg_unit", "mm"))
    rois, values = _segments(data, keys, source)
    if len(set(values)) != len(values):
        values = list(range(1, len(values) + 1))
    return RoiSet(tuple(rois), grid), values


def _keys(image: SimpleITK.Image) -> dict[str, str]:
    """What the header says beside the geometry; without names that are no text (a damaged header has some)."""
    found = {}
    for key in image.GetMetaDataKeys():
        with contextlib.suppress(TypeError, UnicodeError):
            found[key] = image.GetMetaData(key)
    return found


def _flat(grid: Grid, unit: str) -> Grid:
    direction = np.asarray(grid.direction)[:2, :2]
    return Grid(
        grid.shape[1:], grid.spacing[:2], grid.origin[:2], tuple(map(tuple, direction)), "px" if unit == "px" else "mm"
    )


def _segments(data: np.ndarray, keys: dict[str, str], source: Path) -> tuple[list[Roi], list[int]]:
    # Deleted segments leave gaps in the numbers.
    numbers = sorted(int(found[1]) for key in keys if (found := _SEGMENT.match(key)))
    if not numbers:
        raise ImageReadError(f"{source}: describes no segments; give a segmentation saved by 3D Slicer or samreg")
    boxes: dict[int, list[tuple[slice, ...] | None]] = {}
    rois, values = [], []
    for order, i in enumerate(numbers):
        value, layer = _place_of(i, order, keys, data.shape[-1], source)
        if layer not in boxes:
            boxes[layer] = _boxes(data[..., layer], source)
        box = boxes[layer][value - 1] if 0 < value <= len(boxes[layer]) else None
        if box is not None:
            name = keys.get(f"Segment{i}_Name", "").strip() or keys[f"Segment{i}_ID"].strip()
            start = tuple(s.start for s in box)
            quality = _quality(keys.get(f"Segment{i}_Tags", ""))
            rois.append(Roi(data[..., layer][box] == value, start, quality, name))
            values.append(value)
    return rois, values


def _boxes(layer: np.ndarray, source: Path) -> list[tuple[slice, ...] | None]:
    """The box of each label value from 1 on."""
    from scipy.ndimage import find_objects

    # The list is as long as the largest value: one damaged voxel would make it fill the memory.
    largest = int(layer.max(initial=0))
    if largest > _MOST_SEGMENTS:
        raise ImageReadError(
            f"{source}: holds the label {largest}; a segmentation has at most {_MOST_SEGMENTS} segments"
        )
    boxes: list[tuple[slice, ...] | None] = find_objects(layer.clip(0).astype(np.int64))
    return boxes


def _place_of(i: int, order: int, keys: dict[str, str], layers: int, source: Path) -> tuple[int, int]:
    """Label value and layer of a segment.

    Slicer before 4.11 wrote neither: each segment was a layer of its own, of ones.
    """
    old = f"Segment{i}_LabelValue" not in keys and f"Segment{i}_Layer" not in keys
    try:
        value = 1 if old else int(keys[f"Segment{i}_LabelValue"])
        layer = order if old else int(keys.get(f"Segment{i}_Layer", "0"))
    except (KeyError, ValueError):
        raise ImageReadError(
            f"{source}: Segment{i} has no valid label value and layer; save it again in 3D Slicer"
        ) from None
    if not 0 <= layer < layers:
        raise ImageReadError(f"{source}: Segment{i} is in layer {layer}, the file has {layers}")
    return value, layer


def _quality(tags: str) -> float:
    """The quality that samreg wrote among the tags; 1 where there is none, or where it is no number from 0 to 1."""
    for tag in tags.split("|"):
        key, _, text = tag.partition(":")
        if key.strip() == "samreg.quality":
            with contextlib.suppress(ValueError):
                quality = float(text)
                return quality if 0.0 <= quality <= 1.0 else 1.0
    return 1.0
