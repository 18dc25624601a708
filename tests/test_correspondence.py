"""Theorem 1: fields and pairs of single voxels say the same; and what pairs of regions say about any place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.errors import GeometryError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.pairs.theorem import field_to_pairs, pairs_to_field
from worlds import GRIDS, grids


def _to_voxels(fixed: Grid, moving: Grid, seed: int) -> DisplacementField:
    """A random field that leads every fixed voxel to the centre of some moving voxel."""
    rng = np.random.default_rng(seed)
    index = np.stack([rng.integers(0, n, fixed.n_voxels) for n in moving.shape[::-1]], axis=1).astype(float)
    u = moving.index_to_world(index) - fixed.voxel_centres().reshape(-1, fixed.ndim)
    return DisplacementField(u.reshape(*fixed.shape, fixed.ndim).astype(np.float32), fixed)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), ndim=st.sampled_from([2, 3]), seed=st.integers(0, 2**31))
def test_a_field_to_single_voxel_pairs_and_back_is_the_same_field(data: st.DataObject, ndim: int, seed: int) -> None:
    fixed, moving = data.draw(grids(ndim)), data.draw(grids(ndim))
    field = _to_voxels(fixed, moving, seed)
    pairs = field_to_pairs(field, moving)
    assert len(pairs) == fixed.n_voxels
    assert (pairs.fixed.n_voxels == 1).all()
    assert (pairs.moving.n_voxels == 1).all()
    np.testing.assert_allclose(pairs_to_field(pairs).u, field.u, atol=2e-3)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), ndim=st.sampled_from([2, 3]), seed=st.integers(0, 2**31))
def test_any_field_comes_back_to_within_half_a_moving_voxel(data: st.DataObject, ndim: int, seed: int) -> None:
    fixed = data.draw(grids(ndim))
    shift = np.random.default_rng(seed).uniform(-0.4, 0.4, (*fixed.shape, ndim)) * np.asarray(fixed.spacing)
    field = DisplacementField((shift @ np.asarray(fixed.direction).T).astype(np.float32), fixed)
    back = pairs_to_field(field_to_pairs(field, fixed))
    error = (back.u - field.u).astype(float) @ np.asarray(fixed.direction)
    assert (np.abs(error) <= 0.5 * np.asarray(fixed.spacing) + 1e-3).all()


@pytest.mark.parametrize("name", GRIDS)
def test_chosen_points_give_one_pair_each(name: str) -> None:
    grid = GRIDS[name]
    points = grid.index_to_world(np.asarray([np.asarray(grid.shape[::-1]) // 2, np.zeros(grid.ndim)], dtype=float))
    pairs = field_to_pairs(DisplacementField.identity(grid), grid, points)
    np.testing.assert_allclose(pairs.fixed.centroids, points, atol=1e-6)
    np.testing.assert_allclose(pairs.moving.centroids, points, atol=1e-6)


def test_points_that_leave_the_moving_grid_make_no_pair() -> None:
    grid = Grid((4, 4), (1.0, 1.0))
    u = np.zeros((4, 4, 2), dtype=np.float32)
    u[0, :, 1] = -5.0
    assert len(field_to_pairs(DisplacementField(u, grid), grid)) == 12


def test_what_cannot_be_paired_is_refused() -> None:
    grid = Grid((4, 4), (1.0, 1.0))
    with pytest.raises(GeometryError, match="outside the fixed grid"):
        field_to_pairs(DisplacementField.identity(grid), grid, np.asarray([[9.0, 0.0]]))
    with pytest.raises(GeometryError, match="the field is 2D in mm and the moving grid is 3D"):
        field_to_pairs(DisplacementField.identity(grid), Grid((4, 4, 4), (1.0, 1.0, 1.0)))
    with pytest.raises(GeometryError, match="at least one pair"):
        pairs_to_field(PairedRois.none(grid, grid))


def _box(grid: Grid, start: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros(grid.shape, dtype=bool)
    mask[tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))] = True
    return mask


def _pairs(grid: Grid, fixed: list[np.ndarray], moving: list[np.ndarray], weight: list[float]) -> PairedRois:
    return PairedRois(
        RoiSet.from_masks(fixed, grid), RoiSet.from_masks(moving, grid), np.ones(len(fixed)), np.asarray(weight)
    )


def test_overlapping_regions_give_one_to_many() -> None:
    grid = Grid((20, 20), (1.0, 1.0))
    a, b = _box(grid, (2, 2), (6, 6)), _box(grid, (5, 5), (6, 6))
    pairs = _pairs(grid, [a, b], [_box(grid, (2, 6), (6, 6)), _box(grid, (9, 5), (6, 6))], [1.0, 0.5])
    found = pairs.correspond(np.asarray([[6.0, 6.0], [3.0, 3.0], [10.0, 9.0], [18.0, 1.0]]))
    assert [list(p) for p in found.pairs] == [[0, 1], [0], [1], []]
    np.testing.assert_allclose(found.points[0], [[10.0, 6.0], [6.0, 10.0]])
    np.testing.assert_allclose(found.inferred[0], [(2 * 10 + 6) / 3, (2 * 6 + 10) / 3])
    np.testing.assert_allclose(found.inferred[1], [7.0, 3.0])
    np.testing.assert_allclose(found.points[2], [[10.0, 13.0]])
    # Outside of both, the point moves by something between the two.
    moved = found.inferred[3] - [18.0, 1.0]
    assert 0 < moved[0] < 4
    assert 0 < moved[1] < 4
    assert moved[0] > moved[1]


def test_a_region_that_grows_is_stretched_about_its_centre() -> None:
    grid = Grid((30, 30, 30), (1.0, 2.0, 0.5), (5.0, -3.0, 2.0))
    small, large = _box(grid, (4, 4, 4), (5, 5, 5)), _box(grid, (10, 10, 10), (5, 15, 10))
    pairs = _pairs(grid, [small], [large], [1.0])
    edges = grid.index_to_world(np.asarray([[3.5, 3.5, 3.5], [8.5, 8.5, 8.5]]))
    wanted = grid.index_to_world(np.asarray([[9.5, 9.5, 9.5], [19.5, 24.5, 14.5]]))
    inner = edges + 1e-6 * (edges[::-1] - edges)
    np.testing.assert_allclose(pairs.correspond(inner).inferred, wanted, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_pairs_of_a_region_with_itself_move_nothing(data: st.DataObject, seed: int) -> None:
    grid = data.draw(grids())
    rng = np.random.default_rng(seed)
    masks = [rng.random(grid.shape) < 0.4 for _ in range(3)]
    masks = [m for m in masks if m.any()]
    pairs = _pairs(grid, masks, masks, [1.0] * len(masks))
    points = grid.index_to_world(rng.uniform(-2, 8, (10, grid.ndim)))
    found = pairs.correspond(points)
    if masks:
        np.testing.assert_allclose(found.inferred, points, atol=1e-6)
        for rows, places, point in zip(found.pairs, found.points, points, strict=True):
            np.testing.assert_allclose(places, np.tile(point, (len(rows), 1)), atol=1e-6)


def test_no_pairs_infer_nothing() -> None:
    grid = Grid((4, 4), (1.0, 1.0))
    pairs = PairedRois.none(grid, grid)
    found = pairs.correspond(np.asarray([[1.0, 1.0]]))
    assert np.isnan(found.inferred).all()
    assert len(found.pairs[0]) == 0


def test_a_few_pairs_of_regions_make_a_field() -> None:
    grid = Grid((16, 16), (1.0, 1.0))
    pairs = _pairs(grid, [_box(grid, (4, 4), (5, 5))], [_box(grid, (6, 4), (5, 5))], [1.0])
    np.testing.assert_allclose(pairs_to_field(pairs).u, np.broadcast_to([0.0, 2.0], (16, 16, 2)), atol=1e-5)
