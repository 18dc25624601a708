"""Grid: where the voxels of an array are in the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from samreg.errors import GeometryError
from samreg.types import Matrix, Points, Unit

__all__ = ["Grid", "apply_affine", "check_pair"]

_ORTHONORMAL_TOLERANCE = 1e-3
_SAME_TOLERANCE = 1e-3
_THICK_RATIO = 4.0
"""Slices at least this many times as far apart as their pixels make a stack of thick slices."""
_VOXELS_AT_ONCE = 1 << 19
"""Whose positions are held at once: in double precision those of a large volume take gigabytes."""
_LARGER = 1.05
"""Ratio of the lengths that are tried for voxels."""


def apply_affine(matrix: Matrix, points: np.ndarray) -> np.ndarray:
    """A x + t of points.

    Args:
        matrix: (d + 1, d + 1) homogeneous.
        points: (*any, d).
    """
    d = points.shape[-1]
    return np.asarray(points @ matrix[:d, :d].T + matrix[:d, d])


@dataclass(frozen=True)
class Grid:
    """A regular lattice of voxel centres: world = origin + direction @ (spacing * index).

    `shape` is in array order (z, y, x); everything else is in (x, y, z) order, as in ITK. World
    coordinates are LPS millimetres, or pixels for photographs (`unit`).

    Args:
        shape: voxels along each array axis, (z, y, x) or (y, x); each at least 1.
        spacing: distance between voxel centres along index axis x, y, z; positive.
        origin: world position of the voxel at index 0; zeros by default.
        direction: orthonormal (d, d) matrix whose column j is the world direction of index axis j;
            identity by default. A determinant of -1 (left-handed axes) is allowed.
        unit: unit of the world coordinates.

    Raises:
        GeometryError: if the lengths disagree, a spacing is not positive and finite, or the
            direction is not orthonormal.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...] = ()
    direction: tuple[tuple[float, ...], ...] = ()
    unit: Unit = "mm"

    def __post_init__(self) -> None:
        d = len(self.shape)
        if d not in (2, 3):
            raise GeometryError(f"a grid has 2 or 3 dimensions, got shape {tuple(self.shape)}")
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "spacing", tuple(float(s) for s in self.spacing))
        object.__setattr__(self, "origin", tuple(float(o) for o in self.origin) or (0.0,) * d)
        direction = np.asarray(self.direction if len(self.direction) else np.eye(d), dtype=float)
        if direction.size == d * d:
            direction = direction.reshape(d, d)
        object.__setattr__(self, "direction", tuple(tuple(map(float, row)) for row in direction))
        self._validate(direction)

    def _validate(self, direction: Matrix) -> None:
        d = self.ndim
        if len(self.spacing) != d or len(self.origin) != d or direction.shape != (d, d):
            raise GeometryError(
                f"a {d}D grid of shape {self.shape} needs {d} spacings, {d} origin coordinates and a "
                f"{d}x{d} direction, got {len(self.spacing)}, {len(self.origin)} and {direction.shape}"
            )
        if min(self.shape) < 1:
            raise GeometryError(f"a grid needs at least one voxel along each axis, got {self.shape}")
        if not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise GeometryError(f"grid spacing must be positive and finite, got {self.spacing}")
        if not np.isfinite(self.origin).all():
            raise GeometryError(f"grid origin must be finite, got {self.origin}")
        if not np.allclose(direction.T @ direction, np.eye(d), atol=_ORTHONORMAL_TOLERANCE):
            raise GeometryError(f"grid direction must be orthonormal, got {direction.tolist()}")

    @property
    def ndim(self) -> int:
        """Spatial dimension d, 2 or 3."""
        return len(self.shape)

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    @property
    def array_spacing(self) -> tuple[float, ...]:
        """Spacing in array order (z, y, x)."""
        return self.spacing[::-1]

    @property
    def extent(self) -> tuple[float, ...]:
        """Physical size along index axes (x, y, z), voxel edges included."""
        return tuple(n * s for n, s in zip(self.shape[::-1], self.spacing, strict=True))

    @property
    def finest_spacing(self) -> float:
        """Smallest spacing along the axes that have more than one voxel; of all axes where none has."""
        sides = [s for n, s in zip(self.shape, self.array_spacing, strict=True) if n > 1]
        return min(sides or self.spacing)

    @property
    def coarsest_axis(self) -> int:
        """Array axis of the coarsest spacing: the axis across the slices of a stack.

        Spacings count to a hundredth of the finest one, so that a nearly isotropic grid is a tie; the first axis wins.
        """
        return int(np.argmax(np.round(np.asarray(self.array_spacing) / min(self.spacing), 2)))

    def is_thick_stack(self, axis: int | None = None) -> bool:
        """Whether slices lie at least four times as far apart as their pixels: a stack is then read slice by slice.

        Args:
            axis: array axis across the slices; `coarsest_axis` by default.

        Returns:
            False in 2D.
        """
        if self.ndim == 2:
            return False
        across = self.coarsest_axis if axis is None else axis
        pixels = [s for a, s in enumerate(self.array_spacing) if a != across]
        return bool(self.array_spacing[across] >= _THICK_RATIO * float(np.mean(pixels)))

    @property
    def voxel_volume(self) -> float:
        """Volume (3D) or area (2D) of a voxel, in unit^d."""
        return float(np.prod(self.spacing))

    @property
    def matrix(self) -> Matrix:
        """Homogeneous (d + 1, d + 1) matrix from index (x, y, z) to world (x, y, z)."""
        d = self.ndim
        matrix = np.eye(d + 1)
        matrix[:d, :d] = np.asarray(self.direction) * np.asarray(self.spacing)
        matrix[:d, d] = self.origin
        return matrix

    @property
    def centre(self) -> tuple[float, ...]:
        """World position of the middle of the grid."""
        middle = (np.asarray(self.shape[::-1], dtype=float) - 1.0) / 2.0
        return tuple(self.index_to_world(middle[None])[0].tolist())

    def index_to_world(self, index: Points) -> Points:
        """World positions of continuous indices.

        Args:
            index: (n, d) indices in (x, y, z) order.

        Returns:
            (n, d) world points, (x, y, z).
        """
        return apply_affine(self.matrix, self._rows(index, "index_to_world"))

    def world_to_index(self, points: Points) -> Points:
        """Continuous indices of world points; the inverse of `index_to_world`.

        Args:
            points: (n, d) world points, (x, y, z).

        Returns:
            (n, d) continuous indices, (x, y, z).
        """
        # Headers round: a direction that is orthonormal to three digits is not inverted by its transpose.
        d = self.ndim
        centred = self._rows(points, "world_to_index") - np.asarray(self.origin)
        result: Points = centred @ np.linalg.inv(self.matrix[:d, :d]).T
        return result

    def _rows(self, points: Points, caller: str) -> Points:
        rows = np.asarray(points, dtype=float)
        if rows.ndim != 2 or rows.shape[1] != self.ndim:
            raise GeometryError(
                f"Grid.{caller} of a {self.ndim}D grid wants (n, {self.ndim}) points, got shape {rows.shape}"
            )
        return rows

    def contains(self, points: Points) -> np.ndarray:
        """Whether each world point lies within the outer edges of the voxels.

        Args:
            points: (n, d) world points.

        Returns:
            (n,) booleans.
        """
        index = self.world_to_index(points)
        upper = np.asarray(self.shape[::-1]) - 0.5
        inside: np.ndarray = np.all((index >= -0.5) & (index <= upper), axis=1)
        return inside

    def slabs(self) -> list[slice]:
        """Array axis 0 in parts of not too many voxels each, for work that would not fit in memory at once."""
        n = self.shape[0]
        rows = max(1, _VOXELS_AT_ONCE * n // self.n_voxels)
        return [slice(first, min(n, first + rows)) for first in range(0, n, rows)]

    def indices(self, part: slice = slice(None)) -> np.ndarray:
        """Index of each voxel, of a part of array axis 0; (*shape, d) float64, last axis (x, y, z)."""
        first, *others = (np.arange(n, dtype=float) for n in self.shape)
        return np.stack(np.meshgrid(first[part], *others, indexing="ij")[::-1], axis=-1)

    def voxel_centres(self, part: slice = slice(None)) -> np.ndarray:
        """World points of all voxels.

        Args:
            part: of array axis 0.

        Returns:
            (*shape, d) float64 array, last axis (x, y, z).
        """
        index = self.indices(part)
        return self.index_to_world(index.reshape(-1, self.ndim)).reshape(index.shape)

    def crop(self, start: Sequence[int], stop: Sequence[int]) -> Grid:
        """The grid of `array[start:stop]`, array order (z, y, x); the voxels stay where they were."""
        origin = self.index_to_world(np.asarray(start, dtype=float)[::-1][None])[0]
        shape = tuple(int(b) - int(a) for a, b in zip(start, stop, strict=True))
        return replace(self, shape=shape, origin=tuple(origin))

    def with_shape(self, shape: Sequence[int]) -> Grid:
        """The same physical extent cut into another number of voxels, array order (z, y, x)."""
        new = np.asarray(shape, dtype=float)[::-1]
        old = np.asarray(self.shape, dtype=float)[::-1]
        factor = old / new
        first = (factor - 1.0) / 2.0
        return replace(
            self,
            shape=tuple(int(n) for n in shape),
            spacing=tuple(np.asarray(self.spacing) * factor),
            origin=tuple(self.index_to_world(first[None])[0]),
        )

    def shape_at(self, pixel: float) -> tuple[int, ...]:
        """Number of voxels along each array axis, for the same extent, where none is smaller than a length.

        Args:
            pixel: the length, in world units; axes whose voxels are larger keep theirs.
        """
        return tuple(max(1, round(n * s / max(s, pixel))) for n, s in zip(self.shape, self.array_spacing, strict=True))

    def pixel_within(self, voxels: int, least: float) -> float:
        """The length at which `shape_at` gives so many voxels at most.

        Args:
            voxels: the bound.
            least: length to begin with, in world units; it grows by a twentieth at a time.
        """
        pixel = least
        while np.prod(self.shape_at(pixel)) > voxels:
            pixel *= _LARGER
        return pixel

    def slice_grid(self, axis: int) -> Grid:
        """The 2D grid of one slice across array axis `axis`: its own plane, origin 0, axes x, y."""
        if self.ndim != 3:
            raise GeometryError(f"slice_grid wants a 3D grid, got shape {self.shape}")
        keep = [a for a in range(3) if a != axis]
        spacing = [self.array_spacing[a] for a in keep][::-1]
        return Grid(tuple(self.shape[a] for a in keep), tuple(spacing), unit=self.unit)

    def same_as(self, other: Grid) -> bool:
        """Whether both have the same shape, and every corner lies within a thousandth of a voxel."""
        if self.shape != other.shape or self.unit != other.unit:
            return False
        corners = np.stack(np.meshgrid(*([0, n - 1] for n in self.shape[::-1]), indexing="ij"), -1)
        rows = corners.reshape(-1, self.ndim).astype(float)
        gap = np.abs(self.index_to_world(rows) - other.index_to_world(rows)).max()
        return bool(gap <= _SAME_TOLERANCE * min(self.spacing))


def check_pair(one: Grid, other: Grid, one_name: str, other_name: str) -> None:
    """Make sure that two grids have one dimension and one unit, so that a transform can lead from one to the other.

    Raises:
        GeometryError: if they have not; the message names both.
    """
    if (one.ndim, one.unit) != (other.ndim, other.unit):
        raise GeometryError(
            f"{one_name} is {one.ndim}D in {one.unit} and {other_name} is {other.ndim}D in {other.unit}; "
            "both must have the same dimension and unit"
        )
