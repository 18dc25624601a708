"""The inverse of x + u(x), by Newton steps on the local Jacobian, with its residual.

Between voxel centres u is multilinear, and beyond the outermost centres the value at the edge holds, so that
phi(i) = i + u(i) is a multilinear polynomial in each cell. A Newton step there uses that polynomial's own Jacobian. A
step is halved until the residual falls: where the stretch jumps from one cell to the next, full steps may oscillate.
What is left after that is bracketed cell by cell (`samreg.geometry.ops.cells`).

The map differs from the identity by a bounded displacement, so each point has an inverse, also where the map folds
(degree theory); it is unique where nothing folds. The tests of folding are in `samreg.geometry.ops.folding`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from samreg.geometry.ops.cells import beyond_a_fold, bracket
from samreg.geometry.ops.folding import edge_folds
from samreg.geometry.ops.multilinear import interpolate, solve

__all__ = ["Inverse", "Inverter"]

_AT_ONCE = 1 << 15  # points; the corners of their cells, 8 x 3 numbers of 8 bytes each, stay in the cache
_FIT_POINTS = 16  # along each axis; enough for an affine map
_WORST_CONDITION = 1e3
_SHORTEST = 2.0**-5  # of a Newton step; below, the kinks of the map are bracketed instead
_SMALLEST_DETERMINANT = 1e-3
_ROUNDING = 1e-6  # voxels


@dataclass(frozen=True, eq=False)
class Inverse:
    """Points x for which x + u(x) is near given points.

    Args:
        index: (n, d) float64 continuous indices, (x, y, z).
        residual: (n,) float64 |x + u(x) - point| in voxels (Euclidean length of the index).
    """

    index: Tensor
    residual: Tensor


class Inverter:
    """x + u(x) = point, solved for x: what depends on u alone is prepared once for any number of calls.

    Args:
        u: (d, *shape) displacement in voxels, array order.
    """

    def __init__(self, u: Tensor) -> None:
        self._field = _Map(u)
        linear, shift = self._field.affine_part()
        self._shift, self._backwards = shift[:, None], torch.linalg.inv(linear)

    def __call__(
        self,
        points: Tensor,
        tolerance: float = 1e-4,
        steps: int = 30,
        search: bool = True,
        start: Tensor | None = None,
    ) -> Inverse:
        """The x with x + u(x) = point.

        Where the map folds, or is continued beyond its edges by a fold, there are several such x: one between the
        outermost voxel centres is preferred, and any of these may be returned.

        Args:
            points: (n, d) continuous indices, (x, y, z).
            tolerance: residual in voxels at which a point counts as solved.
            steps: Newton steps for each point, refused ones included.
            search: what these steps leave open is searched for in the whole field (`searched`), which takes longer than
                all steps.
            start: (n, d) where the steps begin, (x, y, z); by default where the affine part of the map says.
        """
        index, residual = torch.empty(points.shape, dtype=torch.float64), torch.empty(len(points), dtype=torch.float64)
        for first in range(0, len(points), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            goal = points[part].flip(-1).double().T.contiguous()
            begin = self._backwards @ (goal - self._shift) if start is None else start[part].flip(-1).double().T
            x, residual[part] = _newton(self._field, goal, begin, tolerance, steps)
            index[part] = x.T.flip(-1)
        found = Inverse(index, residual)
        return self.searched(points, found, tolerance) if search else found

    def unsettled(self, found: Inverse, tolerance: float) -> Tensor:
        """(n,) whether a search may find better: what steps left open, or solved beyond edges that fold."""
        open_ = found.residual > tolerance
        # Each point has one x more where the map keeps its orientation than where it folds: a second x needs a fold.
        return open_ | self._beyond(found.index) if self._edges_fold else open_

    def searched(self, points: Tensor, found: Inverse, tolerance: float) -> Inverse:
        """What was found, with what a search among the cells of the map finds better.

        Args:
            points: (n, d) continuous indices, (x, y, z).
            found: what Newton steps found for them.
            tolerance: residual in voxels at which a point counts as solved.
        """
        targets, index = points.flip(-1).double(), found.index.flip(-1)
        residual = found.residual.clone()
        open_ = residual > tolerance
        self._replace(targets, index, residual, tolerance, torch.nonzero(open_)[:, 0], everywhere=True)
        if self._edges_fold:
            rows = torch.nonzero(self._beyond(found.index) & ~open_)[:, 0]
            rows = rows[beyond_a_fold(self._field.u, targets[rows])]
            self._replace(targets, index, residual, tolerance, rows, everywhere=False)
        return Inverse(index.flip(-1), residual)

    def _beyond(self, index: Tensor) -> Tensor:
        """(n,) whether indices (n, d), (x, y, z), lie beyond the outermost voxel centres."""
        return ((index < -_ROUNDING) | (index > self._field.sizes.flip(0) - 1 + _ROUNDING)).any(dim=1)

    def _replace(
        self, targets: Tensor, index: Tensor, residual: Tensor, tolerance: float, rows: Tensor, everywhere: bool
    ) -> None:
        """Take, in place, what the search finds better for some rows of targets and indices in array order."""
        if not len(rows):
            return
        found, error = bracket(self._field.u, targets[rows], tolerance, everywhere)
        better = (error < residual[rows]) | (error <= tolerance)
        index[rows[better]], residual[rows[better]] = found[better], error[better]

    @cached_property
    def _edges_fold(self) -> bool:
        return edge_folds(self._field.u)


class _Map:
    """phi(i) = i + u(i) and its Jacobian at any index, array order, points last."""

    def __init__(self, u: Tensor) -> None:
        self.d, self.shape, self.u = len(u), tuple(u.shape[1:]), u
        self.sizes = torch.tensor(self.shape, dtype=torch.float64)
        self.thin = torch.tensor([n == 1 for n in self.shape])
        strides = [1] * self.d
        for a in range(self.d - 2, -1, -1):
            strides[a] = strides[a + 1] * self.shape[a + 1]
        self.strides = torch.tensor(strides)
        # Across a single voxel both corners are that voxel.
        reach = [0 if n == 1 else s for n, s in zip(self.shape, strides, strict=True)]
        self.corners = torch.tensor(
            [sum(b * r for b, r in zip(bits, reach, strict=True)) for bits in product((0, 1), repeat=self.d)]
        )
        self.nodes = u.reshape(self.d, -1).contiguous()

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Value (d, n) and Jacobian (d, d, n), first the component and then the axis, at (d, n) indices."""
        last = (self.sizes - 1)[:, None]
        low = x.nan_to_num().floor().clamp(min=0).minimum((last - 1).clamp(min=0))
        inner = (x - low).clamp(0, 1)
        rows = (low.long() * self.strides[:, None]).sum(dim=0) + self.corners[:, None]
        corners = self.nodes.index_select(1, rows.reshape(-1)).double().reshape(self.d, *(2,) * self.d, -1)
        value, slopes = interpolate(corners, inner)
        known = (x >= 0) & (x <= last) & ~self.thin[:, None]
        return x + value, torch.eye(self.d, dtype=x.dtype)[:, :, None] + slopes * known

    def affine_part(self) -> tuple[Tensor, Tensor]:
        """The A (d, d) and t (d,) for which A i + t is closest to phi(i) over the grid."""
        every = [torch.arange(0, n, max(1, n // _FIT_POINTS)) for n in self.shape]
        i = torch.stack(torch.meshgrid(*every, indexing="ij"), dim=-1).reshape(-1, self.d)
        w, x = self.nodes[:, (i * self.strides).sum(dim=1)].T.double(), i.double()
        centre, mean = x.mean(dim=0), w.mean(dim=0)
        # Of minimal norm: across a single slice, where nothing is known, the map stays the identity.
        slope = (torch.linalg.pinv(x - centre, rtol=1e-9) @ (w - mean)).T
        linear = torch.eye(self.d, dtype=torch.float64) + slope
        if not bool(torch.linalg.cond(linear) < _WORST_CONDITION):
            linear = torch.eye(self.d, dtype=torch.float64)
        return linear, centre + mean - linear @ centre


def _newton(field: _Map, targets: Tensor, start: Tensor, tolerance: float, steps: int) -> tuple[Tensor, Tensor]:
    """Damped Newton steps for each point (d, n) on its own: the indices (d, n) and their residuals (n,)."""
    index, residual = start.clone(), start.new_empty(start.shape[1])
    rows, x, goal = torch.arange(start.shape[1]), start, targets
    value, jacobian = field(x)
    error = goal - value
    size = _length(error)
    residual[:] = size
    step, length = _direction(jacobian, error), torch.ones_like(size)
    for _ in range(steps):
        going = torch.nonzero((size > tolerance) & (length >= _SHORTEST))[:, 0]
        if len(going) < len(rows):
            rows, x, goal, size, step, length = (t.index_select(-1, going) for t in (rows, x, goal, size, step, length))
        if not len(rows):
            break
        trial = x + length * step
        value, jacobian = field(trial)
        error = goal - value
        new = _length(error)
        falls = new < (1 - 0.1 * length) * size
        x = torch.where(falls, trial, x)
        size = torch.where(falls, new, size)
        step = torch.where(falls, _direction(jacobian, error), step)
        length = torch.where(falls, (4 * length).clamp(max=1), length / 2)
        index[:, rows], residual[rows] = x, size
    return index, residual


def _length(vectors: Tensor) -> Tensor:
    """Of (d, n) vectors; many times faster than `norm` along a short axis."""
    return vectors.square().sum(dim=0).sqrt()


def _direction(jacobian: Tensor, error: Tensor) -> Tensor:
    """J⁻¹ error; the error itself, which is a step of the fixed-point iteration, where J is folded or almost."""
    step, determinant = solve(jacobian, error)
    return torch.where(determinant > _SMALLEST_DETERMINANT, step, error)
