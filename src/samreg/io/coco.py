"""Regions of pictures as COCO annotations with run-length encoded masks.

A mask of h x w pixels is counted column by column: the number of pixels outside, then inside, then outside, ... Source:
cocodataset.org, data format.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import ImageReadError, InputError
from samreg.files import write_json
from samreg.geometry.grid import Grid
from samreg.geometry.rois import RoiSet
from samreg.types import MaskArray

__all__ = ["decode", "encode", "read_coco", "write_coco"]


def encode(mask: MaskArray) -> dict[str, Any]:
    """A mask (h, w) as `{"size": [h, w], "counts": [...]}`."""
    flat = np.asarray(mask, dtype=bool).T.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def decode(entry: dict[str, Any]) -> MaskArray:
    """The mask (h, w) of an entry; `counts` may be a list, or the text that pycocotools makes of it."""
    height, width = entry["size"]
    counts = entry["counts"]
    numbers = _numbers(counts) if isinstance(counts, str) else counts
    flat = np.repeat(np.arange(len(numbers)) % 2 == 1, numbers)
    if flat.size != height * width:
        raise ImageReadError(f"a run-length encoded mask of {height} x {width} pixels holds {flat.size}; it is damaged")
    return np.ascontiguousarray(flat.reshape(width, height).T)


def write_coco(images: Sequence[tuple[str, RoiSet]], path: str | Path) -> Path:
    """Write the regions of pictures; a region's category is its name, or its number where it has none.

    Args:
        images: file name and regions of each picture.
        path: the JSON file.

    Raises:
        InputError: if an image is no picture of the plane.
    """
    names: dict[str, int] = {}
    annotations: list[dict[str, Any]] = []
    for number, (name, rois) in enumerate(images, start=1):
        if rois.grid.ndim != 2:
            raise InputError(f"{name}: COCO holds regions of 2D images; these are {rois.grid.ndim}D")
        for row, (roi, mask) in enumerate(zip(rois.rois, rois.masks(), strict=True), start=1):
            category = names.setdefault(roi.name or f"region {row}", len(names) + 1)
            y, x = roi.start
            box = [int(x), int(y), int(roi.stop[1] - x), int(roi.stop[0] - y)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": encode(mask),
                    "area": int(mask.sum()),
                    "bbox": box,
                    "iscrowd": 1,
                }
            )
    sizes = [
        {"id": number, "file_name": name, "height": rois.grid.shape[0], "width": rois.grid.shape[1]}
        for number, (name, rois) in enumerate(images, start=1)
    ]
    categories = [{"id": number, "name": name} for name, number in names.items()]
    write_json(path, {"images": sizes, "categories": categories, "annotations": annotations})
    return Path(path)


def read_coco(path: str | Path, image: str | None = None) -> RoiSet:
    """The regions of one picture, in pixels.

    Args:
        path: the JSON file; its masks are run-length encoded.
        image: file name of the picture, where there are several.

    Raises:
        ImageReadError: if it is no such file, or does not hold that picture.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        pictures = [entry for entry in content["images"] if image in (None, entry["file_name"])]
        names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        there = ", ".join(str(entry["file_name"]) for entry in content["images"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageReadError(f"{path}: is no COCO file: {error}") from None
    if len(pictures) != 1:
        raise ImageReadError(f"{path}: holds the pictures {there}; name one of them")
    try:
        rows = [entry for entry in content["annotations"] if entry["image_id"] == pictures[0]["id"]]
        masks = [decode(entry["segmentation"]) for entry in rows]
        shape = int(pictures[0]["height"]), int(pictures[0]["width"])
    except ImageReadError as error:
        raise ImageReadError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ImageReadError(f"{path}: is no COCO file with run-length encoded masks: {error}") from None
    if not masks:
        raise ImageReadError(f"{path}: holds no region of that picture")
    return RoiSet.from_masks(masks, Grid(shape, (1.0, 1.0), unit="px"), names=[names[r["category_id"]] for r in rows])


def _numbers(text: str) -> list[int]:
    """The counts of a compressed text: six bits a character, of which five count; from the third on, differences."""
    numbers: list[int] = []
    at = 0
    while at < len(text):
        value, shift, more = 0, 0, True
        while more:
            bits = ord(text[at]) - 48
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            at, shift = at + 1, shift + 5
            if not more and bits & 0x10:
                value |= -1 << shift
        numbers.append(value + numbers[-2] if len(numbers) > 2 else value)
    return numbers
