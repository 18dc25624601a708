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
        linear, self._shift = self._field.affine_part()
        self._backwards = torch.linalg.inv(linear).T

    def __call__(self, points: Tensor, tolerance: float = 1e-4, steps: int = 30, search: bool = True) -> Inverse:
        """The x with x + u(x) = point.

        Where the map folds, or is continued beyond its edges by a fold, there are several such x: one between the
        outermost voxel centres is preferred, and any of these may be returned.

        Args:
            points: (n, d) continuous indices, (x, y, z).
            tolerance: residual in voxels at which a point counts as solved.
            steps: Newton steps for each point, refused ones included.
            search: what these steps leave open is searched for in the whole field, which takes longer than all steps.
        """
        targets = points.flip(-1).double()
        index, residual = torch.empty_like(targets), targets.new_empty(len(targets))
        for first in range(0, len(targets), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            start = (targets[part] - self._shift) @ self._backwards
            index[part], residual[part] = _newton(self._field, targets[part], start, tolerance, steps)
        if search:
            self._bracket_rest(targets, index, residual, tolerance)
        return Inverse(index.flip(-1), residual)

    def _bracket_rest(self, targets: Tensor, index: Tensor, residual: Tensor, tolerance: float) -> None:
        """Search, in place, for what Newton steps left open, or solved beyond edges where that is not unique."""
        field, open_ = self._field, residual > tolerance
        _replace(field, targets, index, residual, tolerance, torch.nonzero(open_)[:, 0], everywhere=True)
        # Each point has one x more where the map keeps its orientation than where it folds: a second x needs a fold.
        beyond = ((index < -_ROUNDING) | (index > field.sizes - 1 + _ROUNDING)).any(dim=1) & ~open_
        if not bool(beyond.any()) or not self._edges_fold:
            return
        rows = torch.nonzero(beyond)[:, 0]
        rows = rows[beyond_a_fold(field.u, targets[rows])]
        _replace(field, targets, index, residual, tolerance, rows, everywhere=False)

    @cached_property
    def _edges_fold(self) -> bool:
        return edge_folds(self._field.u)


def _replace(
    field: _Map, targets: Tensor, index: Tensor, residual: Tensor, tolerance: float, rows: Tensor, everywhere: bool
) -> None:
    if not len(rows):
        return
    found, error = bracket(field.u, targets[rows], tolerance, everywhere)
    better = (error < residual[rows]) | (error <= tolerance)
    index[rows[better]], residual[rows[better]] = found[better], error[better]


class _Map:
    """phi(i) = i + u(i) and its Jacobian at any index, array order."""

    def __init__(self, u: Tensor) -> None:
        self.d, self.shape = len(u), tuple(u.shape[1:])
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
        self.nodes = torch.movedim(u, 0, -1).reshape(-1, self.d).contiguous()
        self.u = torch.movedim(self.nodes.reshape(*self.shape, self.d), -1, 0)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Value (n, d) and Jacobian (n, d, d), row the component and column the axis, at (n, d) indices."""
        last = self.sizes - 1
        low = x.nan_to_num().floor().clamp(min=0).minimum((last - 1).clamp(min=0))
        inner = (x - low).clamp(0, 1)
        rows = (low.long() * self.strides).sum(dim=1, keepdim=True) + self.corners
        corners = self.nodes[rows.reshape(-1)].double().reshape(len(x), *(2,) * self.d, self.d)
        value, slopes = interpolate(corners, inner)
        known = ((x >= 0) & (x <= last) & ~self.thin)[:, None, :]
        return x + value, torch.eye(self.d, dtype=x.dtype) + slopes * known

    def affine_part(self) -> tuple[Tensor, Tensor]:
        """The A (d, d) and t (d,) for which A i + t is closest to phi(i) over the grid."""
        every = [torch.arange(0, n, max(1, n // _FIT_POINTS)) for n in self.shape]
        i = torch.stack(torch.meshgrid(*every, indexing="ij"), dim=-1).reshape(-1, self.d)
        w, x = self.nodes[(i * self.strides).sum(dim=1)].double(), i.double()
        centre, mean = x.mean(dim=0), w.mean(dim=0)
        # Of minimal norm: across a single slice, where nothing is known, the map stays the identity.
        slope = (torch.linalg.pinv(x - centre, rtol=1e-9) @ (w - mean)).T
        linear = torch.eye(self.d, dtype=torch.float64) + slope
        if not bool(torch.linalg.cond(linear) < _WORST_CONDITION):
            linear = torch.eye(self.d, dtype=torch.float64)
        return linear, centre + mean - linear @ centre


def _newton(field: _Map, targets: Tensor, start: Tensor, tolerance: float, steps: int) -> tuple[Tensor, Tensor]:
    """Damped Newton steps for each point on its own: the indices (n, d) and their residuals (n,)."""
    index, residual = start.clone(), start.new_empty(len(start))
    rows, x, goal = torch.arange(len(start)), start, targets
    value, jacobian = field(x)
    error = goal - value
    size = error.norm(dim=1)
    residual[:] = size
    step, length = _direction(jacobian, error), torch.ones_like(size)
    for _ in range(steps):
        going = (size > tolerance) & (length >= _SHORTEST)
        if not bool(going.all()):
            rows, x, goal, size, step, length = (t[going] for t in (rows, x, goal, size, step, length))
        if not len(rows):
            break
        trial = x + length[:, None] * step
        value, jacobian = field(trial)
        error = goal - value
        new = error.norm(dim=1)
        falls = new < (1 - 0.1 * length) * size
        x = torch.where(falls[:, None], trial, x)
        size = torch.where(falls, new, size)
        step = torch.where(falls[:, None], _direction(jacobian, error), step)
        length = torch.where(falls, (4 * length).clamp(max=1), length / 2)
        index[rows], residual[rows] = x, size
    return index, residual


def _direction(jacobian: Tensor, error: Tensor) -> Tensor:
    """J⁻¹ error; the error itself, which is a step of the fixed-point iteration, where J is folded or almost."""
    step, determinant = solve(jacobian, error)
    return torch.where((determinant > _SMALLEST_DETERMINANT)[:, None], step, error)
