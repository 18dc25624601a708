"""Arrays the way the page shows them: axes turned to the nearest patient axes, and the way back.

The page knows no directions. What it gets is turned so that array axes (z, y, x) run to the patient's head, back and
left (LPS), each axis to the nearest one; photographs stay as they are stored, and a 2D image is a volume of one slice.
Positions that the page sends are indices (x, y, z) of such an array.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from samreg.geometry.grid import Grid
from samreg.geometry.rois import Roi

__all__ = ["Display"]

_ENDS = (("R", "L"), ("A", "P"), ("I", "S"))  # at the first and at the last index of x, y, z


@dataclass(frozen=True)
class Display:
    """A grid, and how the page shows it.

    Args:
        grid: the grid of an image.
        oriented: whether its header says how the patient lies.
    """

    grid: Grid
    oriented: bool = True

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """For each shown array axis (z, y, x) the array axis of the grid that it shows."""
        if self.grid.ndim == 2:
            return (0, 1)
        direction = np.abs(np.asarray(self.grid.direction))
        taken: dict[int, int] = {}  # world axis -> index axis, the clearest first
        for flat in np.argsort(-direction, axis=None, kind="stable"):
            world, index = divmod(int(flat), 3)
            if world not in taken and index not in taken.values():
                taken[world] = index
        return tuple(2 - taken[world] for world in (2, 1, 0))

    @cached_property
    def flips(self) -> tuple[bool, ...]:
        """For each shown array axis whether it runs against that of the grid."""
        if self.grid.ndim == 2:
            return (False, False)
        direction = np.asarray(self.grid.direction)
        return tuple(bool(direction[2 - shown, 2 - axis] < 0) for shown, axis in enumerate(self.axes))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shown voxels (z, y, x)."""
        shape = tuple(self.grid.shape[a] for a in self.axes)
        return (1, *shape)[-3:]  # type: ignore[return-value]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between shown voxels (x, y, z)."""
        rows = tuple(self.grid.array_spacing[a] for a in self.axes)[::-1]
        return (*rows, 1.0)[:3]  # type: ignore[return-value]

    @property
    def plane(self) -> int:
        """The world axis across the slices that are looked at first: 0 sagittal, 1 coronal, 2 axial."""
        return 2 if self.grid.ndim == 2 else 2 - self.axes.index(self.grid.coarsest_axis)

    @property
    def letters(self) -> tuple[tuple[str, str], ...]:
        """Patient directions at both ends of x, y and z; empty texts where the header has no patient."""
        return _ENDS if self.oriented and self.grid.ndim == 3 and self.grid.unit == "mm" else (("", ""),) * 3

    @cached_property
    def matrix(self) -> np.ndarray:
        """(4, 4) shown index (x, y, z, 1) to world (x, y, z, 1); the third axis of a 2D image stands for itself."""
        d = self.grid.ndim
        to_index = np.zeros((d + 1, d + 1))
        to_index[d, d] = 1
        for shown, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            row, column = d - 1 - axis, d - 1 - shown
            to_index[row, column] = -1 if flip else 1
            to_index[row, d] = self.grid.shape[axis] - 1 if flip else 0
        matrix = np.eye(4)
        world = self.grid.matrix @ to_index
        matrix[:d, :d], matrix[:d, 3] = world[:d, :d], world[:d, d]
        return matrix

    def turned(self, array: np.ndarray) -> np.ndarray:
        """An array over the grid, `(*shape)` or `(*shape, channels)`, as it is shown: (z, y, x[, channels])."""
        d = self.grid.ndim
        rest = tuple(range(d, array.ndim))
        out = np.transpose(array, (*self.axes, *rest))
        out = out[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return out[None] if d == 2 else out

    def back(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `turned`, for an array without channels."""
        out = array[0] if self.grid.ndim == 2 else array
        out = out[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        inverse: np.ndarray = np.transpose(out, np.argsort(self.axes))
        return inverse

    def turned_start(self, roi: Roi) -> tuple[int, int, int]:
        """The first shown voxel (z, y, x) of the box of a region."""
        rows = [
            self.grid.shape[a] - roi.stop[a] if flip else roi.start[a]
            for a, flip in zip(self.axes, self.flips, strict=True)
        ]
        return tuple((0, *rows)[-3:])  # type: ignore[return-value]

    def roi(self, mask: np.ndarray, start: tuple[int, int, int]) -> Roi:
        """A region of the grid from a mask (z, y, x) of shown voxels and its first one.

        Raises:
            GeometryError: if no voxel is set.
        """
        whole = Roi.from_mask(self.back(mask))
        first = start[-self.grid.ndim :]
        corner = [0] * self.grid.ndim
        for shown, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            size = mask.shape[-self.grid.ndim :][shown]
            corner[axis] = self.grid.shape[axis] - first[shown] - size if flip else first[shown]
        return Roi(whole.mask, tuple(a + b for a, b in zip(whole.start, corner, strict=True)))

    def world(self, index: np.ndarray) -> np.ndarray:
        """World points (n, d) of shown indices (n, 3), (x, y, z)."""
        rows = np.asarray(index, dtype=float) @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        world: np.ndarray = rows[:, : self.grid.ndim]
        return world

    def index(self, world: np.ndarray) -> np.ndarray:
        """Shown indices (n, 3) of world points (n, d)."""
        rows = np.zeros((len(world), 3))
        rows[:, : self.grid.ndim] = world
        inverse: np.ndarray = (rows - self.matrix[:3, 3]) @ np.linalg.inv(self.matrix[:3, :3]).T
        return inverse
