"""The affine map under which the embeddings of two images agree best, from one that is near."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from samreg.geometry.grid import Grid
from samreg.geometry.ops.adam import Adam
from samreg.geometry.ops.rows import Rows, cosines
from samreg.initial.affine import OUTSIDE_COST, Candidate, plausible, same_map
from samreg.initial.descriptors import Descriptors
from samreg.types import Matrix

__all__ = ["agreeing_map", "best_agreement"]

_CELLS = 4000
"""Of each image that are compared, at most."""
_STEPS = 80
_LENGTH = 0.01
"""Of the first steps: change of the linear part, and shift as a share of the fixed image's diagonal."""


def best_agreement(found: Descriptors, masks: tuple[Tensor, Tensor], candidates: Sequence[Candidate]) -> Matrix:
    """The best of the maps to which several candidates lead; arguments as of `agreeing_map`.

    From far away a map may be led nowhere. Those that are near each other mostly lead to the same one.
    """
    both = _BothWays(found, masks)
    led: list[tuple[Matrix, float]] = []
    for number, candidate in enumerate(candidates):
        if same_map(candidate, candidates[:number]) is None:
            led.append(_led(both, candidate.matrix))
    return min(led, key=lambda pair: pair[1])[0]


def agreeing_map(found: Descriptors, masks: tuple[Tensor, Tensor], matrix: Matrix) -> tuple[Matrix, float]:
    """The affine map near another one under which embeddings agree best, in the mean of both directions.

    The cells of each image are looked up in the other one, so that neither map is preferred that shrinks an image nor
    one that carries it away. Adam, from the map that is given.

    Args:
        found: of both images.
        masks: (*fixed shape) and (*moving shape), cells that hold tissue.
        matrix: (d + 1, d + 1) fixed world to moving world.

    Returns:
        The map, and its mean of 1 - cosine, with a cost of its own for what the other image does not hold. It is the
        given one if the other scales by more than bodies do.
    """
    return _led(_BothWays(found, masks), matrix)


class _BothWays:
    """Cells of each image that are looked up in the other one; arguments as of `agreeing_map`."""

    def __init__(self, found: Descriptors, masks: tuple[Tensor, Tensor]) -> None:
        self.grid, self.device = found.fixed_grid, found.fixed.device
        self.there = _LookedUp(found.fixed, found.fixed_grid, masks[0], found.moving, found.moving_grid)
        self.back = _LookedUp(found.moving, found.moving_grid, masks[1], found.fixed, found.fixed_grid)

    def cost(self, matrix: Tensor) -> Tensor:
        """Mean of 1 - cosine under a map (d + 1, d + 1) of world points and under its inverse."""
        return 0.5 * (self.there.cost(matrix) + self.back.cost(torch.linalg.inv(matrix)))


def _led(both: _BothWays, matrix: Matrix) -> tuple[Matrix, float]:
    d, size = both.grid.ndim, float(np.linalg.norm(both.grid.extent))
    first = torch.as_tensor(matrix, dtype=torch.float32, device=both.device)
    centre = torch.tensor(both.grid.centre, dtype=torch.float32, device=both.device)
    last = torch.tensor([[0.0] * d + [1.0]], device=both.device)
    change = torch.zeros(d, d + 1, device=both.device, requires_grad=True)
    optimiser = Adam(change, _LENGTH)
    best, lowest = matrix, float("inf")
    for _ in range(_STEPS):
        linear = torch.eye(d, device=both.device) + change[:, :d]
        shift = centre + size * change[:, d] - linear @ centre
        tried = first @ torch.cat([torch.cat([linear, shift[:, None]], 1), last])
        cost = both.cost(tried)
        if float(cost.detach()) < lowest:
            best, lowest = tried.detach().double().numpy(force=True), float(cost.detach())
        optimiser.step(torch.autograd.grad(cost, change)[0])
    if not plausible(best[None, :d, :d])[0]:
        return matrix, lowest
    return best, lowest


class _LookedUp:
    """Cells of one image that are looked up in the other one.

    Args:
        vectors: (c, *shape) unit descriptors of the one.
        grid: their cells.
        mask: (*shape) cells that hold tissue.
        others: (c, *other shape) of the other one.
        other_grid: their cells.
    """

    def __init__(self, vectors: Tensor, grid: Grid, mask: Tensor, others: Tensor, other_grid: Grid) -> None:
        cells = torch.nonzero(mask.flatten())[:, 0]
        if len(cells) > _CELLS:
            cells = cells[torch.linspace(0, len(cells) - 1, _CELLS).long()]
        index = np.stack(np.unravel_index(cells.numpy(force=True), grid.shape)[::-1], -1).astype(float)
        self.vectors = vectors.flatten(1)[:, cells].T.contiguous()
        self.points = torch.as_tensor(grid.index_to_world(index), dtype=torch.float32, device=vectors.device)
        self.others = Rows(others)
        self.to_index = torch.as_tensor(np.linalg.inv(other_grid.matrix), dtype=torch.float32, device=vectors.device)
        self.most = torch.tensor(other_grid.shape[::-1], device=vectors.device) - 0.5

    def cost(self, matrix: Tensor) -> Tensor:
        """Mean of 1 - cosine under a map (d + 1, d + 1) of world points; 0 where nothing is compared."""
        d = len(self.most)
        to_cells = self.to_index @ matrix
        at = self.points @ to_cells[:d, :d].T + to_cells[:d, d]
        inside = ((at >= -0.5) & (at <= self.most)).all(-1)
        cost = torch.where(inside, 1 - cosines(self.others.at(at), self.vectors), OUTSIDE_COST)
        return cost.sum() / max(1, len(cost))
