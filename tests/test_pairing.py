"""Overlap after the start, pairs with and without geometry, and prototypes, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.config import MatchConfig
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import RoiSet
from samreg.pairs.verification import overlap_after, pair_regions
from samreg.regions.prototypes import slice_prototypes
from samreg.regions.regions import FeatureVolume, Regions
from samreg.segmenters.base import Encoding


def _sets(shape: tuple[int, ...], n: int, seed: int) -> RoiSet:
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(n):
        mask = np.zeros(shape, dtype=bool)
        mask[tuple(slice(int(a), int(a) + int(rng.integers(2, 5))) for a in rng.integers(0, 5, len(shape)))] = True
        masks.append(mask)
    return RoiSet.from_masks(masks, Grid(shape, (1.5, 2.0, 3.0)[: len(shape)]))


def _still(grid: Grid) -> tuple[np.ndarray, torch.Tensor]:
    return np.eye(grid.ndim + 1), torch.zeros(grid.ndim, *grid.shape)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**30), shape=st.sampled_from([(9, 11), (7, 8, 9)]))
def test_without_motion_the_overlap_is_the_iou(seed: int, shape: tuple[int, ...]) -> None:
    fixed, moving = _sets(shape, 3, seed), _sets(shape, 4, seed + 1)
    got = overlap_after(fixed, moving, *_still(fixed.grid))
    f, m = fixed.masks(), moving.masks()
    wanted = [[(a & b).sum() / (a | b).sum() for b in m] for a in f]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**30), shift=st.tuples(st.integers(-3, 3), st.integers(-3, 3)), split=st.integers(-3, 3))
def test_affine_and_displacement_carry_the_moving_masks(seed: int, shift: tuple[int, int], split: int) -> None:
    fixed, moving = _sets((9, 11), 3, seed), _sets((9, 11), 3, seed + 1)
    affine, start = _still(fixed.grid)
    # The whole shift in voxels (y, x): a part of it by the affine map, in the world, the rest by the displacement.
    affine[:2, 2] = [split * fixed.grid.spacing[0], 0.0]
    start[0], start[1] = shift[0], shift[1] - split
    got = overlap_after(fixed, moving, affine, start)
    carried = []
    for mask in moving.masks():
        out = np.zeros_like(mask)
        for y, x in np.ndindex(*mask.shape):
            at = (y + shift[0], x + shift[1])
            out[y, x] = all(0 <= a < n for a, n in zip(at, mask.shape, strict=True)) and mask[at]
        carried.append(out)
    wanted = np.asarray([[(a & b).sum() / (a | b).sum() for b in carried] for a in fixed.masks()])
    # A moving mask keeps its size where a part of it leaves: what is carried is compared where it arrives.
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_large_grids_are_compared_coarsely_and_still_well() -> None:
    mask, other = np.zeros((2, 200, 260), dtype=bool)
    mask[40:120, 50:130], other[50:130, 50:130] = True, True
    grid = Grid(mask.shape, (1.0, 1.0))
    got = overlap_after(RoiSet.from_masks([mask], grid), RoiSet.from_masks([mask, other], grid), *_still(grid))
    # Cells that a region covers in part count less than they should: the overlap is a little low, never high.
    assert 0.85 < got[0, 0] <= 1.0
    assert 0.9 * 70 / 90 < got[0, 1] <= 70 / 90


def _regions(masks: list[np.ndarray], prototypes: list[list[float]], slices: list[int] | None = None) -> Regions:
    grid = Grid(masks[0].shape, (1.0,) * masks[0].ndim)
    image = Image(np.zeros(grid.shape, dtype=np.float32), grid)
    features = FeatureVolume(np.zeros((2, *grid.shape), dtype=np.float16), grid)
    table = np.asarray(prototypes, dtype=np.float32)
    index = np.asarray(slices or [0] * len(masks))
    return Regions(image, RoiSet.from_masks(masks, grid), table, features, None, index)


def _square(row: int, column: int) -> np.ndarray:
    mask = np.zeros((20, 20), dtype=bool)
    mask[row : row + 4, column : column + 4] = True
    return mask


def test_geometry_overrules_likeness_only_when_asked() -> None:
    # By looks the first goes with the second; by place each goes with itself.
    fixed = _regions([_square(2, 2), _square(12, 12)], [[1.0, 0.5], [0.5, 1.0]])
    moving = _regions([_square(2, 2), _square(12, 12)], [[0.5, 1.0], [1.0, 0.5]])
    start = _still(fixed.image.grid)
    by_looks = pair_regions(fixed, moving, *start, MatchConfig(verify=False, epsilon=0.7), by_slice=False)
    np.testing.assert_allclose(by_looks.moving.centroids, fixed.rois.centroids[::-1])
    np.testing.assert_allclose(by_looks.similarity, [1.0, 1.0], atol=1e-6)
    by_both = pair_regions(fixed, moving, *start, MatchConfig(verify=True, epsilon=0.7), by_slice=False)
    np.testing.assert_allclose(by_both.moving.centroids, by_both.fixed.centroids)
    np.testing.assert_allclose(by_both.similarity, [0.8, 0.8], atol=1e-6)
    np.testing.assert_allclose(by_both.weights, [1.0, 1.0], atol=1e-6)
    assert len(pair_regions(fixed, moving, *start, MatchConfig(verify=True, epsilon=0.85), by_slice=False)) == 0


@pytest.mark.parametrize("verify", [False, True])
def test_slices_that_correspond_pair_within_themselves(verify: bool) -> None:
    fixed = _regions([_square(2, 2), _square(2, 2)], [[1.0, 0.0], [1.0, 0.1]], [3, 4])
    moving = _regions([_square(2, 2)], [[1.0, 0.0]], [4])
    config = MatchConfig(verify=verify)
    pairs = pair_regions(fixed, moving, *_still(fixed.image.grid), config, by_slice=True)
    assert len(pairs) == 1
    assert pairs.similarity[0] < 1.0
    free = pair_regions(fixed, moving, *_still(fixed.image.grid), config, by_slice=False)
    assert len(free) == 1
    assert free.similarity[0] == pytest.approx(1.0)


@pytest.mark.parametrize("verify", [False, True])
def test_the_k_best_and_none_at_all(verify: bool) -> None:
    fixed = _regions([_square(2, 2), _square(12, 12)], [[1.0, 0.0], [0.0, 1.0]])
    start = _still(fixed.image.grid)
    assert len(pair_regions(fixed, fixed, *start, MatchConfig(verify=verify, max_pairs=1), by_slice=False)) == 1
    strange = _regions([_square(2, 2)], [[-1.0, -1.0]])
    assert len(pair_regions(fixed, strange, *start, MatchConfig(verify=verify), by_slice=False)) == 0


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.sampled_from([(16, 16), (16, 12), (9, 16), (32, 20)]),
    cells=st.sampled_from([4, 8]),
)
def test_a_prototype_is_the_area_weighted_mean(seed: int, shape: tuple[int, int], cells: int) -> None:
    """Of slices whose cells are whole pixels; elsewhere the pooling lets neighbouring cells share a pixel."""
    rng = np.random.default_rng(seed)
    side = max(shape)
    features = torch.from_numpy(rng.normal(size=(3, cells, cells)).astype(np.float32))
    encoding = Encoding(features, shape, 16)
    masks = rng.random((2, *shape)) < 0.5
    masks[:, 0, 0] = True
    got = slice_prototypes(encoding, masks)
    # Each pixel is cut into 12 x 12 parts, and each part belongs to the cell it lies in.
    cell = [((np.arange(12 * n) + 0.5) / 12 * cells / side).astype(int) for n in shape]
    fine = features.numpy().astype(np.float64)[:, cell[0]][:, :, cell[1]]  # float32 sums of so many parts drift
    for mask, row in zip(masks, got, strict=True):
        wanted = fine[:, np.kron(mask, np.ones((12, 12))) > 0].mean(axis=1)
        np.testing.assert_allclose(row, wanted, atol=1e-4)


def test_no_masks_no_prototypes() -> None:
    encoding = Encoding(torch.zeros(5, 4, 4), (16, 16), 16)
    assert slice_prototypes(encoding, np.zeros((0, 16, 16), dtype=bool)).shape == (0, 5)
