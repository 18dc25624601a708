"""The correspondence that pairs of regions say at any point, and the voxels of regions as points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samreg.geometry.grid import Grid
from samreg.types import MaskArray, Points

__all__ = ["Correspondence", "edges", "holds", "nearest", "voxel_centres"]


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Where n fixed points are in the moving image, inferred from pairs of regions.

    Args:
        pairs: for each point the rows of the pairs whose fixed region holds it: none, one, or several.
        points: for each point its (m, d) moving world positions, one for each of these pairs.
        inferred: (n, d) one moving world position for every point; NaN where there are no pairs at all.
    """

    pairs: tuple[np.ndarray, ...]
    points: tuple[np.ndarray, ...]
    inferred: np.ndarray


def edges(grid: Grid) -> np.ndarray:
    """The edges of a voxel as columns, (d, d)."""
    return grid.matrix[: grid.ndim, : grid.ndim]


def voxel_centres(mask: MaskArray, start: Sequence[int], grid: Grid) -> Points:
    """World centres (n, d) of the voxels of a region."""
    return grid.index_to_world((np.argwhere(mask) + np.asarray(start))[:, ::-1].astype(float))


def holds(mask: MaskArray, start: Sequence[int], voxel: np.ndarray) -> np.ndarray:
    """Whether each voxel index (n, d), array order, lies in the region."""
    inside: np.ndarray = np.all((voxel >= np.asarray(start)) & (voxel < np.asarray(start) + mask.shape), axis=1)
    inside[inside] = mask[tuple((voxel[inside] - np.asarray(start)).T)]
    return inside


def nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of the centres to each point, and the squared distance."""
    from scipy.spatial import cKDTree

    distance, row = cKDTree(centres).query(points)
    return centres[row], distance**2
