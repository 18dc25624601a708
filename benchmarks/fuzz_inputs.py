"""Small valid inputs of every reader, and ways to damage them; `benchmarks.fuzz` reads them.

A target is a kind of input: what makes valid examples of it in a folder, and what reads one. Damage is drawn from a
random generator, so that the number of an input is enough to make it again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from PIL import Image as Picture
from pydicom.dataset import FileDataset, FileMetaDataset

import samreg
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.phantom import phantom
from samreg.geometry.rois import RoiSet

__all__ = ["TARGETS", "Target", "damaged"]

_DEEP = Grid((4, 6, 5), (1.5, 1.2, 3.0), (-20.0, 30.0, 7.0))
_FLAT = Grid((6, 5), (1.5, 1.2), (-20.0, 30.0))


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Args:
        make: fills an empty folder with valid examples and returns the path of each; a path may be a folder.
        read: reads one, through the function that a user or a command calls.
        text: whether its bytes are text: words and numbers are damaged rather than bytes.
        packed: `gzip` where the damage goes inside the compression, `digest` where the file begins with the sha256 of
            the rest, which is set right after the damage.
    """

    make: Callable[[Path], list[Path]]
    read: Callable[[Path], object]
    text: bool = False
    packed: str = ""


def _values(shape: tuple[int, ...]) -> np.ndarray:
    return ((np.arange(int(np.prod(shape))).reshape(shape) ** 2) % 251 + 3).astype(np.int16)


def _images(endings: tuple[str, ...]) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        paths = []
        for grid in (_DEEP, _FLAT):
            image = sitk.GetImageFromArray(_values(grid.shape))
            image.SetSpacing(grid.spacing)
            image.SetOrigin(grid.origin)
            for ending in endings:
                path = folder / f"{grid.ndim}d{ending}"
                sitk.WriteImage(image, str(path), useCompression=ending in (".nii.gz", ".nrrd"))
                paths.append(path)
        return paths

    return make


def _read_both(path: Path) -> object:
    """As an image and as a label map: what the first refuses the second may take."""
    from samreg.io.images import read_labels

    try:
        return samreg.read_image(path)
    finally:
        read_labels(path)


def _dicom(path: Path, number: int, **tags: object) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.StudyInstanceUID, file.SeriesInstanceUID, file.InstanceNumber, file.Modality = "1.2", "1.2.3", number, "CT"
    file.ImagePositionPatient, file.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
    file.PixelSpacing, file.SliceThickness = [1.2, 1.5], 3
    file.RescaleSlope, file.RescaleIntercept = 1, -1024
    file.Rows, file.Columns, file.SamplesPerPixel, file.PhotometricInterpretation = 6, 5, 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
    file.PixelData = (_values((6, 5)) + number).tobytes()
    for key, value in tags.items():
        setattr(file, key, value)
    file.save_as(path, enforce_file_format=True)


def _make_dicom(folder: Path) -> list[Path]:
    _dicom(folder / "one.dcm", 1)
    many = np.stack([_values((6, 5)) + k for k in range(3)])
    _dicom(folder / "many.dcm", 2, NumberOfFrames=3, PixelData=many.tobytes())
    return [folder / "one.dcm", folder / "many.dcm"]


def _make_series(folder: Path) -> list[Path]:
    series = folder / "series"
    series.mkdir()
    for k in range(3):
        _dicom(series / f"{k}.dcm", k + 1)
    return [series]


def _make_pictures(folder: Path) -> list[Path]:
    grey = _values((12, 10)).astype(np.uint8)
    paths = []
    for name, mode in (("grey", "L"), ("rgb", "RGB"), ("palette", "P")):
        picture = Picture.fromarray(grey).convert(mode)
        for ending in (".png", ".tif", ".jpg"):
            if mode == "P" and ending == ".jpg":
                continue
            picture.save(folder / f"{name}{ending}")
            paths.append(folder / f"{name}{ending}")
    return paths


def _rois(grid: Grid) -> RoiSet:
    masks = np.zeros((2, *grid.shape), bool)
    masks[0, ..., :3, :2] = True
    masks[1, ..., 2:5, 1:4] = True
    return RoiSet.from_masks(masks, grid)


def _make_segmentation(folder: Path) -> list[Path]:
    from samreg.io.segmentation import write_segmentation

    path = folder / "rois.seg.nrrd"
    write_segmentation(_rois(_DEEP), path)
    return [path]


def _read_segmentation(path: Path) -> object:
    from samreg.io.segmentation import read_segmentation

    return read_segmentation(path)


def _field() -> DisplacementField:
    u = np.random.default_rng(0).normal(0, 0.2, (*_DEEP.shape, 3)).astype(np.float32)
    return DisplacementField(u, _DEEP)


def _make_transforms(folder: Path) -> list[Path]:
    from samreg.io.transforms import write_affine, write_displacement, write_transform

    affine = np.eye(4)
    affine[:3, 3] = (6, -4, 3)
    return [
        write_transform(_field(), folder / "transform.h5"),
        write_affine(affine, folder / "affine.tfm"),
        write_affine(affine, folder / "affine.mat"),
        write_displacement(_field(), folder / "field.nii.gz"),
    ]


def _read_transform(path: Path) -> object:
    from samreg.io.transforms import read_displacement, read_transform

    return read_displacement(path) if path.name.endswith(".nii.gz") else read_transform(path, _DEEP)


_TABLES = {
    "named.csv": "label,x,y,z\nApex,1.5,2,3\nBase,4,5,6.25\n",
    "ras.csv": "r,a,s\n1,2,3\n4,5,6\n",
    "voxels.csv": "i;j;k\n1;2;3\n0;1;2\n",
    "plain.txt": "1 2 3\n4 5 6\n",
    "slicer.fcsv": "# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n# columns = id,x,y,z,ow,ox,oy,oz,"
    "vis,sel,lock,label,desc,associatedNodeID\n1,1.5,2,3,0,0,0,1,1,1,0,F-1,,\n2,4,5,6,0,0,0,1,1,1,0,F-2,,\n",
    "slicer.mrk.json": json.dumps({
        "markups": [{
            "type": "Fiducial",
            "coordinateSystem": "LPS",
            "controlPoints": [
                {"id": "1", "label": "A", "position": [1.0, 2.0, 3.0], "positionStatus": "defined"},
                {"id": "2", "label": "B", "position": [4.0, 5.0, 6.0], "positionStatus": "defined"},
            ],
        }]
    }),
}  # fmt: skip


def _make_points(folder: Path) -> list[Path]:
    for name, text in _TABLES.items():
        (folder / name).write_text(text)
    return [folder / name for name in _TABLES]


def _read_points(path: Path) -> object:
    from samreg.io.points import read_labelled_points, read_points

    read_labelled_points(path, _DEEP)
    return read_points(path, _DEEP)


def _make_pairs(folder: Path) -> list[Path]:
    for name in ("a.nii.gz", "b.nii.gz"):
        (folder / name).write_bytes(b"")
    path = folder / "pairs.csv"
    path.write_text("id,fixed,moving,intra_subject\none,a.nii.gz,b.nii.gz,1\ntwo,b.nii.gz,a.nii.gz,0\n")
    return [path]


def _read_pairs(path: Path) -> object:
    from samreg.io.tables import read_pairs

    return read_pairs(path)


def _make_run(folder: Path) -> list[Path]:
    from samreg.geometry.image import Image
    from samreg.geometry.rois import PairedRois
    from samreg.pipeline import register_regions
    from samreg.regions.regions import Regions

    images = [Image(_values(_DEEP.shape).astype(np.float32) + k, _DEEP, f"image{k}") for k in range(2)]
    pairs = PairedRois(_rois(_DEEP), _rois(_DEEP), np.ones(2))
    result = register_regions(*(Regions.none(image) for image in images), preset="fast", extra_pairs=pairs)
    samreg.write_run(result, folder / "run")
    return [folder / "run"]


def _read_run(path: Path) -> object:
    return samreg.read_run(path)


_SETTINGS = {
    "flat.toml": 'epsilon = 0.7\nmax_pairs = 3\nsegmenter = "litemedsam"\n',
    "tables.toml": "[match]\nepsilon = 0.7\n\n[fit.flow]\nflow_iterations = [40, 40, 30]\n",
    "manifest.json": json.dumps({"config": {"match": {"epsilon": 0.7}, "seed": 3}}),
}


def _make_settings(folder: Path) -> list[Path]:
    for name, text in _SETTINGS.items():
        (folder / name).write_text(text)
    return [folder / name for name in _SETTINGS]


def _read_settings(path: Path) -> object:
    from samreg.cli.settings_file import read_settings

    return read_settings(path)


def _make_weights(folder: Path) -> list[Path]:
    import torch
    from safetensors.torch import save_file

    tensors = {"image_encoder.a": torch.ones(3, 2), "mask_decoder.b": torch.zeros(4)}
    torch.save(tensors, folder / "plain.pth")
    torch.save({"model": tensors}, folder / "nested.pth")
    save_file(tensors, folder / "plain.safetensors")
    return [folder / "plain.pth", folder / "nested.pth", folder / "plain.safetensors"]


def _read_weights(path: Path) -> object:
    from samreg.segmenters.weights.checkpoints import read_tensors

    return read_tensors(path)


def _make_cache(folder: Path) -> list[Path]:
    from samreg.regions.cache import RegionsCache
    from samreg.regions.regions import FeatureVolume, Regions

    image = phantom(2).fixed
    masks = np.zeros((2, *image.grid.shape), bool)
    masks[0, 3:9, 4:12] = masks[1, 10:20, 11:14] = True
    features = FeatureVolume(np.ones((4, 3, 3), np.float16), Grid((3, 3), (40.0, 40.0)))
    rois = RoiSet.from_masks(masks, image.grid)
    cache = RegionsCache(folder)
    cache.put("a" * 64, Regions(image, rois, np.ones((2, 4), np.float32), features, None, np.full(2, -1)))
    return [cache.path("a" * 64)]


def _read_cache(path: Path) -> object:
    from samreg.regions.cache import RegionsCache

    return RegionsCache(path.parent.parent).get("a" * 64, phantom(2).fixed)


TARGETS = {
    "nifti": Target(_images((".nii", ".nii.gz")), _read_both),
    "nifti-inside": Target(_images((".nii.gz",)), _read_both, packed="gzip"),
    "nrrd": Target(_images((".nrrd",)), _read_both),
    "metaimage": Target(_images((".mha", ".mhd")), _read_both),
    "dicom": Target(_make_dicom, _read_both),
    "dicom-series": Target(_make_series, _read_both),
    "pictures": Target(_make_pictures, _read_both),
    "segmentation": Target(_make_segmentation, _read_segmentation),
    "transforms": Target(_make_transforms, _read_transform),
    "points": Target(_make_points, _read_points, text=True),
    "pairs-table": Target(_make_pairs, _read_pairs, text=True),
    "run-folder": Target(_make_run, _read_run),
    "settings": Target(_make_settings, _read_settings, text=True),
    "weights": Target(_make_weights, _read_weights),
    "cache": Target(_make_cache, _read_cache, packed="digest"),
}
"""Every kind of input by its name."""

_TEXT_FILES = (".json", ".csv", ".txt", ".toml", ".fcsv", ".tfm", ".mhd")
_NUMBERS = (
    *(
        "0",
        "-1",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e-400",
        "99999999999999999999",
        "-0",
        "2147483648",
        "0.001",
        "1000000",
    ),
    *("", "none", "null", "true", "[]", "{}", "x", "'", "\\", "\N{GREEK SMALL LETTER ALPHA}", "1,5", "1e3", "../../x"),
)
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def damaged(content: bytes, name: str, target: Target, random: np.random.Generator) -> bytes:
    """The content of a file, damaged in one to four places.

    Args:
        content: the valid bytes.
        name: of the file; its ending tells text from bytes.
        target: the kind of input.
        random: what decides.
    """
    if target.packed == "gzip":
        return gzip.compress(_bytes_damaged(gzip.decompress(content), random), 1)
    if target.packed == "digest":
        payload = _bytes_damaged(content[32:], random)
        return hashlib.sha256(payload).digest() + payload
    if target.text or name.endswith(_TEXT_FILES):
        return _text_damaged(content, random)
    header = content.find(b"\n\n") if content.startswith(b"NRRD") else content.find(b"ElementDataFile")
    if header > 0 and random.random() < 0.7:
        return _text_damaged(content[:header], random) + content[header:]
    return _bytes_damaged(content, random)


def _bytes_damaged(content: bytes, random: np.random.Generator) -> bytes:
    out = bytearray(content)
    for _ in range(int(random.integers(1, 5))):
        # Headers decide most: half of the places are in the first 512 bytes.
        end = len(out) if random.random() < 0.5 else min(len(out), 512)
        at = int(random.integers(0, max(1, end)))
        kind = int(random.integers(0, 7))
        if kind == 0:
            out = out[:at]
        elif kind == 1:
            out[at:at] = random.bytes(int(random.integers(1, 64)))
        elif kind == 2:
            del out[at : at + int(random.integers(1, 64))]
        elif kind == 3 and at < len(out):
            out[at] ^= 1 << int(random.integers(0, 8))
        elif kind == 4 and at < len(out):
            out[at] = int(random.integers(0, 256))
        elif kind == 5:
            value = _EXTREMES[int(random.integers(0, len(_EXTREMES)))]
            form = "<I" if value > 0xFFFF else "<H"
            out[at : at + struct.calcsize(form)] = struct.pack(form, value)
        else:
            value = (float("nan"), float("inf"), -1.0, 0.0, 1e30)[int(random.integers(0, 5))]
            at -= at % 4
            out[at : at + 4] = struct.pack("<f", value)
        if not out:
            break
    return bytes(out)


def _text_damaged(content: bytes, random: np.random.Generator) -> bytes:
    import re

    out = content
    for _ in range(int(random.integers(1, 4))):
        parts = re.split(rb"(-?\d+\.?\d*|\w+|[^\w\s])", out)
        places = [i for i, part in enumerate(parts) if part.strip()]
        kind = int(random.integers(0, 6))
        if not places or kind == 5:
            out = _bytes_damaged(out, random)
            continue
        at = places[int(random.integers(0, len(places)))]
        if kind in (0, 1):
            parts[at] = _NUMBERS[int(random.integers(0, len(_NUMBERS)))].encode()
        elif kind == 2:
            parts[at] = b""
        elif kind == 3:
            parts[at] = parts[at] + b" " + parts[at]
        else:
            other = places[int(random.integers(0, len(places)))]
            parts[at], parts[other] = parts[other], parts[at]
        out = b"".join(parts)
    return out
