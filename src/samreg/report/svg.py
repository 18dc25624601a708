"""One picture of a slice: the pixels, the outlines of regions over them, their numbers, the sides of the patient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

import numpy as np

from samreg.geometry.rois import Roi, RoiSet
from samreg.io.palette import pair_colour
from samreg.report.outlines import outline
from samreg.report.png import data_uri
from samreg.report.slices import Plane

__all__ = ["Mark", "cut", "marks_of", "picture"]


@dataclass(frozen=True)
class Mark:
    """A region in one slice: pair number (from 0), outline, and where its number stands."""

    pair: int
    path: str
    at: tuple[float, float]
    title: str = ""
    n_pixels: int = field(default=0, compare=False)


def marks_of(rois: RoiSet, plane: Plane, index: int, titles: list[str] | None = None) -> list[Mark]:
    """The regions that a slice cuts, the largest first, so that small ones lie on top."""
    marks = []
    for pair, roi in enumerate(rois.rois):
        mask = cut(roi, plane, index, rois.grid.shape)
        if mask is None or not mask.any():
            continue
        rows, columns = np.nonzero(mask)
        top, left = int(rows.min()), int(columns.min())
        box = mask[top : int(rows.max()) + 1, left : int(columns.max()) + 1]
        # The number stands on the pixel of the region nearest to its centre, never beside a crescent.
        nearest = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
        at = (float(columns[nearest]) + 0.5, float(rows[nearest]) + 0.5)
        title = titles[pair] if titles else ""
        marks.append(Mark(pair, outline(box, (top, left)), at, title, len(rows)))
    return sorted(marks, key=lambda mark: -mark.n_pixels)


def cut(roi: Roi, plane: Plane, index: int, shape: tuple[int, ...]) -> np.ndarray | None:
    """The part of a region in one slice, as booleans of the slice on the screen; None where the slice misses it."""
    if plane.axis is None:
        full = np.zeros(shape, dtype=bool)
        full[roi.box] = roi.mask
        return plane.take(full, 0)
    start = roi.start[plane.axis]
    if not start <= index < roi.stop[plane.axis]:
        return None
    flat_shape = [n for a, n in enumerate(shape) if a != plane.axis]
    flat = np.zeros(flat_shape, dtype=bool)
    flat[tuple(b for a, b in enumerate(roi.box) if a != plane.axis)] = np.take(roi.mask, index - start, axis=plane.axis)
    return plane.take(np.expand_dims(flat, plane.axis), 0)


def picture(
    pixels: np.ndarray,
    plane: Plane,
    marks: Iterable[Mark] = (),
    caption: str = "",
    letters: bool = True,
) -> str:
    """A figure: an SVG that holds the PNG, true to the proportions of the patient.

    Args:
        pixels: (h, w) or (h, w, 3) uint8, as `Plane.take` gives them.
        plane: their plane.
        marks: regions to draw.
        caption: one line below.
        letters: whether to name the sides of the patient.
    """
    h, w = pixels.shape[:2]
    width, height = plane.size
    # One unit of the SVG is a hundredth of the longer side, so that text and pictures have one scale.
    unit = 100.0 / max(width, height)
    sx, sy = width * unit / w, height * unit / h
    box_w, box_h = width * unit, height * unit
    parts = [
        f'<svg viewBox="0 0 {box_w:.2f} {box_h:.2f}" role="img" aria-label="{escape(caption, quote=True)}">',
        f'<image href="{data_uri(pixels)}" width="{box_w:.3f}" height="{box_h:.3f}" preserveAspectRatio="none"/>',
    ]
    marks = list(marks)
    if marks:
        parts.append(f'<g transform="scale({sx:.5f} {sy:.5f})">')
        for mark in marks:
            r, g, b = pair_colour(mark.pair)
            title = f"<title>{escape(mark.title)}</title>" if mark.title else ""
            parts.append(
                f'<path class="roi" data-pair="{mark.pair + 1}" d="{mark.path}" stroke="rgb({r},{g},{b})" '
                f'fill="rgb({r},{g},{b})">{title}</path>'
            )
        parts.append("</g>")
    for mark in marks:
        r, g, b = pair_colour(mark.pair)
        parts.append(
            f'<text class="no" data-pair="{mark.pair + 1}" x="{mark.at[0] * sx:.2f}" y="{mark.at[1] * sy:.2f}" '
            f'fill="rgb({r},{g},{b})">{mark.pair + 1}</text>'
        )
    if letters and any(plane.letters):
        left, right, top, bottom = plane.letters
        for text, x, y in ((left, 3.0, box_h / 2), (right, box_w - 3.0, box_h / 2), (top, box_w / 2, 4.0)):
            parts.append(f'<text class="side" x="{x:.2f}" y="{y:.2f}">{text}</text>')
        parts.append(f'<text class="side" x="{box_w / 2:.2f}" y="{box_h - 2.5:.2f}">{bottom}</text>')
    parts.append("</svg>")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{''.join(parts)}{below}</figure>"
