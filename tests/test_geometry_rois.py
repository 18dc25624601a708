"""Regions: boxes, overlaps, label maps and pairs, against plain masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.errors import GeometryError
from samreg.geometry.grid import Grid
from samreg.geometry.rois import PairedRois, Roi, RoiSet
from worlds import GRIDS, grids


@st.composite
def roi_sets(draw: st.DrawFn) -> tuple[RoiSet, np.ndarray]:
    """Regions with holes, touching edges, overlapping; and their masks."""
    grid = draw(grids())
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n = draw(st.integers(1, 6))
    masks = rng.random((n, *grid.shape)) < rng.uniform(0.02, 0.6, (n, *[1] * grid.ndim))
    masks.reshape(n, -1)[np.arange(n), rng.integers(0, grid.n_voxels, n)] = True
    return RoiSet.from_masks(masks, grid, list(rng.random(n)), [f"r{i}" for i in range(n)]), masks


@settings(max_examples=60, deadline=None)
@given(roi_sets())
def test_a_set_is_its_masks(case: tuple[RoiSet, np.ndarray]) -> None:
    rois, masks = case
    flat = masks.reshape(len(masks), -1).astype(int)
    np.testing.assert_array_equal(rois.masks(), masks)
    np.testing.assert_array_equal(rois.mask(len(rois) - 1), masks[-1])
    np.testing.assert_array_equal(rois.n_voxels, flat.sum(1))
    np.testing.assert_array_equal(rois.intersections(), flat @ flat.T)
    np.testing.assert_allclose(rois.volumes, flat.sum(1) * rois.grid.voxel_volume)
    for i, mask in enumerate(masks):
        centre = rois.grid.voxel_centres()[mask].mean(axis=0)
        np.testing.assert_allclose(rois.centroids[i], centre, atol=1e-8)
        where = np.argwhere(mask)
        np.testing.assert_array_equal(rois.boxes[i], [where.min(0), where.max(0) + 1])


@settings(max_examples=40, deadline=None)
@given(roi_sets())
def test_label_map_puts_the_smaller_on_top(case: tuple[RoiSet, np.ndarray]) -> None:
    rois, masks = case
    values = [10 + i for i in range(len(rois))]
    labels = rois.label_map(values)
    np.testing.assert_array_equal(labels > 0, masks.any(0))
    for voxel in np.argwhere(labels > 0)[:50]:
        owner = labels[tuple(voxel)] - 10
        assert masks[owner][tuple(voxel)]
        assert rois.n_voxels[owner] == min(rois.n_voxels[i] for i in range(len(rois)) if masks[i][tuple(voxel)])


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_labels_there_and_back(name: str) -> None:
    grid = GRIDS[name]
    labels = np.random.default_rng(0).integers(0, 5, grid.shape).astype(np.int32)
    rois = RoiSet.from_labels(labels, grid, {2: "liver"})
    assert [roi.name for roi in rois.rois] == ["1", "liver", "3", "4"]
    np.testing.assert_array_equal(rois.label_map([1, 2, 3, 4]), labels)


def test_select_keeps_order_and_nothing_else() -> None:
    grid = Grid((3, 3), (1.0, 1.0))
    rois = RoiSet.from_labels(np.array([[1, 2, 3]] * 3), grid)
    assert [roi.name for roi in rois.select([2, 0]).rois] == ["3", "1"]
    assert len(rois.select([])) == 0


def test_an_empty_set_has_a_shape() -> None:
    rois = RoiSet((), Grid((3, 4), (1.0, 1.0)))
    assert rois.masks().shape == (0, 3, 4)
    assert rois.boxes.shape == (0, 2, 2)
    assert rois.centroids.shape == (0, 2)
    assert rois.intersections().shape == (0, 0)
    assert not rois.label_map().any()


class TestFaults:
    def test_empty_mask(self) -> None:
        with pytest.raises(GeometryError, match="'lung' is empty"):
            Roi.from_mask(np.zeros((3, 3), bool), name="lung")

    def test_mask_of_another_shape(self) -> None:
        with pytest.raises(GeometryError, match="mask 0 has shape"):
            RoiSet.from_masks([np.ones((3, 3), bool)], Grid((3, 4), (1.0, 1.0)))

    def test_outside_the_grid(self) -> None:
        with pytest.raises(GeometryError, match="outside a grid"):
            RoiSet((Roi(np.ones((2, 2), bool), (2, 2)),), Grid((3, 3), (1.0, 1.0)))

    def test_pairs_of_unequal_length(self) -> None:
        rois = RoiSet.from_labels(np.array([[1, 2]]), Grid((1, 2), (1.0, 1.0)))
        with pytest.raises(GeometryError, match="as many"):
            PairedRois(rois, rois, np.ones(1))
        with pytest.raises(GeometryError, match="as many"):
            PairedRois(rois, rois.select([0]), np.ones(2))


def test_pairs_select_all_their_parts() -> None:
    rois = RoiSet.from_labels(np.array([[1, 2, 3]]), Grid((1, 3), (1.0, 1.0)))
    pairs = PairedRois(rois, rois, np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7])).select([2, 1])
    assert [roi.name for roi in pairs.moving.rois] == ["3", "2"]
    np.testing.assert_allclose(pairs.similarity, [0.3, 0.2])
    np.testing.assert_allclose(pairs.weights, [0.7, 0.6])
    assert PairedRois(rois, rois, np.ones(3)).weights.tolist() == [1, 1, 1]


def test_pairs_that_count_are_those_with_a_weight() -> None:
    rois = RoiSet.from_masks([np.eye(3, dtype=bool)] * 3, Grid((3, 3), (1.0, 1.0)))
    assert PairedRois(rois, rois, np.ones(3), confidence=np.asarray([0.0, 0.5, 1.0])).used.tolist() == [1, 2]
