"""Small pictures of one structure in both images, at one scale."""

from __future__ import annotations

from html import escape

import numpy as np

from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.report.jpeg import jpeg_uri
from samreg.report.outlines import outline
from samreg.report.slices import Plane, matching_axis, plane_of, shown_window, to_bytes
from samreg.report.structures import Structure
from samreg.report.svg import cut

__all__ = ["Thumbnails"]

_PIXELS = 88
_MARGIN = 1.3
"""Side of the crop over the longer side of the region."""


class Thumbnails:
    """Makes the crops of structures.

    Args:
        pairs: the pairs.
        fixed: the fixed image.
        moving: the moving image.
    """

    def __init__(self, pairs: PairedRois, fixed: Image, moving: Image) -> None:
        plane = plane_of(fixed.grid)
        axis = None if plane.axis is None else matching_axis(fixed.grid, plane.axis, moving.grid)
        self._sides = tuple(
            (rois, image, shown, shown_window(image))
            for rois, image, shown in (
                (pairs.fixed, fixed, plane),
                (pairs.moving, moving, plane_of(moving.grid, axis)),
            )
        )

    def of(self, structure: Structure) -> tuple[str, str]:
        """Two SVG pictures, fixed and moving, of the slices in which the structure is largest."""
        found = []
        for rois, _, plane, _ in self._sides:
            index, mask = _largest(rois, structure.rows, plane)
            size = np.asarray(plane.size) / mask.shape[::-1]  # of a pixel, (x, y), in world units
            at = np.argwhere(mask)
            low, high = at.min(axis=0), at.max(axis=0) + 1
            found.append((index, mask, size, (low + high) / 2, (high - low)[::-1] * size))
        side = _MARGIN * max(float(extent.max()) for *_, extent in found)
        pictures = []
        for (_, image, plane, window), (index, mask, size, middle, _), which in zip(
            self._sides, found, ("fixed", "moving"), strict=True
        ):
            crop, outlines, scale = _crop(plane.take(image.data, index), window, mask, middle, side / size[::-1])
            where = f", slice {index + 1}" if plane.axis is not None else ""
            label = f"{structure.title} in the {which} image{where}"
            pictures.append(_svg(crop, outlines, scale, structure.colour, label))
        return pictures[0], pictures[1]


def _largest(rois: RoiSet, rows: tuple[int, ...], plane: Plane) -> tuple[int, np.ndarray]:
    """The slice in which the regions cover most, and their mask on the screen."""
    if plane.axis is None:
        return 0, _together(rois, rows, plane, 0)
    area: dict[int, int] = {}
    for row in rows:
        roi = rois[row]
        others = tuple(a for a in range(roi.mask.ndim) if a != plane.axis)
        for k, n in enumerate(np.count_nonzero(roi.mask, axis=others), roi.start[plane.axis]):
            area[k] = area.get(k, 0) + int(n)
    index = max(area, key=lambda k: (area[k], -k))
    return index, _together(rois, rows, plane, index)


def _together(rois: RoiSet, rows: tuple[int, ...], plane: Plane, index: int) -> np.ndarray:
    masks = [cut(rois[row], plane, index, rois.grid.shape) for row in rows]
    result: np.ndarray = np.any([mask for mask in masks if mask is not None], axis=0)
    return result


def _crop(
    values: np.ndarray, window: tuple[float, float], mask: np.ndarray, middle: np.ndarray, extent: np.ndarray
) -> tuple[np.ndarray, str, tuple[float, float]]:
    """A square part of a picture, scaled down; its outline in pixels of the part; the size of the part in pixels."""
    from PIL import Image as Picture

    extent = np.maximum(np.ceil(extent), 2).astype(int)
    first = np.floor(middle - extent / 2).astype(int)
    part = tuple(slice(max(0, f), max(0, f + n)) for f, n in zip(first, extent, strict=True))
    pad = [(max(0, -f), max(0, f + n - size)) for f, n, size in zip(first, extent, mask.shape, strict=True)]
    shown = to_bytes(values[part], window)
    grown = np.pad(shown, [*pad, *[(0, 0)] * (shown.ndim - 2)])
    height, width = (int(n) for n in extent)
    picture = Picture.fromarray(np.ascontiguousarray(grown))
    share = min(1.0, _PIXELS / max(height, width))
    picture = picture.resize((max(1, round(width * share)), max(1, round(height * share))), Picture.Resampling.BOX)
    return np.asarray(picture), outline(np.pad(mask[part], pad)), (width, height)


def _svg(crop: np.ndarray, outlines: str, size: tuple[float, float], colour: tuple[int, int, int], label: str) -> str:
    return (
        f'<svg class="thumb" viewBox="0 0 100 100" role="img" aria-label="{escape(label, quote=True)}">'
        f'<image href="{jpeg_uri(crop, 80)}" width="100" height="100" preserveAspectRatio="none"/>'
        f'<path d="{outlines}" transform="scale({100 / size[0]:.4f} {100 / size[1]:.4f})" fill="none" '
        f'fill-rule="evenodd" stroke="rgb({colour[0]},{colour[1]},{colour[2]})" stroke-width="2" '
        'vector-effect="non-scaling-stroke"/></svg>'
    )
