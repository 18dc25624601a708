"""Grid: indices and world points, cross-checked with ITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.errors import GeometryError
from samreg.geometry.grid import Grid, check_pair
from samreg.geometry.image import Image
from samreg.io.itk import grid_of, to_itk
from worlds import GRIDS, grids, noise


@settings(deadline=None)
@given(grid=grids(), seed=st.integers(0, 99))
def test_index_to_world_and_back(grid: Grid, seed: int) -> None:
    index = np.random.default_rng(seed).uniform(-3, 12, (8, grid.ndim))
    np.testing.assert_allclose(grid.world_to_index(grid.index_to_world(index)), index, atol=1e-8)


@settings(deadline=None)
@given(grid=grids(), seed=st.integers(0, 99))
def test_itk_agrees(grid: Grid, seed: int) -> None:
    image = to_itk(np.zeros(grid.shape, np.uint8), grid)
    index = np.random.default_rng(seed).uniform(-1, 8, (5, grid.ndim))
    expected = [image.TransformContinuousIndexToPhysicalPoint(row) for row in index.tolist()]
    np.testing.assert_allclose(grid.index_to_world(index), expected, atol=1e-8)
    assert grid_of(image).same_as(grid)


def test_a_direction_rounded_by_its_header_still_inverts() -> None:
    """NIfTI stores float32: three good digits of an oblique direction must not shift voxels by a fraction of a mm."""
    direction = ((0.9397, -0.3420, 0.0), (0.3423, 0.9395, 0.0), (0.0, 0.0, 1.0))
    grid = Grid((30, 400, 400), (1.0, 1.0, 5.0), (-200.0, 50.0, 0.0), direction)
    index = np.array([[399.0, 399.0, 29.0]])
    np.testing.assert_allclose(grid.world_to_index(grid.index_to_world(index)), index, atol=1e-9)


@pytest.mark.parametrize("name", sorted(GRIDS))
class TestEveryGrid:
    def test_voxel_centres_are_in_array_order(self, name: str) -> None:
        grid = GRIDS[name]
        centres = grid.voxel_centres()
        assert centres.shape == (*grid.shape, grid.ndim)
        corner = tuple(n - 1 for n in grid.shape)
        last = grid.index_to_world(np.array([corner[::-1]], dtype=float))[0]
        np.testing.assert_allclose(centres[corner], last, atol=1e-9)
        np.testing.assert_allclose(centres[(0,) * grid.ndim], grid.origin)

    def test_centre_is_the_mean_of_all_voxels(self, name: str) -> None:
        grid = GRIDS[name]
        np.testing.assert_allclose(grid.centre, grid.voxel_centres().reshape(-1, grid.ndim).mean(0), atol=1e-9)

    def test_crop_leaves_voxels_where_they_were(self, name: str) -> None:
        grid = GRIDS[name]
        start, stop = [min(2, n - 1) for n in grid.shape], list(grid.shape)
        cropped = grid.crop(start, stop)
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        np.testing.assert_allclose(cropped.voxel_centres(), grid.voxel_centres()[box], atol=1e-9)

    def test_with_shape_keeps_the_outer_edges(self, name: str) -> None:
        grid = GRIDS[name]
        for shape in ([n + 4 for n in grid.shape], [max(1, n // 2) for n in grid.shape]):
            other = grid.with_shape(shape)
            assert other.shape == tuple(shape)
            np.testing.assert_allclose(other.extent, grid.extent)
            for a, b in ((-0.5, -0.5), (None, None)):
                first = np.full((1, grid.ndim), a) if a is not None else np.asarray([grid.shape[::-1]]) - 0.5
                second = np.full((1, grid.ndim), b) if b is not None else np.asarray([shape[::-1]]) - 0.5
                np.testing.assert_allclose(other.index_to_world(second), grid.index_to_world(first), atol=1e-9)

    def test_contains_ends_at_the_edges_of_voxels(self, name: str) -> None:
        grid = GRIDS[name]
        upper = np.asarray(grid.shape[::-1], dtype=float) - 0.5
        inside = np.stack([np.full(grid.ndim, -0.49), upper - 0.01])
        outside = np.stack([np.full(grid.ndim, -0.51), upper + 0.01])
        assert grid.contains(grid.index_to_world(inside)).all()
        assert not grid.contains(grid.index_to_world(outside)).any()

    def test_extent_and_volume(self, name: str) -> None:
        grid = GRIDS[name]
        assert np.prod(grid.extent) == pytest.approx(grid.n_voxels * grid.voxel_volume)
        assert grid.array_spacing == grid.spacing[::-1]

    def test_same_as(self, name: str) -> None:
        grid = GRIDS[name]
        nudged = Grid(grid.shape, grid.spacing, tuple(o + 1e-5 for o in grid.origin), grid.direction)
        moved = Grid(grid.shape, grid.spacing, tuple(o + 0.1 for o in grid.origin), grid.direction)
        photograph = Grid(grid.shape, grid.spacing, grid.origin, grid.direction, unit="px")
        assert grid.same_as(nudged)
        assert not grid.same_as(moved)
        assert not grid.same_as(photograph)
        assert not grid.same_as(grid.with_shape([n + 1 for n in grid.shape]))


def test_slice_grid_keeps_the_spacing_of_its_plane() -> None:
    grid = Grid((4, 5, 6), (1.0, 2.0, 3.0))
    assert grid.slice_grid(0) == Grid((5, 6), (1.0, 2.0))
    assert grid.slice_grid(1) == Grid((4, 6), (1.0, 3.0))
    assert grid.slice_grid(2) == Grid((4, 5), (2.0, 3.0))
    with pytest.raises(GeometryError, match="3D"):
        grid.slice_grid(0).slice_grid(0)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (((4,), (1.0,)), "2 or 3 dimensions"),
        (((4, 5), (1.0,)), "2 spacings"),
        (((4, 5), (1.0, 1.0), (0.0,)), "2 origin"),
        (((4, 0), (1.0, 1.0)), "at least one voxel"),
        (((4, 5), (1.0, 0.0)), "positive"),
        (((4, 5), (1.0, float("nan"))), "positive"),
        (((4, 5), (1.0, 1.0), (float("inf"), 0.0)), "finite"),
        (((4, 5), (1.0, 1.0), (0.0, 0.0), ((1.0, 0.3), (0.0, 1.0))), "orthonormal"),
        (((4, 5), (1.0, 1.0), (0.0, 0.0), ((0.0, 0.0), (0.0, 0.0))), "orthonormal"),
    ],
)
def test_a_grid_without_a_meaning(arguments: tuple, word: str) -> None:
    with pytest.raises(GeometryError, match=word):
        Grid(*arguments)


def test_points_of_another_dimension() -> None:
    with pytest.raises(GeometryError, match=r"wants \(n, 2\) points"):
        Grid((4, 5), (1.0, 1.0)).index_to_world(np.zeros((3, 3)))


class TestImage:
    def test_values_become_float32_and_the_original_is_left_alone(self) -> None:
        data = np.arange(20).reshape(4, 5)
        image = Image(data, Grid((4, 5), (1.0, 1.0)))
        assert image.data.dtype == np.float32
        assert data.dtype != np.float32

    def test_grey_of_colour_is_luminance(self) -> None:
        image = Image(noise((4, 5, 3)), Grid((4, 5), (1.0, 1.0), unit="px"))
        assert image.is_colour
        np.testing.assert_allclose(image.grey(), image.data @ [0.299, 0.587, 0.114], rtol=1e-5)

    def test_a_volume_of_three_columns_is_not_colour(self) -> None:
        assert not Image(noise((4, 5, 3)), Grid((4, 5, 3), (1.0, 1.0, 1.0))).is_colour

    def test_wrong_shape(self) -> None:
        with pytest.raises(GeometryError, match="wants data of shape"):
            Image(noise((4, 6)), Grid((4, 5), (1.0, 1.0)))


def test_itk_keeps_the_order_of_axes() -> None:
    grid = Grid((2, 3, 4), (1.0, 1.0, 1.0))
    image = to_itk(np.arange(24, dtype=np.float32).reshape(2, 3, 4), grid)
    assert image.GetSize() == (4, 3, 2)
    assert image[3, 2, 1] == 23
    assert sitk.GetArrayFromImage(image)[1, 2, 3] == 23


def test_a_pair_of_grids_shares_dimension_and_unit() -> None:
    mm, px, volume = Grid((4, 5), (1.0, 1.0)), Grid((4, 5), (1.0, 1.0), unit="px"), Grid((4, 5, 6), (1.0, 1.0, 1.0))
    check_pair(mm, Grid((9, 9), (2.0, 3.0)), "one", "other")
    for other, text in ((px, "a.png is 2D in mm and b.png is 2D in px"), (volume, "b.png is 3D in mm")):
        with pytest.raises(GeometryError, match=text):
            check_pair(mm, other, "a.png", "b.png")


@pytest.mark.parametrize(
    ("shape", "spacing", "axis", "thick"),
    [
        ((7, 40, 44), (1.5, 1.5, 8.0), 0, True),
        ((40, 7, 44), (1.5, 6.0, 1.5), 1, True),
        ((40, 44, 7), (6.1, 1.0, 2.0), 2, True),  # against the mean of the two in-plane spacings
        ((7, 40, 44), (1.5, 1.5, 5.9), 0, False),
        ((40, 40, 40), (1.002, 1.0, 1.001), 0, False),  # a tie, which the first axis wins
        ((40, 44), (1.0, 9.0), 0, False),
    ],
)
def test_a_stack_of_thick_slices(shape: tuple[int, ...], spacing: tuple[float, ...], axis: int, thick: bool) -> None:
    grid = Grid(shape, spacing)
    assert grid.coarsest_axis == axis
    assert grid.is_thick_stack() is thick
    if thick:
        assert not grid.is_thick_stack((axis + 1) % 3)


def test_the_shape_at_a_length_keeps_axes_whose_voxels_are_larger() -> None:
    grid = Grid((10, 100, 200), (0.5, 1.0, 8.0))
    assert grid.shape_at(0.1) == grid.shape
    assert grid.shape_at(2.0) == (10, 50, 50)
    assert grid.shape_at(1e6) == (1, 1, 1)


def test_a_length_within_a_bound_is_the_first_that_fits() -> None:
    grid = Grid((10, 100, 200), (0.5, 1.0, 8.0))
    pixel = grid.pixel_within(25_000, 0.5)
    assert np.prod(grid.shape_at(pixel)) <= 25_000 < np.prod(grid.shape_at(pixel / 1.05))
    assert grid.pixel_within(200_000, 0.5) == 0.5
