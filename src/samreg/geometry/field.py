"""DisplacementField: x_moving = x_fixed + u(x_fixed)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np

from samreg.errors import ConfigError, GeometryError
from samreg.geometry.grid import Grid, check_pair
from samreg.geometry.image import Image
from samreg.geometry.inverse import InverseResult, grid_inverse, point_inverse
from samreg.geometry.label_maps import layers
from samreg.geometry.rois import Roi, RoiSet
from samreg.notes import note
from samreg.types import FieldArray, FixedLabelArray, Interpolation, LabelArray, Matrix, Points, ScalarArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DisplacementField"]

_LARGE = 1 << 23
"""Voxels from which points are inverted in single precision: its rounding is a thousandth of the tolerance."""


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
        u = np.empty((*grid.shape, d), dtype=np.float32)
        for part in grid.slabs():
            x = grid.voxel_centres(part)
            u[part] = x @ (matrix[:d, :d] - np.eye(d)).T + matrix[:d, d]
        return cls(u, grid)

    def transform_points(self, points: Points) -> Points:
        """Fixed world points carried into the moving image: x + u(x).

        Beyond the grid the displacement of the nearest edge holds.

        Args:
            points: (n, d) world points of the fixed image.

        Returns:
            (n, d) world points of the moving image.
        """
        rows = np.asarray(points, dtype=float)
        result: Points = rows + _interpolated(self.u, self.grid.world_to_index(rows))
        return result

    def moving_index(self, moving: Grid) -> np.ndarray:
        """Where each fixed voxel comes from, as continuous indices (x, y, z) of the moving grid.

        Returns:
            `(*shape, d)` float64.

        Raises:
            GeometryError: if the moving grid has another dimension or unit.
        """
        index = np.empty((*self.grid.shape, self.grid.ndim))
        for part in self.grid.slabs():
            index[part] = self._slab_index(moving, part)
        return index

    def _slab_index(self, moving: Grid, part: slice) -> np.ndarray:
        """`moving_index` of some slices."""
        check_pair(self.grid, moving, "the field", "the moving image")
        x = self.grid.voxel_centres(part) + self.u[part]
        return moving.world_to_index(x.reshape(-1, self.grid.ndim)).reshape(x.shape)

    def warp(
        self, moving: Image, interpolation: Interpolation = "linear", fill: float | Literal["auto"] = "auto"
    ) -> Image:
        """The moving image on the fixed grid: warped(x) = moving(x + u(x)).

        Args:
            moving: any image that shares the world of the field.
            interpolation: `linear`, `nearest`, or `label` for integer labels with smooth edges.
            fill: the value where there is no moving image; `auto` is the image's own background (`Image.background`),
                and 0 for labels.

        Warns:
            InputWarning: if no fixed voxel comes from within the image; the same do `warp_labels` and `warp_rois`.
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
        outside = moving.background if fill == "auto" else (float(fill),) * len(channels)
        mode = "bilinear" if interpolation == "linear" else "nearest"
        values = [torch.from_numpy(np.ascontiguousarray(channel[None])) for channel in channels]
        out, reached = np.empty((*self.grid.shape, len(channels)), dtype=np.float32), False
        for part in self.grid.slabs():
            index = self._slab_index(moving.grid, part)
            reached = reached or bool(_within(index, moving.grid).any())
            for i, value in enumerate(values):
                out[part][..., i] = sample(value, torch.from_numpy(index), mode, outside[i])[0].numpy()
        self._tell(reached, moving.grid)
        return Image(out if moving.is_colour else out[..., 0], self.grid, moving.name)

    def coverage(self, moving: Grid) -> float:
        """Share of the fixed voxels that come from within the outer edges of a grid in the moving image's world."""
        inside = [np.count_nonzero(_within(self._slab_index(moving, part), moving)) for part in self.grid.slabs()]
        return sum(inside) / self.grid.n_voxels

    def _reached(self, moving: Grid) -> np.ndarray:
        """`moving_index`, with a warning where no fixed voxel comes from within that grid."""
        index = self.moving_index(moving)
        self._tell(bool(_within(index, moving).any()), moving)
        return index

    def _tell(self, reached: bool, moving: Grid) -> None:
        if not reached:
            centre = ", ".join(f"{value:.6g}" for value in moving.centre)
            text = f"no voxel of the fixed image comes from the grid of shape {moving.shape} about ({centre})"
            note(f"{text}: the result holds nothing of it", stacklevel=3)

    def warp_labels(self, labels: LabelArray, moving: Grid) -> FixedLabelArray:
        """A label map on the fixed grid: each label is sampled linearly, the largest share wins.

        A tie goes to the larger label, and the background loses every tie. A label that wins nowhere, for example a
        thin one, takes the voxels whose centres come from its own. One pass, whatever the number of labels.

        Args:
            labels: `(*moving.shape)` integers, 0 is background.
            moving: the grid of the labels.

        Returns:
            `(*fixed.shape)` int32.
        """
        import torch

        from samreg.geometry.ops.labels import largest_share, with_all

        index = torch.from_numpy(self._reached(moving).reshape(-1, moving.ndim))
        values = torch.from_numpy(np.ascontiguousarray(labels))
        out = with_all(values, index, largest_share(values, index))
        return out.to(torch.int32).reshape(self.grid.shape).numpy()

    def warp_rois(self, rois: RoiSet) -> tuple[RoiSet, list[int]]:
        """Regions of the moving image on the fixed grid, each for itself, so that overlaps stay.

        A voxel belongs to a region whose mask, sampled linearly, is at least one half there. A region of which that is
        true nowhere takes the voxels whose centres come from its own. Regions share a pass where they do not overlap.

        Args:
            rois: regions of the moving image, on any grid of its world.

        Returns:
            The regions that have a voxel in the fixed image, and their numbers in `rois`.
        """
        import torch

        from samreg.geometry.ops.labels import at_least_half, nearest

        index = torch.from_numpy(self._reached(rois.grid).reshape(-1, rois.grid.ndim))
        layer = layers(rois)
        found: dict[int, Roi] = {}
        for number in sorted(set(layer)):
            values = np.zeros(rois.grid.shape, dtype=np.int32)
            for i, roi in enumerate(rois.rois):
                if layer[i] == number:
                    values[roi.box][roi.mask] = i + 1
            point, value = (t.numpy() for t in at_least_half(torch.from_numpy(values), index))
            lost = np.setdiff1d(values[values > 0], value)
            if lost.size:
                own = nearest(torch.from_numpy(values), index).numpy()
                more = np.flatnonzero(np.isin(own, lost))
                point, value = np.concatenate([point, more]), np.concatenate([value, own[more]])
            order = np.argsort(value, kind="stable")
            point, value = point[order], value[order]
            for rows in np.split(np.arange(len(value)), np.flatnonzero(np.diff(value)) + 1):
                if rows.size:
                    roi = rois[int(value[rows[0]]) - 1]
                    found[int(value[rows[0]]) - 1] = Roi.from_voxels(
                        point[rows], self.grid.shape, roi.quality, roi.name
                    )
        kept = sorted(found)
        return RoiSet(tuple(found[i] for i in kept), self.grid), kept

    def compose(self, after: DisplacementField) -> DisplacementField:
        """This field followed by another: u(x) + after(x + u(x)), on this field's grid."""
        u = np.empty_like(self.u)
        for part in self.grid.slabs():
            x = self.grid.voxel_centres(part)
            moved = (x + self.u[part]).reshape(-1, self.grid.ndim)
            u[part] = after.transform_points(moved).reshape(x.shape) - x
        return replace(self, u=u)

    def invert(self, grid: Grid | None = None, iterations: int = 30, tolerance: float = 1e-4) -> DisplacementField:
        """The field v with y + v(y) the fixed point that lands on y; `inverse_on` also says how well.

        Args:
            grid: grid of the result, usually the moving grid; the field's own by default.
            iterations: at most so many Newton steps.
            tolerance: residual in voxels of this field's grid at which a point counts as solved.

        Warns:
            InputWarning: with the share of voxels that did not converge.
        """
        inverse, result = self.inverse_on(grid, iterations, tolerance)
        result.warn()
        return inverse

    def invert_points(self, points: Points, iterations: int = 30, tolerance: float = 1e-4) -> Points:
        """Moving world points carried into the fixed image; `inverse_of_points` also says how well.

        Args:
            points: (n, d) world points of the moving image.
            iterations: at most so many Newton steps.
            tolerance: residual in voxels of this field's grid at which a point counts as solved.

        Returns:
            (n, d) world points of the fixed image.

        Warns:
            InputWarning: with the share of points that did not converge.
        """
        result = self.inverse_of_points(points, iterations, tolerance)
        result.warn()
        return result.points

    def inverse_on(
        self, grid: Grid | None = None, iterations: int = 30, tolerance: float = 1e-4
    ) -> tuple[DisplacementField, InverseResult]:
        """The inverse as a field, and its residual at each voxel.

        Between voxels of the result the inverse is interpolated, and only as good as that.

        Args:
            grid: grid of the result, usually the moving grid; the field's own by default.
            iterations: at most so many Newton steps.
            tolerance: residual in voxels of this field's grid at which a point counts as solved.

        Returns:
            The field, and what `inverse_of_points` says of its voxel centres, in the order of the array.
        """
        # On a grid single precision does, which the field has as well, and a large field takes half of the memory.
        v, result = grid_inverse(self._in_voxels(kind=np.float32), self.grid, grid or self.grid, iterations, tolerance)
        return DisplacementField(v, grid or self.grid), result

    def inverse_of_points(self, points: Points, iterations: int = 30, tolerance: float = 1e-4) -> InverseResult:
        """The x with x + u(x) = point, by Newton steps on the local Jacobian, and where these fail by search.

        Exact, to the tolerance, where the field does not fold (`min_corner_jacobian`), and unique there. Where it
        folds there are several such x, of which one is returned. Beyond the grid the displacement of the nearest edge
        holds, as in `transform_points`; what comes from there is marked (`InverseResult.inside`).

        Args:
            points: (n, d) world points of the moving image.
            iterations: at most so many Newton steps.
            tolerance: residual in voxels of this field's grid at which a point counts as solved.
        """
        return self.backwards()(points, iterations, tolerance)

    def backwards(self) -> Callable[..., InverseResult]:
        """`inverse_of_points` for many calls: what depends on the field alone is prepared once, and kept in memory."""
        kind = np.float64 if self.grid.n_voxels <= _LARGE else np.float32
        return point_inverse(self._in_voxels(kind=kind), self.grid)

    def _in_voxels(self, part: slice = slice(None), kind: type[np.floating] = np.float64) -> Tensor:
        """Displacements in voxels, (d, *shape), components in array order, of a part of array axis 0."""
        import torch

        d, u = self.grid.ndim, self.u[part]
        inverse = np.linalg.inv(self.grid.matrix[:d, :d])
        w = np.empty((d, *u.shape[:-1]), dtype=kind)
        for row in range(len(u)):
            w[:, row] = np.moveaxis((u[row] @ inverse.T)[..., ::-1], -1, 0)
        return torch.from_numpy(w)

    def min_corner_jacobian(self) -> np.ndarray:
        """The smallest det(I + grad u) at the corners of each cell between voxel centres; at most 0 means folded.

        Stricter than `jacobian_determinant`, whose central differences miss folds within a cell.

        Returns:
            (*shape - 1) float32; an axis with a single voxel keeps it.
        """
        from samreg.geometry.ops.folding import min_corner_jacobian

        result = np.empty([max(1, n - 1) for n in self.grid.shape], dtype=np.float32)
        for part in self.grid.slabs():
            if part.start < len(result):  # a last slice by itself begins no cell
                cells = min_corner_jacobian(self._in_voxels(slice(part.start, part.stop + 1)))
                result[part.start : part.start + len(cells)] = cells.numpy()
        return result

    def jacobian_determinant(self) -> ScalarArray:
        """det(I + grad u) at each voxel, by central differences (one-sided at the edges).

        Along an axis with a single voxel the derivative is zero. At most 0 means folded.

        Returns:
            `(*shape)` float32, 1 for a translation.
        """
        from samreg.geometry.ops.displacement import central_determinant

        n = self.grid.shape[0]
        result: ScalarArray = np.empty(self.grid.shape, dtype=np.float32)
        for part in self.grid.slabs():
            # A slab with a neighbour on either side has the same central differences as the whole. A change of
            # coordinates changes no determinant: that of voxels is that of the world.
            low, high = max(0, part.start - 1), min(n, part.stop + 1)
            whole = central_determinant(self._in_voxels(slice(low, high)))
            result[part] = whole[part.start - low : part.stop - low].numpy()
        return result

    def folding_fraction(self) -> float:
        """Share of voxels with det(I + grad u) <= 0, before any clipping."""
        return self._folding_fraction

    @cached_property
    def _folding_fraction(self) -> float:
        return float(np.mean(self.jacobian_determinant() <= 0))


def _interpolated(u: FieldArray, index: np.ndarray) -> np.ndarray:
    """Multilinear values (n, d) of u (*shape, d) at continuous indices (n, d), (x, y, z); beyond, those of the edge.

    Reads the corners alone, so that some points of a large field cost no copy of it in double precision.
    """
    shape = u.shape[:-1]
    last = np.asarray(shape) - 1
    at = np.clip(index[:, ::-1], 0, last)
    low = np.minimum(np.floor(np.nan_to_num(at)).astype(np.int64), np.maximum(last - 1, 0))
    share = at - low
    nodes, found = u.reshape(-1, u.shape[-1]), np.zeros((len(index), u.shape[-1]))
    for corner in product((0, 1), repeat=len(shape)):
        weight = np.prod(np.where(corner, share, 1 - share), axis=1, keepdims=True)
        found += weight * nodes[np.ravel_multi_index(tuple(np.minimum(low + corner, last).T), shape)]
    return found


def _within(index: np.ndarray, grid: Grid) -> np.ndarray:
    """(*any) whether continuous indices (*any, d) lie within the outer edges of the voxels."""
    inside: np.ndarray = np.all((index >= -0.5) & (index <= np.asarray(grid.shape[::-1]) - 0.5), axis=-1)
    return inside
