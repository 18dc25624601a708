"""Which cell of x + u(x) a point lies in: the search that brackets what Newton steps leave open.

A multilinear cell maps into the box around its mapped corners, and so does each part of a cell. Cells whose box does
not hold the point are left out, the others are halved along each axis until Newton steps in them arrive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from samreg.geometry.ops.folding import min_corner_jacobian
from samreg.geometry.ops.multilinear import interpolate, solve

__all__ = ["beyond_a_fold", "bracket"]

_BINS = 256  # at most, along each axis
_TARGETS_AT_ONCE = 1 << 16
_CELLS_AT_ONCE = 1 << 12
_VOXELS_AT_ONCE = 1 << 21  # whose mapped cells are held
_HALVINGS = 20
_MOST_PAIRS = 1 << 18  # of a point and a part of a cell; beyond, the field folds over and over
_NEWTON_STEPS = 6
_SLACK = 1e-9


def bracket(u: Tensor, targets: Tensor, tolerance: float, everywhere: bool = True) -> tuple[Tensor, Tensor]:
    """An x with x + u(x) = target for each target, by search: first among the cells of the grid, then beyond its edges.

    Args:
        u: (d, *shape) displacement in voxels, array order.
        targets: (n, d) float64 indices, array order.
        tolerance: residual in voxels at which a point counts as solved.
        everywhere: search beyond the edges too.

    Returns:
        Indices (n, d), and residuals (n,), infinite where nothing was found.
    """
    index, residual = torch.zeros_like(targets), targets.new_full((len(targets),), torch.inf)
    usable = torch.nonzero(torch.isfinite(targets).all(dim=1))[:, 0]
    for first in range(0, len(usable), _TARGETS_AT_ONCE):
        left = usable[first : first + _TARGETS_AT_ONCE]
        bins = _Bins(targets[left])
        for lattice in _lattices(u, targets[usable], everywhere):
            if not bool((residual[left] > tolerance).any()):
                break
            low, high = (box.reshape(len(box), -1) for box in (lattice.low, lattice.high))
            cells = torch.nonzero(bins.near(low, high))[:, 0]
            low, high = low[:, cells].T, high[:, cells].T
            some = bins.occupied(low, high)
            found, error = _search(lattice, cells[some], low[some], high[some], bins, tolerance, residual[left])
            better = error < residual[left]
            index[left[better]], residual[left[better]] = found[better], error[better]
    return index, residual


def _lattices(u: Tensor, targets: Tensor, everywhere: bool) -> Iterator[_Lattice]:
    """The cells between voxel centres, some slices at a time, and then those beyond each face."""
    n, reach = u.shape[1], _reach(u, targets)
    rows = max(1, _VOXELS_AT_ONCE * n // u[0].numel())
    for first in range(0, max(1, n - 1), rows):
        yield _Lattice.within(u, reach, slice(first, first + rows + 1))
    if everywhere:
        for axis, side in product(range(len(u)), (0, 1)):
            if u.shape[axis + 1] > 1:
                yield _Lattice.beyond(u, reach, axis, side)


def beyond_a_fold(u: Tensor, targets: Tensor) -> Tensor:
    """Which targets may come from a part of the continuation beyond the edges that folds.

    Args:
        u: (d, *shape) displacement in voxels, array order.
        targets: (n, d) float64 indices, array order.

    Returns:
        (n,) booleans.
    """
    found = torch.zeros(len(targets), dtype=torch.bool)
    if not len(targets):
        return found
    bins, reach = _Bins(targets), _reach(u, targets)
    for axis, side in product(range(len(u)), (0, 1)):
        lattice = _Lattice.beyond(u, reach, axis, side)
        # The padding has the displacement of the edge: its derivative outwards is 0, however far the outer nodes are.
        folded = torch.nonzero((min_corner_jacobian(lattice.displaced) <= 0).reshape(-1))[:, 0]
        low, high = (box.reshape(len(box), -1)[:, folded].T for box in (lattice.low, lattice.high))
        for first in range(0, len(folded), _CELLS_AT_ONCE):
            part = slice(first, first + _CELLS_AT_ONCE)
            found[bins.pairs(low[part], high[part], ~found)[1]] = True
    return found


def _reach(u: Tensor, targets: Tensor) -> float:
    """How far beyond the edges any target may come from, in voxels."""
    return 2 + 2 * max(float(u.max()), -float(u.min())) + float(targets.abs().max()) + max(u.shape[1:])


@dataclass(frozen=True, eq=False)
class _Lattice:
    """Node positions along each axis, mapped nodes, and the box of each mapped cell.

    The continuation beyond the edges is multilinear in cells that reach from the outermost centres as far as any
    target may come from.

    Args:
        nodes: positions (m_a,) along each axis.
        displaced: (d, *m) u at the nodes.
        mapped: (d, *m) x + u(x) at the nodes.
        low: (d, *m - 1) lower corner of the box of each mapped cell.
        high: the upper one.
    """

    nodes: list[Tensor]
    displaced: Tensor
    mapped: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def within(cls, u: Tensor, reach: float, rows: slice) -> _Lattice:
        """The cells between voxel centres of some slices; across a single voxel, those within its edges and beyond."""
        part, nodes = u[:, rows].double(), []
        for axis, n in enumerate(u.shape[1:]):
            inside = torch.arange(n, dtype=torch.float64)
            if n == 1:
                nodes.append(_padded(inside, reach))
                part = _edges_held(part, axis + 1)
            else:
                nodes.append(inside[rows] if axis == 0 else inside)
        return cls._of(nodes, part)

    @classmethod
    def beyond(cls, u: Tensor, reach: float, axis: int, side: int) -> _Lattice:
        """The cells beyond one face alone: its axis, and 0 or 1 for its side."""
        nodes, padded = [], u.narrow(axis + 1, side * (u.shape[axis + 1] - 1), 1).double()
        for a, n in enumerate(u.shape[1:]):
            inside = torch.arange(n, dtype=torch.float64)
            if a == axis:
                nodes.append(_padded(inside, reach)[[0, 1] if side == 0 else [-2, -1]])
                padded = torch.cat([padded, padded], dim=a + 1)
            else:
                nodes.append(_padded(inside, reach))
                padded = _edges_held(padded, a + 1)
        return cls._of(nodes, padded)

    @classmethod
    def _of(cls, nodes: list[Tensor], displaced: Tensor) -> _Lattice:
        mapped = displaced + torch.stack(torch.meshgrid(*nodes, indexing="ij"))
        low = high = mapped
        for axis in range(1, mapped.ndim):
            m = mapped.shape[axis]
            low = torch.minimum(low.narrow(axis, 0, m - 1), low.narrow(axis, 1, m - 1))
            high = torch.maximum(high.narrow(axis, 0, m - 1), high.narrow(axis, 1, m - 1))
        return cls(nodes, displaced, mapped, low, high)

    def corners(self, cells: Tensor) -> Tensor:
        """Mapped corners (d, 2, ..., 2, n) of cells given by flat number."""
        at = _unravelled(cells, self.low.shape[1:])
        d = len(self.mapped)
        bits = torch.tensor(list(product((0, 1), repeat=d)))
        where = tuple(a + bits[:, axis, None] for axis, a in enumerate(at))
        return torch.stack([component[where] for component in self.mapped]).reshape(d, *(2,) * d, len(cells))

    def index(self, cells: Tensor, inner: Tensor) -> Tensor:
        """Indices (n, d) of positions within cells."""
        at = _unravelled(cells, self.low.shape[1:])
        ends = [(n[a], n[a + 1]) for n, a in zip(self.nodes, at, strict=True)]
        return torch.stack([a + inner[:, axis] * (b - a) for axis, (a, b) in enumerate(ends)], dim=-1)


def _padded(nodes: Tensor, reach: float) -> Tensor:
    return torch.cat([nodes[:1] - reach, nodes, nodes[-1:] + reach])


def _edges_held(u: Tensor, axis: int) -> Tensor:
    """With the displacement of both edges once more beyond them."""
    return torch.cat([u.narrow(axis, 0, 1), u, u.narrow(axis, -1, 1)], dim=axis)


def _unravelled(flat: Tensor, shape: Sequence[int]) -> list[Tensor]:
    """Indices along each axis of flat numbers; `torch.unravel_index` loads a library for symbols first."""
    at = []
    for n in reversed(shape):
        at.append(flat % n)
        flat = flat // n
    return at[::-1]


def _search(
    lattice: _Lattice, cells: Tensor, low: Tensor, high: Tensor, bins: _Bins, tolerance: float, known: Tensor
) -> tuple[Tensor, Tensor]:
    """Positions and residuals of targets whose residual so far is above the tolerance, among some cells.

    The boxes, from low to high, are those of these cells.
    """
    index, residual = torch.zeros_like(bins.targets), known.clone()
    for first in range(0, len(cells), _CELLS_AT_ONCE):
        part = slice(first, first + _CELLS_AT_ONCE)
        cell, point = bins.pairs(low[part], high[part], residual > tolerance)
        if not len(cell):
            continue
        number = cells[part][cell]
        row, inner, error = _within(lattice.corners(number), bins.targets[point], point, tolerance)
        # Of several solutions the first one stays.
        order = torch.argsort(error, stable=True).flip(0)
        row, inner, error = row[order], inner[order], error[order]
        better = error < residual[point[row]]
        row, inner, error = row[better], inner[better], error[better]
        index[point[row]], residual[point[row]] = lattice.index(number[row], inner), error
    return index, residual


class _Bins:
    """Targets sorted into boxes of equal size, so that cells find those near them."""

    def __init__(self, targets: Tensor) -> None:
        self.targets = targets
        self.origin, self.end = targets.min(dim=0).values, targets.max(dim=0).values
        extent = self.end - self.origin
        self.width = (extent / _BINS).clamp(min=1)
        self.shape = tuple(int(n) + 1 for n in (extent / self.width).floor())
        flat = self._flat(self._bin(targets))
        self.order = torch.argsort(flat, stable=True)
        self.counts = torch.bincount(flat, minlength=int(torch.tensor(self.shape).prod()))
        self.first = torch.cumsum(self.counts, 0) - self.counts

    def _bin(self, points: Tensor) -> Tensor:
        return ((points - self.origin) / self.width).floor().long()

    def _flat(self, at: Tensor) -> Tensor:
        flat = at[:, 0]
        for axis, n in enumerate(self.shape[1:], start=1):
            flat = flat * n + at[:, axis]
        return flat

    def _range(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """First bin and number of bins along each axis that boxes cover; 0 where they miss all."""
        last = torch.tensor(self.shape) - 1
        a, b = self._bin(low).clamp(min=0), torch.minimum(self._bin(high), last)
        return a, (b - a + 1).clamp(min=0)

    def near(self, low: Tensor, high: Tensor) -> Tensor:
        """(n,) whether boxes, corners (d, n), meet the box around all targets."""
        found = torch.ones(low.shape[1], dtype=torch.bool)
        for a, b, first, last in zip(low, high, self.origin.tolist(), self.end.tolist(), strict=True):
            found &= (a <= last + _SLACK * (1 + abs(last))) & (b >= first - _SLACK * (1 + abs(first)))
        return found

    def occupied(self, low: Tensor, high: Tensor) -> Tensor:
        """(n,) whether any target lies in a bin that the box covers."""
        total = self.counts.reshape(self.shape)
        for axis in range(len(self.shape)):
            total = torch.cumsum(total, dim=axis)
            total = torch.cat([torch.zeros_like(total.narrow(axis, 0, 1)), total], dim=axis)
        a, n = self._range(low, high)
        found = torch.zeros(len(low), dtype=torch.long)
        a = torch.minimum(a, torch.tensor(self.shape))
        for bits in product((0, 1), repeat=len(self.shape)):
            at = a + n * torch.tensor(bits)
            found += (-1) ** (len(bits) - sum(bits)) * total[tuple(at.T)]
        return found > 0

    def pairs(self, low: Tensor, high: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Box and target numbers of every box with every wanted target in it."""
        a, n = self._range(low, high)
        box, offset = _expand(n.prod(dim=1))
        at = a[box]
        for axis in reversed(range(n.shape[1])):
            at[:, axis] += offset % n[box, axis]
            offset = offset // n[box, axis]
        flat = self._flat(at)
        again, member = _expand(self.counts[flat])
        point = self.order[self.first[flat[again]] + member]
        box = box[again]
        held = wanted[point] & _holds(low[box], high[box], self.targets[point])
        return box[held], point[held]


def _expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Row i `counts[i]` times, and the number of each within its row."""
    row = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return row, torch.arange(len(row)) - (torch.cumsum(counts, 0) - counts)[row]


def _holds(low: Tensor, high: Tensor, point: Tensor) -> Tensor:
    slack = _SLACK * (1 + point.abs())
    return ((point >= low - slack) & (point <= high + slack)).all(dim=-1)


def _within(corners: Tensor, targets: Tensor, point: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Positions in cells that are mapped to targets.

    Returns:
        Of the pairs that have one: number of the pair (n,), position in the cell (n, d), residual (n,).
    """
    d = targets.shape[1]
    halves = torch.tensor(list(product((0.0, 0.5, 1.0), repeat=d)), dtype=torch.float64)
    children = torch.tensor(list(product((0.0, 0.5), repeat=d)), dtype=torch.float64)
    pair = torch.arange(corners.shape[-1])
    start = torch.zeros_like(targets)
    size = 1.0
    rows, places, errors = [], [], []
    solved = torch.zeros(int(point.max()) + 1, dtype=torch.bool)
    for _ in range(_HALVINGS):
        place, error = _polish(corners[..., pair], targets[pair], start + size / 2)
        good = (error <= tolerance) & ((place >= -_SLACK) & (place <= 1 + _SLACK)).all(dim=1)
        rows.append(pair[good])
        places.append(place[good].clamp(0, 1))
        errors.append(error[good])
        solved[point[pair[good]]] = True
        open_ = ~solved[point[pair]]
        pair, start = pair[open_], start[open_]
        if not len(pair) or len(pair) > _MOST_PAIRS:
            break
        at = start[:, None] + size * halves
        many = pair.repeat_interleave(len(halves))
        mapped = interpolate(corners[..., many], at.reshape(-1, d).T)[0].T.reshape(len(pair), *(3,) * d, d)
        low = high = mapped
        for axis in range(1, d + 1):
            low = torch.minimum(low.narrow(axis, 0, 2), low.narrow(axis, 1, 2))
            high = torch.maximum(high.narrow(axis, 0, 2), high.narrow(axis, 1, 2))
        held = _holds(low.reshape(len(pair), -1, d), high.reshape(len(pair), -1, d), targets[pair][:, None])
        which, child = torch.nonzero(held, as_tuple=True)
        pair, start, size = pair[which], start[which] + size * children[child], size / 2
    return torch.cat(rows), torch.cat(places), torch.cat(errors)


def _polish(corners: Tensor, targets: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """A few Newton steps of the cell's polynomial, and their residual."""
    goal, at = targets.T, place.T
    for _ in range(_NEWTON_STEPS):
        value, slopes = interpolate(corners, at)
        step = solve(slopes, goal - value)[0]
        at = (at + torch.nan_to_num(step).clamp(-1, 1)).clamp(-0.5, 1.5)
    return at.T, (goal - interpolate(corners, at)[0]).norm(dim=0)
