"""One level of a coarse-to-fine fit: what a solver plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from samreg.fit.objective import Objective
from samreg.fit.problem import Weights

__all__ = ["Level", "Minimise"]

Minimise: TypeAlias = Callable[[Objective, Tensor, Callable[[int], None]], tuple[Tensor, int]]
"""(objective, start, progress) -> (displacement, steps taken). Displacements are (d, *shape) in voxels of the level,
array order; `progress` is called with the steps done."""


@dataclass(frozen=True)
class Level:
    """One level of a coarse-to-fine fit.

    Args:
        shape: voxels of the level on the fixed grid, array order.
        weights: of the terms.
        most: steps at most.
        minimise: improves the displacement.
        given_only: of the pairs only those that were given guide this level.
    """

    shape: tuple[int, ...]
    weights: Weights
    most: int
    minimise: Minimise
    given_only: bool = False
