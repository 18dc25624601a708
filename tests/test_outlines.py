"""The preset `regions`: outlines of pairs alone drive the field, and bring every pair together without folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from samreg.config import preset
from samreg.fit.levels import fit_dense
from samreg.fit.objective import Objective
from samreg.fit.problem import DenseProblem
from samreg.fit.solvers.elastic import plan
from samreg.fit.terms.layers import Layers
from samreg.fit.terms.regions import RegionTerm
from samreg.geometry.frame import Frame, to_field
from samreg.geometry.grid import Grid
from samreg.geometry.rois import PairedRois, RoiSet

CONFIG = preset("regions").fit


def disc(n: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.indices((n, n))
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def pairs_of(fixed: list[np.ndarray], moving: list[np.ndarray], grid: Grid) -> PairedRois:
    return PairedRois(RoiSet.from_masks(fixed, grid), RoiSet.from_masks(moving, grid), np.ones(len(fixed)))


def problem_of(pairs: PairedRois) -> DenseProblem:
    """Pairs on two images that show nothing else."""
    grid, nothing = pairs.fixed.grid, np.zeros(pairs.fixed.grid.shape, dtype=np.float32)
    start = torch.zeros(grid.ndim, *grid.shape)
    return DenseProblem(nothing, nothing, grid, grid, np.eye(grid.ndim + 1), pairs, None, start, None)


def fitted(pairs: PairedRois, control: tuple[float, ...] = CONFIG.elastic.control) -> tuple[list[float], float]:
    """Dice of each pair on its own masks behind the fit, and the smallest determinant."""
    grid, affine = pairs.fixed.grid, np.eye(pairs.fixed.grid.ndim + 1)
    config = replace(CONFIG, elastic=replace(CONFIG.elastic, control=control))
    fit = fit_dense(problem_of(pairs), config)
    frame = Frame(grid, grid, affine)
    at = frame.identity() + fit.displacement
    values = []
    for i in range(len(pairs)):
        warped = frame.warp(torch.from_numpy(pairs.moving.mask(i)).float()[None], at)[0].numpy() > 0.5
        wanted = pairs.fixed.mask(i)
        values.append(2 * np.count_nonzero(warped & wanted) / (warped.sum() + wanted.sum()))
    return values, float(to_field(fit.displacement, grid, affine).jacobian_determinant().min())


def test_pairs_that_hardly_meet_come_together() -> None:
    # A contraction to a third of the area beside a shift by more than the region's own width.
    grid = Grid((64, 64), (1.0, 1.0))
    fixed = [disc(64, 16, 18, 8), disc(64, 44, 44, 13)]
    pairs = pairs_of(fixed, [disc(64, 33, 18, 8), disc(64, 45, 44, 7.5)], grid)
    dice, determinant = fitted(pairs)
    assert min(dice) >= 0.95
    assert determinant > 0
    # Fine voxels and close control points alone do not see so far.
    alone, _ = fitted(pairs, control=(2.0,))
    assert alone[0] < 0.5


@pytest.mark.parametrize("seed", range(6))
def test_pairs_of_any_place_and_size_come_together(seed: int) -> None:
    """Discs of more than 200 voxels that overlap no other one, shifted by up to their radius, grown or shrunk."""
    n, random = 128, np.random.default_rng(seed)
    places = random.permutation([(34.0, 34.0), (94.0, 34.0), (34.0, 94.0), (94.0, 94.0)])
    fixed, moving = [], []
    for x, y in places[: random.integers(2, 5)]:
        radius, other = random.uniform(9, 14, size=2)
        angle, length = random.uniform(0, 2 * np.pi), random.uniform(0, (radius + other) / 2)
        fixed.append(disc(n, x, y, radius))
        moving.append(disc(n, x + length * np.cos(angle), y + length * np.sin(angle), other))
    dice, determinant = fitted(pairs_of(fixed, moving, Grid((n, n), (1.0, 1.0))))
    assert min(dice) >= 0.95
    assert determinant > 0


def test_a_level_resolves_what_its_control_points_can_follow() -> None:
    def shapes(grid: Grid) -> list[tuple[int, ...]]:
        nothing = np.zeros(grid.shape, dtype=bool)
        nothing.flat[0] = True
        return [level.shape for level in plan(problem_of(pairs_of([nothing], [nothing], grid)), CONFIG)]

    assert shapes(Grid((128, 128), (1.0, 1.0))) == [(32, 32), (64, 64), (128, 128)]
    first, _, last = shapes(Grid((100, 100, 100), (1.0, 1.0, 1.0)))
    assert 0.9 * 2**18 < np.prod(last) <= 2**18
    assert first == tuple(round(n / 4) for n in last)


class TestLayers:
    """Masks that are carried within their slices are those that are carried in 3D."""

    FIXED = Grid((4, 24, 20), (1.0, 1.5, 8.0))

    def values(self, moving: Grid) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng(0).random((3, *moving.shape), dtype=np.float32))

    def index(self, frame: Frame) -> torch.Tensor:
        random = torch.from_numpy(np.random.default_rng(1).normal(0, 2, (3, *frame.fixed.shape)).astype(np.float32))
        return frame.identity() + random

    @pytest.mark.parametrize("axis", [0, 1, 2])
    @pytest.mark.parametrize(("shift", "by_slice"), [(0.0, True), (1.0, True), (0.4, False)])
    def test_either_way(self, axis: int, shift: float, by_slice: bool) -> None:
        affine = np.eye(4)
        other = 1 if axis == 0 else 0
        affine[2 - axis, 3] = shift * self.FIXED.array_spacing[axis]
        affine[2 - other, 3] = 0.7  # within the slice any shift is one
        frame = Frame(self.FIXED, self.FIXED, affine)
        layers, index = Layers(self.values(self.FIXED), frame, axis), self.index(Frame(self.FIXED, self.FIXED, affine))
        assert (layers.slices is not None) == by_slice
        index.requires_grad_(True)
        found = layers.at(index)
        (slope,) = torch.autograd.grad(found.sum(), index)
        flat = index.detach().clone()
        flat[axis] = frame.identity()[axis]
        flat.requires_grad_(True)
        wanted = frame.warp(self.values(self.FIXED), flat)
        (wanted_slope,) = torch.autograd.grad(wanted.sum(), flat)
        wanted_slope[axis] = 0
        assert torch.allclose(found, wanted, atol=1e-4)
        assert torch.allclose(slope, wanted_slope, atol=1e-3)

    def test_slices_that_are_aslant_are_carried_in_3d(self) -> None:
        affine = np.eye(4)
        affine[2, 0] = 0.1
        frame = Frame(self.FIXED, self.FIXED, affine)
        assert Layers(self.values(self.FIXED), frame, 0).slices is None


def test_regions_alone_are_the_only_term_but_for_a_smooth_field() -> None:
    grid = Grid((64, 64), (1.0, 1.0))
    problem = problem_of(pairs_of([disc(64, 16, 18, 8)], [disc(64, 33, 18, 8)], grid))
    (*_, last) = plan(problem, CONFIG)
    objective = Objective(problem, last.weights, last.shape)
    assert isinstance(objective.regions, RegionTerm)
    assert set(objective.terms(problem.start)) == {"regions", "smoothness", "folding"}
