"""DisplacementField: x_moving = x_fixed + u(x_fixed)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import ConfigError, GeometryError
from samreg.geometry.grid import Grid, check_pair
from samreg.geometry.image import Image
from samreg.types import FieldArray, FixedLabelArray, Interpolation, LabelArray, Matrix, Points, ScalarArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DisplacementField"]

_FIT_POINTS = 16  # along each axis; enough for an affine map
_WORST_CONDITION = 1e3
_VOXELS_AT_ONCE = 1 << 19  # whose derivatives are held at once: 9 numbers of 8 bytes each


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """A dense displacement field (DDF) on the fixed grid, pulling back: x_moving = x + u(x).

    Args:
        u: `(*grid.shape, d)` float32 displacements in world units, last axis (x, y, z).
        grid: the fixed grid.

    Raises:
        GeometryError: if u does not have the shape of the grid.
    """

    u: FieldArray
    grid: Grid

    def __post_init__(self) -> None:
        u = np.asarray(self.u, dtype=np.float32)
        wanted = (*self.grid.shape, self.grid.ndim)
        if u.shape != wanted:
            raise GeometryError(f"DisplacementField(u, grid) wants u of shape {wanted}, got {u.shape}")
        object.__setattr__(self, "u", u)

    @classmethod
    def identity(cls, grid: Grid) -> DisplacementField:
        """The field that moves nothing."""
        return cls(np.zeros((*grid.shape, grid.ndim), dtype=np.float32), grid)

    @classmethod
    def from_matrix(cls, matrix: Matrix, grid: Grid) -> DisplacementField:
        """The field of an affine map of world points: u(x) = A x - x.

        Args:
            matrix: (d + 1, d + 1) homogeneous, fixed world to moving world.
            grid: the fixed grid.
        """
        d = grid.ndim
        if np.shape(matrix) != (d + 1, d + 1):
            raise GeometryError(f"a {d}D affine is a {d + 1}x{d + 1} matrix, got shape {np.shape(matrix)}")
        x = grid.voxel_centres()
        u = x @ (matrix[:d, :d] - np.eye(d)).T + matrix[:d, d]
        return cls(u.astype(np.float32), grid)

    def transform_points(self, points: Points) -> Points:
        """Fixed world points carried into the moving image: x + u(x).

        Beyond the grid the displacement of the nearest edge holds.

        Args:
            points: (n, d) world points of the fixed image.

        Returns:
            (n, d) world points of the moving image.
        """
        import torch

        from samreg.geometry.ops.resample import sample_border

        rows = np.asarray(points, dtype=float)
        index = torch.from_numpy(self.grid.world_to_index(rows))
        u = sample_border(self._channels().double(), index).numpy().T
        result: Points = rows + u
        return result

    def _channels(self) -> Tensor:
        import torch

        return torch.from_numpy(np.moveaxis(self.u, -1, 0).copy())

    def moving_index(self, moving: Grid) -> np.ndarray:
        """Where each fixed voxel comes from, as continuous indices (x, y, z) of the moving grid.

        Returns:
            `(*shape, d)` float64.

        Raises:
            GeometryError: if the moving grid has another dimension or unit.
        """
        check_pair(self.grid, moving, "the field", "the moving image")
        x = self.grid.voxel_centres() + self.u
        return moving.world_to_index(x.reshape(-1, self.grid.ndim)).reshape(x.shape)

    def warp(self, moving: Image, interpolation: Interpolation = "linear") -> Image:
        """The moving image on the fixed grid: warped(x) = moving(x + u(x)); 0 where there is no moving image.

        Args:
            moving: any image that shares the world of the field.
            interpolation: `linear`, `nearest`, or `label` for integer labels with smooth edges.
        """
        if interpolation == "label":
            labels = np.rint(moving.grey()).astype(np.int32)
            data = self.warp_labels(labels, moving.grid).astype(np.float32)
            return Image(data, self.grid, moving.name)
        if interpolation not in ("linear", "nearest"):
            raise ConfigError(f"interpolation is linear, nearest or label, got {interpolation!r}")
        import torch

        from samreg.geometry.ops.resample import sample

        channels = np.moveaxis(moving.data, -1, 0) if moving.is_colour else moving.data[None]
        index = torch.from_numpy(self.moving_index(moving.grid))
        mode = "bilinear" if interpolation == "linear" else "nearest"
        out = sample(torch.from_numpy(np.ascontiguousarray(channels)), index, mode).numpy()
        return Image(np.moveaxis(out, 0, -1) if moving.is_colour else out[0], self.grid, moving.name)

    def warp_labels(self, labels: LabelArray, moving: Grid) -> FixedLabelArray:
        """A label map on the fixed grid: each label is sampled linearly, the largest share wins.

        Args:
            labels: `(*moving.shape)` integers, 0 is background.
            moving: the grid of the labels.

        Returns:
            `(*fixed.shape)` int32.
        """
        import torch

        from samreg.geometry.ops.resample import sample

        index = torch.from_numpy(self.moving_index(moving))
        background = sample(torch.from_numpy((labels == 0).astype(np.float32))[None], index, outside=1.0)[0]
        best, out = background, torch.zeros(self.grid.shape, dtype=torch.int32)
        for value in np.unique(labels):
            if value == 0:
                continue
            share = sample(torch.from_numpy((labels == value).astype(np.float32))[None], index)[0]
            # A tie goes to the label: a structure one voxel thin must not vanish into the background.
            wins = (share >= best) & (share > 0)
            out[wins], best = int(value), torch.where(wins, share, best)
        return out.numpy()

    def compose(self, after: DisplacementField) -> DisplacementField:
        """This field followed by another: u(x) + after(x + u(x)), on this field's grid."""
        x = self.grid.voxel_centres() + self.u
        rows = x.reshape(-1, self.grid.ndim)
        u = after.transform_points(rows).reshape(x.shape) - self.grid.voxel_centres()
        return replace(self, u=u.astype(np.float32))

    def invert(self, grid: Grid | None = None, iterations: int = 30, tolerance: float = 1e-2) -> DisplacementField:
        """The field v with y + v(y) the fixed point that lands on y, by the iteration of `invert_points`.

        Exact where the field does not fold (fixed-point inversion: Chen et al., Med. Phys. 2008).

        Args:
            grid: grid of the result, usually the moving grid; the field's own by default.
            iterations: at most so many steps.
            tolerance: stop when no point moves further than this share of the smallest spacing.
        """
        target = grid or self.grid
        y = target.voxel_centres().reshape(-1, target.ndim)
        return DisplacementField(
            (self.invert_points(y, iterations, tolerance) - y).astype(np.float32).reshape(*target.shape, -1), target
        )

    def invert_points(self, points: Points, iterations: int = 50, tolerance: float = 1e-3) -> Points:
        """Moving world points carried into the fixed image: the x with x + u(x) = point.

        x <- x + A⁻¹ (point - x - u(x)), where A is the affine map that fits the field best: a fixed-point iteration
        that also converges for large rotations and scalings, of which u alone is no contraction.

        Args:
            points: (n, d) world points of the moving image.
            iterations: at most so many steps.
            tolerance: stop when no point moves further than this share of the smallest spacing.

        Returns:
            (n, d) world points of the fixed image.
        """
        rows = np.asarray(points, dtype=float)
        if rows.size == 0:
            return rows.copy()
        linear, shift = self._affine_part()
        inverse = np.linalg.inv(linear).T
        x: Points = (rows - shift) @ inverse
        for _ in range(iterations):
            step = (rows - self.transform_points(x)) @ inverse
            x = x + step
            if np.abs(step).max() <= tolerance * min(self.grid.spacing):
                break
        return x

    def _affine_part(self) -> tuple[Matrix, np.ndarray]:
        """The A (d, d) and t (d,) for which A x + t is closest to x + u(x) over the grid."""
        d = self.grid.ndim
        every = tuple(slice(None, None, max(1, n // _FIT_POINTS)) for n in self.grid.shape)
        x, u = self.grid.voxel_centres()[every].reshape(-1, d), self.u[every].reshape(-1, d).astype(float)
        centre = x.mean(axis=0)
        # Of minimal norm: across a single slice, where nothing is known, the map stays the identity.
        slope = np.linalg.lstsq(x - centre, u - u.mean(axis=0), rcond=1e-9)[0].T
        linear = np.eye(d) + slope
        if np.linalg.cond(linear) > _WORST_CONDITION:
            linear = np.eye(d)
        return linear, centre + u.mean(axis=0) - linear @ centre

    def jacobian_determinant(self) -> ScalarArray:
        """det(I + grad u) at each voxel, by central differences (one-sided at the edges).

        Along an axis with a single voxel the derivative is zero. At most 0 means folded.

        Returns:
            `(*shape)` float32, 1 for a translation.
        """
        n = self.grid.shape[0]
        result: ScalarArray = np.empty(self.grid.shape, dtype=np.float32)
        rows = max(1, _VOXELS_AT_ONCE // max(1, self.grid.n_voxels // n))
        for first in range(0, n, rows):
            last = min(n, first + rows)
            # A slab with a neighbour on either side has the same central differences as the whole.
            low, high = max(0, first - 1), min(n, last + 1)
            result[first:last] = self._slab_determinant(self.u[low:high])[first - low : last - low]
        return result

    def _slab_determinant(self, u: np.ndarray) -> np.ndarray:
        d = self.grid.ndim
        gradient = np.zeros((*u.shape[:-1], d, d))
        for j in range(d):  # index axis j = x, y, z
            axis = d - 1 - j
            if u.shape[axis] > 1:
                gradient[..., j] = np.gradient(u, axis=axis) / self.grid.spacing[j]
        # Derivatives along index axes become derivatives along world axes.
        gradient = gradient @ np.asarray(self.grid.direction).T
        return _determinant(np.eye(d) + gradient)

    def folding_fraction(self) -> float:
        """Share of voxels with det(I + grad u) <= 0, before any clipping."""
        return self._folding_fraction

    @cached_property
    def _folding_fraction(self) -> float:
        return float(np.mean(self.jacobian_determinant() <= 0))


def _determinant(matrices: np.ndarray) -> np.ndarray:
    """Of (*any, d, d) matrices, d = 2 or 3, written out: many times faster than a factorisation of each."""
    m = np.moveaxis(matrices, (-2, -1), (0, 1))
    if len(m) == 2:
        flat: np.ndarray = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
        return flat
    solid: np.ndarray = (
        m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
        - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
        + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
    )
    return solid
