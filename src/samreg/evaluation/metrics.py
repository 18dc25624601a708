"""How good a registration is: overlap, distance and regularity, as pure functions with their units and empty cases.

Labels are integer maps on one grid, 0 is background. A metric of a label returns NaN where it has no
meaning; nothing is replaced by a convenient number. `mean` ignores NaN, so a label that a method pushes out of
the image must be counted: `lost_labels` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from samreg.errors import GeometryError
from samreg.field import DisplacementField
from samreg.grid import Grid
from samreg.types import LabelArray, MaskArray, Points

__all__ = [
    "centroid_tre",
    "centroid_tre_resized",
    "dice",
    "folding_fraction",
    "hd95",
    "label_values",
    "lost_labels",
    "mean",
    "sdlogj",
    "sdlogj_l2r",
    "slice_centroid_tre",
    "surface_distances",
    "tre",
]


def label_values(*maps: LabelArray) -> list[int]:
    """Label values that occur in any of the maps, ascending, without the background."""
    found: set[int] = set()
    for labels in maps:
        found |= {int(v) for v in np.unique(labels)}
    return sorted(found - {0})


def mean(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN if there is none."""
    rows = np.asarray(list(values), dtype=float)
    rows = rows[~np.isnan(rows)]
    return float(rows.mean()) if rows.size else float("nan")


def _same_shape(caller: str, fixed: np.ndarray, warped: np.ndarray) -> None:
    if np.shape(fixed) != np.shape(warped):
        raise GeometryError(
            f"{caller} compares labels on one grid, got shapes {np.shape(fixed)} and {np.shape(warped)}: "
            "warp the moving labels onto the fixed grid first"
        )


def dice(fixed: LabelArray, warped: LabelArray, labels: Sequence[int] | None = None) -> dict[int, float]:
    """Dice of each label: 2 |A ∩ B| / (|A| + |B|).

    Args:
        fixed: `(*shape)` labels of the fixed image.
        warped: `(*shape)` labels of the moving image on the fixed grid.
        labels: which labels; those that occur in either map by default.

    Returns:
        Label -> Dice in [0, 1]; 0 where one of the two has no voxel of the label, NaN where both have none.

    Raises:
        GeometryError: if the shapes differ.
    """
    _same_shape("dice", fixed, warped)
    values = label_values(fixed, warped) if labels is None else [int(v) for v in labels]
    in_fixed, in_warped, shared = _counts(fixed), _counts(warped), _counts(np.where(fixed == warped, fixed, 0))
    result = {}
    for value in values:
        size = in_fixed.get(value, 0) + in_warped.get(value, 0)
        result[value] = 2.0 * shared.get(value, 0) / size if size else float("nan")
    return result


def _counts(labels: np.ndarray) -> dict[int, int]:
    values, counts = np.unique(labels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True)}


def lost_labels(fixed: LabelArray, warped: LabelArray, labels: Sequence[int] | None = None) -> list[int]:
    """Labels of the fixed image that have no voxel left after warping: distances to them do not exist."""
    present = set(label_values(warped))
    values = label_values(fixed)
    return [v for v in values if v not in present and (labels is None or v in labels)]


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
    _same_shape("centroid_tre", fixed, warped)
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
    _same_shape("centroid_tre_resized", fixed, warped)
    pixel = [1.0 if a == axis else side / n for a, n in enumerate(fixed.shape)]
    result = {}
    for value, a, b in _masks(fixed, warped, labels):
        result[value] = _distance(_centre(a), _centre(b), pixel)
    return result


def slice_centroid_tre(
    fixed: LabelArray, warped: LabelArray, grid: Grid, axis: int = 0, labels: Sequence[int] | None = None
) -> dict[int, float]:
    """In-plane distance between the centres of mass of each label, slice by slice, then averaged.

    For stacks of thick slices, where the centroid across slices says more about slice planning than about the
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
    _same_shape("slice_centroid_tre", fixed, warped)
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
        Distances from the fixed surface to the warped one and back, in units of `spacing`; empty arrays where a
        mask is empty.
    """
    from scipy import ndimage

    _same_shape("surface_distances", fixed, warped)
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
    _same_shape("hd95", fixed, warped)
    result = {}
    for value, a, b in _masks(fixed, warped, labels):
        there, back = surface_distances(a, b, grid.array_spacing)
        empty = there.size == 0 or back.size == 0
        result[value] = float("nan") if empty else float(max(np.percentile(there, 95), np.percentile(back, 95)))
    return result


def folding_fraction(determinant: np.ndarray) -> float:
    """Share of voxels whose Jacobian determinant is not positive, before any clipping.

    Args:
        determinant: det(I + grad u) at each voxel, as `DisplacementField.jacobian_determinant` gives it.
    """
    return float(np.mean(np.asarray(determinant) <= 0))


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
    if grid.ndim != 3 or min(grid.shape) < 5:
        raise GeometryError(f"sdlogj_l2r is defined for 3D fields of at least 5 voxels an axis, got {grid.shape}")
    u = (field.u @ np.asarray(grid.direction)) / np.asarray(grid.spacing)
    gradient = np.stack([np.gradient(u, axis=2 - j) for j in range(3)], axis=-1)
    inner = (slice(2, -2),) * 3
    determinant = np.linalg.det(np.eye(3) + gradient[inner])
    return float(np.log(np.clip(determinant + 3.0, 1e-9, 1e9)).std())
