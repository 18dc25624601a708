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

__all__ = ["InverseResult", "point_inverse"]


@dataclass(frozen=True, eq=False)
class InverseResult:
    """Fixed points x whose x + u(x) are given moving points, and how nearly.

    Args:
        points: (n, d) world points of the fixed image.
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
