"""Does x + u(x) fold: within the cells between voxel centres, and beyond the edges?"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from samreg.geometry.ops.displacement import corner_jacobian

__all__ = ["edge_folds", "min_corner_jacobian"]


def min_corner_jacobian(u: Tensor) -> Tensor:
    """The smallest det(I + grad u) at the corners of each cell between voxel centres.

    u is multilinear in a cell, and its derivatives at a corner are the differences along the edges that meet there. In
    2D the determinant is linear along every line parallel to an axis, so that a cell folds somewhere exactly when this
    number is not positive; in 3D it can, rarely, be smaller inside than at all corners. Central differences average
    over two cells and miss folds within one.

    Args:
        u: (d, *shape) in voxels, array order; d from 1.

    Returns:
        (*shape - 1): an axis with a single voxel keeps it and has derivative 0.
    """
    first, *others = product((0, 1), repeat=len(u))
    smallest = corner_jacobian(u, first)
    for corner in others:
        smallest = torch.minimum(smallest, corner_jacobian(u, corner))
    return smallest


def edge_folds(u: Tensor) -> bool:
    """Whether the continuation of x + u(x) beyond the edges, with the displacement of the nearest edge, folds.

    It is the map of each face (edge, corner) by itself: a turn by 180 degrees folds there and nowhere else.

    Args:
        u: (d, *shape) in voxels, array order.
    """
    d = len(u)
    for clamped in product((0, 1), repeat=d):
        free = [a for a in range(d) if not clamped[a]]
        if len(free) in (0, d):
            continue
        for ends in product((0, -1), repeat=d - len(free)):
            face = u
            # From the last axis on, so that the numbers of those before stay.
            for axis, end in zip(reversed([a for a in range(d) if clamped[a]]), ends, strict=True):
                face = face.select(axis + 1, end)
            if bool((min_corner_jacobian(face[free]) <= 0).any()):
                return True
    return False
