"""Signed distances of paired regions: what equation (2) cannot see from afar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from samreg.config import preset
from samreg.fit.levels import fit_dense
from samreg.fit.objective import Objective
from samreg.fit.problem import DenseProblem, Weights
from samreg.fit.solvers.elastic import elastic_weights
from samreg.fit.terms.distances import DistanceTerm
from samreg.fit.terms.regions import RegionTerm
from samreg.geometry.frame import Frame, to_field
from samreg.geometry.grid import Grid
from samreg.geometry.rois import PairedRois, RoiSet

GRID = Grid((64, 64), (1.0, 1.0), (0.0, 0.0))
STACK = Grid((2, 64, 64), (1.0, 1.0, 8.0), (0.0, 0.0, 0.0))


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.indices((64, 64))
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def pairs_of(fixed: list[np.ndarray], moving: list[np.ndarray], grid: Grid = GRID) -> PairedRois:
    return PairedRois(RoiSet.from_masks(fixed, grid), RoiSet.from_masks(moving, grid), np.ones(len(fixed)))


def slope(term: DistanceTerm | RegionTerm, frame: Frame) -> torch.Tensor:
    index = frame.identity().requires_grad_(True)
    term(index).backward()  # type: ignore[no-untyped-call]
    assert index.grad is not None
    return index.grad


def test_where_two_regions_do_not_meet_the_distance_still_has_a_slope() -> None:
    pairs = pairs_of([disc(18, 32, 7)], [disc(36, 32, 7)])
    frame = Frame(GRID, GRID, np.eye(3))
    assert float(slope(RegionTerm(pairs, frame, 0.5), frame)[1, 30:35, 14:22].abs().max()) < 1e-6
    # The moving region lies at larger x: looking further that way brings the fixed voxels into it.
    assert float(slope(DistanceTerm(pairs, frame), frame)[1, 30:35, 16:22].max()) < -1e-5


def test_equal_masks_have_no_distance_and_no_other_pair_disturbs() -> None:
    masks = [disc(16, 16, 7), disc(30, 16, 6), disc(16, 30, 5)]
    frame = Frame(GRID, GRID, np.eye(3))
    assert float(DistanceTerm(pairs_of(masks, masks), frame)(frame.identity())) == pytest.approx(0, abs=1e-6)


def test_the_value_counts_misplaced_voxels_by_their_distance() -> None:
    frame = Frame(GRID, GRID, np.eye(3))
    near, far = (DistanceTerm(pairs_of([disc(30, 30, 7)], [disc(30 + s, 30, 7)]), frame) for s in (2, 6))
    values = [float(term(frame.identity())) for term in (near, far)]
    # A shift of three times the length misplaces about three times as many voxels, three times as far.
    assert 6 < values[1] / values[0] < 12


def test_slices_of_a_stack_keep_their_own_distances() -> None:
    fixed = np.stack([disc(30, 30, 7), np.zeros((64, 64), bool)])
    moving = np.stack([disc(34, 30, 7), np.zeros((64, 64), bool)])
    frame, flat = Frame(STACK, STACK, np.eye(4)), Frame(GRID, GRID, np.eye(3))
    stack = DistanceTerm(pairs_of([fixed], [moving], STACK), frame, slice_axis=0)(frame.identity())
    plane = DistanceTerm(pairs_of([disc(30, 30, 7)], [disc(34, 30, 7)]), flat)(flat.identity())
    assert float(stack) == pytest.approx(float(plane), rel=1e-4)


def fitted(pairs: PairedRois, distances: bool = True) -> tuple[list[float], float]:
    """Dice of each pair on its own masks after the preset `regions`, and the smallest determinant."""
    config = preset("regions").fit
    if not distances:
        config = replace(config, elastic=replace(config.elastic, loss="paper"))
    nothing = np.zeros(GRID.shape, dtype=np.float32)
    start = torch.zeros(2, *GRID.shape)
    fit = fit_dense(DenseProblem(nothing, nothing, GRID, GRID, np.eye(3), pairs, None, start, None), config)
    frame = Frame(GRID, GRID, np.eye(3))
    at = frame.identity() + fit.displacement
    values = []
    for i in range(len(pairs)):
        warped = frame.warp(torch.from_numpy(pairs.moving.mask(i)).float()[None], at)[0].numpy() > 0.5
        wanted = pairs.fixed.mask(i)
        values.append(2 * np.count_nonzero(warped & wanted) / (warped.sum() + wanted.sum()))
    return values, float(to_field(fit.displacement, GRID, np.eye(3)).jacobian_determinant().min())


def test_the_preset_regions_reaches_pairs_that_hardly_meet() -> None:
    # A contraction to a third of the area beside a shift by more than the region's own width.
    pairs = pairs_of([disc(16, 18, 8), disc(44, 44, 13)], [disc(33, 18, 8), disc(45, 44, 7.5)])
    dice, determinant = fitted(pairs)
    assert min(dice) >= 0.95
    assert determinant > 0
    alone, _ = fitted(pairs, distances=False)
    assert alone[0] < 0.5


def test_the_published_objective_has_no_distances() -> None:
    assert elastic_weights(preset("paper").fit.elastic).distances == 0
    assert elastic_weights(preset("default").fit.elastic).distances == 0
    weights = elastic_weights(preset("regions").fit.elastic)
    assert weights.distances > 0
    pairs = pairs_of([disc(16, 18, 8)], [disc(33, 18, 8)])
    nothing, start = np.zeros(GRID.shape, dtype=np.float32), torch.zeros(2, *GRID.shape)
    problem = DenseProblem(nothing, nothing, GRID, GRID, np.eye(3), pairs, None, start, None)
    assert {"regions", "distances"} <= set(Objective(problem, weights, GRID.shape).terms(start))
    plain = Weights(similarity=0, regions=1, features=0, window=3)
    assert set(Objective(problem, plain, GRID.shape).terms(start)) == {"regions"}
