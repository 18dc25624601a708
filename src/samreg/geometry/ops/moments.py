"""First and second moments of regions, and the affine map that carries one region's to the other's."""

from __future__ import annotations

import numpy as np

from samreg.types import Matrix, Points

__all__ = ["moment_map", "moments"]


def moments(centres: Points, voxel: Matrix) -> tuple[np.ndarray, Matrix]:
    """Mean and covariance of the space that voxels fill.

    Args:
        centres: (n, d) world positions of the voxels of one region.
        voxel: (d, d) columns are the edges of a voxel in the world.

    Returns:
        Mean (d,) and covariance (d, d). A voxel is a box, not a point, and adds its own V V^T / 12: no region is flat.
    """
    mean = centres.mean(axis=0)
    spread = centres - mean
    return mean, spread.T @ spread / len(centres) + voxel @ voxel.T / 12.0


def moment_map(
    fixed: tuple[np.ndarray, Matrix], moving: tuple[np.ndarray, Matrix]
) -> tuple[np.ndarray, Matrix, np.ndarray]:
    """T(x) = q + A (x - p) with A = C_f^-1/2 (C_f^1/2 C_m C_f^1/2)^1/2 C_f^-1/2.

    Of all affine maps that give a region the mean and covariance of its partner, this one moves least: the optimal
    transport map between Gaussians of these moments (Knott and Smith 1984). It stretches and shifts, and does not turn.

    Args:
        fixed: mean p and covariance C_f.
        moving: mean q and covariance C_m.

    Returns:
        p (d,), A (d, d), q (d,).
    """
    (p, c_f), (q, c_m) = fixed, moving
    root, inverse = _powers(c_f)
    middle, _ = _powers(root @ c_m @ root)
    return p, inverse @ middle @ inverse, q


def _powers(matrix: Matrix) -> tuple[Matrix, Matrix]:
    """Square root of a positive definite matrix, and its inverse."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    root = np.sqrt(np.maximum(values, 1e-300))
    return (vectors * root) @ vectors.T, (vectors / root) @ vectors.T
