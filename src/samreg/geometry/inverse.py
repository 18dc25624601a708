"""Points carried backwards through a displacement, and how nearly they arrived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samreg.geometry.grid import Grid
from samreg.notes import note
from samreg.types import Points

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["InverseResult", "grid_inverse", "point_inverse"]

_EVERY = 4
"""Voxels of a grid from one whose inverse is found first to the next one."""
_LONG = 4 * _EVERY
"""Voxels of an axis from which not all of them are found first: along a short one slices are far apart."""


@dataclass(frozen=True, eq=False)
class InverseResult:
    """Fixed points x whose x + u(x) are given moving points, and how nearly.

    Args:
        points: (n, d) world points of the fixed image; in single precision where a whole grid was inverted.
        residual: (n,) |x + u(x) - point| in voxels of the field's grid (length of the difference of indices).
        converged: (n,) whether the residual is within the tolerance.
        inside: (n,) whether x lies within the outer edges of the fixed voxels: further out the field is not known, and
            the displacement of the nearest edge was used.
    """

    points: Points
    residual: np.ndarray
    converged: np.ndarray
    inside: np.ndarray

    @property
    def note(self) -> str | None:
        """One sentence with the share of points that did not converge; None where all did."""
        n = int(np.count_nonzero(~self.converged))
        if not n:
            return None
        worst = float(self.residual.max())
        return (
            f"the inverse did not converge for {n} of {len(self.points)} points ({100 * n / len(self.points):.2g} %); "
            f"the largest residual is {worst:.2g} voxels"
        )

    def warn(self) -> None:
        """Say `note` as an InputWarning, if there is one."""
        if self.note:
            note(self.note)

    def summary(self) -> dict[str, float]:
        """The result in numbers, for a manifest: shares of points, residuals in voxels; NaN where there is no point."""
        n = len(self.points)
        residual = np.asarray(self.residual, dtype=float)
        p99, worst = (float(np.percentile(residual, q)) if n else float("nan") for q in (99, 100))
        return {
            "n_points": n,
            "share_converged": float(np.mean(self.converged)) if n else float("nan"),
            "share_not_converged": float(np.mean(~self.converged)) if n else float("nan"),
            "share_outside": float(np.mean(~self.inside)) if n else float("nan"),
            "residual_mean_vox": float(residual.mean()) if n else float("nan"),
            "residual_p99_vox": p99,
            "residual_max_vox": worst,
        }


def point_inverse(u: Tensor, grid: Grid) -> Callable[..., InverseResult]:
    """Carries moving world points into the fixed image: what depends on the displacement alone is prepared once.

    Args:
        u: (d, *grid.shape) displacement in voxels of the grid, components in array order.
        grid: the fixed grid.

    Returns:
        f(points, iterations, tolerance, search), as `DisplacementField.inverse_of_points`; without `search` what Newton
        steps leave open stays as near as these came.
    """
    import torch

    from samreg.geometry.ops.inverse import Inverter

    inverter = Inverter(u)

    def carried(points: Points, iterations: int = 30, tolerance: float = 1e-4, search: bool = True) -> InverseResult:
        index = torch.from_numpy(grid.world_to_index(np.asarray(points, dtype=float)))
        found = inverter(index, tolerance, iterations, search)
        x, residual = grid.index_to_world(found.index.numpy()), found.residual.numpy()
        return InverseResult(x, residual, residual <= tolerance, grid.contains(x))

    return carried


def grid_inverse(
    u: Tensor, grid: Grid, target: Grid, iterations: int = 30, tolerance: float = 1e-4
) -> tuple[np.ndarray, InverseResult]:
    """The inverse at each voxel centre of a grid.

    The inverse changes little from voxel to voxel: that of every few voxels, interpolated, is where the Newton steps
    of the others begin, which saves about half of them.

    Args:
        u: (d, *grid.shape) displacement in voxels of the grid, components in array order.
        grid: the fixed grid.
        target: grid of the result, usually the moving one.
        iterations: at most so many Newton steps.
        tolerance: residual in voxels of the fixed grid at which a point counts as solved.

    Returns:
        (*target.shape, d) float32 displacements in world units, (x, y, z); and, in the order of the array, how nearly
        each voxel centre arrived.
    """
    import torch

    from samreg.geometry.ops.inverse import Inverse, Inverter

    inverter = Inverter(u)
    begin = _Begin.of(target, grid, lambda y: inverter(y, tolerance, iterations, search=False).index)
    n, d = target.n_voxels, target.ndim
    v, points = np.empty((n, d), np.float32), np.empty((n, d), np.float32)
    residual, inside = np.empty(n), np.empty(n, dtype=bool)
    left: list[tuple[np.ndarray, Tensor, Tensor]] = []
    done = 0
    for part in target.slabs():
        at = target.indices(part).reshape(-1, d)
        y = target.index_to_world(at)
        goal = torch.from_numpy(grid.world_to_index(y))
        found = inverter(goal, tolerance, iterations, search=False, start=goal + begin(at))
        rows, x = slice(done, done + len(y)), grid.index_to_world(found.index.numpy())
        points[rows], v[rows], residual[rows], inside[rows] = x, x - y, found.residual.numpy(), grid.contains(x)
        open_ = inverter.unsettled(found, tolerance)
        left.append((done + np.flatnonzero(open_.numpy()), goal[open_], found.index[open_]))
        done += len(y)
    numbers = np.concatenate([p[0] for p in left])
    if len(numbers):
        goal, index = torch.cat([p[1] for p in left]), torch.cat([p[2] for p in left])
        found = inverter.searched(goal, Inverse(index, torch.from_numpy(residual[numbers])), tolerance)
        x = grid.index_to_world(found.index.numpy())
        points[numbers], v[numbers] = x, x - grid.index_to_world(goal.numpy())
        residual[numbers], inside[numbers] = found.residual.numpy(), grid.contains(x)
    result = InverseResult(points, residual, residual <= tolerance, inside)
    return v.reshape(*target.shape, d), result


@dataclass(frozen=True, eq=False)
class _Begin:
    """Where Newton steps begin: the inverse of every few voxels of a grid, interpolated.

    Args:
        steps: voxels from one of these to the next one, along each array axis.
        moved: (d, *any) what is added to the fixed indices of these, (x, y, z).
    """

    steps: list[int]
    moved: Tensor

    @classmethod
    def of(cls, target: Grid, grid: Grid, inverse: Callable[[Tensor], Tensor]) -> _Begin:
        """Find the inverse of every few voxels.

        Args:
            target: their grid.
            grid: the fixed grid.
            inverse: (n, d) indices of the fixed grid, (x, y, z), to those that are mapped there.
        """
        import torch

        steps = [_EVERY if n >= _LONG else 1 for n in target.shape]
        axes = [np.arange(0.0, n, step) for n, step in zip(target.shape, steps, strict=True)]
        at = np.stack(np.meshgrid(*axes, indexing="ij")[::-1], axis=-1).reshape(-1, len(axes))
        goal = torch.from_numpy(grid.world_to_index(target.index_to_world(at)))
        moved = (inverse(goal) - goal).T.reshape(len(axes), *(len(a) for a in axes))
        return cls(steps, moved.float().contiguous())

    def __call__(self, at: np.ndarray) -> Tensor:
        """What is added to indices of the fixed grid, at (n, d) indices of the target, (x, y, z)."""
        import torch

        from samreg.geometry.ops.resample import sample_border

        place = torch.from_numpy(at / np.asarray(self.steps[::-1])).float()
        return sample_border(self.moved, place).T.double()
