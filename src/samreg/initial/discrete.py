"""Discrete search for large displacements by coupled convex optimisation.

min_u sum_x D(x, u(x)) + smoothness(u), split into a voxel-wise search over a window of displacements and a
smoothing step that are drawn together: u <- smooth(argmin_d D(x, d) + theta |d - u(x)|^2) for rising theta.
Source: Heinrich et al., "Non-parametric discrete registration with convex optimisation", WBIR 2014, section 2;
Siebert et al., "ConvexAdam", IEEE TMI 2024.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.geometry.frame import Frame
from samreg.geometry.ops.smoothing import gaussian

__all__ = ["Search", "coupled_convex", "descriptor_cost", "make_consistent"]

_CELLS_AT_ONCE = 1 << 13
_COSTS_AT_ONCE = 1 << 22
"""Costs that are smoothed together: 16 MiB."""
_OUTSIDE_COST = 0.6
"""Cost of a displacement out of the moving image: dearer than a fair match, cheaper than a contradiction."""


@dataclass(frozen=True)
class Search:
    """The window of displacements and how strongly the field is smoothed.

    Args:
        radius: cells searched to each side, array order.
        step: cells between neighbouring candidates, array order.
        sigma: smoothing of the field in cells, array order.
        cost_sigma: smoothing of the costs in cells, array order.
        theta: rising weights of the coupling, per squared `unit`.
        stretch: length of a cell along each array axis, in the unit of the coupling.
    """

    radius: Sequence[int]
    step: Sequence[int]
    sigma: Sequence[float]
    cost_sigma: Sequence[float]
    theta: Sequence[float]
    stretch: Sequence[float]

    def displacements(self) -> Tensor:
        """All candidates in cells, (m, d), array order."""
        axes = [range(-r * s, r * s + 1, s) for r, s in zip(self.radius, self.step, strict=True)]
        return torch.tensor(list(itertools.product(*axes)))


def descriptor_cost(fixed: Tensor, moving: Tensor, frame: Frame, start: Tensor | None, search: Search) -> Tensor:
    """1 - cosine of unit descriptors for every cell and candidate displacement.

    The moving descriptors are carried once through the affine map and `start`; candidates are shifts of the result.

    Args:
        fixed: (c, *shape) on the fixed feature grid.
        moving: (c, *moving shape) on the moving feature grid.
        frame: joins the two feature grids.
        start: (d, *shape) smooth displacement in cells that the search adds to, or None.
        search: the window.

    Returns:
        (m, *shape); `_OUTSIDE_COST` where a candidate leaves the moving image, or one of the cells does not count.
    """
    pad = [r * s for r, s in zip(search.radius, search.step, strict=True)]
    shape = frame.fixed.shape
    axes = [torch.arange(-p, n + p).float() for p, n in zip(pad, shape, strict=True)]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    if start is not None:
        at = at + functional.pad(start[None], [p for p in pad[::-1] for _ in (0, 1)], mode="replicate")[0]
    index = frame.moving_index(at)
    inside = ((index >= -0.5) & (index <= torch.tensor(frame.moving.shape[::-1]) - 0.5)).all(-1)
    carried = functional.normalize(frame.warp(moving, at), dim=0)
    inside &= carried.any(0)
    counts = fixed.any(0)
    candidates = search.displacements()
    cost = torch.empty(len(candidates), *shape)
    for row, candidate in zip(cost, candidates.tolist(), strict=True):
        box = tuple(slice(p + c, p + c + n) for p, c, n in zip(pad, candidate, shape, strict=True))
        torch.sum(fixed * carried[(slice(None), *box)], dim=0, out=row)
        row.neg_().add_(1.0)[~(inside[box] & counts)] = _OUTSIDE_COST
    return cost


def coupled_convex(cost: Tensor, search: Search) -> Tensor:
    """The smooth displacement that the costs ask for.

    Args:
        cost: (m, *shape), one row a candidate of `search`.
        search: window and smoothing.

    Returns:
        (d, *shape) displacement in cells, array order.
    """
    candidates = search.displacements().float()
    stretch = torch.tensor(search.stretch).float()
    shape = cost.shape[1:]
    # Some rows and some cells at a time: a table of costs is the largest thing here, and nothing makes a second one.
    rows = max(1, _COSTS_AT_ONCE // max(1, cost[0].numel()))
    smooth = torch.cat([gaussian(part, search.cost_sigma) for part in torch.split(cost, rows)]).reshape(
        len(candidates), -1
    )
    u = gaussian(candidates[smooth.argmin(0)].T.reshape(-1, *shape), search.sigma)
    scaled = candidates * stretch
    square = (scaled**2).sum(1)
    for theta in search.theta:
        v = u.reshape(len(stretch), -1) * stretch[:, None]
        # |d - u|^2 without |u|^2, which is the same for all candidates of a cell.
        best = [
            torch.addmm(costs + theta * square[:, None], scaled, at, alpha=-2 * theta).argmin(0)
            for costs, at in zip(*(torch.split(table, _CELLS_AT_ONCE, 1) for table in (smooth, v)), strict=True)
        ]
        u = gaussian(candidates[torch.cat(best)].T.reshape(-1, *shape), search.sigma)
    return u


def make_consistent(u: Tensor, v: Tensor, to_moving: Frame, to_fixed: Frame, rounds: int = 15) -> tuple[Tensor, Tensor]:
    """Two displacements, drawn towards each other's inverse.

    Each round takes half of the way that a cell is off after both displacements. Where the two contradict each other,
    both shrink: a displacement that only one direction finds is not kept.

    Source: Siebert et al., "ConvexAdam", IEEE TMI 2024 (inverse consistency of the discrete step).

    Args:
        u: (d, *fixed shape) in fixed cells, array order.
        v: (d, *moving shape) in moving cells, array order.
        to_moving: fixed to moving cells.
        to_fixed: moving to fixed cells.
        rounds: how often.

    Returns:
        Both, as they were given.
    """
    for _ in range(rounds):
        gap, other = u + _carried(v, to_moving, u), v + _carried(u, to_fixed, v)
        u, v = u - 0.5 * gap, v - 0.5 * other
    return u, v


def _carried(vectors: Tensor, frame: Frame, u: Tensor) -> Tensor:
    """Displacements of the other grid's cells, where `u` arrives, as displacements of this grid's cells."""
    d = len(u)
    inverse = torch.as_tensor(np.linalg.inv(frame.joint)[:d, :d]).to(vectors)
    arrived = frame.warp(vectors, frame.identity() + u)
    return torch.einsum("ab,b...->a...", inverse, arrived.flip(0)).flip(0)
