"""The pictures of a registration, slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.geometry.rois import RoiSet
from samreg.report.maps import blend, checkerboard, difference, jacobian_colours
from samreg.report.slices import Plane, black_and_white, matching_axis, partner_slice, plane_of, to_bytes
from samreg.report.svg import marks_of, picture, polylines
from samreg.result import RegistrationResult

__all__ = ["Panels", "spread"]

Row = tuple[str, str]
_MESH_LINES = 20


@dataclass(frozen=True, eq=False)
class Panels:
    """All pictures of a page.

    Args:
        result: the registration.
        fixed_plane: how fixed slices are shown.
        moving_plane: how moving slices are shown.
        slices: fixed slice and the moving slice beside it.
        warped: the moving image on the fixed grid, or None.
        windows: grey values shown as black and white, fixed and moving.
    """

    result: RegistrationResult
    fixed_plane: Plane
    moving_plane: Plane
    slices: tuple[tuple[int, int], ...]
    warped: Image | None
    windows: tuple[tuple[float, float], tuple[float, float]]

    @classmethod
    def of(cls, result: RegistrationResult, warped: Image | None, most: int) -> Panels:
        """Choose slices: evenly spread over those in which the fixed image has paired regions."""
        fixed, moving = result.fixed, result.moving
        plane = plane_of(fixed.grid)
        axis = None if plane.axis is None else matching_axis(fixed.grid, plane.axis, moving.grid)
        moving_plane = plane_of(moving.grid, axis)
        if plane.axis is None or axis is None:
            slices: list[tuple[int, int]] = [(0, 0)]
        else:
            chosen = _worth_a_look(result.pairs.fixed, plane.axis, most)
            slices = [(k, partner_slice(plane, k, moving_plane, result.pairs, result.field)) for k in chosen]
        windows = black_and_white(fixed), black_and_white(moving)
        return cls(result, plane, moving_plane, tuple(slices), warped, windows)

    @property
    def note(self) -> str:
        """How the volume is shown, in a sentence; empty for pictures."""
        if not self.fixed_plane.name:
            return ""
        return (
            f"{self.fixed_plane.name.capitalize()} slices as radiologists see them, with the sides of the patient; "
            "beside each fixed slice is the moving slice that holds most of its partners."
        )

    def pairs(self) -> list[Row]:
        """Fixed and moving slices with the outlines of the pairs."""
        pairs = self.result.pairs
        titles = [
            f"pair {i + 1}: similarity {s:.3f}, weight {w:.2f}"
            for i, (s, w) in enumerate(zip(pairs.similarity, pairs.weights, strict=True))
        ]
        rows = []
        for k, m in self.slices:
            left = picture(
                self._fixed(k),
                self.fixed_plane,
                marks_of(pairs.fixed, self.fixed_plane, k, titles),
                self._name("fixed", k),
            )
            right = picture(
                to_bytes(self.moving_plane.take(self.result.moving.data, m), self.windows[1]),
                self.moving_plane,
                marks_of(pairs.moving, self.moving_plane, m, titles),
                self._name("moving", m, self.moving_plane),
            )
            rows.append((left, right))
        return rows

    def blends(self) -> list[Row]:
        """Green and magenta, before and after."""
        return self._compared(blend)

    def checkerboards(self) -> list[Row]:
        """Squares, before and after."""
        return self._compared(checkerboard)

    def differences(self) -> list[Row]:
        """Fixed minus moving, before and after."""
        return self._compared(difference)

    def images(self) -> list[Row]:
        """Fixed beside warped."""
        return [
            (
                picture(self._fixed(k), self.fixed_plane, caption=self._name("fixed", k)),
                picture(self._after(k), self.fixed_plane, caption=self._name("warped", k)),
            )
            for k, _ in self.slices
        ]

    def deformations(self, determinant: np.ndarray) -> list[Row]:
        """The warped mesh over the moving slice, and the map of the Jacobian determinant `(*fixed.shape)`."""
        field = self.result.field
        if field is None:
            return []
        rows = []
        for k, m in self.slices:
            moving = to_bytes(self.moving_plane.take(self.result.moving.data, m), self.windows[1])
            left = picture(
                moving,
                self.moving_plane,
                caption=self._name("mesh over moving", m, self.moving_plane),
                lines=polylines(self._mesh(field, k)),
            )
            colours = jacobian_colours(self.fixed_plane.take(determinant, k))
            right = picture(colours, self.fixed_plane, caption=self._name("Jacobian determinant", k), letters=False)
            rows.append((left, right))
        return rows

    def _compared(self, how: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> list[Row]:
        rows = []
        for k, _ in self.slices:
            fixed = self._fixed(k)
            rows.append(
                (
                    picture(how(fixed, self._before(k)), self.fixed_plane, caption=self._name("before", k)),
                    picture(how(fixed, self._after(k)), self.fixed_plane, caption=self._name("after", k)),
                )
            )
        return rows

    def _fixed(self, k: int) -> np.ndarray:
        return to_bytes(self.fixed_plane.take(self.result.fixed.data, k), self.windows[0])

    def _after(self, k: int) -> np.ndarray:
        if self.warped is None:
            return self._before(k)
        return to_bytes(self.fixed_plane.take(self.warped.data, k), self.windows[1])

    def _before(self, k: int) -> np.ndarray:
        """The moving image where its header puts it, on one slice of the fixed grid."""
        grid, axis = self.result.fixed.grid, self.fixed_plane.axis
        if axis is None:
            still = DisplacementField.identity(grid).warp(self.result.moving).data
            return to_bytes(self.fixed_plane.take(still, 0), self.windows[1])
        start = [k if a == axis else 0 for a in range(3)]
        stop = [k + 1 if a == axis else n for a, n in enumerate(grid.shape)]
        still = DisplacementField.identity(grid.crop(start, stop)).warp(self.result.moving).data
        return to_bytes(self.fixed_plane.take(still, 0), self.windows[1])

    def _mesh(self, field: DisplacementField, k: int) -> list[np.ndarray]:
        """Lines of a regular grid in a fixed slice, carried into the moving image, in picture coordinates."""
        shape, axis = field.grid.shape, self.fixed_plane.axis
        keep = [a for a in range(len(shape)) if a != axis]
        gap = max(1, max(shape[a] for a in keep) // _MESH_LINES)
        lines = []
        for along, across in (keep, keep[::-1]):
            for line in range(gap // 2, shape[across], gap):
                index = np.full((len(range(0, shape[along], 2)), len(shape)), float(k))
                index[:, along] = np.arange(0, shape[along], 2)
                index[:, across] = line
                lines.append(index)
        # All at once: each call of transform_points looks at the whole field.
        world = field.transform_points(field.grid.index_to_world(np.concatenate(lines)[:, ::-1]))
        moving = self.result.moving.grid
        there = self.moving_plane.to_screen(moving.world_to_index(world)[:, ::-1], moving.shape)
        return np.split(there, np.cumsum([len(line) for line in lines])[:-1])

    def _name(self, what: str, k: int, plane: Plane | None = None) -> str:
        plane = plane or self.fixed_plane
        return f"{what}, slice {k + 1} of {plane.n_slices}" if plane.axis is not None else what


def spread(choices: list[int], most: int) -> list[int]:
    """At most so many of the choices, evenly spread."""
    if len(choices) <= most:
        return choices
    return [choices[int(i)] for i in (np.arange(most) + 0.5) * len(choices) / most]


def _worth_a_look(rois: RoiSet, axis: int, most: int) -> list[int]:
    held = sorted({k for roi in rois.rois for k in range(roi.start[axis], roi.stop[axis])})
    return spread(held or list(range(rois.grid.shape[axis])), most)
