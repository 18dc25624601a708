"""Distances between what should lie on one another: landmarks, centres of mass of labels, and their surfaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from samreg.errors import GeometryError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.metrics.metric import LabelCase, Metric, PointCase
from samreg.metrics.values import check_shapes, label_values, mean
from samreg.types import LabelArray, MaskArray, Points

__all__ = [
    "CENTROID_TRE",
    "CENTROID_TRE_PX200",
    "HD95",
    "LANDMARK_TRE",
    "SLICE_CENTROID_TRE",
    "centroid_tre",
    "centroid_tre_resized",
    "hd95",
    "slice_centroid_tre",
    "surface_distances",
    "tre",
]


def tre(fixed: Points, moving: Points, field: DisplacementField | None = None) -> np.ndarray:
    """Target registration error of landmarks: |x + u(x) - y|.

    Args:
        fixed: (n, d) world points x of the fixed image.
        moving: (n, d) world points y of the moving image, in the same order.
        field: the transform; None is the error before registration.

    Returns:
        (n,) distances in world units (mm, or px for photographs), measured in the moving image.

    Raises:
        GeometryError: if the numbers of points differ.
    """
    x, y = np.asarray(fixed, dtype=float), np.asarray(moving, dtype=float)
    if x.shape != y.shape or x.ndim != 2:
        raise GeometryError(f"tre wants two (n, d) lists of as many landmarks, got shapes {x.shape} and {y.shape}")
    if len(x) == 0:
        return np.zeros(0)
    mapped = x if field is None else field.transform_points(x)
    result: np.ndarray = np.linalg.norm(mapped - y, axis=1)
    return result


def centroid_tre(
    fixed: LabelArray, warped: LabelArray, grid: Grid, labels: Sequence[int] | None = None
) -> dict[int, float]:
    """Distance between the centres of mass of each label, fixed and warped (the paper's TRE, section 3).

    Args:
        fixed: `(*shape)` labels of the fixed image.
        warped: `(*shape)` labels of the moving image on the fixed grid.
        grid: the fixed grid.
        labels: which labels; those that occur in either map by default.

    Returns:
        Label -> distance in world units; NaN where either map has no voxel of the label.
    """
    check_shapes("centroid_tre", fixed, warped)
    result = {}
    for value, a, b in _masks(fixed, warped, labels):
        result[value] = _distance(_centre(a), _centre(b), grid.array_spacing)
    return result


def centroid_tre_resized(
    fixed: LabelArray, warped: LabelArray, axis: int | None = None, side: int = 200, labels: Sequence[int] | None = None
) -> dict[int, float]:
    """Centroid distance in pixels of slices that were resized to a square, which is how the released code counts.

    Not comparable between images of different extent; only for comparison with numbers that were made so.

    Args:
        fixed: `(*shape)` labels of the fixed image.
        warped: `(*shape)` labels of the moving image on the fixed grid.
        axis: array axis across the slices, along which a slice counts as one; None in 2D.
        side: pixels of the square.
        labels: which labels; those that occur in either map by default.

    Returns:
        Label -> distance in pixels; NaN where either map has no voxel of the label.
    """
    check_shapes("centroid_tre_resized", fixed, warped)
    pixel = [1.0 if a == axis else side / n for a, n in enumerate(fixed.shape)]
    result = {}
    for value, a, b in _masks(fixed, warped, labels):
        result[value] = _distance(_centre(a), _centre(b), pixel)
    return result


def slice_centroid_tre(
    fixed: LabelArray, warped: LabelArray, grid: Grid, axis: int = 0, labels: Sequence[int] | None = None
) -> dict[int, float]:
    """In-plane distance between the centres of mass of each label, slice by slice, then averaged.

    For stacks of thick slices, where the centroid across slices depends more on slice planning than on the
    registration. A slice counts where both maps hold the label in it.

    Args:
        fixed: `(z, y, x)` labels of the fixed image.
        warped: `(z, y, x)` labels of the moving image on the fixed grid.
        grid: the fixed grid.
        axis: array axis that runs across the slices.
        labels: which labels; those that occur in either map by default.

    Returns:
        Label -> mean distance in world units; NaN where no slice holds the label in both maps.

    Raises:
        GeometryError: if the shapes differ or the grid is not 3D.
    """
    check_shapes("slice_centroid_tre", fixed, warped)
    if grid.ndim != 3:
        raise GeometryError(f"slice_centroid_tre wants 3D labels, got shape {grid.shape}")
    spacing = [s for a, s in enumerate(grid.array_spacing) if a != axis]
    result = {}
    for value, in_fixed, in_warped in _masks(fixed, warped, labels):
        a, b = np.moveaxis(in_fixed, axis, 0), np.moveaxis(in_warped, axis, 0)
        both = np.flatnonzero(a.any(axis=(1, 2)) & b.any(axis=(1, 2)))
        result[value] = mean(_distance(_centre(a[i]), _centre(b[i]), spacing) for i in both)
    return result


def _masks(
    fixed: LabelArray, warped: LabelArray, labels: Sequence[int] | None
) -> Iterator[tuple[int, MaskArray, MaskArray]]:
    """Each label and its two masks within the box that holds both: thousands of small labels cost no pass each."""
    boxes = _boxes(fixed), _boxes(warped)
    for value in label_values(fixed, warped) if labels is None else [int(v) for v in labels]:
        held = [box[value] for box in boxes if value in box]
        ends = [(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*held, strict=True)]
        box = tuple(slice(a, b) for a, b in ends) if held else (slice(0, 0),) * np.ndim(fixed)
        yield value, fixed[box] == value, warped[box] == value


def _boxes(labels: LabelArray) -> dict[int, tuple[slice, ...]]:
    from scipy import ndimage

    values, number = np.unique(labels, return_inverse=True)
    boxes = ndimage.find_objects(number.reshape(np.shape(labels)) + 1)
    return {int(v): box for v, box in zip(values, boxes, strict=True)}


def _centre(mask: MaskArray) -> np.ndarray | None:
    index = np.nonzero(mask)
    return np.asarray([axis.mean() for axis in index]) if index[0].size else None


def _distance(a: np.ndarray | None, b: np.ndarray | None, spacing: Sequence[float]) -> float:
    # The direction is orthonormal, so distances along index axes are distances in the world.
    return float("nan") if a is None or b is None else float(np.linalg.norm((a - b) * np.asarray(spacing)))


def surface_distances(fixed: MaskArray, warped: MaskArray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances between two surfaces: from each surface voxel to the nearest surface voxel of the other mask.

    The surface of a mask is what a face-connected erosion removes; outside the array is background.

    Args:
        fixed: `(*shape)` mask.
        warped: `(*shape)` mask.
        spacing: voxel size in array order (z, y, x).

    Returns:
        Distances from the fixed surface to the warped one, and from the warped surface to the fixed one, in units of
        `spacing`; empty arrays where a mask is empty.
    """
    from scipy import ndimage

    check_shapes("surface_distances", fixed, warped)
    boxes = ndimage.find_objects((fixed | warped).astype(np.uint8))
    if not fixed.any() or not warped.any():
        return np.zeros(0), np.zeros(0)
    # One voxel of margin makes the border of the array background for the erosion.
    a, b = np.pad(fixed[boxes[0]], 1), np.pad(warped[boxes[0]], 1)
    edge_a, edge_b = a & ~ndimage.binary_erosion(a), b & ~ndimage.binary_erosion(b)
    to_b = ndimage.distance_transform_edt(~edge_b, sampling=spacing)
    to_a = ndimage.distance_transform_edt(~edge_a, sampling=spacing)
    return to_b[edge_a], to_a[edge_b]


def hd95(fixed: LabelArray, warped: LabelArray, grid: Grid, labels: Sequence[int] | None = None) -> dict[int, float]:
    """95th percentile of the Hausdorff distance of each label: the larger of the two directed percentiles.

    Args:
        fixed: `(*shape)` labels of the fixed image.
        warped: `(*shape)` labels of the moving image on the fixed grid.
        grid: the fixed grid.
        labels: which labels; those that occur in either map by default.

    Returns:
        Label -> distance in world units; NaN where either map has no voxel of the label.
    """
    check_shapes("hd95", fixed, warped)
    result = {}
    for value, a, b in _masks(fixed, warped, labels):
        forward, backward = surface_distances(a, b, grid.array_spacing)
        empty = forward.size == 0 or backward.size == 0
        result[value] = float("nan") if empty else float(max(np.percentile(d, 95) for d in (forward, backward)))
    return result


def _centroid_tre(case: LabelCase) -> dict[int, float]:
    return centroid_tre(case.fixed, case.warped, case.grid, case.values)


def _centroid_tre_px200(case: LabelCase) -> dict[int, float]:
    axis = case.grid.coarsest_axis if case.grid.ndim == 3 else None
    return centroid_tre_resized(case.fixed, case.warped, axis, labels=case.values)


def _slice_centroid_tre(case: LabelCase) -> dict[int, float] | None:
    if not case.grid.is_thick_stack():
        return None
    return slice_centroid_tre(case.fixed, case.warped, case.grid, case.grid.coarsest_axis, case.values)


def _hd95(case: LabelCase) -> dict[int, float]:
    return hd95(case.fixed, case.warped, case.grid, case.values)


def _landmark_tre(case: PointCase) -> dict[str, float] | None:
    errors = tre(case.fixed, case.moving, case.field)
    if not len(errors):
        return None
    return {
        "mean": float(errors.mean()),
        "median": float(np.median(errors)),
        "p95": float(np.percentile(errors, 95)),
        "max": float(errors.max()),
        "n": len(errors),
    }


CENTROID_TRE = Metric("centroid TRE", "labels", _centroid_tre, unit="world", better="lower")
CENTROID_TRE_PX200 = Metric("centroid TRE [px of 200]", "labels", _centroid_tre_px200, better="lower", in_tables=False)
SLICE_CENTROID_TRE = Metric("in-plane TRE", "labels", _slice_centroid_tre, unit="world", better="lower")
LANDMARK_TRE = Metric("landmark TRE", "points", _landmark_tre, unit="world", better="lower")
HD95 = Metric("HD95", "labels", _hd95, unit="world", better="lower")
