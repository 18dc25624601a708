"""Multilinear interpolation inside a cell, with its exact derivatives, and small linear systems."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["interpolate", "solve"]


def interpolate(corners: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivatives of the multilinear polynomial of each cell.

    Args:
        corners: (n, 2, ..., 2, c) values at the 2^d corners; axis 1 + a is 0 or 1 along axis a of the cell.
        inner: (n, d) position in the cell, 0 to 1 along each axis; beyond, the polynomial continues.

    Returns:
        Values (n, c), and derivatives (n, c, d), the last axis the axis of the cell.
    """
    value, slopes = corners, list[Tensor]()
    for axis in range(inner.shape[1]):
        share = inner[:, axis].reshape(-1, *[1] * (value.ndim - 2))
        low, difference = value[:, 0], value[:, 1] - value[:, 0]
        slopes = [s[:, 0] + share * (s[:, 1] - s[:, 0]) for s in slopes] + [difference]
        value = low + share * difference
    return value, torch.stack(slopes, dim=-1)


def solve(matrices: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The x with matrix @ x = vector by Cramer's rule, which is faster than a factorisation of each, and determinants.

    Args:
        matrices: (n, d, d), d = 2 or 3.
        vectors: (n, d).

    Returns:
        x (n, d), not finite where the determinant is 0, and the determinants (n,).
    """
    columns = matrices.unbind(dim=-1)
    if len(columns) == 2:
        (a, c), (b, e) = (column.unbind(dim=-1) for column in columns)
        p, q = vectors.unbind(dim=-1)
        determinant = a * e - b * c
        return torch.stack([e * p - b * q, a * q - c * p], dim=-1) / determinant[:, None], determinant
    first, second, third = columns
    across = torch.linalg.cross(second, third)
    determinant = (first * across).sum(dim=-1)
    parts = (across, torch.linalg.cross(third, first), torch.linalg.cross(first, second))
    return torch.stack([(p * vectors).sum(dim=-1) for p in parts], dim=-1) / determinant[:, None], determinant
