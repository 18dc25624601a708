"""Regularity of a field: folding, and how unevenly it stretches."""

from __future__ import annotations

import numpy as np

from samreg.errors import GeometryError
from samreg.geometry.field import DisplacementField
from samreg.metrics.metric import FieldCase, Metric
from samreg.regions.slices import body_of, window

__all__ = [
    "FOLDING_FRACTION",
    "IMPLAUSIBLE_FRACTION",
    "SDLOGJ",
    "SDLOGJ_L2R",
    "folding_fraction",
    "implausible_fraction",
    "sdlogj",
    "sdlogj_l2r",
]

_FEWEST_VOXELS = 5
_PLAUSIBLE = 0.3, 3.0
"""Jacobian determinants that organs of two people may need."""


def folding_fraction(determinant: np.ndarray) -> float:
    """Share of voxels whose Jacobian determinant is not positive, before any clipping.

    Args:
        determinant: det(I + grad u) at each voxel, as `DisplacementField.jacobian_determinant` gives it.
    """
    return float(np.mean(np.asarray(determinant) <= 0))


def implausible_fraction(determinant: np.ndarray, body: np.ndarray) -> float:
    """Share of the voxels of the body that shrink to less than 0.3 of their volume or grow to more than 3 times of it.

    Args:
        determinant: det(I + grad u) at each voxel.
        body: booleans of the same shape.

    Returns:
        NaN if there is no body.
    """
    inside = np.asarray(determinant)[np.asarray(body, dtype=bool)]
    low, high = _PLAUSIBLE
    return float(((inside < low) | (inside > high)).mean()) if inside.size else float("nan")


def sdlogj(determinant: np.ndarray) -> float:
    """Standard deviation of log det(I + grad u) over the voxels where it exists (det > 0).

    Folded voxels have no logarithm: `folding_fraction` counts them, no clipping hides them.

    Args:
        determinant: det(I + grad u) at each voxel.

    Returns:
        0 for an affine map; NaN if every voxel is folded.
    """
    rows = np.asarray(determinant, dtype=float)
    rows = rows[rows > 0]
    return float(np.log(rows).std()) if rows.size else float("nan")


def sdlogj_l2r(field: DisplacementField) -> float:
    """SDlogJ in the way in which the Learn2Reg evaluation computes it, for comparison with its leader boards only.

    The determinant is taken in voxel units without a margin of two voxels, three is added, and the sum is
    clipped to [1e-9, 1e9] before the logarithm. The values are therefore several times smaller than `sdlogj`, and a
    fold is nearly free.

    Args:
        field: a 3D field on a grid of at least 5 voxels along each axis.

    Raises:
        GeometryError: if the field is 2D or too small.

    Source: Hering et al., Learn2Reg, IEEE TMI 2023, and the published evaluation script.
    """
    grid = field.grid
    if grid.ndim != 3 or min(grid.shape) < _FEWEST_VOXELS:
        raise GeometryError(
            f"sdlogj_l2r is defined for 3D fields of at least {_FEWEST_VOXELS} voxels an axis, got {grid.shape}"
        )
    u = (field.u @ np.asarray(grid.direction)) / np.asarray(grid.spacing)
    gradient = np.stack([np.gradient(u, axis=2 - j) for j in range(3)], axis=-1)
    inner = (slice(2, -2),) * 3
    determinant = np.linalg.det(np.eye(3) + gradient[inner])
    return float(np.log(np.clip(determinant + 3.0, 1e-9, 1e9)).std())


def _folding_fraction(case: FieldCase) -> float:
    return folding_fraction(case.determinant)


def _implausible_fraction(case: FieldCase) -> float | None:
    image = case.fixed
    if image is None:
        return None
    return implausible_fraction(case.determinant, body_of(window(image.with_data(image.grey()))))


def _sdlogj(case: FieldCase) -> float:
    return sdlogj(case.determinant)


def _sdlogj_l2r(case: FieldCase) -> float | None:
    shape = case.field.grid.shape
    return sdlogj_l2r(case.field) if len(shape) == 3 and min(shape) >= _FEWEST_VOXELS else None


FOLDING_FRACTION = Metric("folding", "field", _folding_fraction, unit="%", better="lower", digits=3)
IMPLAUSIBLE_FRACTION = Metric("implausible", "field", _implausible_fraction, unit="%", better="lower", digits=2)
SDLOGJ = Metric("SDlogJ", "field", _sdlogj, digits=3)
SDLOGJ_L2R = Metric("SDlogJ of Learn2Reg", "field", _sdlogj_l2r, digits=3, in_tables=False)
