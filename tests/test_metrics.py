"""Metrics: against MONAI and SimpleITK, on every kind of grid, and in every empty case."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from samreg import DisplacementField, Grid, Image, metrics
from samreg.errors import GeometryError
from samreg.geometry.rois import Roi, RoiSet
from samreg.lab.pseudo_rois import _warped
from samreg.metrics import FieldCase
from samreg.metrics.score import measure
from worlds import GRIDS


def blobs(shape: tuple[int, ...], seed: int, n_labels: int = 3) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.0)
    return np.digitize(noise, np.quantile(noise, np.linspace(0.5, 1, n_labels + 1)[:-1])).astype(np.int32)


def as_sitk(labels: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(tuple(np.ravel(grid.direction)))
    return image


@pytest.mark.parametrize("name", GRIDS)
def test_dice_is_that_of_simpleitk(name: str) -> None:
    grid = GRIDS[name]
    a, b = blobs(grid.shape, 1), blobs(grid.shape, 2)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(as_sitk(a, grid), as_sitk(b, grid))
    found = metrics.dice(a, b)
    assert set(found) == {1, 2, 3}
    for label, value in found.items():
        assert value == pytest.approx(overlap.GetDiceCoefficient(label), abs=1e-9)


@pytest.mark.parametrize("name", GRIDS)
def test_centroid_distance_is_that_of_simpleitk(name: str) -> None:
    grid = GRIDS[name]
    a, b = blobs(grid.shape, 1), blobs(grid.shape, 2)
    shapes = []
    for labels in (a, b):
        shape = sitk.LabelShapeStatisticsImageFilter()
        shape.Execute(as_sitk(labels, grid))
        shapes.append(shape)
    for label, value in metrics.centroid_tre(a, b, grid).items():
        wanted = np.linalg.norm(np.subtract(*(s.GetCentroid(label) for s in shapes)))
        assert value == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("shape", [(12, 14), (7, 12, 11)])
@pytest.mark.parametrize("seed", range(4))
def test_hd95_is_that_of_monai(shape: tuple[int, ...], seed: int) -> None:
    import torch
    from monai.metrics import compute_hausdorff_distance

    spacing = (0.7, 1.3, 4.0)[: len(shape)]
    grid = Grid(shape, spacing)
    a, b = blobs(shape, seed) == 2, blobs(shape, seed + 50) == 2
    wanted = compute_hausdorff_distance(
        torch.from_numpy(a[None, None]).float(),
        torch.from_numpy(b[None, None]).float(),
        include_background=True,
        percentile=95,
        spacing=list(grid.array_spacing),
    )
    assert metrics.hd95(a.astype(int), b.astype(int), grid)[1] == pytest.approx(float(wanted), abs=1e-4)


def test_hausdorff_without_a_percentile_is_that_of_simpleitk() -> None:
    grid = Grid((7, 12, 11), (0.7, 1.3, 4.0))
    a, b = blobs(grid.shape, 3) == 1, blobs(grid.shape, 4) == 1
    tool = sitk.HausdorffDistanceImageFilter()
    # SimpleITK measures between whole masks; from the surface of one to the mask of the other is the same maximum
    # where neither mask holds a hole deeper than the other's surface, so compare on filled, nested boxes.
    a, b = np.zeros_like(a), np.zeros_like(b)
    a[1:5, 2:9, 2:8] = True
    b[1:4, 4:9, 3:10] = True
    tool.Execute(as_sitk(a.astype(np.uint8), grid), as_sitk(b.astype(np.uint8), grid))
    forward, backward = metrics.surface_distances(a, b, grid.array_spacing)
    assert max(forward.max(), backward.max()) == pytest.approx(tool.GetHausdorffDistance(), abs=1e-5)


def test_a_shift_of_a_box_has_the_distances_one_can_count() -> None:
    grid = Grid((6, 20, 20), (1.5, 2.0, 5.0))
    fixed, warped = np.zeros(grid.shape, int), np.zeros(grid.shape, int)
    fixed[1:4, 5:10, 5:10] = 7
    warped[1:4, 8:13, 5:10] = 7  # three voxels along y: 6 mm
    assert metrics.centroid_tre(fixed, warped, grid) == {7: pytest.approx(6.0)}
    assert metrics.slice_centroid_tre(fixed, warped, grid) == {7: pytest.approx(6.0)}
    assert metrics.hd95(fixed, warped, grid) == {7: pytest.approx(6.0)}
    assert metrics.dice(fixed, warped) == {7: pytest.approx(2 / 5)}


def test_slicewise_distance_ignores_what_happens_across_slices() -> None:
    grid = Grid((6, 10, 10), (1.0, 1.0, 10.0))
    fixed, warped = np.zeros(grid.shape, int), np.zeros(grid.shape, int)
    fixed[0:4, 2:6, 2:6] = 1
    warped[2:6, 2:6, 2:6] = 1
    assert metrics.centroid_tre(fixed, warped, grid)[1] == pytest.approx(20.0)
    assert metrics.slice_centroid_tre(fixed, warped, grid)[1] == 0.0


def test_empty_cases() -> None:
    grid = Grid((4, 6, 6), (1.0, 1.0, 1.0))
    nothing, something = np.zeros(grid.shape, int), np.zeros(grid.shape, int)
    something[1:3, 1:3, 1:3] = 1
    for a, b in ((nothing, something), (something, nothing)):
        assert metrics.dice(a, b) == {1: 0.0}
        assert np.isnan(metrics.hd95(a, b, grid)[1])
        assert np.isnan(metrics.centroid_tre(a, b, grid)[1])
        assert np.isnan(metrics.slice_centroid_tre(a, b, grid)[1])
    assert np.isnan(metrics.dice(nothing, nothing, [1])[1])
    assert metrics.dice(nothing, nothing) == {}
    assert metrics.lost_labels(something, nothing) == [1]
    assert metrics.lost_labels(something, something) == []
    assert metrics.lost_labels(nothing, something) == []
    assert np.isnan(metrics.mean([]))
    assert np.isnan(metrics.mean([float("nan")]))
    assert metrics.mean([1.0, float("nan"), 3.0]) == 2.0


def test_labels_on_two_grids_are_refused() -> None:
    with pytest.raises(GeometryError, match="warp the moving labels"):
        metrics.dice(np.zeros((2, 3), int), np.zeros((3, 2), int))


def test_landmark_errors_follow_the_field() -> None:
    grid = GRIDS["oblique-flipped-3d"]
    field = DisplacementField(np.broadcast_to(np.float32([1.0, -2.0, 2.0]), (*grid.shape, 3)), grid)
    points = grid.index_to_world(np.asarray([[2.0, 3.0, 1.5], [8.2, 1.0, 4.0]]))
    assert metrics.tre(points, points, field) == pytest.approx([3.0, 3.0], abs=1e-5)
    assert metrics.tre(points, points + np.asarray([1.0, -2.0, 2.0]), field) == pytest.approx([0.0, 0.0], abs=1e-5)
    assert metrics.tre(points, points) == pytest.approx([0.0, 0.0])
    assert metrics.tre(np.zeros((0, 3)), np.zeros((0, 3)), field).shape == (0,)
    with pytest.raises(GeometryError, match="as many landmarks"):
        metrics.tre(points, points[:1])


@pytest.mark.parametrize("name", ["anisotropic-3d", "oblique-flipped-3d", "oblique-2d"])
def test_sdlogj_is_zero_for_an_affine_map_and_right_for_a_known_stretch(name: str) -> None:
    grid = GRIDS[name]
    d = grid.ndim
    affine = np.eye(d + 1)
    affine[:d, :d] += 0.1 * np.random.default_rng(0).standard_normal((d, d))
    determinant = DisplacementField.from_matrix(affine, grid).jacobian_determinant()
    assert determinant == pytest.approx(np.linalg.det(affine[:d, :d]), abs=1e-4)
    assert metrics.sdlogj(determinant) == pytest.approx(0.0, abs=1e-4)
    halves = np.ones(1000)
    halves[:500] = np.e
    assert metrics.sdlogj(halves) == pytest.approx(0.5)


def test_jacobian_determinant_is_that_of_simpleitk() -> None:
    grid = Grid((12, 13, 14), (1.2, 0.8, 2.0))
    rng = np.random.default_rng(3)
    u = np.stack([ndimage.gaussian_filter(rng.standard_normal(grid.shape), 2) * 6 for _ in range(3)], -1)
    image = sitk.GetImageFromArray(u.astype(np.float64), isVector=True)
    image.SetSpacing(grid.spacing)
    wanted = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image))
    found = DisplacementField(u.astype(np.float32), grid).jacobian_determinant()
    inner = (slice(1, -1),) * 3
    assert found[inner] == pytest.approx(wanted[inner], abs=1e-4)
    assert metrics.folding_fraction(found[inner]) == pytest.approx(np.mean(wanted[inner] <= 0))


def test_folding_is_counted_before_any_clipping() -> None:
    determinant = np.asarray([1.0, -0.5, 0.0, 2.0])
    assert metrics.folding_fraction(determinant) == 0.5
    assert metrics.sdlogj(determinant) == pytest.approx(np.std(np.log([1.0, 2.0])))
    assert np.isnan(metrics.sdlogj(np.asarray([-1.0])))


def test_what_is_implausible_is_counted_in_the_body_alone() -> None:
    grid = Grid((8, 10), (1.0, 2.0))
    determinant = np.ones(grid.shape)
    determinant[:, 0] = 0.1
    determinant[0, 5:7] = 0.2, 3.5
    determinant[1, 5:7] = 0.31, 2.9
    body = np.zeros(grid.shape, dtype=bool)
    body[:2, 5:7] = True
    assert metrics.implausible_fraction(determinant, body) == 0.5
    assert np.isnan(metrics.implausible_fraction(determinant, np.zeros_like(body)))
    # The body of an image is what is bright, with the holes in it.
    ring = np.zeros((20, 20), dtype=np.float32)
    ring[2:12, 2:12] = 100.0
    ring[4:10, 4:10] = 0.0
    u = np.zeros((20, 20, 2), dtype=np.float32)
    u[..., 0] = 3.0 * np.maximum(np.arange(20) - 5.0, 0.0)
    image = Image(ring, Grid((20, 20), (1.0, 1.0)))
    found = measure(FieldCase(DisplacementField(u, image.grid), image))["implausible_fraction"]
    assert found == pytest.approx(0.6)  # columns 6 to 11 of 2 to 11 grow fourfold
    assert "implausible_fraction" not in measure(FieldCase(DisplacementField(u, image.grid)))


def test_learn2reg_variant_adds_three_and_clips() -> None:
    grid = GRIDS["oblique-3d"]
    grid = Grid((9, 10, 11), grid.spacing, grid.origin, grid.direction)
    rng = np.random.default_rng(5)
    vox = np.stack([ndimage.gaussian_filter(rng.standard_normal(grid.shape), 2) * 4 for _ in range(3)], -1)
    u = (vox * grid.spacing) @ np.asarray(grid.direction).T
    # The definition, written out: central differences of voxel displacements, away from the border.
    jacobian = np.stack([np.gradient(vox[..., i], axis=(2, 1, 0)) for i in range(3)])  # [component, index axis]
    matrix = np.moveaxis(jacobian, (0, 1), (-2, -1)) + np.eye(3)
    determinant = np.linalg.det(matrix)[2:-2, 2:-2, 2:-2]
    wanted = np.log((determinant + 3).clip(1e-9, 1e9)).std()
    assert metrics.sdlogj_l2r(DisplacementField(u.astype(np.float32), grid)) == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(GeometryError, match="at least 5 voxels"):
        metrics.sdlogj_l2r(DisplacementField.identity(GRIDS["identity-2d"]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), swap=st.booleans())
def test_properties_of_dice_and_hd95(seed: int, swap: bool) -> None:
    grid = Grid((5, 6, 7), (1.0, 2.0, 3.0))
    a, b = blobs(grid.shape, seed, 2), blobs(grid.shape, seed + 1, 2)
    x, y = (b, a) if swap else (a, b)
    assert metrics.dice(x, y) == pytest.approx(metrics.dice(a, b))
    assert metrics.hd95(x, y, grid) == pytest.approx(metrics.hd95(a, b, grid))
    assert all(v == 1.0 for v in metrics.dice(a, a).values())
    assert all(v == 0.0 for v in metrics.hd95(a, a, grid).values())
    assert all(0.0 <= v <= 1.0 for v in metrics.dice(a, b).values())


@given(seed=st.integers(0, 50), corner=st.tuples(*[st.integers(0, 4)] * 3))
@settings(max_examples=25, deadline=None)
def test_a_region_warped_near_itself_is_the_region_warped(seed: int, corner: tuple[int, int, int]) -> None:
    random = np.random.default_rng(seed)
    grid = Grid((6, 7, 8), (1.0, 1.5, 2.0))
    field = DisplacementField(random.normal(0, 1.5, (6, 7, 8, 3)).astype(np.float32), grid)
    mask = random.random((2, 3, 3)) > 0.3
    mask[0, 0, 0] = True
    full = np.zeros(grid.shape, dtype=bool)
    full[tuple(slice(c, c + n) for c, n in zip(corner, mask.shape, strict=True))] = mask
    rois = RoiSet((Roi(mask, corner),), grid)
    found = _warped(rois, 0, torch.from_numpy(field.moving_index(grid)))
    np.testing.assert_array_equal(found, field.warp_labels(full.astype(np.int32), grid) == 1)


def test_labels_that_only_the_moving_image_has_are_not_scored() -> None:
    grid = Grid((4, 6, 6), (1.0, 1.0, 1.0))
    fixed, warped = np.zeros(grid.shape, int), np.zeros(grid.shape, int)
    fixed[1:3, 1:3, 1:3], warped[1:3, 1:3, 1:3], warped[0, 0, 0] = 1, 1, 9
    found = measure(metrics.LabelCase(fixed, warped, grid))
    assert found["dice"] == {1: 1.0}
    assert "slice_centroid_tre" not in found  # isotropic: not a stack of thick slices


def test_resized_centroids_are_counted_in_pixels_of_the_square() -> None:
    fixed, warped = np.zeros((4, 100, 50), dtype=np.int32), np.zeros((4, 100, 50), dtype=np.int32)
    fixed[1, 10, 10] = 1
    warped[2, 13, 11] = 1
    # 1 slice; 3 rows of 100 are 6 of 200; 1 column of 50 is 4 of 200.
    assert metrics.centroid_tre_resized(fixed, warped, axis=0)[1] == pytest.approx((1 + 36 + 16) ** 0.5)
    assert np.isnan(metrics.centroid_tre_resized(fixed, np.zeros_like(fixed), axis=0, labels=[1])[1])
