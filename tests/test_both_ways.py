"""Two people are registered both ways, and go on from the mean: `halfway`, the start and the fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from samreg.config import FitConfig, RegisterConfig, SegmentConfig
from samreg.fit import transform
from samreg.fit.levels import DenseFit, fit_dense
from samreg.fit.problem import DenseProblem
from samreg.geometry.frame import Frame, halfway, inverted, to_field
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.landmarks import Landmarks
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.initial.problem import ImagePair
from samreg.initial.start import Start, find_start
from samreg.regions.regions import FeatureVolume, Regions

GRID = Grid((64, 64), (1.0, 1.0))


def _smooth(shape: tuple[int, ...], amount: float, seed: int = 0) -> torch.Tensor:
    """A smooth displacement that fades towards the edges, in voxels."""
    noise = np.random.default_rng(seed).normal(size=(len(shape), *shape))
    fade = np.ones(shape)
    for axis, n in enumerate(shape):
        fade = fade * np.hanning(n).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    smooth = np.stack([ndimage.gaussian_filter(one, 5) for one in noise]) * fade
    return torch.as_tensor(amount * smooth / np.abs(smooth).max(), dtype=torch.float32)


def _other_grid(d: int) -> tuple[Grid, Grid, np.ndarray]:
    """Two grids of other voxels, and a turned and scaled map from the world of the one to that of the other."""
    fixed = Grid((40, 48), (1.2, 1.0)) if d == 2 else Grid((20, 28, 32), (1.2, 1.0, 2.0))
    moving = (
        Grid((52, 44), (1.0, 1.1), (5.0, -3.0)) if d == 2 else Grid((24, 26, 30), (1.4, 1.1, 1.9), (4.0, -2.0, 1.0))
    )
    turn = np.deg2rad(8)
    affine = np.eye(d + 1)
    affine[:2, :2] = 1.05 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    affine[:d, d] = np.asarray(moving.centre) - affine[:d, :d] @ np.asarray(fixed.centre)
    return fixed, moving, affine


@pytest.mark.parametrize("d", [2, 3])
def test_the_inverse_of_a_displacement_leads_back(d: int) -> None:
    fixed, moving, affine = _other_grid(d)
    frame = Frame(fixed, moving, affine)
    there = _smooth(fixed.shape, 1.5)
    back, found = inverted(there, frame)
    assert back.shape == (d, *moving.shape)
    assert found.all()
    a, b = to_field(there, fixed, affine), to_field(back, moving, np.linalg.inv(affine))
    middle = tuple(slice(n // 4, -(n // 4)) for n in fixed.shape)
    points = fixed.voxel_centres()[middle].reshape(-1, d)
    off = np.linalg.norm(b.transform_points(a.transform_points(points)) - points, axis=1)
    assert off.max() < 0.1 * max(fixed.spacing)


@pytest.mark.parametrize("d", [2, 3])
def test_halfway_to_its_own_inverse_is_the_displacement_itself(d: int) -> None:
    fixed, moving, affine = _other_grid(d)
    frame = Frame(fixed, moving, affine)
    there = _smooth(fixed.shape, 1.5)
    middle = halfway(there, inverted(there, frame)[0], frame)
    inner = (slice(None), *(slice(n // 4, -(n // 4)) for n in fixed.shape))
    assert float((middle - there)[inner].abs().max()) < 0.1


def test_halfway_between_a_shift_and_nothing_is_half_the_shift() -> None:
    frame = Frame(GRID, GRID, np.eye(3))
    there = torch.tensor([4.0, -2.0]).reshape(2, 1, 1).expand(2, 64, 64)
    assert torch.allclose(halfway(there, torch.zeros(2, 64, 64), frame), 0.5 * there, atol=1e-4)


def test_halfway_keeps_the_first_where_the_other_one_folds() -> None:
    frame = Frame(GRID, GRID, np.eye(3))
    folded = torch.zeros(2, 64, 64)
    folded[1, :, 20:30] = torch.linspace(12, -12, 10)
    found = inverted(folded, frame)[1]
    there = _smooth((64, 64), 1.0)
    middle = halfway(there, folded, frame)
    assert torch.equal(middle[:, ~found], there[:, ~found])


def test_halfway_is_compared_on_fewer_voxels() -> None:
    frame = Frame(Grid((200, 512, 512), (0.8, 0.8, 3.0)), Grid((90, 128, 128), (2.0, 2.0, 2.0)), np.eye(4))
    thin = frame.thinned(100_000)
    assert max(thin.fixed.n_voxels, thin.moving.n_voxels) <= 100_000
    np.testing.assert_allclose(thin.fixed.extent, frame.fixed.extent)
    assert max(thin.fixed.spacing) < 1.2 * min(thin.fixed.spacing)
    small = Frame(GRID, GRID, np.eye(3))
    assert small.thinned(100_000).fixed.shape == GRID.shape


def _people() -> tuple[np.ndarray, np.ndarray]:
    """Two discs of other size and place, each with texture of its own."""
    y, x = np.mgrid[:64, :64]
    images = []
    for seed, (radius, cx, cy) in enumerate([(13, 30, 33), (18, 34, 30)]):
        noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), 3)
        disc = ndimage.gaussian_filter(((x - cx) ** 2 + (y - cy) ** 2 < radius**2).astype(float), 1)
        images.append((0.2 + 0.6 * disc + 0.08 * noise / noise.std()).clip(0, 1).astype(np.float32))
    return images[0], images[1]


def _problem() -> DenseProblem:
    a, b = _people()
    return DenseProblem(
        a, b, GRID, GRID, np.eye(3), PairedRois.none(GRID, GRID), None, torch.zeros(2, 64, 64), None
    )  # fmt: skip


def _off(problem: DenseProblem, config: FitConfig, both: bool) -> float:
    """Mean distance of points of the disc from where they were, by the fit and back by that of the swapped problem."""
    swapped = problem.swapped(torch.zeros(2, 64, 64))
    there = fit_dense(problem, config, other_way=swapped if both else None).displacement
    back = fit_dense(swapped, config, other_way=problem if both else None).displacement
    points = GRID.voxel_centres()[18:48, 16:46].reshape(-1, 2)
    a, b = (to_field(u, GRID, np.eye(3)) for u in (there, back))
    return float(np.linalg.norm(b.transform_points(a.transform_points(points)) - points, axis=1).mean())


def test_a_fit_both_ways_is_nearer_to_that_of_the_swapped_images() -> None:
    config = FitConfig(work_size=64)
    assert _off(_problem(), config, both=True) < 0.8 * _off(_problem(), config, both=False)


def test_progress_of_a_fit_both_ways_counts_all_levels() -> None:
    problem, said = _problem(), list[tuple[int, int]]()
    config = FitConfig(work_size=64)
    one_way = fit_dense(problem, config)
    fit = fit_dense(problem, config, lambda done, total: said.append((done, total)), problem.swapped(problem.start))
    assert len(fit.iterations) == len(one_way.iterations)
    assert fit.losses.keys() == one_way.losses.keys()
    total = {total for _, total in said}
    assert total == {40 + 40 + 40 + 40 + 30}
    done = [done for done, _ in said]
    assert done == sorted(done)
    assert done[-1] == 190


def test_the_swapped_problem_has_all_in_each_others_place() -> None:
    fixed, moving, affine = _other_grid(2)
    a = RoiSet.from_masks([np.arange(40 * 48).reshape(40, 48) < 300], fixed)
    b = RoiSet.from_masks([np.arange(52 * 44).reshape(52, 44) < 400], moving)
    marks = Landmarks(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), 2.0)
    problem = DenseProblem(
        np.zeros(fixed.shape, np.float32),
        np.ones(moving.shape, np.float32),
        fixed,
        moving,
        affine,
        PairedRois(a, b, np.array([0.9]), np.array([0.5]), np.array([True])),
        None,
        _smooth(fixed.shape, 1.0),
        None,
        inside=(None, np.ones(moving.shape, bool)),
        landmarks=marks,
    )
    back = _smooth(moving.shape, 1.0, seed=1)
    other = problem.swapped(back)
    assert torch.equal(other.start, back)
    assert other.fixed is problem.moving
    assert other.moving is problem.fixed
    assert (other.fixed_grid, other.moving_grid) == (moving, fixed)
    assert (other.pairs.fixed, other.pairs.moving) == (b, a)
    assert other.pairs.weights.tolist() == [0.5]
    assert other.pairs.is_given.all()
    assert other.inside[0] is problem.inside[1]
    assert other.inside[1] is None
    assert other.landmarks is not None
    assert other.landmarks.fixed.tolist() == [[3.0, 4.0]]
    np.testing.assert_allclose(other.affine @ affine, np.eye(3), atol=1e-9)


@pytest.mark.parametrize(
    ("what", "both", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"slice_axis": 0}, True, False),
        ({"frozen_axis": 0}, True, False),
        ({"landmarks": Landmarks(np.ones((1, 2)), np.ones((1, 2)))}, True, False),
    ],
)
def test_what_is_bound_to_one_image_is_fitted_one_way(
    what: dict[str, Any], both: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def fit(_problem: DenseProblem, _config: FitConfig, _progress: Any = None, other_way: Any = None) -> DenseFit:
        asked.append(other_way is not None)
        return DenseFit(torch.zeros(2, 64, 64))

    monkeypatch.setattr(transform, "fit_dense", fit)
    monkeypatch.setattr(transform, "local_correlation", lambda *_: 0.3)
    problem = replace(_problem(), **what)
    found = Start(np.eye(3), problem.start, problem.start, back=problem.start if both else None)
    transform._judged(problem, found, None, FitConfig(), None)  # type: ignore[arg-type]
    assert asked == [expected]


def _regions(values: np.ndarray) -> Regions:
    noise = np.random.default_rng(3).normal(size=(8, 16, 16))
    cells = (noise + 5 * ndimage.zoom(values, 0.25)).astype(np.float16)
    return replace(Regions.none(Image(values, GRID)), features=FeatureVolume(cells, GRID.with_shape((16, 16))))


@pytest.mark.parametrize("transform_name", ["ddf", "ffd"])
def test_pairs_are_checked_halfway_between_the_rough_fits_of_both_ways(transform_name: str) -> None:
    both = transform_name == "ddf"
    config = RegisterConfig(segment=SegmentConfig(device="cpu"), fit=FitConfig(transform=transform_name))
    a, b = (np.random.default_rng(seed).random((64, 64), dtype=np.float32) for seed in (1, 2))
    images = ImagePair.of(_regions(a), _regions(b), config)
    asked: list[bool] = []

    def rough(of: ImagePair, start: Start, _config: RegisterConfig) -> torch.Tensor:
        asked.append(of.fixed is images.fixed)
        shift = 3.0 if of.fixed is images.fixed else -1.0
        return torch.full_like(start.guide, shift)

    start = find_start(images, config, rough)
    assert asked == ([True, False] if both else [True])
    scale = torch.as_tensor(np.linalg.inv(start.affine)[:2, :2] @ [1.0, 1.0], dtype=torch.float32).flip(0)
    expected = 0.5 * (3.0 + scale) if both else torch.full((2,), 3.0)
    assert torch.allclose(start.guide[:, 32, 32], expected, atol=0.02)
    assert torch.allclose(start.displacement, torch.tensor(3.0))
    assert (start.back is not None) == both
    assert start.record is not None
    assert start.record.both_ways == both
    if start.back is not None:
        assert torch.allclose(start.back, torch.tensor(-1.0))
