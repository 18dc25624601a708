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
        (0.4, [0.75, 0.8], False, [(False, 1.0), (False, 0.45)]),  # whose grey values say much
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

    def fit(problem: DenseProblem, config: FitConfig, _progress: Any = None) -> DenseFit:
        made.append((problem.same_body, config.flow.flow_feature_weight / weight))
        at[float(len(made))] = next(shares)
        return DenseFit(torch.full_like(ZERO, len(made)))

    monkeypatch.setattr(transform, "fit_dense", fit)
    monkeypatch.setattr(transform, "local_correlation", lambda _p, _a, u: at[float(u[0, 0, 0])])
    monkeypatch.setattr(transform, "has_earned_its_place", lambda *_: True)
    a = _texture(0)
    pyramid, nothing = _pyramid(a, a), PairedRois.none(GRID, GRID)
    problem = DenseProblem(a, a, GRID, GRID, np.eye(3), nothing, None, ZERO, None, same_body=alike)
    found = Start(np.eye(3), ZERO, ZERO, pyramid=pyramid, alike=alike)
    dense, _ = transform._judged(problem, found, pyramid, FitConfig(), None)
    assert made == [(body, pytest.approx(lead)) for body, lead in expected]
    assert float(dense.displacement[0, 0, 0]) == len(made)
