"""The bridge to SimpleITK: grids and arrays in and out, and its chatter kept off the screen."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import GeometryError, ImageReadError
from samreg.geometry.grid import Grid
from samreg.io.frames import chosen_frame
from samreg.notes import note
from samreg.types import Unit

if TYPE_CHECKING:
    import SimpleITK

__all__ = ["Chatter", "array_of", "file_grid", "grid_of", "quiet", "read_itk", "to_itk"]

_DAMAGE = ("not read completely", "read error", "eof encountered")
# What the libraries print of files that they read as they are meant: tags of other programs, colour profiles.
_HARMLESS = ("unknown field with tag", "iccp", "known incorrect srgb", "incorrect count for field")
_LEAST_COSINE = 1e-30
"""Below this a number of a direction is zero: ITK fails to decompose axes with a cosine of 5e-324, and says so."""

_STDERR = threading.Lock()


class Chatter:
    """What the C++ libraries printed while `quiet` held; `text` is filled in when it ends."""

    text: str = ""


@contextlib.contextmanager
def quiet() -> Iterator[Chatter]:
    """Keep what ITK, nifti, libjpeg and MetaIO print away from the user's terminal.

    They write to file descriptor 2 directly (for example on each ACDC header, whose sform has unit scale), where
    neither Python nor SimpleITK's warning switch sees it all. The text is kept, since for some formats it is the
    only sign of a damaged file.
    """
    chatter = Chatter()
    with _STDERR, tempfile.TemporaryFile() as kept:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # a process without a stderr has nobody to spare
            yield chatter
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield chatter
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            kept.seek(0)
            chatter.text = kept.read().decode(errors="replace")


def to_itk(data: np.ndarray, grid: Grid) -> SimpleITK.Image:
    """A SimpleITK image of an array on a grid.

    Args:
        data: `(*grid.shape)`, or `(*grid.shape, components)` for a vector image.
        grid: its geometry.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(data), isVector=data.ndim == grid.ndim + 1)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection([value if abs(value) > _LEAST_COSINE else 0.0 for row in grid.direction for value in row])
    return image


def grid_of(image: SimpleITK.Image, unit: Unit = "mm") -> Grid:
    """The grid of a SimpleITK image.

    Raises:
        GeometryError: if the header holds no usable geometry.
    """
    d = image.GetDimension()
    direction = np.asarray(image.GetDirection(), dtype=float).reshape(d, d)
    return Grid(
        tuple(image.GetSize()[::-1]),
        tuple(image.GetSpacing()),
        tuple(image.GetOrigin()),
        tuple(map(tuple, direction)),
        unit,
    )


def array_of(image: SimpleITK.Image) -> np.ndarray:
    """A copy of the voxels, array order; vector components last."""
    import SimpleITK as sitk

    return np.asarray(sitk.GetArrayFromImage(image))


def read_itk(
    source: Path,
    engine: str,
    name: str,
    frame: int | None = None,
    pages: dict[int, int] | None = None,
    *,
    lossless: bool = False,
) -> SimpleITK.Image:
    """Read a file by one of ITK's readers; what ITK prints meanwhile becomes an error or notes.

    Args:
        source: the file.
        engine: name of the ITK reader.
        name: of the format, for messages.
        frame: number of the image along the fourth axis, from 1, where there are several.
        lossless: refuse what ITK says it reads with a loss; its other remarks are not passed on.
        pages: of a picture, the page to read, from 0, by the number of pages that ITK may count.

    Returns:
        A 2D or 3D image.

    Raises:
        ImageReadError: if it cannot be read, is damaged, or has too many axes.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(engine)
    reader.SetFileName(str(source))
    with quiet() as chatter:
        try:
            # The header first: a 4D cine of gigabytes is refused without being read.
            reader.ReadImageInformation()
            _choose(reader, source, frame, pages)
            image = reader.Execute()
        except UnicodeDecodeError:  # a message of ITK with bytes of the file in it
            raise ImageReadError(f"{source}: cannot be read as {name}, it is damaged or incomplete") from None
        except RuntimeError as error:
            raise ImageReadError(f"{source}: {_reason(str(error), name)}") from None
    said = _said(chatter.text)
    if any(sign in text.lower() for text in said for sign in _DAMAGE):
        raise ImageReadError(f"{source}: is cut off or damaged: the {name} data end early; copy it again")
    if lossless and any("data loss" in text.lower() for text in said):
        raise ImageReadError(
            f"{source}: is a {name} of a rare kind; save it again in 8 or 16 bits, without compression"
        )
    for text in said:
        if not lossless and not any(sign in text.lower() for sign in _HARMLESS):
            note(f"{source}: ITK says of it: {text}")
    while image.GetDimension() > 3:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]  # the other axes have length 1
    return image


def _choose(reader: SimpleITK.ImageFileReader, source: Path, frame: int | None, pages: dict[int, int] | None) -> None:
    """Restrict the reader to the chosen frame of a fourth axis, or to a page."""
    size = list(reader.GetSize())
    if len(size) < 2:
        raise ImageReadError(f"{source}: has one axis; an image has 2 or 3")
    text = " x ".join(map(str, size))
    if pages is not None:
        if len(size) > 2:
            if size[2] not in pages:
                raise ImageReadError(f"{source}: has {size[2]} pages; save the one to register as a file")
            reader.SetExtractIndex([0, 0, pages[size[2]]])
            reader.SetExtractSize([*size[:2], 0])
        return
    if any(n > 1 for n in size[4:]):
        raise ImageReadError(f"{source}: is {len(size)}D ({text}); give one 3D image of it as a file")
    which = chosen_frame(source, frame, size[3] if len(size) > 3 else 1, f"is {len(size)}D ({text})")
    if len(size) > 3:
        reader.SetExtractIndex([0, 0, 0, which] + [0] * (len(size) - 4))
        reader.SetExtractSize([*size[:3], 1] + [1] * (len(size) - 4))


def _said(chatter: str) -> list[str]:
    """The warnings in what ITK and the libraries below it printed, a line each."""
    lines = [line.strip() for line in chatter.splitlines() if line.strip()]
    texts = [re.sub(r"^\w+ \(0x[0-9a-f]+\): *", "", line) for line in lines if not line.startswith("WARNING: In ")]
    return list(dict.fromkeys(text for text in texts if text))


def _reason(text: str, name: str) -> str:
    """ITK's exception as one clear clause."""
    if "orthonormal" in text or "determinant" in text.lower():
        return "its axes are not perpendicular (sheared affine); resample it onto a regular grid first"
    if "pacing" in text and ("zero" in text.lower() or "negative" in text.lower()):
        return "its header has a spacing that is zero or negative; correct the header"
    lines = [line.split("ITK ERROR:")[-1].strip() for line in text.splitlines() if line.strip()]
    hint = re.sub(r"\w+\(0x[0-9a-f]+\): *", "", lines[-1]).rstrip(".") if lines else "unknown reason"
    return f"cannot be read as {name}, it is damaged or incomplete ({hint[:120]})"


def file_grid(image: SimpleITK.Image, source: Path) -> Grid:
    """The grid of an image that was read from a file.

    Raises:
        ImageReadError: if the header holds no usable geometry.
    """
    try:
        return grid_of(image)
    except GeometryError as error:
        reason = str(error)
        if "orthonormal" in reason:
            reason = "its axes are not perpendicular (sheared affine); resample it onto a regular grid first"
        raise ImageReadError(f"{source}: {reason}") from None
