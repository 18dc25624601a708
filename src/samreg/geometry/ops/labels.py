"""Label maps at continuous indices, in one pass over the points whatever the number of labels.

The share of a label at a point is what linear interpolation of its mask gives there: the sum of the weights of those of
the 2^d voxels around the point that have the label. Points between voxels of one label, nearly all, need no weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

__all__ = ["at_least_half", "largest_share", "nearest", "with_all"]

_AT_ONCE = 1 << 18  # points
_TIE = 1e-6  # of a share: rounding of indices must not decide a tie
_EDGE = 1e-6  # voxels, as `samreg.geometry.ops.resample.sample` has it
_COUNTED = 1 << 22  # values between which counting is faster than sorting
_LEAST = torch.iinfo(torch.int64).min


def largest_share(labels: Tensor, index: Tensor) -> Tensor:
    """The label with the largest share at each point; 0 beyond the outer edges of the voxels.

    Within half a voxel of the edge the edge value holds. A tie goes to the larger label, and the background 0 loses
    every tie: a structure one voxel thin must not vanish into it.

    Args:
        labels: (*shape) integers.
        index: (n, d) float64 continuous indices, (x, y, z).

    Returns:
        (n,) int64.
    """
    result = torch.zeros(len(index), dtype=torch.int64)
    for rows, value, mixed, around, share in _parts(labels, index):
        best = share.max(dim=1, keepdim=True).values
        wins = torch.where((share >= best - _TIE) & (around != 0), around, _LEAST).max(dim=1).values
        value[mixed] = torch.where(wins == _LEAST, 0, wins)
        result[rows] = value
    return result


def at_least_half(labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Every label but 0 that has a share of at least one half at a point: two at most.

    A label for itself, against all else: what `largest_share` of the mask of each label alone gives.

    Args:
        labels: (*shape) integers.
        index: (n, d) float64 continuous indices, (x, y, z).

    Returns:
        Number of the point (m,) and label (m,), for each such label of each point.
    """
    points, values = [], []
    for rows, value, mixed, around, share in _parts(labels, index):
        alone = value != 0
        alone[mixed] = False
        points.append(rows[alone])
        values.append(value[alone])
        large = (share >= 0.5 - _TIE) & (around != 0)
        for k in range(around.shape[1]):
            first = large[:, k] & (around[:, :k] != around[:, k : k + 1]).all(dim=1)
            points.append(rows[mixed[first]])
            values.append(around[first, k])
    return torch.cat(points), torch.cat(values)


def nearest(labels: Tensor, index: Tensor) -> Tensor:
    """The label of the voxel in which each point lies; 0 beyond the outer edges of the voxels.

    Args:
        labels: (*shape) integers.
        index: (n, d) float64 continuous indices, (x, y, z).

    Returns:
        (n,) int64.
    """
    sizes = torch.tensor(labels.shape)
    at = index.flip(-1)
    inside = ((at >= -0.5 - _EDGE) & (at <= sizes - 0.5 + _EDGE)).all(dim=1)
    voxel = torch.minimum((at.nan_to_num() + 0.5).floor().clamp(min=0), sizes - 1.0).long()
    found: Tensor = torch.where(inside, labels[tuple(voxel.unbind(1))].long(), 0)
    return found


def with_all(labels: Tensor, index: Tensor, found: Tensor) -> Tensor:
    """What was found, and the labels that it lost: each takes the points that lie in its own voxels.

    A thin structure may have the largest share nowhere. What is given back belongs to the label it goes to by
    `nearest`, so that no two labels ask for the same point, and every label comes out that holds a point at all.

    Args:
        labels: as of `nearest`.
        index: as of `nearest`.
        found: (n,) int64 the label of each point by some other rule.
    """
    held = _present(labels)
    held = held[held != 0]
    own: Tensor | None = None
    while True:
        lost = held[~torch.isin(held, _present(found))]
        if not len(lost):
            return found
        own = nearest(labels, index) if own is None else own
        take = torch.isin(own, lost)
        if not take.any():
            return found
        # A label that loses its only point here is lost in the next round; points that were taken stay.
        found = torch.where(take, own, found)


def _present(values: Tensor) -> Tensor:
    """The different values, in ascending order."""
    if values.numel() == 0:
        return values.reshape(-1).long()
    flat = values.reshape(-1).long()
    low, high = flat.aminmax()
    if int(high) - int(low) >= _COUNTED:
        different: Tensor = torch.unique(flat)
        return different
    return torch.nonzero(torch.bincount(flat - low))[:, 0] + low


def _parts(labels: Tensor, index: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """The points part by part.

    Yields:
        Numbers of the points of the part (m,); their label where only one is around them and 0 outside (m,); which of
        these have several (k,); the labels of the voxels around those (k, 2^d), and the share of each (k, 2^d).
    """
    shape, d = labels.shape, labels.ndim
    sizes = torch.tensor(shape)
    strides = [int(sizes[a + 1 :].prod()) for a in range(d)]
    flat = labels.reshape(-1).long()
    uniform = _uniform(labels).reshape(-1)
    bits = torch.tensor(list(product((0, 1), repeat=d)))
    reach = bits @ torch.tensor([s if n > 1 else 0 for s, n in zip(strides, shape, strict=True)])
    for first in range(0, max(1, len(index)), _AT_ONCE):
        at = index[first : first + _AT_ONCE].flip(-1)
        rows = torch.arange(first, first + len(at))
        inside = ((at >= -0.5 - _EDGE) & (at <= sizes - 0.5 + _EDGE)).all(dim=1)
        at = torch.minimum(at.nan_to_num().clamp(min=0), sizes - 1.0)
        low = torch.minimum(at.floor(), (sizes - 2.0).clamp(min=0))
        base = (low.long() * torch.tensor(strides)).sum(dim=1)
        value = torch.where(inside, flat[base], 0)
        mixed = torch.nonzero(inside & ~uniform[base])[:, 0]
        around = flat[base[mixed, None] + reach]
        part = (at - low)[mixed]
        weight = torch.ones(len(mixed), len(bits), dtype=at.dtype)
        for axis in range(d):
            weight *= torch.where(bits[:, axis] == 1, part[:, axis : axis + 1], 1 - part[:, axis : axis + 1])
        share = torch.stack([(weight * (around == label[:, None])).sum(dim=1) for label in around.unbind(1)], dim=1)
        yield rows, value, mixed, around, share


def _uniform(labels: Tensor) -> Tensor:
    """(*shape) whether the 2^d voxels from each one upwards have one label, or as many as the array still holds."""
    low = high = labels
    for axis, n in enumerate(labels.shape):
        if n > 1:
            last = low.narrow(axis, n - 1, 1), high.narrow(axis, n - 1, 1)
            low = torch.cat([torch.minimum(low.narrow(axis, 0, n - 1), low.narrow(axis, 1, n - 1)), last[0]], dim=axis)
            high = torch.cat(
                [torch.maximum(high.narrow(axis, 0, n - 1), high.narrow(axis, 1, n - 1)), last[1]], dim=axis
            )
    return low == high
