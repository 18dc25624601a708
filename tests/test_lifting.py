"""Slice ROIs to 3D ROIs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import Roi, RoiSet
from samreg.regions.linking import link_regions, link_slices
from samreg.regions.regions import FeatureVolume, Regions

SHAPE = (6, 7, 8)
GRID = Grid(SHAPE, (1.0, 1.0, 1.0))


def _plate(axis: int, number: int, first: tuple[int, int], size: tuple[int, int], quality: float = 1.0) -> Roi:
    """A rectangle in one slice across `axis`."""
    start = list(first)
    start.insert(axis, number)
    return Roi(np.expand_dims(np.ones(size, dtype=bool), axis), tuple(start), quality)


def _rows(*rows: tuple[float, ...]) -> np.ndarray:
    return np.asarray(rows, dtype=np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_block_cut_into_slices_comes_back_whole(axis: int) -> None:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[1:5, 2:6, 1:6] = True
    numbers = range(1, 5) if axis == 0 else range(2, 6) if axis == 1 else range(1, 6)
    rois = []
    for n in numbers:
        alone = np.zeros(SHAPE, dtype=bool)
        cut = tuple(n if a == axis else slice(None) for a in range(3))
        alone[cut] = mask[cut]
        rois.append(Roi.from_mask(alone, 0.5 + 0.1 * n))
    prototypes = np.tile(_rows((1.0, 2.0)), (len(rois), 1))
    lifted, table = link_slices(RoiSet(tuple(rois), GRID), prototypes, np.asarray(numbers), axis)
    assert len(lifted) == 1
    np.testing.assert_array_equal(lifted.mask(0), mask)
    np.testing.assert_allclose(table, [[1.0, 2.0]])
    assert lifted[0].quality == pytest.approx(np.mean([0.5 + 0.1 * n for n in numbers]))


def test_prototype_and_quality_are_weighted_by_area() -> None:
    rois = RoiSet((_plate(0, 1, (1, 1), (4, 4), 0.9), _plate(0, 2, (1, 1), (4, 3), 0.6)), GRID)
    lifted, table = link_slices(rois, _rows((1.0, 0.0), (0.8, 0.6)), np.asarray([1, 2]), 0)
    np.testing.assert_allclose(table, [[(16 + 12 * 0.8) / 28, 12 * 0.6 / 28]], rtol=1e-6)
    assert lifted[0].quality == pytest.approx((16 * 0.9 + 12 * 0.6) / 28)


def test_overlap_likeness_and_neighbourhood_are_all_needed() -> None:
    alike = _rows((1.0, 0.0), (1.0, 0.1))
    touching = RoiSet((_plate(0, 1, (0, 0), (4, 4)), _plate(0, 2, (0, 1), (4, 4))), GRID)
    assert len(link_slices(touching, alike, np.asarray([1, 2]), 0)[0]) == 1  # IoU 12 of 20
    assert len(link_slices(touching, alike, np.asarray([1, 2]), 0, min_overlap=0.61)[0]) == 0
    assert len(link_slices(touching, _rows((1.0, 0.0), (0.0, 1.0)), np.asarray([1, 2]), 0)[0]) == 0
    apart = RoiSet((_plate(0, 1, (0, 0), (4, 4)), _plate(0, 3, (0, 0), (4, 4))), GRID)
    assert len(link_slices(apart, alike, np.asarray([1, 3]), 0)[0]) == 0


def test_each_region_goes_with_its_best_partner_only() -> None:
    one = _plate(0, 1, (0, 0), (4, 6))
    best, second = _plate(0, 2, (0, 0), (4, 5)), _plate(0, 2, (0, 1), (4, 4))
    rois = RoiSet((one, second, best), GRID)
    lifted, _ = link_slices(rois, np.ones((3, 2), dtype=np.float32), np.asarray([1, 2, 2]), 0)
    assert len(lifted) == 1
    assert lifted[0].n_voxels == one.n_voxels + best.n_voxels


def test_short_chains_are_dropped_unless_wanted() -> None:
    rois = RoiSet((_plate(0, 1, (0, 0), (4, 4)), _plate(0, 4, (0, 0), (2, 2))), GRID)
    assert len(link_slices(rois, _rows((1.0,), (1.0,)), np.asarray([1, 4]), 0)[0]) == 0
    lifted, table = link_slices(rois, _rows((1.0,), (1.0,)), np.asarray([1, 4]), 0, min_slices=1)
    assert len(lifted) == 2
    assert table.shape == (2, 1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), axis=st.integers(0, 2))
def test_no_voxel_is_invented_and_none_of_a_chain_lost(seed: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    rois, index = [], []
    plane = [n for a, n in enumerate(SHAPE) if a != axis]
    for number in range(SHAPE[axis]):
        for _ in range(int(rng.integers(0, 3))):
            first = (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
            rois.append(_plate(axis, number, first, (plane[0] - 3, plane[1] - 3)))
            index.append(number)
    prototypes = np.ones((len(rois), 3), dtype=np.float32)
    all_rois = RoiSet(tuple(rois), GRID)
    lifted, table = link_slices(all_rois, prototypes, np.asarray(index, dtype=np.int64), axis, min_slices=1)
    assert table.shape == (len(lifted), 3)
    assert lifted.n_voxels.sum() == all_rois.n_voxels.sum()
    for roi in lifted.rois:
        # One slice ROI a slice: a chain never holds two regions of the same slice.
        per_slice = roi.mask.sum(axis=tuple(a for a in range(3) if a != axis))
        assert set(per_slice.tolist()) == {(plane[0] - 3) * (plane[1] - 3)}


def test_lift_leaves_flat_images_and_empty_sets_alone() -> None:
    grid = Grid((4, 4), (1.0, 1.0))
    image = Image(np.zeros((4, 4), dtype=np.float32), grid)
    features = FeatureVolume(np.zeros((2, 1, 1), dtype=np.float16), grid)
    flat = Regions(
        image, RoiSet((Roi(np.ones((2, 2), dtype=bool), (0, 0)),), grid), _rows((1.0, 0.0)), features, None, np.zeros(1)
    )
    assert link_regions(flat) is flat
