"""Images and label maps in and out.

Medical formats keep their geometry and are in LPS millimetres, whatever the file says: SimpleITK converts. PNG,
JPEG and TIFF are photographs: 2D, unit `px`, spacing 1, the centre of the first pixel at the origin; resolution
tags are ignored. A file with one slice of a volume stays 3D.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import GeometryError, ImageReadError, InputError
from samreg.files import written
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.io.formats import FORMATS, Format, format_of, inspect
from samreg.io.itk import array_of, grid_of, quiet, to_itk
from samreg.types import LabelArray

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["read_image", "read_labels", "save", "write_image", "write_labels"]

_DAMAGE = ("not read completely", "read error")


def read_image(path: str | Path) -> Image:
    """Read NIfTI, NRRD, MetaImage, a DICOM file or series folder, PNG, JPEG or TIFF.

    Grey values become float32; slope and intercept are applied; RGB stays RGB, transparency is dropped.

    Args:
        path: a file, or a folder that holds one DICOM series.

    Returns:
        The image; its name is that of the file or folder.

    Raises:
        ImageReadError: if the path is missing, damaged, mislabelled, of a kind samreg does not read, or
            if the image has a time axis, vectors, NaN or infinite values, or one value everywhere.
    """
    source = Path(path)
    itk_image, kind = _load(source)
    data, grid = _colour_or_grey(itk_image, source), _grid(itk_image, source, kind)
    with np.errstate(over="ignore", invalid="ignore"):
        data = data.astype(np.float32)
    bad = int(data.size - np.isfinite(data).sum())
    if bad:
        raise ImageReadError(f"{source}: holds {bad} NaN or infinite values; replace them, for example by 0")
    if data.min() == data.max():
        raise ImageReadError(f"{source}: every voxel is {data.flat[0]:g}; there is nothing to register in it")
    return Image(data, grid, source.name or source.resolve().name)


def read_labels(path: str | Path) -> tuple[LabelArray, Grid]:
    """Read a label map: any image format with whole numbers, or a segmentation (.seg.nrrd).

    The segments of a `.seg.nrrd` keep their label values where these are unique and are numbered from 1
    otherwise; where segments overlap the smaller one is on top.

    Returns:
        `(*shape)` int32 labels, 0 is background, and their grid.

    Raises:
        ImageReadError: as `read_image`, and if the values are not whole numbers.
    """
    source = Path(path)
    if source.name.lower().endswith(".seg.nrrd"):
        from samreg.io.rois import read_segmentation

        rois, values = read_segmentation(source)
        return rois.label_map(values), rois.grid
    itk_image, kind = _load(source)
    if itk_image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageReadError(f"{source}: is a colour or vector image; a label map has one whole number a voxel")
    data, grid = array_of(itk_image), _grid(itk_image, source, kind)
    if np.iscomplexobj(data):
        raise ImageReadError(f"{source}: holds complex numbers; a label map has one whole number a voxel")
    if not np.issubdtype(data.dtype, np.integer):
        off = data[~(np.isfinite(data) & (data == np.rint(data)))]
        if off.size:
            raise ImageReadError(f"{source}: holds {off.flat[0]:g}; a label map has whole numbers only")
    if data.max() > np.iinfo(np.int32).max or data.min() < np.iinfo(np.int32).min:
        raise ImageReadError(f"{source}: holds labels beyond 32 bits; renumber them")
    return data.astype(np.int32), grid


def write_image(image: Image, path: str | Path) -> Path:
    """Write an image; the format follows the file name.

    Medical formats keep float32 grey values; colour is rounded to 8 bits (16 where values exceed 255). PNG, JPEG
    and TIFF take 2D images in pixels only, since they cannot hold a geometry, and round to 8 bits (16 where needed).

    Raises:
        InputError: if the format is unknown, cannot be written or cannot hold this image.
    """
    target = Path(path)
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
    return save(to_itk(data, image.grid), target)


def write_labels(labels: LabelArray, grid: Grid, path: str | Path) -> Path:
    """Write a label map in the smallest integer type that holds it.

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
    small = (np.uint8, np.uint16, np.int32)
    dtype = next(t for t in small if values.min() >= np.iinfo(t).min and values.max() <= np.iinfo(t).max)
    return save(to_itk(values.astype(dtype), grid), target)


def _load(source: Path) -> tuple[SimpleITK.Image, Format]:
    if source.is_dir():
        from samreg.io.dicom import read_series

        return read_series(source), FORMATS[".dcm"]
    kind = inspect(source)
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(kind.engine)
    reader.SetFileName(str(source))
    with quiet() as chatter:
        try:
            # The header first: a 4D cine of gigabytes is refused without being read.
            reader.ReadImageInformation()
            _refuse_shape(reader, source, kind)
            image = reader.Execute()
        except RuntimeError as error:
            raise ImageReadError(f"{source}: {_reason(str(error), kind)}") from None
    if any(sign in chatter.text for sign in _DAMAGE):
        raise ImageReadError(f"{source}: is cut off or damaged: the {kind.name} data end early; copy it again")
    while image.GetDimension() > 3:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]  # the other axes have length 1
    return image, kind


def _refuse_shape(reader: SimpleITK.ImageFileReader, source: Path, kind: Format) -> None:
    size = reader.GetSize()
    if kind.photograph and len(size) != 2:
        raise ImageReadError(f"{source}: is a {kind.name} with {size[2]} pages; save the one to register as a file")
    if any(n > 1 for n in size[3:]):
        raise ImageReadError(
            f"{source}: is {len(size)}D ({' x '.join(map(str, size))}); give one 3D frame of it as a file"
        )
    if len(size) < 2:
        raise ImageReadError(f"{source}: has one axis; an image has 2 or 3")


def _reason(text: str, kind: Format) -> str:
    """ITK's exception as one clear clause."""
    if "orthonormal" in text or "determinant" in text.lower():
        return "its axes are not perpendicular (sheared affine); resample it onto a regular grid first"
    if "pacing" in text and ("zero" in text.lower() or "negative" in text.lower()):
        return "its header has a spacing that is zero or negative; correct the header"
    lines = [line.split("ITK ERROR:")[-1].strip() for line in text.splitlines() if line.strip()]
    hint = lines[-1].rstrip(".") if lines else "unknown reason"
    return f"cannot be read as {kind.name}, it is damaged or incomplete ({hint[:120]})"


def _grid(image: SimpleITK.Image, source: Path, kind: Format) -> Grid:
    if kind.photograph:
        return Grid(tuple(image.GetSize()[::-1]), (1.0, 1.0), unit="px")
    try:
        return grid_of(image)
    except GeometryError as error:
        raise ImageReadError(f"{source}: {error}") from None


def _colour_or_grey(image: SimpleITK.Image, source: Path) -> np.ndarray:
    data = array_of(image)
    if np.iscomplexobj(data):
        raise ImageReadError(f"{source}: holds complex numbers; save the magnitude")
    components = image.GetNumberOfComponentsPerPixel()
    if components == 1:
        return data
    if np.issubdtype(data.dtype, np.integer) and components in (2, 3, 4):
        return np.ascontiguousarray(data[..., 0] if components == 2 else data[..., :3])
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
