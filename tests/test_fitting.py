"""Affine, discrete and dense fits against known truth."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.config import ElasticConfig, FitConfig, FlowConfig
from samreg.fit.levels import fit_dense
from samreg.fit.objective import Objective, Weights
from samreg.fit.problem import DenseProblem
from samreg.fit.rough import rough_fit
from samreg.fit.terms.regions import RegionTerm, Shares
from samreg.geometry.frame import Frame, to_field
from samreg.geometry.grid import Grid
from samreg.geometry.ops.displacement import warp
from samreg.geometry.ops.smoothing import gaussian
from samreg.geometry.rois import PairedRois, Roi, RoiSet
from samreg.initial.affine import Candidate, choose, fit_affine, fit_rigid, mutual_matches, ransac_affine
from samreg.initial.descriptors import Descriptors, joint_descriptors
from samreg.initial.discrete import Search, coupled_convex, descriptor_cost, make_consistent
from samreg.regions.regions import FeatureVolume

OBLIQUE = Grid((14, 16, 18), (1.5, 2.0, 2.5), (10, -20, 30), ((0.8, -0.6, 0), (0.6, 0.8, 0), (0, 0, -1)))
FLAT = Grid((40, 48), (1.0, 1.0), unit="px")


def _affine(d: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    matrix = np.eye(d + 1)
    matrix[:d, :d] += random.normal(0, 0.08, (d, d))
    matrix[:d, d] = random.normal(0, 10, d)
    return matrix


@given(d=st.sampled_from([2, 3]), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_affine_fit_recovers_the_map(d: int, seed: int) -> None:
    matrix = _affine(d, seed)
    points = np.random.default_rng(seed + 1).normal(0, 50, (20, d))
    found = fit_affine(points, points @ matrix[:d, :d].T + matrix[:d, d], ridge=0.0)
    assert np.allclose(found, matrix, atol=1e-6)


@given(angle=st.floats(-3, 3), seed=st.integers(0, 50))
@settings(max_examples=20, deadline=None)
def test_rigid_fit_recovers_the_rotation_and_never_reflects(angle: float, seed: int) -> None:
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.asarray([[c, -s], [s, c]])
    points = np.random.default_rng(seed).normal(0, 30, (12, 2))
    found = fit_rigid(points, points @ rotation.T + [3.0, -7.0])
    assert np.allclose(found[:2, :2], rotation, atol=1e-8)
    mirrored = fit_rigid(points, points * [-1.0, 1.0])
    assert np.linalg.det(mirrored[:2, :2]) == pytest.approx(1.0)


def test_ransac_finds_the_map_among_seventy_percent_of_outliers() -> None:
    matrix = _affine(3, 5)
    random = np.random.default_rng(0)
    points = random.uniform(-100, 100, (300, 3))
    partners = points @ matrix[:3, :3].T + matrix[:3, 3]
    partners[:210] = random.uniform(-100, 100, (210, 3))
    found, share = ransac_affine(points, partners, tolerance=5.0, seed=0)
    assert np.abs(points @ (found - matrix)[:3, :3].T + (found - matrix)[:3, 3]).max() < 2.0
    assert 0.28 <= share <= 0.36


def test_ransac_with_too_few_matches_says_so() -> None:
    found, share = ransac_affine(np.zeros((3, 3)), np.zeros((3, 3)), 1.0, 0)
    assert np.array_equal(found, np.eye(4))
    assert share == 0.0


def _embedding(grid: Grid, seed: int = 0) -> FeatureVolume:
    noise = torch.randn((16, *grid.shape), generator=torch.Generator().manual_seed(seed))
    return FeatureVolume(gaussian(noise, (1.5,) * grid.ndim).numpy().astype(np.float16), grid)


def test_descriptors_have_length_one_and_do_not_depend_on_a_common_offset() -> None:
    volume = _embedding(OBLIQUE)
    shifted = FeatureVolume(volume.data + np.float16(2.0), OBLIQUE)
    a, b = joint_descriptors(volume, volume, 8)
    c, _ = joint_descriptors(shifted, shifted, 8)
    assert a.shape == (8, *OBLIQUE.shape)
    assert torch.allclose(a.norm(dim=0), torch.tensor(1.0), atol=1e-4)
    assert torch.allclose(a, b)
    assert float((a * c).sum(0).abs().mean()) > 0.98


def test_descriptors_do_not_depend_on_what_a_modality_adds_to_one_image() -> None:
    volume = _embedding(OBLIQUE)
    a, b = joint_descriptors(volume, FeatureVolume(volume.data + np.float16(2.0), OBLIQUE), 8)
    assert float((a * b).sum(0).mean()) > 0.98


def test_discrete_search_finds_a_shift_in_two_grids_with_different_axes() -> None:
    """The moving image is the fixed one moved by (2, -1, 1) cells and stored with its axes flipped."""
    grid = Grid((12, 14, 16), (2.0, 2.0, 3.0))
    data = _embedding(grid).data
    direction = ((-1.0, 0, 0), (0, 1.0, 0), (0, 0, -1.0))
    last = grid.index_to_world(np.asarray([[15.0, 0.0, 11.0]]))[0]
    moving_data = np.roll(data, (2, -1, 1), (1, 2, 3))[:, ::-1, :, ::-1]
    moving = FeatureVolume(np.ascontiguousarray(moving_data), Grid(grid.shape, grid.spacing, tuple(last), direction))
    f, m = joint_descriptors(FeatureVolume(data, grid), moving, 8)
    search = Search([2] * 3, [1] * 3, [0.7] * 3, [0.5] * 3, (0.01, 0.1), [1.0] * 3)
    cost = descriptor_cost(f, m, Frame(grid, moving.grid, np.eye(4)), None, search)
    u = coupled_convex(cost, search)
    middle = u[:, 3:-3, 3:-3, 3:-3]
    assert torch.allclose(middle, torch.tensor([2.0, -1.0, 1.0]).reshape(3, 1, 1, 1).expand_as(middle), atol=0.2)


def test_displacements_that_confirm_each_other_stay_and_contradictions_shrink() -> None:
    """The moving grid has its x axis flipped, so that its cells count the other way."""
    grid = Grid((8, 20), (1.0, 1.0), unit="px")
    flipped = Grid((8, 20), (1.0, 1.0), (19.0, 0.0), ((-1.0, 0.0), (0.0, 1.0)), "px")
    forward, backward = Frame(grid, flipped, np.eye(3)), Frame(flipped, grid, np.eye(3))
    there = torch.tensor([1.0, 2.0]).reshape(2, 1, 1).expand(2, 8, 20)
    confirming = torch.tensor([-1.0, 2.0]).reshape(2, 1, 1).expand(2, 8, 20)
    assert torch.allclose(make_consistent(there, confirming, forward, backward)[0], there, atol=1e-4)
    contradicting = torch.zeros(2, 8, 20)
    assert float(make_consistent(there, contradicting, forward, backward)[0].abs().max()) < 1.01


def test_mutual_matches_and_choice_prefer_the_true_offset() -> None:
    grid = Grid((12, 14, 16), (2.0, 2.0, 3.0))
    volume = _embedding(grid)
    away = Grid(grid.shape, grid.spacing, (40.0, -30.0, 20.0))
    f, m = joint_descriptors(volume, FeatureVolume(volume.data, away), 8)
    everywhere = torch.ones(grid.shape, dtype=torch.bool)
    p, q, similarity = mutual_matches(f, grid, everywhere, m, away, everywhere)
    assert np.allclose(q - p, [40.0, -30.0, 20.0])
    assert similarity.min() > 0.99
    truth = np.eye(4)
    truth[:3, 3] = 40.0, -30.0, 20.0
    candidates = [Candidate("headers", np.eye(4)), Candidate("truth", truth)]
    choice = choose(candidates, f, grid, everywhere, m, away)
    assert choice.name == "truth"
    assert choice.costs["truth"] < 1e-3 < choice.costs["headers"]


def _disc(centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[: FLAT.shape[0], : FLAT.shape[1]]
    result: np.ndarray = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    return result


def _pairs() -> PairedRois:
    fixed = RoiSet.from_masks([_disc((14, 14), 6), _disc((14, 17), 8), _disc((28, 34), 5)], FLAT)
    moving = RoiSet.from_masks([_disc((16, 17), 6), _disc((16, 20), 8), _disc((30, 33), 4)], FLAT)
    return PairedRois(fixed, moving, np.ones(3))


def test_region_term_is_zero_on_itself_and_follows_its_definition() -> None:
    pairs = _pairs()
    frame = Frame(FLAT, FLAT, np.eye(3))
    same = RegionTerm(PairedRois(pairs.fixed, pairs.fixed, np.ones(3)), frame, 0.0)
    assert float(same(frame.identity())) == pytest.approx(0.0, abs=1e-6)
    parts = {
        name: RegionTerm(pairs, frame, 0.0, Shares(**{"mse": 0.0, "dice": 0.0, name: 1.0})).per_pair(frame.identity())
        for name in ("mse", "dice", "cross_entropy")
    }
    both = RegionTerm(pairs, frame, 0.0).per_pair(frame.identity())
    assert torch.allclose(both, parts["mse"] + parts["dice"], atol=1e-6)
    for k in range(3):
        a, b = pairs.fixed.mask(k), pairs.moving.mask(k)
        expected = (2 * (a & b).sum() + 1) / (a.sum() + b.sum() + 1)
        assert float(1 - parts["dice"][k]) == pytest.approx(expected, abs=1e-5)
        assert float(parts["mse"][k]) > 0
        # Hard masks: every voxel that differs is certain and wrong, and the share of them is the MSE.
        assert float(parts["cross_entropy"][k]) == pytest.approx(float(parts["mse"][k]) * np.log(1e4), rel=0.01)


def test_region_term_weighs_pairs_by_confidence() -> None:
    pairs = _pairs()
    frame = Frame(FLAT, FLAT, np.eye(3))
    only_last = dataclasses.replace(pairs, confidence=np.asarray([0.0, 0.0, 1.0]))
    each = RegionTerm(pairs, frame, 1.0).per_pair(frame.identity())
    assert float(RegionTerm(only_last, frame, 1.0)(frame.identity())) == pytest.approx(float(each[2]) / 3, abs=1e-5)


def test_thousands_of_regions_stay_apart_in_few_places() -> None:
    """Each of 2,304 pixels is a region: none is compared with its neighbours, and the places stay near the pixels."""
    grid = Grid((48, 48), (1.0, 1.0), unit="px")
    rois = RoiSet.from_labels(np.arange(1, grid.n_voxels + 1).reshape(grid.shape), grid)
    frame = Frame(grid, grid, np.eye(3))
    term = RegionTerm(PairedRois(rois, rois, np.ones(len(rois))), frame, 0.0)
    assert term.per_pair(frame.identity()).abs().max() < 1e-5
    assert len(term.places) <= 9 * grid.n_voxels


def test_slice_regions_say_nothing_about_displacement_across_slices() -> None:
    grid = Grid((3, 20, 20), (1.0, 1.0, 8.0))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[1, 6:12, 7:13] = True
    rois = RoiSet((Roi.from_mask(mask),), grid)
    frame = Frame(grid, grid, np.eye(4))
    term = RegionTerm(PairedRois(rois, rois, np.ones(1)), frame, 0.0, slice_axis=0)
    index = frame.identity()
    index[0] += 1.0
    assert float(term(index)) == pytest.approx(0.0, abs=1e-6)


def _problem(pairs: PairedRois) -> DenseProblem:
    random = np.random.default_rng(0)
    image = gaussian(torch.from_numpy(random.random((1, *FLAT.shape), dtype=np.float32)), (1.5, 1.5))[0].numpy()
    image = (image - image.min()) / (image.max() - image.min())
    moved = np.roll(image, (2, 3), (0, 1))
    start = torch.zeros(2, *FLAT.shape)
    return DenseProblem(image, moved, FLAT, FLAT, np.eye(3), pairs, None, start, None)


def _flow(**values: Any) -> FitConfig:
    return FitConfig(flow=FlowConfig(**values))


@pytest.mark.parametrize("transform", ["ddf", "svf"])
def test_dense_fit_finds_a_shift_of_the_grey_values(transform: str) -> None:
    nothing = PairedRois.none(FLAT, FLAT)
    config = FitConfig(transform=transform)  # type: ignore[arg-type]
    fit = fit_dense(_problem(nothing), config)
    middle = fit.displacement[:, 8:-8, 8:-8]
    assert float((middle - torch.tensor([2.0, 3.0]).reshape(2, 1, 1)).abs().mean()) < 0.4
    assert set(fit.losses) == ({"similarity"} if transform == "ddf" else {"smoothness", "folding", "similarity"})


def test_regions_alone_bring_their_masks_together() -> None:
    pairs = _pairs()
    elastic = ElasticConfig(similarity_weight=0.0, feature_weight=0.0, roi_weight=1.0, smoothness=0.01)
    config = FitConfig(transform="ffd", elastic=elastic)
    fit = fit_dense(_problem(pairs), config)
    moved = to_field(fit.displacement, FLAT, np.eye(3))
    for k in range(3):
        target, source = pairs.fixed.mask(k), pairs.moving.mask(k)
        warped = moved.warp_labels(source.astype(np.int32), FLAT) == 1
        before = 2 * (target & source).sum() / (target.sum() + source.sum())
        after = 2 * (target & warped).sum() / (target.sum() + warped.sum())
        assert after > max(before, 0.9)


def test_slope_is_the_derivative_of_a_step_before_the_displacement() -> None:
    """d/dt E(t w + u o (id + t w)) at t = 0, by differences, for grey values and regions together, along a step."""
    objective = Objective(_problem(_pairs()), Weights(1.0, 0.3, 0.0, window=9), FLAT.shape)
    random = torch.Generator().manual_seed(0)
    # Nothing moves at the edges: what leaves the moving image leaves the objective, and that has no slope.
    inner = torch.zeros(1, *FLAT.shape)
    inner[:, 8:-8, 8:-8] = 1.0
    inner = gaussian(inner, (2.0, 2.0))
    u = gaussian(torch.randn(2, *FLAT.shape, generator=random), (4.0, 4.0)) * 8 * inner
    slope = objective.grey_values(u).slope + objective.guidance_and_slope(u)[1]
    w = gaussian(slope, (2.0, 2.0)) * inner
    w = w / w.abs().max()

    def value(t: float) -> float:
        return float(torch.stack(list(objective.terms(t * w + warp(u, t * w)).values())).sum())

    numeric = (value(0.05) - value(-0.05)) / 0.1
    assert float((slope * w).sum()) == pytest.approx(numeric, rel=0.1)


def test_a_rough_fit_goes_by_the_images_and_not_by_the_pairs() -> None:
    config = FitConfig()
    rough = rough_fit(_problem(_pairs()), config)
    assert rough.shape == (2, *FLAT.shape)
    assert float((rough[:, 8:-8, 8:-8] - torch.tensor([2.0, 3.0]).reshape(2, 1, 1)).abs().mean()) < 1.0
    nothing = PairedRois.none(FLAT, FLAT)
    assert torch.equal(rough, rough_fit(_problem(nothing), config))


def test_the_flow_alone_follows_a_large_motion_without_folding() -> None:
    """A disc that grows from a radius of 8 pixels to 13: Dice .55."""
    grid = Grid((64, 64), (1.0, 1.0))
    y, x = np.mgrid[:64, :64] - 32.0
    radius = np.hypot(y, x)
    small, large = (1 / (1 + np.exp(radius - r)) for r in (8.0, 13.0))
    nothing = PairedRois.none(grid, grid)
    problem = DenseProblem(
        large.astype(np.float32), small.astype(np.float32), grid, grid, np.eye(3), nothing, None,
        torch.zeros(2, 64, 64), None,
    )  # fmt: skip
    fit = fit_dense(problem, FitConfig())
    assert len(fit.iterations) == 2
    assert set(fit.losses) == {"similarity"}
    field = to_field(fit.displacement, grid, np.eye(3))
    moved, target = field.warp_labels((radius < 8).astype(np.int32), grid) == 1, radius < 13
    assert 2 * (moved & target).sum() / (moved.sum() + target.sum()) > 0.93
    assert field.folding_fraction() == 0


def test_embeddings_guide_the_flow_where_grey_values_mislead() -> None:
    """A bar lies in the middle between two that look like it; right of it, nothing but the descriptors knows which."""
    grid = Grid((32, 64), (1.0, 1.0))
    x = np.arange(64)

    def bars(*centres: float) -> np.ndarray:
        return np.tile(sum(np.exp(-((x - c) ** 2) / 8.0) for c in centres), (32, 1)).astype(np.float32)

    def descriptors(middle: float) -> torch.Tensor:
        angle = torch.from_numpy((x - middle) / 12.0).float().clamp(-1.5, 1.5).expand(32, 64)
        return torch.stack([angle.cos(), angle.sin()])

    problem = DenseProblem(
        bars(32), bars(28, 36), grid, grid, np.eye(3), PairedRois.none(grid, grid),
        Descriptors(descriptors(32), grid, descriptors(36), grid), torch.zeros(2, 32, 64), None,
    )  # fmt: skip
    guided, misled = (
        fit_dense(problem, _flow(flow_feature_weight=w, flow_iterations=(40, 30))).displacement[1, 8:-8, 41:46]
        for w in (4.5, 0.0)
    )
    assert float(guided.mean()) == pytest.approx(4.0, abs=0.8)
    assert abs(float(misled.mean()) - 4.0) > 1.5  # either bar is as good


def test_without_guidance_grey_values_alone_drive_the_flow() -> None:
    problem = _problem(_pairs())
    fit = fit_dense(dataclasses.replace(problem, fixed=problem.moving), FitConfig())
    assert set(fit.losses) == {"similarity", "regions"}  # the first level had both
    without = fit_dense(dataclasses.replace(problem, fixed=problem.moving), _flow(flow_roi_weight=0.0))
    assert set(without.losses) == {"similarity"}


def test_given_pairs_guide_the_flow_to_its_last_level() -> None:
    grid = Grid((48, 48), (1.0, 1.0))
    radius = np.hypot(*(np.mgrid[:48, :48] - 24.0))
    flat = np.zeros(grid.shape, dtype=np.float32)
    overlap = []
    for given_pair in (True, False):
        fixed, moving = (RoiSet((Roi.from_mask(radius < r, 1.0, "disc"),), grid) for r in (14.0, 8.0))
        pairs = PairedRois(fixed, moving, np.ones(1), np.ones(1), np.array([given_pair]))
        problem = DenseProblem(flat, flat, grid, grid, np.eye(3), pairs, None, torch.zeros(2, 48, 48), None)
        fit = fit_dense(problem, _flow(flow_iterations=(2, 40)))
        moved = to_field(fit.displacement, grid, np.eye(3)).warp_labels((radius < 8).astype(np.int32), grid) == 1
        overlap.append(2 * (moved & (radius < 14)).sum() / (moved.sum() + (radius < 14).sum()))
    assert overlap[0] > 0.95
    assert overlap[1] < 0.8


@pytest.mark.parametrize("frozen", [0, None])
def test_the_flow_leaves_a_frozen_axis_alone(frozen: int | None) -> None:
    grid = Grid((4, 24, 24), (1.0, 1.0, 8.0))
    random = np.random.default_rng(1)
    image = gaussian(torch.from_numpy(random.random((1, *grid.shape), dtype=np.float32)), (0.8, 1.5, 1.5))[0].numpy()
    nothing = PairedRois.none(grid, grid)
    problem = DenseProblem(
        image, np.roll(image, 1, 2), grid, grid, np.eye(4), nothing, None, torch.zeros(3, *grid.shape), frozen
    )
    fit = fit_dense(problem, FitConfig())
    assert (float(fit.displacement[0].abs().max()) == 0.0) == (frozen == 0)
    assert float(fit.displacement[2, :, 6:-6, 6:-6].mean()) == pytest.approx(1.0, abs=0.3)


def test_a_frozen_axis_does_not_move() -> None:
    grid = Grid((3, 24, 24), (1.0, 1.0, 8.0))
    random = np.random.default_rng(1)
    image = gaussian(torch.from_numpy(random.random((1, *grid.shape), dtype=np.float32)), (0, 1.5, 1.5))[0].numpy()
    nothing = PairedRois.none(grid, grid)
    problem = DenseProblem(
        image, np.roll(image, 2, 2), grid, grid, np.eye(4), nothing, None, torch.zeros(3, *grid.shape), 0
    )
    fit = fit_dense(problem, FitConfig())
    assert float(fit.displacement[0].abs().max()) == 0.0
    assert float(fit.displacement[2, :, 6:-6, 6:-6].mean()) == pytest.approx(2.0, abs=0.5)


@pytest.mark.parametrize("transform", ["ddf", "ffd"])
def test_the_same_problem_gives_the_same_bytes(transform: str) -> None:
    config = FitConfig(transform=transform, elastic=ElasticConfig(max_iterations=15))  # type: ignore[arg-type]
    first, second = (fit_dense(_problem(_pairs()), config).displacement for _ in range(2))
    assert torch.equal(first, second)


def test_to_field_is_the_affine_map_of_the_inner_displacement() -> None:
    matrix = _affine(3, 2)
    v = torch.randn((3, *OBLIQUE.shape), generator=torch.Generator().manual_seed(0))
    u = to_field(v, OBLIQUE, matrix)
    at = (5, 6, 7)
    index = np.asarray([float(v[a][at]) + at[a] for a in (2, 1, 0)])
    inner = OBLIQUE.index_to_world(index[None])[0]
    expected = matrix[:3, :3] @ inner + matrix[:3, 3]
    x = OBLIQUE.index_to_world(np.asarray([[7.0, 6.0, 5.0]]))[0]
    assert np.allclose(x + u.u[at], expected, atol=1e-3)
