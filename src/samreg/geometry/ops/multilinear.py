"""Multilinear interpolation inside a cell, with its exact derivatives, and small linear systems.

Points come last in every array, so that one operation works on many numbers that lie beside each other.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["interpolate", "solve"]


def interpolate(corners: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivatives of the multilinear polynomial of each cell.

    Args:
        corners: (c, 2, ..., 2, n) values at the 2^d corners; axis 1 + a is 0 or 1 along axis a of the cell.
        inner: (d, n) position in the cell, 0 to 1 along each axis; beyond, the polynomial continues.

    Returns:
        Values (c, n), and derivatives (c, d, n), axis 1 the axis of the cell.
    """
    value, slopes = corners, list[Tensor]()
    for share in inner:
        low, difference = value[:, 0], value[:, 1] - value[:, 0]
        slopes = [torch.addcmul(s[:, 0], share, s[:, 1] - s[:, 0]) for s in slopes] + [difference]
        value = torch.addcmul(low, share, difference)
    return value, torch.stack(slopes, dim=1)


def solve(matrices: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The x with matrix @ x = vector by Cramer's rule, which is faster than a factorisation of each, and determinants.

    Args:
        matrices: (d, d, n), d = 2 or 3.
        vectors: (d, n).

    Returns:
        x (d, n), not finite where the determinant is 0, and the determinants (n,).
    """
    columns = matrices.unbind(dim=1)
    if len(columns) == 2:
        (a, c), (b, e) = columns
        p, q = vectors
        determinant = a * e - b * c
        return torch.stack([e * p - b * q, a * q - c * p]) / determinant, determinant
    first, second, third = columns
    across = _cross(second, third)
    determinant = (first * across).sum(dim=0)
    parts = (across, _cross(third, first), _cross(first, second))
    return torch.stack([(p * vectors).sum(dim=0) for p in parts]) / determinant, determinant


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross products of (3, n) vectors."""
    return torch.stack([a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)])
