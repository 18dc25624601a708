"""Every slice of a registration as the page holds it: pictures, outlines, deformation; plain values for JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import RoiSet
from samreg.report.jpeg import jpeg_uri
from samreg.report.png import data_uri
from samreg.report.slices import (
    Plane,
    body_in_slices,
    matching_axis,
    partner_slices,
    plane_of,
    position_text,
    positions,
    shown_window,
    to_bytes,
)
from samreg.report.structures import Structure
from samreg.report.svg import marks_of
from samreg.result import RegistrationResult

__all__ = ["Slides"]

_MESH = 33
"""Nodes of the deformed grid along the longer side of a slice."""
_PIXELS = ((150, 288), (40, 400))
"""Volumes of more slices than the first number are shown with at most so many pixels along a side."""
OCTAVE = 64
"""Steps of the map of the Jacobian determinant a doubling: value = 128 + 64 log2 J; 0 is folded, 255 outside."""


@dataclass(frozen=True, eq=False)
class Slides:
    """All pictures of a registration.

    Args:
        result: the registration.
        warped: the moving image on the fixed grid, or None without a transform.
        structures: what its pairs make up.
        plane: how fixed slices are shown.
        moving_plane: how moving slices are shown.
    """

    result: RegistrationResult
    warped: Image | None
    structures: tuple[Structure, ...]
    plane: Plane
    moving_plane: Plane

    @classmethod
    def of(cls, result: RegistrationResult, warped: Image | None, structures: tuple[Structure, ...]) -> Slides:
        """Choose the planes."""
        plane = plane_of(result.fixed.grid, oriented=result.fixed.oriented)
        axis = None if plane.axis is None else matching_axis(result.fixed.grid, plane.axis, result.moving.grid)
        moving = plane_of(result.moving.grid, axis, result.moving.oriented)
        return cls(result, warped, structures, _small(plane, result.fixed.grid), _small(moving, result.moving.grid))

    @property
    def first(self) -> int:
        """The slice to begin with: the middle one of those that most of the first ten structures are in."""
        axis = self.plane.axis
        if axis is None:
            return 0
        held = np.zeros(self.plane.n_slices)
        for structure in [s for s in self.structures if s.used][:10]:
            for row in structure.rows:
                roi = self.result.pairs.fixed[row]
                held[roi.start[axis] : roi.stop[axis]] += 1
        best = np.flatnonzero(held == held.max())
        return int(best[len(best) // 2])

    def describe(self, determinant: np.ndarray | None) -> dict[str, Any]:
        """Everything that the page draws; the determinant is `(*fixed.shape)`."""
        result = self.result
        windows = shown_window(result.fixed), shown_window(result.moving)
        still = DisplacementField.identity(result.fixed.grid)
        fill = result.moving.background
        before = [
            jpeg_uri(to_bytes(self.plane.take(_carried(self._part(still, k), result.moving, fill).data, 0), windows[1]))
            for k in range(self.plane.n_slices)
        ]
        moving = self._stack(result.moving, self.moving_plane, windows[1])
        data: dict[str, Any] = {
            "first": self.first,
            "unit": result.fixed.grid.unit,
            "planes": {
                "fixed": _plane(self.plane, result.fixed),
                "moving": _plane(self.moving_plane, result.moving),
            },
            "fixed": self._stack(result.fixed, self.plane, windows[0]),
            "moving": None if moving == before else moving,
            "before": before,
            "outsideBefore": self._outside(still),
            "partner": partner_slices(self.plane, self.moving_plane, result.pairs, result.field),
            "structures": [{"number": s.number, "title": s.title, "colour": list(s.colour)} for s in self.structures],
            "outlines": {
                "fixed": self._outlines(result.pairs.fixed, self.plane),
                "moving": self._outlines(result.pairs.moving, self.moving_plane),
            },
        }
        if result.field is not None and self.warped is not None and determinant is not None:
            data["after"] = self._stack(self.warped, self.plane, windows[1])
            data["outsideAfter"] = self._outside(result.field)
            data["jacobian"] = self._jacobian(determinant)
            data["mesh"] = self._mesh(result.field)
        return data

    def still(self, when: str, size: int = 240) -> str:
        """A small picture of fixed (green) and moving (magenta) before or after, of the slice to begin with."""
        from PIL import Image as Picture

        field = self.result.field if when == "after" else None
        part = self._part(field or DisplacementField.identity(self.result.fixed.grid), self.first)
        other = self.plane.take(_carried(part, self.result.moving, self.result.moving.background).data, 0)
        fixed = self.plane.take(self.result.fixed.data, self.first)
        a = _grey(to_bytes(fixed, shown_window(self.result.fixed)))
        b = _grey(to_bytes(other, shown_window(self.result.moving)))
        outside = self.plane.take(_beyond(part, self.result.moving.grid), 0)
        dim = (a // 2 + 48).astype(np.uint8)
        joined = np.stack([np.where(outside, dim, c) for c in (b, a, b)], axis=-1)
        width, height = self.plane.size
        scale = size / max(width, height)
        shape = max(1, round(width * scale)), max(1, round(height * scale))
        return jpeg_uri(np.asarray(Picture.fromarray(joined).resize(shape, Picture.Resampling.BILINEAR)), 80)

    def _stack(self, image: Image, plane: Plane, window: tuple[float, float]) -> list[str]:
        return [jpeg_uri(to_bytes(plane.take(image.data, k), window)) for k in range(plane.n_slices)]

    def _outside(self, field: DisplacementField) -> list[str | None]:
        """Of each fixed slice where the moving image does not reach, white on black; None where it reaches all."""
        grid = self.result.moving.grid
        count = range(self.plane.n_slices)
        slices = [self.plane.take(_beyond(self._part(field, k), grid), 0) for k in count]
        return [data_uri(mask.astype(np.uint8) * 255) if mask.any() else None for mask in slices]

    def _part(self, field: DisplacementField, k: int) -> DisplacementField:
        """A field on one slice of the fixed grid: whole volumes of indices would take gigabytes."""
        grid, axis = field.grid, self.plane.axis
        if axis is None:
            return field
        start = [k if a == axis else 0 for a in range(3)]
        stop = [k + 1 if a == axis else n for a, n in enumerate(grid.shape)]
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        return DisplacementField(field.u[box], grid.crop(start, stop))

    def _outlines(self, rois: RoiSet, plane: Plane) -> list[list[list[Any]]]:
        """Of each slice its outlines: row of the structure, path, place of the number, largest first."""
        owner = {row: i for i, s in enumerate(self.structures) for row in s.rows}
        return [
            [[owner[mark.pair], mark.path, round(mark.at[0], 1), round(mark.at[1], 1)] for mark in marks]
            for marks in (marks_of(rois, plane, k) for k in range(plane.n_slices))
        ]

    def _jacobian(self, determinant: np.ndarray) -> list[str]:
        body = body_in_slices(self.result.fixed)
        drawn = []
        for k in range(self.plane.n_slices):
            values = self.plane.take(determinant, k)
            steps = np.clip(128 + OCTAVE * np.log2(np.maximum(values, 1e-3)), 1, 254)
            coded = np.where(self.plane.take(body, k), np.where(values <= 0, 0, steps), 255)
            drawn.append(data_uri(coded.astype(np.uint8)))
        return drawn

    def _mesh(self, field: DisplacementField) -> list[list[list[int]]]:
        """Of each fixed slice the nodes of a regular grid, row by row, in tenths of a shown moving pixel: x, y, ..."""
        shape, axis = field.grid.shape, self.plane.axis
        keep = [a for a in range(len(shape)) if a != axis]
        # As far apart in the world along both sides, so that an undeformed grid is of squares.
        gap = max(field.grid.extent[len(shape) - 1 - a] for a in keep) / (_MESH - 1)
        lines = [
            np.linspace(0, shape[a] - 1, max(2, round((shape[a] - 1) * field.grid.array_spacing[a] / gap) + 1))
            for a in keep
        ]
        nodes = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)
        count = self.plane.n_slices
        index = np.zeros((count, *nodes.shape[:2], len(shape)))
        index[..., keep] = nodes[None]
        if axis is not None:
            index[..., axis] = np.arange(count)[:, None, None]
        world = field.transform_points(field.grid.index_to_world(index.reshape(-1, len(shape))[:, ::-1]))
        moving = self.result.moving.grid
        there = self.moving_plane.to_screen(moving.world_to_index(world)[:, ::-1], moving.shape)
        rounded = np.clip(np.rint(there * 10), -9999, 99999).astype(int).reshape(count, len(lines[0]), -1)
        return [[row.tolist() for row in slice_rows] for slice_rows in rounded]


def _beyond(field: DisplacementField, moving: Grid) -> np.ndarray:
    """(*shape) where a field leads out of the moving image."""
    index = field.moving_index(moving)
    result: np.ndarray = np.any((index < -0.5) | (index > np.asarray(moving.shape[::-1]) - 0.5), axis=-1)
    return result


def _carried(field: DisplacementField, moving: Image, fill: tuple[float, ...]) -> Image:
    """The moving image on the grid of a field; `fill`, its background, where the two do not meet: no surprise here."""
    if field.coverage(moving.grid) > 0:
        return field.warp(moving) if moving.is_colour else field.warp(moving, fill=fill[0])
    value = np.asarray(fill, dtype=np.float32)
    shape = (*field.grid.shape, 3) if moving.is_colour else field.grid.shape
    return Image(np.broadcast_to(value if moving.is_colour else value[0], shape), field.grid, moving.name)


def _grey(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 2 else (pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)


def _small(plane: Plane, grid: Grid) -> Plane:
    """The plane with fewer pixels where there are many slices."""
    keep = [n for a, n in enumerate(grid.shape) if a != plane.axis]
    for more, pixels in _PIXELS:
        if plane.n_slices > more:
            return replace(plane, step=max(plane.step, -(-max(keep) // pixels)))
    return plane


def _plane(plane: Plane, image: Image) -> dict[str, Any]:
    shape = [n for a, n in enumerate(image.grid.shape) if a != plane.axis]
    rows, columns = (-(-n // plane.step) for n in (shape[::-1] if plane.transpose else shape))
    return {
        "n": plane.n_slices,
        "size": [round(v, 3) for v in plane.size],
        "pixels": [columns, rows],
        "letters": list(plane.letters) if any(plane.letters) else None,
        "name": plane.name,
        "at": [position_text(plane, image.grid, at) for at in positions(plane, image.grid)],
    }
