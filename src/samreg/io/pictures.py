"""PNG, JPEG and TIFF as viewers show them: upright, white where it is white, without transparency.

ITK reads the pixels of JPEG, and of all with more than 8 bits a channel, which Pillow would reduce. Pillow reads the
others, where ITK mixes grey with transparency, leaves WhiteIsZero inverted and turns masks into colour. Orientation is
that of the TIFF or EXIF tag 274.
"""

from __future__ import annotations

import contextlib
import io
import struct
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.errors import ImageReadError
from samreg.io.extents import check_extent
from samreg.io.frames import chosen_frame
from samreg.io.itk import array_of, read_itk
from samreg.notes import hushed, note

if TYPE_CHECKING:
    from PIL import Image as PillowImage

__all__ = ["read_picture"]

_PILLOW = threading.Lock()
_ORIENTATION = 274
_STORED, _YCBCR = 1, 6
_AT_MOST_DEFLATED = (8, 32946, 32773)  # Compression: deflate by two numbers, and PackBits, which packs less
_REDUCED_OR_MASK = 1 | 4  # TIFF NewSubfileType: a smaller copy of another page, or its mask


def read_picture(source: Path, name: str, frame: int | None = None, *, labels: bool = False) -> np.ndarray:
    """Read a picture.

    Args:
        source: the file.
        name: its format: PNG, JPEG or TIFF.
        frame: number of the page, from 1, where there are several.
        labels: give the numbers of a palette in place of their colours.

    Returns:
        `(y, x)` grey values or `(y, x, 3)` colours, in the type of the file.

    Raises:
        ImageReadError: if the picture is damaged, has several pages, or channels without a meaning.
    """
    with _pillow(source, name):
        if name == "TIFF":
            data, orientation = _tiff(source, frame, labels)
        elif name == "JPEG":
            chosen_frame(source, frame, 1, "")
            data, orientation = _jpeg(source)
        else:
            data, orientation = _png(source, frame, labels)
    return np.ascontiguousarray(_upright(data, orientation))


@contextlib.contextmanager
def _pillow(source: Path, name: str) -> Iterator[None]:
    """Pillow's exceptions as ours; its limit on the size of a picture is off, since slides are large."""
    from PIL import Image, UnidentifiedImageError

    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        except UnidentifiedImageError:
            raise ImageReadError(f"{source}: cannot be read as {name}, it is damaged or of a rare kind") from None
        except (
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            LookupError,
            TypeError,
            OverflowError,
            MemoryError,
            struct.error,
        ) as error:
            if isinstance(error, ImageReadError):
                raise
            reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
            raise ImageReadError(f"{source}: is damaged or incomplete ({reason}); copy it again") from None
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _opened(source: Path | io.BytesIO) -> PillowImage.Image:
    from PIL import Image

    with hushed():  # of metadata that nobody here reads
        return Image.open(source)


def _upright(data: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as viewers show it; the eight values of EXIF 2.3, tag 274."""
    turns = {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(orientation, 0)
    upright: np.ndarray = np.rot90(data[:, ::-1] if orientation in (2, 4, 5, 7) else data, turns)
    return upright


def _jpeg(source: Path) -> tuple[np.ndarray, int]:
    with _opened(source) as picture:
        orientation = int(picture.getexif().get(_ORIENTATION, 1))
        if picture.mode not in ("L", "RGB"):
            return np.asarray(picture.convert("RGB")), orientation
    return array_of(read_itk(source, "JPEGImageIO", "JPEG", pages={})), orientation


def _png(source: Path, frame: int | None, labels: bool) -> tuple[np.ndarray, int]:
    with source.open("rb") as stream:
        head = stream.read(26)
    depth, colour = head[24], head[25]
    with _opened(source) as picture:
        count = int(getattr(picture, "n_frames", 1))
        picture.seek(chosen_frame(source, frame, count, f"is an animation of {count} pictures"))
        picture.load()
        orientation = int(picture.getexif().get(_ORIENTATION, 1))
        if depth < 16 or count > 1:
            return _plain(picture, source, labels), orientation
    data = array_of(read_itk(source, "PNGImageIO", "PNG", pages={}))
    channels = 3 if colour & 2 else 1
    if data.ndim == 3 and data.shape[-1] > channels:
        _note_transparency(data[..., -1], source)
        data = data[..., 0] if channels == 1 else data[..., :3]
    return data, orientation


def _plain(picture: PillowImage.Image, source: Path, labels: bool) -> np.ndarray:
    """The pixels of a picture that Pillow holds in 8 bits, without palette and transparency."""
    if picture.mode == "P" and labels:
        return np.asarray(picture)
    if "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.mode in ("P", "RGB") else "LA")
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        picture = picture.convert({"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}.get(picture.mode, picture.mode))
        _note_transparency(np.asarray(picture)[..., -1], source)
        data = np.asarray(picture)[..., :-1]
        data = data[..., 0] if data.shape[-1] == 1 else data
    elif picture.mode == "1":
        data = np.asarray(picture.convert("L"))
    elif picture.mode in ("L", "RGB", "I", "F") or picture.mode.startswith("I;16"):
        data = np.asarray(picture)
    elif picture.mode in ("P", "CMYK", "YCbCr", "RGBX"):
        data = np.asarray(picture.convert("RGB"))
    else:
        raise ImageReadError(f"{source}: has pixels of the kind {picture.mode}; save it as grey or RGB")
    if picture.mode == "P" and (data[..., :1] == data).all():  # a palette of greys
        data = data[..., 0]
    return data


def _note_transparency(alpha: np.ndarray, source: Path) -> None:
    if alpha.min() != alpha.max():
        note(f"{source}: parts of it are transparent; the transparency is dropped, and what lies under it counts")


@dataclass(frozen=True)
class _Page:
    """What the tags of one page of a TIFF say of its pixels (TIFF 6.0)."""

    samples: int
    extra: tuple[int, ...]
    bits: int
    photometric: int
    floating: bool
    orientation: int
    place: int
    shape: tuple[int, int]
    compression: int

    @property
    def channels(self) -> int:
        """Channels that are seen: all but those that ExtraSamples names, and the alpha that some writers leave out."""
        seen = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}.get(self.photometric, self.samples)
        return self.samples if self.samples - seen > 1 or self.samples < seen else seen


def _tiff(source: Path, frame: int | None, labels: bool) -> tuple[np.ndarray, int]:
    pages, total = _pages(source)
    number = chosen_frame(source, frame, len(pages), f"is a TIFF with {len(pages)} pages")
    index, page = pages[number]
    _check_page(source, page)
    spare = page.samples - page.channels
    if page.photometric in (0, 1) and page.samples == 2 and page.extra[:1] not in ((1,), (2,)):
        raise ImageReadError(f"{source}: has 2 channels that are not grey and transparency; save the one to register")
    if page.channels not in (1, 3, 4) or (page.channels == 4 and page.photometric != 5):
        raise ImageReadError(f"{source}: has {page.samples} channels a pixel; save the one to register, or RGB")
    if spare and page.extra[:1] not in ((1,), (2,)):
        note(f"{source}: has a fourth channel that is not transparency; it is dropped")
    content = source.read_bytes() if page.orientation == 1 else _unturned(source.read_bytes(), page)
    if page.bits <= 8:
        with _opened(io.BytesIO(content)) as picture:
            picture.seek(index)
            picture.load()
            return _plain(picture, source, labels), page.orientation
    if spare and page.photometric in (0, 1):
        raise ImageReadError(f"{source}: is grey with transparency in {page.bits} bits; save it without transparency")
    data = _wide_tiff(source, content, {total: index, len(pages): number})
    if spare:
        _note_transparency(data[..., -1], source)
        data = data[..., : page.channels]
    if page.photometric == 0:
        if page.floating:
            raise ImageReadError(f"{source}: is WhiteIsZero in floating point, which has no white; save it again")
        data = np.iinfo(data.dtype).max - data if data.dtype.kind == "u" else -1 - data
    return data, page.orientation


def _check_page(source: Path, page: _Page) -> None:
    """Refuse a page that promises more pixels than the file can hold, where its compression tells."""
    if page.compression in (_STORED, *_AT_MOST_DEFLATED) and page.photometric != _YCBCR:
        height, width = page.shape
        row = (width * page.samples * page.bits + 7) // 8
        deflated = page.compression != _STORED
        check_extent(source, (height, row), 1, source.stat().st_size, deflated=deflated)


def _wide_tiff(source: Path, content: bytes, pages: dict[int, int]) -> np.ndarray:
    """The pixels of a TIFF of more than 8 bits, read by ITK from a copy that lies as it is stored."""
    with tempfile.TemporaryDirectory(prefix="samreg-") as folder:
        copy = Path(folder) / "copy.tif"
        copy.write_bytes(content)
        try:
            return array_of(read_itk(copy, "TIFFImageIO", "TIFF", pages=pages, lossless=True))
        except ImageReadError as error:
            raise ImageReadError(str(error).replace(str(copy), str(source))) from None


def _unturned(content: bytes, page: _Page) -> bytes:
    """The file with an orientation of 1: Pillow and ITK turn pictures, each in some cases and with faults in others."""
    big, order = content[2:4] in (b"+\0", b"\0+"), "<" if content[:2] == b"II" else ">"
    head, entry = ("Q", 20) if big else ("H", 12)
    (count,) = struct.unpack_from(order + head, content, page.place)
    patched = bytearray(content)
    for i in range(count):
        at = page.place + struct.calcsize("<" + head) + i * entry
        tag, kind = struct.unpack_from(order + "HH", content, at)
        if tag == _ORIENTATION:
            struct.pack_into(order + {1: "B", 3: "H"}.get(kind, "I"), patched, at + entry - (8 if big else 4), 1)
    return bytes(patched)


def _pages(source: Path) -> tuple[list[tuple[int, _Page]], int]:
    """Index and tags of each page that is a picture of its own, and the number of all pages."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    pages: list[tuple[int, _Page]] = []
    seen: set[int] = set()
    with source.open("rb") as stream:
        head = stream.read(8)
        if head[2:4] in (b"+\0", b"\0+"):  # BigTIFF
            head += stream.read(8)
        directory = ImageFileDirectory_v2(head)
        index = 0
        while directory.next and directory.next not in seen:
            place = int(directory.next)
            seen.add(place)
            stream.seek(place)
            with hushed():
                directory.load(stream)
            if not int(directory.get(254, 0)) & _REDUCED_OR_MASK:
                pages.append((index, _page(directory, place)))
            index += 1
    if not pages:
        raise ImageReadError(f"{source}: is a TIFF without a page; it is damaged")
    return pages, index


def _page(tags: Any, place: int) -> _Page:
    def many(tag: int, default: tuple[int, ...]) -> tuple[int, ...]:
        value = tags.get(tag, default)
        return tuple(int(v) for v in (value if isinstance(value, tuple) else (value,)))

    return _Page(
        samples=many(277, (1,))[0],
        extra=many(338, ()),
        bits=max(many(258, (1,))),
        photometric=many(262, (1,))[0],
        floating=3 in many(339, (1,)),
        orientation=many(_ORIENTATION, (1,))[0],
        place=place,
        shape=(many(257, (0,))[0], many(256, (0,))[0]),
        compression=many(259, (1,))[0],
    )
