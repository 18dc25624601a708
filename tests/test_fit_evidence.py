"""How much embeddings lead a fit, by how much the grey values of both images say of each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from samreg.config import FitConfig
from samreg.fit import transform
from samreg.fit.evidence import ONE_ANATOMY, local_correlation
from samreg.fit.levels import DenseFit
from samreg.fit.problem import DenseProblem
from samreg.fit.resampled import RESAMPLED, apart_if_resampled
from samreg.geometry.grid import Grid
from samreg.geometry.rois import PairedRois
from samreg.initial.pyramid import GreyPyramid
from samreg.initial.start import Start

GRID = Grid((64, 64), (1.0, 1.0))
ZERO = torch.zeros(2, 64, 64)


def _texture(seed: int) -> np.ndarray:
    values = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=GRID.shape), 2.0)
    return ((values - values.min()) / np.ptp(values)).astype(np.float32)


def _pyramid(fixed: np.ndarray, moving: np.ndarray) -> GreyPyramid:
    return GreyPyramid(fixed, GRID, moving, GRID, 10_000)


def test_local_correlation_is_one_for_a_copy_in_other_grey_values_and_small_for_another_image() -> None:
    a, b = _texture(0), _texture(1)
    copy, other = _pyramid(a, 0.9 - 0.8 * a), _pyramid(a, b)
    assert local_correlation(copy, np.eye(3), ZERO) > 0.95
    assert local_correlation(copy, np.eye(3), ZERO) > ONE_ANATOMY
    assert local_correlation(other, np.eye(3), ZERO) < 0.4
    assert local_correlation(other, np.eye(3), ZERO) <= ONE_ANATOMY
    away = torch.zeros_like(ZERO)
    away[1] = 6.0
    assert local_correlation(_pyramid(a, a), np.eye(3), away) < 0.5


def test_an_image_without_contrast_explains_nothing() -> None:
    flat = np.full(GRID.shape, 0.5, np.float32)
    assert local_correlation(_pyramid(flat, _texture(0)), np.eye(3), ZERO) < 0.1
    assert local_correlation(_pyramid(_texture(0), flat), np.eye(3), ZERO) < 0.1


@pytest.mark.parametrize(
    ("start", "fits", "alike", "expected"),
    [
        (0.4, [0.65], False, [(False, 1.0)]),  # people: embeddings lead
        (0.4, [0.75, 0.8], False, [(False, 1.0), (False, 0.2)]),  # whose grey values say much
        (0.8, [0.9], False, [(True, 0.0)]),  # one body that has deformed
        (0.8, [0.8, 0.6], False, [(True, 0.0), (False, 1.0)]),  # it looked like one
        (0.4, [0.9, 0.95], False, [(False, 1.0), (True, 0.0)]),  # found only behind the fit
        (0.9, [0.95], True, [(True, 0.0)]),
        (0.5, [0.7, 0.7], True, [(True, 0.0), (True, 1.0)]),
    ],
)
def test_who_leads_is_decided_by_grey_values(
    start: float,
    fits: list[float],
    alike: bool,
    expected: list[tuple[bool, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Local correlation behind the start and behind each fit; for each fit whether it is of one body, and its lead."""
    shares = iter(fits)
    at = {0.0: start}
    weight = FitConfig().flow.flow_feature_weight
    made: list[tuple[bool, float]] = []

    def fit(problem: DenseProblem, config: FitConfig, _progress: Any = None, other_way: Any = None) -> DenseFit:
        made.append((problem.same_body, config.flow.flow_feature_weight / weight))
        at[float(len(made))] = next(shares)
        return DenseFit(torch.full_like(ZERO, len(made)))

    monkeypatch.setattr(transform, "fit_dense", fit)
    monkeypatch.setattr(transform, "local_correlation", lambda _p, _a, u: at[float(u[0, 0, 0])])
    monkeypatch.setattr(transform, "has_earned_its_place", lambda *_: True)
    monkeypatch.setattr(transform, "apart_if_resampled", lambda *_: 1.0)
    a = _texture(0)
    pyramid, nothing = _pyramid(a, a), PairedRois.none(GRID, GRID)
    problem = DenseProblem(a, a, GRID, GRID, np.eye(3), nothing, None, ZERO, None, same_body=alike)
    found = Start(np.eye(3), ZERO, ZERO, pyramid=pyramid, alike=alike)
    dense, _ = transform._judged(problem, found, pyramid, FitConfig(), None)
    assert made == [(body, pytest.approx(lead)) for body, lead in expected]
    assert float(dense.displacement[0, 0, 0]) == len(made)


def _turned(
    values: np.ndarray, order: int, bend: float = 0.0, noise: float = 0.0
) -> tuple[np.ndarray, Grid, np.ndarray]:
    """A copy on voxels 1.2 times as large, turned by 7 degrees about the middle; its grid, and the map to its world."""
    grid = Grid((60, 60), (1.2, 1.2), (-4.0, -4.0))
    turn = np.deg2rad(7)
    affine = np.eye(3)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine[:2, 2] = 31.5 - affine[:2, :2] @ [31.5, 31.5]
    back = (grid.voxel_centres().reshape(-1, 2) - affine[:2, 2]) @ np.linalg.inv(affine[:2, :2]).T
    back += bend * np.sin(back[:, ::-1] / 6)
    copy = ndimage.map_coordinates(values, back[:, ::-1].T, order=order).reshape(grid.shape)
    noisy = copy + noise * np.random.default_rng(1).normal(size=copy.shape)
    return np.clip(noisy, 0, 1).astype(np.float32), grid, affine


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("contrast", [1.0, -0.8])
@pytest.mark.parametrize("swapped", [False, True])
def test_an_image_that_is_the_other_one_resampled_is_known(order: int, contrast: float, swapped: bool) -> None:
    a = _texture(0)

    def apart(bend: float = 0.0, noise: float = 0.0, shift: float = 0.0) -> float:
        copy, grid, affine = _turned(a, order, bend, noise)
        affine = affine.copy()
        affine[0, 2] += shift
        copy = copy if contrast > 0 else 1 + contrast * copy
        pyramid = GreyPyramid(a, GRID, copy, grid, 10_000)
        if swapped:
            pyramid, affine = GreyPyramid(copy, grid, a, GRID, 10_000), np.linalg.inv(affine)
        return apart_if_resampled(pyramid, affine)

    assert apart() < 0.03 < RESAMPLED
    assert apart(shift=0.03) < RESAMPLED
    assert apart(bend=0.5) > RESAMPLED
    assert apart(noise=0.03) > RESAMPLED
    # What is left stands for about the displacement that made it.
    assert apart(shift=0.5) == pytest.approx(0.5, rel=0.3)


def test_a_copy_that_is_half_blank_is_a_copy_of_the_other_half() -> None:
    a = _texture(0)
    copy, grid, affine = _turned(a, 3)
    copy[:, :33] = 0.0
    assert apart_if_resampled(GreyPyramid(a, GRID, copy, grid, 10_000), affine) < RESAMPLED
    bent, _, _ = _turned(a, 3, bend=0.5)
    bent[:, :33] = 0.0
    assert apart_if_resampled(GreyPyramid(a, GRID, bent, grid, 10_000), affine) > RESAMPLED


def test_images_that_hardly_overlap_or_hold_nothing_are_no_copies() -> None:
    a = _texture(0)
    away = np.eye(3)
    away[0, 2] = 60.0
    assert apart_if_resampled(_pyramid(a, a), away) == np.inf
    assert apart_if_resampled(_pyramid(a, np.zeros_like(a)), np.eye(3)) == np.inf


def test_behind_a_copy_nothing_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform, "fit_dense", lambda *_: pytest.fail("a copy was fitted"))
    a = _texture(0)
    copy, grid, affine = _turned(a, 3)
    pyramid, nothing = GreyPyramid(a, GRID, copy, grid, 10_000), PairedRois.none(GRID, grid)
    problem = DenseProblem(a, copy, GRID, grid, affine, nothing, None, ZERO + 0.2, None, same_body=True)
    found = Start(affine, ZERO, ZERO + 0.2, pyramid=pyramid, alike=True)
    dense, notes = transform._judged(problem, found, pyramid, FitConfig(), None)
    assert not dense.displacement.any()
    assert "resampled" in notes[0]
