"""DisplacementField: x_moving = x + u(x), on every kind of grid, against closed forms and against ITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.errors import ConfigError, GeometryError, InputWarning
from samreg.geometry.field import DisplacementField
from samreg.geometry.frame import thinned, to_field
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.ops.displacement import rescale, rescaled_part
from samreg.io.itk import to_itk
from samreg.io.transforms import write_transform
from worlds import GRIDS, grids, noise, rotation

VOLUMES = [name for name in sorted(GRIDS) if not name.startswith("one")]


def affine(grid: Grid, angle: float = 0.1, scale: float = 1.1, shift: float = 1.0) -> np.ndarray:
    """A map about the middle of the grid."""
    d = grid.ndim
    matrix = np.eye(d + 1)
    matrix[:d, :d] = scale * rotation((angle,) if d == 2 else (angle, -angle, 0.5 * angle))
    centre = np.asarray(grid.centre)
    matrix[:d, d] = centre - matrix[:d, :d] @ centre + shift * min(grid.spacing)
    return matrix


def wavy(grid: Grid, strength: float = 0.5) -> DisplacementField:
    x = grid.voxel_centres() - np.asarray(grid.centre)
    length = max(grid.extent) / 5
    u = np.stack([np.sin(x[..., (i + 1) % grid.ndim] / length + i) for i in range(grid.ndim)], -1)
    return DisplacementField((strength * min(grid.spacing) * u).astype(np.float32), grid)


@pytest.mark.parametrize("name", sorted(GRIDS))
class TestEveryGrid:
    def test_identity_changes_nothing(self, name: str) -> None:
        grid = GRIDS[name]
        image = Image(noise(grid.shape), grid)
        field = DisplacementField.identity(grid)
        for interpolation in ("linear", "nearest"):
            np.testing.assert_allclose(field.warp(image, interpolation).data, image.data, atol=1e-3)
        labels = np.random.default_rng(0).integers(0, 4, grid.shape).astype(np.int32)
        np.testing.assert_array_equal(field.warp_labels(labels, grid), labels)
        assert field.folding_fraction() == 0

    def test_compose_is_one_map_after_the_other(self, name: str) -> None:
        grid = GRIDS[name]
        first, second = wavy(grid), wavy(grid, 0.3)
        points = grid.voxel_centres().reshape(-1, grid.ndim)
        expected = second.transform_points(first.transform_points(points))
        np.testing.assert_allclose(first.compose(second).transform_points(points), expected, atol=1e-4)

    def test_few_points_are_carried_as_among_all(self, name: str) -> None:
        """Only a part of the field is looked at for them; beyond the grid that is its edge."""
        grid = GRIDS[name]
        field = wavy(grid)
        rng = np.random.default_rng(1)
        size = np.asarray(grid.shape[::-1])
        points = grid.index_to_world(rng.uniform(-3.0, size + 2.0, (40, grid.ndim)))
        among = field.transform_points(np.concatenate([points, grid.voxel_centres().reshape(-1, grid.ndim)]))
        for point, expected in zip(points, among, strict=False):
            np.testing.assert_allclose(field.transform_points(point[None])[0], expected, atol=1e-9)
        assert field.transform_points(points[:0]).shape == (0, grid.ndim)

    def test_inverse_brings_points_back(self, name: str) -> None:
        grid = GRIDS[name]
        field = wavy(grid)
        inner = grid.voxel_centres()[tuple(slice(1, -1) if n > 4 else slice(None) for n in grid.shape)]
        points = inner.reshape(-1, grid.ndim)
        back = field.invert_points(field.transform_points(points))
        np.testing.assert_allclose(back, points, atol=2e-2 * min(grid.spacing))

    def test_inverse_field_brings_voxels_back(self, name: str) -> None:
        grid = GRIDS[name]
        field = wavy(grid)
        inverse = field.invert()
        assert inverse.grid.same_as(grid)
        inner = tuple(slice(1, -1) if n > 4 else slice(None) for n in grid.shape)
        voxels = grid.voxel_centres()[inner].reshape(-1, grid.ndim)
        there_and_back = field.transform_points(inverse.transform_points(voxels))
        np.testing.assert_allclose(there_and_back, voxels, atol=2e-2 * min(grid.spacing))


@pytest.mark.parametrize("name", VOLUMES)
class TestAffineFields:
    """On grids with a derivative along every axis."""

    def test_points_of_an_affine_field_are_mapped_by_its_matrix(self, name: str) -> None:
        grid = GRIDS[name]
        matrix, d = affine(grid), grid.ndim
        index = np.random.default_rng(0).uniform(0, np.asarray(grid.shape[::-1]) - 1.0, (9, d))
        points = grid.index_to_world(index)
        expected = points @ matrix[:d, :d].T + matrix[:d, d]
        field = DisplacementField.from_matrix(matrix, grid)
        np.testing.assert_allclose(field.transform_points(points), expected, atol=1e-4 * max(grid.spacing))

    def test_jacobian_of_an_affine_field_is_its_determinant(self, name: str) -> None:
        grid = GRIDS[name]
        matrix = affine(grid)
        field = DisplacementField.from_matrix(matrix, grid)
        np.testing.assert_allclose(field.jacobian_determinant(), np.linalg.det(matrix[:-1, :-1]), rtol=2e-3)

    def test_a_mirrored_field_is_folded_everywhere(self, name: str) -> None:
        grid = GRIDS[name]
        matrix = np.eye(grid.ndim + 1)
        matrix[0, 0] = -1.0
        assert DisplacementField.from_matrix(matrix, grid).folding_fraction() == 1.0

    def test_inverse_field_on_the_moving_grid_is_that_of_the_inverse_matrix(self, name: str) -> None:
        grid = GRIDS[name]
        matrix = affine(grid)
        moving = grid.with_shape([n + 2 for n in grid.shape])
        inverse = DisplacementField.from_matrix(matrix, grid).invert(moving)
        expected = DisplacementField.from_matrix(np.linalg.inv(matrix), moving)
        assert inverse.grid is moving
        index = expected.moving_index(grid)
        known = ((index >= 0) & (index <= np.asarray(grid.shape[::-1]) - 1)).all(-1)
        assert known.mean() > 0.3
        np.testing.assert_allclose(inverse.u[known], expected.u[known], atol=2e-2 * min(grid.spacing))

    def test_inverse_of_a_half_turn(self, name: str) -> None:
        """Two scans of other orientation: a rotation by 180 degrees is no contraction, and still has an inverse."""
        grid = GRIDS[name]
        d = grid.ndim
        turn = np.eye(d + 1)
        turn[:2, :2] = -np.eye(2)
        centre = np.asarray(grid.centre)
        turn[:d, d] = centre - turn[:d, :d] @ centre
        field = DisplacementField.from_matrix(turn, grid)
        index = np.random.default_rng(1).uniform(1, np.asarray(grid.shape[::-1]) - 2.0, (9, d))
        points = grid.index_to_world(index)
        np.testing.assert_allclose(field.invert_points(field.transform_points(points)), points, atol=1e-2)


@pytest.mark.parametrize("name", VOLUMES)
class TestAgainstItk:
    def resample(self, image: sitk.Image, field: DisplacementField, interpolator: int) -> np.ndarray:
        u = sitk.Cast(to_itk(field.u, field.grid), sitk.sitkVectorFloat64)
        reference = to_itk(np.zeros(field.grid.shape, np.uint8), field.grid)
        return sitk.GetArrayFromImage(
            sitk.Resample(image, reference, sitk.DisplacementFieldTransform(u), interpolator, 0.0)
        )

    def test_linear_and_nearest(self, name: str) -> None:
        grid = GRIDS[name]
        moving = Image(noise([n + 2 for n in grid.shape]), grid.with_shape([n + 2 for n in grid.shape]))
        field = wavy(grid, 1.7)
        for ours, theirs in (("linear", sitk.sitkLinear), ("nearest", sitk.sitkNearestNeighbor)):
            expected = self.resample(to_itk(moving.data, moving.grid), field, theirs)
            different = np.abs(field.warp(moving, ours, fill=0.0).data - expected) > 0.05
            assert different.mean() < 0.005, ours  # a point on an edge may fall to either side

    def test_colour_is_warped_channel_by_channel(self, name: str) -> None:
        grid, field = GRIDS[name], wavy(GRIDS[name], 1.3)
        colour = Image(noise((*grid.shape, 3)), grid)
        warped = field.warp(colour)
        for c in range(3):
            np.testing.assert_allclose(
                warped.data[..., c], field.warp(Image(colour.data[..., c], grid)).data, atol=1e-4
            )

    def test_labels_are_the_largest_share(self, name: str) -> None:
        grid = GRIDS[name]
        labels = np.zeros(grid.shape, np.int32)
        labels[..., : grid.shape[-1] // 2] = 3
        labels[..., -2:] = 7
        field = wavy(grid, 0.8)
        warped = field.warp_labels(labels, grid)
        shares = np.stack([field.warp(Image((labels == v).astype(np.float32), grid), fill=0.0).data for v in (3, 7)])
        outside = 1 - field.warp(Image(np.ones(grid.shape, np.float32), grid), fill=0.0).data
        background = field.warp(Image((labels == 0).astype(np.float32), grid), fill=0.0).data + outside
        clear = np.abs(np.sort(np.stack([background, *shares]), axis=0)[-1] - 0.5) > 0.01
        expected = np.array([0, 3, 7])[np.argmax(np.stack([background, *shares]), axis=0)]
        np.testing.assert_array_equal(warped[clear], expected[clear])
        assert set(np.unique(warped)) <= {0, 3, 7}


class TestFill:
    """What stands where there is no moving image."""

    def test_ct_is_surrounded_by_air(self) -> None:
        field = DisplacementField.identity(Grid((2, 4, 4), (1.0, 1.0, 1.0)))
        ct = Image(np.full((2, 4, 2), -1000, np.float32) + np.eye(4, 2, dtype=np.float32), Grid((2, 4, 2), (1, 1, 1)))
        np.testing.assert_array_equal(field.warp(ct).data[..., 2:], -1000)

    @pytest.mark.parametrize("name", VOLUMES)
    def test_a_body_within_noise(self, name: str) -> None:
        grid = GRIDS[name].with_shape([4 * n for n in GRIDS[name].shape])
        data = noise(grid.shape, low=-1010, high=-990)
        data[tuple(slice(n // 6, n) for n in grid.shape)] = 40.0  # it touches half of the sides
        image = Image(data, grid)
        assert -1010 < image.background[0] < -990
        far = DisplacementField(np.full((*grid.shape, grid.ndim), 1e4, np.float32), grid)
        for warp in (
            lambda: far.warp(image).data == image.background[0],
            lambda: far.warp(image, fill=7.0).data == 7.0,
            lambda: far.warp(image, "nearest", fill=-3).data == -3,
            lambda: far.warp_labels(np.ones(grid.shape, np.int32), grid) == 0,
        ):
            with pytest.warns(InputWarning, match="no voxel of the fixed image"):
                assert warp().all()

    def test_edges_that_are_not_alike_give_the_smallest_value(self) -> None:
        data = np.full((6, 20, 20), 40.0, np.float32)
        data[:3, :, :10] = -1024
        assert Image(data, Grid(data.shape, (1.0, 1.0, 1.0))).background == (-1024.0,)

    def test_noise_about_0_is_0_and_a_flat_background_is_what_it_is(self) -> None:
        grid = Grid((40, 40), (1.0, 1.0))
        body = np.zeros((40, 40), np.float32)
        body[10:30, 10:30] = 500
        assert Image(body + noise((40, 40), high=8), grid).background == (0.0,)
        assert Image(body + 4, grid).background == (4.0,)

    def test_colour_has_a_background_of_each_channel(self) -> None:
        data = np.full((30, 40, 3), (250.0, 240.0, 245.0), np.float32)
        data[10:20, 10:20] = (120.0, 0.0, 90.0)
        image = Image(data, Grid((30, 40), (1.0, 1.0), unit="px"))
        field = DisplacementField(np.full((30, 40, 2), 25, np.float32), image.grid)
        np.testing.assert_array_equal(field.warp(image).data[-1, -1], (250.0, 240.0, 245.0))

    def test_coverage(self) -> None:
        grid = Grid((4, 10), (1.0, 2.0))
        assert DisplacementField.identity(grid).coverage(grid) == 1
        assert DisplacementField(np.full((4, 10, 2), (5.0, 0.0), np.float32), grid).coverage(grid) == 0.5
        assert DisplacementField(np.full((4, 10, 2), (500.0, 0.0), np.float32), grid).coverage(grid) == 0


class TestOneVoxelThinStructures:
    def test_a_line_survives_a_shift_by_half_a_voxel(self) -> None:
        grid = Grid((20, 20), (1.0, 1.0))
        labels = np.zeros((20, 20), np.int32)
        labels[10, 4:16] = 5
        u = np.zeros((20, 20, 2), np.float32)
        u[..., 1] = 0.5
        assert (DisplacementField(u, grid).warp_labels(labels, grid) == 5).any()


@settings(max_examples=25, deadline=None)
@given(grid=grids(), shift=st.floats(-2, 2))
def test_a_shift_moves_the_image_by_that_much(grid: Grid, shift: float) -> None:
    """fixed(x) = moving(x + t) for a linear ramp, wherever the ramp is known."""
    d = grid.ndim
    slope, t = np.arange(1, d + 1) / max(grid.extent), np.full(d, shift * min(grid.spacing) * 0.4)
    ramp = grid.voxel_centres() @ slope
    field = DisplacementField(np.broadcast_to(t, (*grid.shape, d)).astype(np.float32), grid)
    warped = field.warp(Image((ramp - ramp.min() + 1).astype(np.float32), grid)).data
    index = field.moving_index(grid)
    inside = ((index >= 0) & (index <= np.asarray(grid.shape[::-1]) - 1)).all(-1)
    np.testing.assert_allclose(warped[inside], (ramp - ramp.min() + 1 + slope @ t)[inside], atol=2e-3)


class TestFaults:
    def test_wrong_shape(self) -> None:
        with pytest.raises(GeometryError, match="wants u of shape"):
            DisplacementField(np.zeros((4, 5, 3), np.float32), Grid((4, 5), (1.0, 1.0)))
        with pytest.raises(GeometryError, match="3x3 matrix"):
            DisplacementField.from_matrix(np.eye(4), Grid((4, 5), (1.0, 1.0)))

    def test_another_dimension_or_unit(self) -> None:
        field = DisplacementField.identity(Grid((4, 5), (1.0, 1.0)))
        with pytest.raises(GeometryError, match="moving image is 3D"):
            field.warp(Image(noise((2, 4, 5)), Grid((2, 4, 5), (1.0, 1.0, 1.0))))
        with pytest.raises(GeometryError, match="in px"):
            field.warp(Image(noise((4, 5)), Grid((4, 5), (1.0, 1.0), unit="px")))

    def test_unknown_interpolation(self) -> None:
        field = DisplacementField.identity(Grid((4, 5), (1.0, 1.0)))
        with pytest.raises(ConfigError, match="linear, nearest or label"):
            field.warp(Image(noise((4, 5)), field.grid), "cubic")

    def test_nothing_given_is_changed(self) -> None:
        grid = Grid((4, 5), (1.0, 1.0))
        u, data = wavy(grid).u.copy(), noise((4, 5))
        field, image = DisplacementField(u, grid), Image(data, grid)
        kept = u.copy(), data.copy()
        field.warp(image)
        field.compose(field)
        field.invert()
        field.jacobian_determinant()
        np.testing.assert_array_equal(u, kept[0])
        np.testing.assert_array_equal(data, kept[1])


def test_determinants_do_not_depend_on_how_much_is_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid((9, 7, 8), (1.0, 2.0, 3.0), (0, 0, 0), ((0.8, -0.6, 0), (0.6, 0.8, 0), (0, 0, -1)))
    u = np.random.default_rng(0).normal(0, 0.3, (*grid.shape, 3)).astype(np.float32)
    whole = DisplacementField(u, grid).jacobian_determinant()
    monkeypatch.setattr("samreg.geometry.grid._VOXELS_AT_ONCE", 7 * 8 * 2)
    np.testing.assert_array_equal(DisplacementField(u, grid).jacobian_determinant(), whole)


def test_nothing_depends_on_how_many_voxels_are_held_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    grid = Grid((9, 7, 8), (1.0, 2.0, 3.0), (0, 0, 0), ((0.8, -0.6, 0), (0.6, 0.8, 0), (0, 0, -1)))
    random = np.random.default_rng(0)
    field = DisplacementField(random.normal(0, 0.3, (*grid.shape, 3)).astype(np.float32), grid)
    moving = Image(random.normal(0, 1, (6, 9, 7)).astype(np.float32), Grid((6, 9, 7), (2.0, 1.0, 3.0), (1, 0, 2)))
    matrix = np.eye(4)
    matrix[:3] += random.normal(0, 0.1, (3, 4))
    v = torch.from_numpy(random.normal(0, 1, (3, 4, 5, 8)).astype(np.float32))

    def everything(name: str) -> list[np.ndarray]:
        written = write_transform(field, tmp_path / f"{name}.h5", matrix)
        return [
            field.warp(moving).data,
            field.moving_index(moving.grid),
            np.asarray(field.coverage(moving.grid)),
            field.compose(field).u,
            DisplacementField.from_matrix(matrix, grid).u,
            to_field(v, grid, matrix).u,
            np.frombuffer(written.read_bytes(), dtype=np.uint8),
            grid.voxel_centres(),
        ]

    whole = everything("whole")
    monkeypatch.setattr("samreg.geometry.grid._VOXELS_AT_ONCE", 7 * 8 * 2)
    assert [part.start for part in grid.slabs()] == [0, 2, 4, 6, 8]
    for one, other in zip(whole, everything("parts"), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)


@pytest.mark.parametrize("held", [(4, 5), (3, 7, 8), (9, 7, 8), (1, 1, 1)])
def test_a_part_of_a_displacement_on_finer_voxels(held: tuple[int, ...]) -> None:
    shape = (9, 7, 8)[: len(held)]
    u = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (len(held), *held)).astype(np.float32))
    parts = (slice(2, 5), slice(None), slice(None, None, 3))[: len(held)]
    torch.testing.assert_close(rescaled_part(u, shape, parts), rescale(u, shape)[(slice(None), *parts)])


def test_a_displacement_is_held_on_no_more_voxels_than_it_has_detail() -> None:
    large = Grid((300, 512, 512), (0.7, 0.7, 1.0))
    grid = thinned(large)
    assert grid.n_voxels <= 1 << 23
    np.testing.assert_allclose(grid.extent, large.extent)
    assert thinned(Grid((74, 256, 256), (1.0, 1.0, 3.0))).shape == (74, 256, 256)
