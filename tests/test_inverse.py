"""The inverse of a displacement field: its residual, where it converged, what lies outside, and folding."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from samreg.errors import InputWarning
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.ops.cells import bracket
from samreg.geometry.ops.folding import edge_folds, min_corner_jacobian
from worlds import GRIDS, grid, rotation

PROMISED = 0.01  # voxels


def in_world(w: np.ndarray, on: Grid) -> DisplacementField:
    """A field of displacements in voxels, (*shape, d) in (x, y, z) order."""
    d = on.ndim
    return DisplacementField((w @ on.matrix[:d, :d].T).astype(np.float32), on)


def residual_vox(field: DisplacementField, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x + u(x) - y| in voxels, by the forward map that everything else uses."""
    index = field.grid.world_to_index
    return np.linalg.norm(index(field.transform_points(x)) - index(y), axis=1)


def smooth(shape: tuple[int, ...], seed: int, least: float, width: float = 3.0) -> np.ndarray:
    """A random smooth displacement in voxels, as strong as the smallest Jacobian at a corner of a cell allows."""
    random = np.random.default_rng(seed)
    d = len(shape)
    w = np.stack([ndimage.gaussian_filter(random.normal(size=shape), width, mode="nearest") for _ in range(d)], -1)
    w *= 3.0 / max(float(w.std()), 1e-9)
    while least_jacobian(w) < least:
        w = w * 0.85
    return w


def least_jacobian(w: np.ndarray) -> float:
    return float(min_corner_jacobian(torch.from_numpy(np.moveaxis(w[..., ::-1], -1, 0).copy())).min())


def triangle(shape: tuple[int, ...], low: float, high: float, period: int, axes: tuple[int, ...]) -> np.ndarray:
    """Alternately squeezed and stretched along some array axes: derivative of the map `low` and `high` by turns."""
    d = len(shape)
    w = np.zeros((*shape, d))
    for axis in axes:
        slope = np.where((np.arange(shape[axis]) // period) % 2 == 0, low, high) - 1
        wave = np.concatenate([[0.0], np.cumsum(slope)[:-1]])
        w[..., d - 1 - axis] = wave.reshape([-1 if a == axis else 1 for a in range(d)])
    return w


def kinked() -> DisplacementField:
    """A shear that changes at every voxel: a full Newton step from one cell may lead anywhere."""
    random = np.random.default_rng(0)
    w = np.zeros((60, 60, 2))
    w[..., 0] = 6 * np.cumsum(random.choice([-1.0, 1.0], 60))[:, None]
    w[..., 1] = np.cumsum(random.uniform(-0.9, 2, 60))[:, None]
    return in_world(w, Grid((60, 60), (1.0, 1.0)))


class TestStretchedFields:
    """Without any fold, and stretched by more than twice what one affine map says."""

    @pytest.mark.parametrize(
        ("shape", "axes"), [((96, 96), (0,)), ((96, 96), (1,)), ((96, 96), (0, 1)), ((24, 40, 48), (0, 1, 2))]
    )
    def test_triangle_wave(self, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
        on = Grid(shape, (1.5, 0.7, 4.0)[: len(shape)])
        field = in_world(triangle(shape, 0.5, 2.5, 12, axes), on)
        assert field.min_corner_jacobian().min() == pytest.approx(0.5 ** len(axes), rel=1e-3)
        y = field.transform_points(on.voxel_centres().reshape(-1, on.ndim))
        result = field.inverse_of_points(y)
        assert result.converged.all()
        assert residual_vox(field, result.points, y).max() < PROMISED
        np.testing.assert_allclose(result.points, on.voxel_centres().reshape(-1, on.ndim), atol=0.01)

    def test_the_inverse_as_a_field_on_a_wider_grid(self) -> None:
        on = Grid((40, 40), (1.0, 2.0))
        field = in_world(triangle((40, 40), 0.5, 2.5, 8, (0, 1)), on)
        wider = Grid((90, 90), (1.0, 2.0), (-3.0, -3.0))
        inverse, result = field.inverse_on(wider)
        y = wider.voxel_centres().reshape(-1, 2)
        assert inverse.grid == wider
        assert residual_vox(field, y + inverse.u.reshape(-1, 2), y).max() < PROMISED
        np.testing.assert_array_equal(result.inside, on.contains(result.points))
        assert 0 < result.inside.mean() < 1

    def test_a_shear_that_changes_at_every_voxel(self) -> None:
        field = kinked()
        assert field.min_corner_jacobian().min() > 0
        x = np.random.default_rng(1).uniform(0, 59, (2000, 2))
        y = field.transform_points(x)
        result = field.inverse_of_points(y)
        assert residual_vox(field, result.points, y).max() < PROMISED


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["identity", "anisotropic", "flipped", "oblique"]),
    shape=st.one_of(st.tuples(*[st.integers(2, 40)] * 2), st.tuples(*[st.integers(2, 14)] * 3), st.just((1, 20, 24))),
    seed=st.integers(0, 10_000),
    least=st.sampled_from([0.02, 0.1, 0.4]),
    width=st.sampled_from([0.5, 1.0, 3.0]),
    turn=st.floats(-3.1, 3.1),
    log_scale=st.floats(-0.5, 0.5),
)
def test_wherever_nothing_folds_the_residual_is_as_promised(
    name: str, shape: tuple[int, ...], seed: int, least: float, width: float, turn: float, log_scale: float
) -> None:
    d = len(shape)
    like = GRIDS[f"{name}-{d}d"]
    on = replace(like, shape=shape)
    field = in_world(smooth(shape, seed, least, width), on)
    # After an affine map, which changes no sign of the Jacobian.
    matrix = np.eye(d + 1)
    angles = (turn,) if d == 2 or shape[0] > 1 else (0.0, 0.0, turn)
    matrix[:d, :d] = np.exp(log_scale) * rotation(angles if d == 2 else (angles * 3)[:3])
    if shape[0] > 1:
        x = on.voxel_centres()
        moved = (x + field.u) @ matrix[:d, :d].T
        field = DisplacementField((moved - x).astype(np.float32), on)
    random = np.random.default_rng(seed)
    x = on.index_to_world(random.uniform(0, np.asarray(shape[::-1]) - 1.0, (200, d)))
    y = field.transform_points(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = field.inverse_of_points(y)
        field.invert(on)
    assert result.converged.all()
    assert residual_vox(field, result.points, y).max() < PROMISED
    np.testing.assert_allclose(result.residual, residual_vox(field, result.points, y), atol=1e-6)
    assert result.inside.all()
    if d == 2:  # in 3D a determinant can be negative inside a cell whose corners are all positive
        exact = field.inverse_of_points(y, tolerance=1e-9).points
        np.testing.assert_allclose(on.world_to_index(exact), on.world_to_index(x), atol=1e-4)


class TestWhatCannotBe:
    def test_points_outside_are_marked(self) -> None:
        on = Grid((20, 24), (1.0, 2.0))
        field = in_world(smooth((20, 24), 0, 0.3), on)
        points = np.array([[10.0, 10.0], [-500.0, 3.0], [1e6, -1e6], [20.0, 30.0]])
        result = field.inverse_of_points(points)
        assert result.inside.tolist() == [True, False, False, True]
        assert result.converged.all()
        assert residual_vox(field, result.points, points).max() < PROMISED

    def test_no_points(self) -> None:
        field = DisplacementField.identity(Grid((5, 6), (1.0, 1.0)))
        result = field.inverse_of_points(np.zeros((0, 2)))
        assert result.points.shape == (0, 2)
        assert result.note is None
        assert np.isnan(result.summary()["residual_max_vox"])

    def test_a_field_that_folds_still_has_an_inverse(self) -> None:
        """Not a unique one: the map is onto, because it differs from the identity by a bounded displacement."""
        random = np.random.default_rng(0)
        for shape in ((30, 30), (8, 12, 12)):
            field = in_world(random.normal(0, 1.0, (*shape, len(shape))), Grid(shape, (1.0,) * len(shape)))
            assert field.min_corner_jacobian().min() < -1
            y = field.grid.voxel_centres().reshape(-1, len(shape))
            result = field.inverse_of_points(y)
            found = residual_vox(field, result.points, y)
            assert np.mean(found < PROMISED) > 0.999
            np.testing.assert_allclose(result.residual, found, atol=1e-6)

    def test_points_that_do_not_converge_are_counted_and_warned_of(self) -> None:
        field = in_world(triangle((64, 64), 0.5, 2.5, 8, (0, 1)), Grid((64, 64), (1.0, 1.0)))
        y = np.array([[20.0, 20.0], [np.nan, 3.0]])
        result = field.inverse_of_points(y)
        assert result.converged.tolist() == [True, False]
        assert result.note is not None
        assert "1 of 2 points (50 %)" in result.note
        assert result.summary()["share_not_converged"] == 0.5
        with pytest.warns(InputWarning, match="did not converge for 1 of 2"):
            field.invert_points(y)

    def test_a_half_turn_prefers_what_lies_within_the_voxels(self) -> None:
        """Beyond the edges the continuation of a half turn folds: such points have several inverses."""
        on = Grid((21, 31), (1.0, 1.0))
        centre = np.asarray(on.centre)
        matrix = np.diag([-1.0, -1.0, 1.0])
        matrix[:2, 2] = 2 * centre
        x = on.voxel_centres()
        field = DisplacementField.from_matrix(matrix, on)
        field = replace(field, u=field.u + smooth((21, 31), 3, 0.3).astype(np.float32))
        y = field.transform_points(x.reshape(-1, 2))
        result = field.inverse_of_points(y)
        assert result.inside.all()
        np.testing.assert_allclose(result.points, x.reshape(-1, 2), atol=0.05)


class TestSearch:
    """The search among cells alone, which the Newton steps leave little to do."""

    @pytest.mark.parametrize("shape", [(30, 34), (9, 11, 12), (1, 20, 24)])
    def test_it_finds_every_point_without_newton_steps(self, shape: tuple[int, ...]) -> None:
        w = smooth(shape, 5, 0.05, 1.0)
        u = torch.from_numpy(np.moveaxis(w[..., ::-1], -1, 0).copy())
        field = in_world(w, Grid(shape, (1.0,) * len(shape)))
        random = np.random.default_rng(0)
        targets = random.uniform(-6, np.asarray(shape) + 6, (500, len(shape)))
        index, residual = bracket(u, torch.from_numpy(targets), 1e-6)
        assert float(residual.max()) < 1e-6
        found = residual_vox(field, index.numpy()[:, ::-1].copy(), targets[:, ::-1].copy())
        assert found.max() < 1e-4  # u is float32 there

    def test_without_it_what_is_left_open_is_said(self) -> None:
        field = kinked()
        points = field.transform_points(np.random.default_rng(1).uniform(0, 59, (2000, 2)))
        back = field.backwards()
        exact, near = back(points), back(points, search=False)
        assert exact.converged.all()
        assert 0.5 < near.converged.mean() < 1
        np.testing.assert_allclose(near.residual, residual_vox(field, near.points, points), atol=1e-3)

    def test_who_inverts_a_field_again_gets_the_same(self) -> None:
        field = in_world(smooth((5, 9, 11), 3, 0.1), GRIDS["oblique-3d"])
        back, random = field.backwards(), np.random.default_rng(1)
        for _ in range(2):
            points = np.asarray(field.grid.centre) + random.normal(scale=8.0, size=(200, 3))
            here, once = back(points), field.inverse_of_points(points)
            np.testing.assert_array_equal(here.points, once.points)
            assert 0 < here.inside.mean() < 1


class TestFolding:
    @pytest.mark.parametrize("name", sorted(GRIDS))
    def test_of_an_affine_field_it_is_the_determinant(self, name: str) -> None:
        on = GRIDS[name]
        if 1 in on.shape:
            matrix = np.eye(4)
            matrix[:2, :2] = 1.2 * rotation((0.4,))
        else:
            matrix = np.eye(on.ndim + 1)
            matrix[:-1, :-1] = 1.2 * rotation((0.4,) if on.ndim == 2 else (0.4, -0.2, 0.7))
        found = DisplacementField.from_matrix(matrix, on).min_corner_jacobian()
        assert found.shape == tuple(max(1, n - 1) for n in on.shape)
        np.testing.assert_allclose(found, np.linalg.det(matrix), rtol=1e-3)

    @pytest.mark.parametrize("d", [2, 3])
    def test_it_sees_a_fold_that_central_differences_miss(self, d: int) -> None:
        shape = (8,) * d
        w = np.zeros((*shape, d))
        w[..., 4, 0] = 1.2  # this plane passes the next one; over two voxels the derivative is 1
        field = in_world(w, Grid(shape, (1.0,) * d))
        assert field.folding_fraction() == 0
        assert (field.min_corner_jacobian() <= 0).any()

    @pytest.mark.parametrize("name", ["oblique-2d", "flipped-3d", "oblique-flipped-3d"])
    def test_it_is_the_least_of_the_polynomials_at_the_corners(self, name: str) -> None:
        on = GRIDS[name]
        d = on.ndim
        w = np.random.default_rng(2).normal(0, 0.4, (*on.shape, d))
        field = in_world(w, on)
        eps = 1e-4
        cell = tuple(np.random.default_rng(3).integers(0, np.asarray(on.shape) - 1))
        values = []
        for bits in np.ndindex(*(2,) * d):
            at = (np.asarray(cell) + bits)[::-1].astype(float)
            into = np.where(np.asarray(bits)[::-1] == 0, eps, -eps)
            steps = at + np.vstack([np.zeros(d), np.diag(into)])
            mapped = on.world_to_index(field.transform_points(on.index_to_world(steps)))
            values.append(np.linalg.det((mapped[1:] - mapped[0]).T / into))
        assert field.min_corner_jacobian()[cell] == pytest.approx(min(values), abs=2e-2)

    def test_it_does_not_depend_on_how_much_is_held_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        on = grid((9, 7, 8), (1.0, 2.0, 3.0), rotation((0.3, 0.1, -0.4)), (1.0, 2.0, 3.0))
        field = in_world(np.random.default_rng(0).normal(0, 0.3, (9, 7, 8, 3)), on)
        whole = field.min_corner_jacobian()
        monkeypatch.setattr("samreg.geometry.grid._VOXELS_AT_ONCE", 7 * 8 * 2)
        np.testing.assert_allclose(field.min_corner_jacobian(), whole, rtol=1e-9)

    def test_the_continuation_of_a_half_turn_folds_and_of_a_small_turn_does_not(self) -> None:
        on = Grid((9, 11), (1.0, 1.0))
        for angle, folds in ((0.3, False), (np.pi, True)):
            turn = np.eye(3)
            turn[:2, :2] = rotation((angle,))
            w = DisplacementField.from_matrix(turn, on).u
            assert edge_folds(torch.from_numpy(np.moveaxis(w[..., ::-1], -1, 0).copy())) is folds


@pytest.mark.slow
@pytest.mark.parametrize(("fixed", "moving"), [("hippocampus_007", "hippocampus_008"), ("patient007", "patient012")])
def test_fields_between_real_images(fixed: str, moving: str, data_root: Path) -> None:
    """A fit to grey values between two people: stretched, and without folds. benchmarks/inverse.py does more."""
    from samreg.config import preset
    from samreg.io.images import read_image
    from samreg.pipeline import register_regions
    from samreg.regions.regions import Regions

    images = []
    for name in (fixed, moving):
        folder, pattern = (
            ("hippocampus_mr_msd/imagesTr", name) if "hippo" in name else ("acdc/training", f"{name}_frame01")
        )
        images.append(read_image(next((data_root / folder).rglob(f"{pattern}.nii.gz"))))
    result = register_regions(*(Regions.none(image) for image in images), preset("default"))
    field = result.field
    assert field is not None
    assert field.min_corner_jacobian().min() > 0
    assert field.jacobian_determinant().max() > 1.5
    x = field.grid.voxel_centres().reshape(-1, 3)
    y = field.transform_points(x)
    points = field.inverse_of_points(y)
    assert points.converged.all()
    assert residual_vox(field, points.points, y).max() < PROMISED
    inverse, on_grid = field.inverse_on(images[1].grid)
    z = images[1].grid.voxel_centres().reshape(-1, 3)
    assert on_grid.converged.all()
    assert residual_vox(field, z + inverse.u.reshape(-1, 3), z).max() < PROMISED
