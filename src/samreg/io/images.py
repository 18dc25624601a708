"""Images and label maps in and out.

Medical formats keep their geometry and are in LPS millimetres, whatever the file says. PNG, JPEG and TIFF are
photographs: 2D, unit `px`, spacing 1, the centre of the first pixel at the origin; resolution tags are ignored. A file
with one slice of a volume stays 3D. What a reader had to decide is told as an `InputWarning` (`samreg.notes`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import GeometryError, ImageReadError, InputError
from samreg.files import written
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.io.foreign import foreign_format
from samreg.io.formats import FORMATS, Format, format_of, inspect
from samreg.io.itk import quiet, to_itk
from samreg.io.nifti import is_oriented, read_nifti
from samreg.io.pictures import read_picture
from samreg.io.volumes import read_meta, read_nrrd
from samreg.types import LabelArray

if TYPE_CHECKING:
    import SimpleITK

__all__ = [
    "as_type",
    "checked_image",
    "read_image",
    "read_labels",
    "read_values",
    "save",
    "write_image",
    "write_labels",
]


def read_image(path: str | Path, *, frame: int | None = None, series: str | int | None = None) -> Image:
    """Read NIfTI, NRRD, MetaImage, a DICOM file or series folder, PNG, JPEG or TIFF.

    Grey values become float32; slope and intercept are applied; RGB stays RGB, transparency is dropped.

    Args:
        path: a file, or a folder that holds DICOM series.
        frame: number of the frame, phase or page, from 1, where the input holds several.
        series: number or UID of the DICOM series, where a folder holds several.

    Returns:
        The image; its name is that of the file or folder.

    Raises:
        ImageReadError: if the path is missing, damaged, mislabelled, of a kind samreg does not read, or
            if the image has several frames or series and none was chosen, no one geometry, vectors, NaN or infinite
            values, or one value everywhere.
    """
    source = Path(path)
    image = checked_image(*read_values(source, frame=frame, series=series), source)
    if source.is_file() and (kind := format_of(source)) is not None and kind.name == "NIfTI":
        return replace(image, oriented=is_oriented(source))
    return image


def read_values(
    path: str | Path, *, frame: int | None = None, series: str | int | None = None
) -> tuple[np.ndarray, Grid]:
    """The values of an image in the type that its file has, slope and intercept applied, and their grid.

    Args:
        path: as of `read_image`.
        frame: as of `read_image`.
        series: as of `read_image`.

    Returns:
        `(*shape)` grey values or `(*shape, 3)` RGB; not checked for NaN.

    Raises:
        ImageReadError: if the file cannot be read.
    """
    source = Path(path)
    data, grid, kind = _load(source, frame, series)
    return _colour_or_grey(data, grid, kind, source), grid


def checked_image(data: np.ndarray, grid: Grid, path: str | Path) -> Image:
    """What `read_values` gave as an image, in float32.

    Raises:
        ImageReadError: if there are NaN or infinite values, or one value everywhere.
    """
    source, stored = Path(path), data.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        data = data.astype(np.float32)
    bad = int(data.size - np.isfinite(data).sum())
    if bad:
        raise ImageReadError(f"{source}: holds {bad} NaN or infinite values; replace them, for example by 0")
    if data.min() == data.max():
        raise ImageReadError(f"{source}: every voxel is {data.flat[0]:g}; there is nothing to register in it")
    return Image(data, grid, source.name or source.resolve().name, stored)


def read_labels(
    path: str | Path, *, frame: int | None = None, series: str | int | None = None
) -> tuple[LabelArray, Grid]:
    """Read a label map: any image format with whole numbers but JPEG, or a segmentation (.seg.nrrd).

    The segments of a `.seg.nrrd` keep their label values where these are unique and are numbered from 1
    otherwise; where segments overlap the smaller one is on top. Of a picture with a palette the labels are the numbers
    of the palette, of one with 1 bit 0 and 255.

    Args:
        path: a file, or a folder that holds DICOM series.
        frame: number of the frame, phase or page, from 1, where the input holds several.
        series: number or UID of the DICOM series, where a folder holds several.

    Returns:
        `(*shape)` int32 labels, 0 is background, and their grid.

    Raises:
        ImageReadError: as `read_image`, and if the values are not whole numbers.
    """
    source = Path(path)
    if source.name.lower().endswith(".seg.nrrd"):
        from samreg.io.segmentation import read_segmentation

        rois, values = read_segmentation(source)
        return rois.label_map(values), rois.grid
    data, grid, _ = _load(source, frame, series, labels=True)
    if data.ndim != grid.ndim:
        raise ImageReadError(f"{source}: is a colour or vector image; a label map has one whole number a voxel")
    if np.iscomplexobj(data):
        raise ImageReadError(f"{source}: holds complex numbers; a label map has one whole number a voxel")
    if not np.issubdtype(data.dtype, np.integer):
        off = data[~(np.isfinite(data) & (data == np.rint(data)))]
        if off.size:
            raise ImageReadError(f"{source}: holds {off.flat[0]:g}; a label map has whole numbers only")
    if data.max() > np.iinfo(np.int32).max or data.min() < np.iinfo(np.int32).min:
        raise ImageReadError(f"{source}: holds labels beyond 32 bits; renumber them")
    return data.astype(np.int32), grid


def write_image(image: Image, path: str | Path, dtype: np.dtype | None = None) -> Path:
    """Write an image; the format follows the file name.

    Medical formats keep float32 grey values; colour is rounded to 8 bits (16 where values exceed 255). PNG, JPEG
    and TIFF take 2D images in pixels only, since they cannot hold a geometry, and round to 8 bits (16 where needed).

    Args:
        image: what to write.
        path: the file; its ending chooses the format.
        dtype: type of grey values in medical formats: whole numbers are rounded, if all are within the type's range,
            and stay float32 otherwise.

    Raises:
        InputError: if the format is unknown, cannot be written or cannot hold this image.
    """
    target = Path(path)
    if format_of(target) is None and (foreign := foreign_format(target)) is not None:
        with written(target, foreign[0]) as part:
            foreign[1].write(image, part)
        return target
    kind = _writable(target)
    data = image.data
    if kind.photograph and (image.grid.ndim != 2 or image.grid.unit != "px"):
        raise InputError(
            f"{target}: {kind.name} holds 2D images in pixels only and this one is {image.grid.ndim}D in "
            f"{image.grid.unit}; choose .nii.gz, .nrrd or .mha"
        )
    if kind.photograph or image.is_colour:
        wide = kind.name != "JPEG" and float(data.max(initial=0)) > 255
        limit = np.iinfo(np.uint16 if wide else np.uint8)
        data = np.clip(np.rint(data), limit.min, limit.max).astype(limit.dtype)
    elif dtype is not None:
        data = as_type(data, dtype)
    return save(to_itk(data, image.grid), target)


def as_type(data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The values in another type, rounded where it is of whole numbers; as they are where it cannot hold them."""
    if np.issubdtype(dtype, np.floating):
        return data.astype(dtype)
    limit, values = np.iinfo(dtype), np.rint(data)
    # The limits as floats: the largest 64-bit number is none.
    if values.min(initial=0) < float(limit.min) or values.max(initial=0) >= float(limit.max) + 1:
        return data
    return np.asarray(values, dtype=dtype)


def write_labels(labels: LabelArray, grid: Grid, path: str | Path, dtype: np.dtype | None = None) -> Path:
    """Write a label map in the smallest integer type that holds it, or in the type given, if it holds it.

    Raises:
        InputError: if the format is unknown or cannot hold labels exactly.
    """
    target = Path(path)
    kind = _writable(target)
    values = np.asarray(labels)
    if values.shape != grid.shape:
        raise GeometryError(f"labels have shape {values.shape}, their grid has {grid.shape}")
    if kind.name == "JPEG" or (kind.photograph and (grid.ndim != 2 or grid.unit != "px")):
        raise InputError(f"{target}: {kind.name} cannot hold this label map; choose .nii.gz, .nrrd or .mha")
    if dtype is not None and not kind.photograph and np.array_equal(kept := as_type(values, dtype), values):
        return save(to_itk(kept, grid), target)
    small = (np.uint8, np.uint16, np.int32)
    smallest = next(t for t in small if values.min() >= np.iinfo(t).min and values.max() <= np.iinfo(t).max)
    return save(to_itk(values.astype(smallest), grid), target)


def _load(
    source: Path, frame: int | None, series: str | int | None, *, labels: bool = False
) -> tuple[np.ndarray, Grid, Format]:
    """Values in the type of the file, `(*shape)` or `(*shape, components)`, their grid, and the format."""
    if source.is_dir():
        from samreg.io.dicom import read_folder

        return *read_folder(source, frame=frame, series=series, labels=labels), FORMATS[".dcm"]
    if format_of(source) is None and (foreign := foreign_format(source)) is not None:
        image = foreign[1].read(source)
        return image.data, image.grid, Format(foreign[0], "", photograph=image.grid.unit == "px")
    kind = inspect(source)
    if series is not None:
        raise ImageReadError(f"{source}: is one file; --series chooses in a folder of DICOM files, leave it out")
    if kind.name == "DICOM":
        from samreg.io.dicom import read_file

        return *read_file(source, frame=frame, labels=labels), kind
    if kind.name == "NIfTI":
        return *read_nifti(source, frame), kind
    if not kind.photograph:
        read = read_nrrd if kind.name == "NRRD" else read_meta
        return *read(source, frame), kind
    if labels and kind.name == "JPEG":
        raise ImageReadError(f"{source}: is a JPEG, which changes labels at their edges; save the label map as PNG")
    data = read_picture(source, kind.name, frame, labels=labels)
    return data, Grid(data.shape[:2], (1.0, 1.0), unit="px"), kind


def _colour_or_grey(data: np.ndarray, grid: Grid, kind: Format, source: Path) -> np.ndarray:
    if np.iscomplexobj(data):
        raise ImageReadError(f"{source}: holds complex numbers; save the magnitude")
    if data.ndim == grid.ndim:
        return data
    components = data.shape[-1]
    if np.issubdtype(data.dtype, np.integer) and components in (3, 4):
        return np.ascontiguousarray(data[..., :3])
    if kind.photograph:
        raise ImageReadError(f"{source}: has {components} {data.dtype} values a pixel; save it as grey or 8-bit RGB")
    raise ImageReadError(
        f"{source}: has {components} {data.dtype} values a voxel, as a displacement field has; an image has 1, or RGB"
    )


def _writable(target: Path) -> Format:
    kind = format_of(target)
    if kind is None or not kind.writable:
        known = " ".join(sorted(suffix for suffix, known in FORMATS.items() if known.writable))
        raise InputError(f"{target}: cannot write this kind of file; choose one of {known}")
    return kind


def save(image: SimpleITK.Image, target: Path) -> Path:
    """Write a SimpleITK image beside its place and move it there: a reader never meets half a file.

    Raises:
        InputError: if the format is unknown or the file cannot be written.
    """
    kind = _writable(target)
    import SimpleITK as sitk

    if not target.parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist")
    suffix = next(s for s in FORMATS if target.name.lower().endswith(s))
    try:
        with written(target, suffix) as part:
            writer = sitk.ImageFileWriter()
            writer.SetImageIO(kind.engine)
            writer.SetFileName(str(part))
            writer.SetUseCompression(kind.name != "TIFF")
            if kind.name == "JPEG":
                writer.SetCompressionLevel(95)
            with quiet():
                writer.Execute(image)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1]
        raise InputError(f"{target}: cannot be written: {reason}") from None
    return target
