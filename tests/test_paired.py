"""Pairs of regions against labels: recall by structure, precision, and their place in the records."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samreg import metrics
from samreg.errors import GeometryError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.io.images import write_image
from samreg.io.tables import PairRecord
from samreg.metrics.label_overlaps import LabelOverlaps
from samreg.metrics.paired import structures
from samreg.metrics.score import measure, score

STACK = Grid((3, 40, 40), (1.0, 1.0, 8.0), (0.0, 0.0, 0.0))
VOLUME = Grid((20, 40, 40), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))


def squares(grid: Grid, *parts: tuple[int, tuple[slice, ...]]) -> np.ndarray:
    labels = np.zeros(grid.shape, dtype=np.int32)
    for value, place in parts:
        labels[place] = value
    return labels


def mask(grid: Grid, *place: slice | int) -> np.ndarray:
    out = np.zeros(grid.shape, dtype=bool)
    out[place] = True
    return out


def paired(grid: Grid, fixed: list[np.ndarray], moving: list[np.ndarray], weights: list[float]) -> PairedRois:
    return PairedRois(
        RoiSet.from_masks(fixed, grid), RoiSet.from_masks(moving, grid), np.ones(len(fixed)), np.asarray(weights)
    )


BOX, SHIFTED = (slice(5, 17), slice(5, 17)), (slice(5, 17), slice(7, 19))
OTHER = (slice(22, 34), slice(22, 34))


class TestRecall:
    def test_a_structure_of_a_stack_is_a_label_in_one_slice(self) -> None:
        labels = squares(STACK, (1, (slice(0, 2), *BOX)), (2, (slice(2, 3), *OTHER)))
        pairs = paired(STACK, [mask(STACK, 0, *BOX)], [mask(STACK, 0, *BOX)], [1.0])
        case = metrics.PairsCase(pairs, labels, labels, slice_axis=0)
        assert metrics.pair_recall(case) == {1: 0.5, 2: 0.0}
        assert structures(case) == {1: 2.0, 2: 1.0}

    def test_both_regions_of_one_pair_have_to_reach_the_limit(self) -> None:
        labels = squares(STACK, (1, (slice(0, 1), *BOX)))
        right, wrong = mask(STACK, 0, *BOX), mask(STACK, 0, *OTHER)
        crossed = paired(STACK, [right, wrong], [wrong, right], [1.0, 1.0])
        assert metrics.pair_recall(metrics.PairsCase(crossed, labels, labels, 0)) == {1: 0.0}
        # A shift of 2 of 12 pixels leaves a Dice of 10 / 12.
        shifted = paired(STACK, [right], [mask(STACK, 0, *SHIFTED)], [1.0])
        case = metrics.PairsCase(shifted, labels, labels, 0)
        assert [metrics.pair_recall(case, limit) for limit in (0.8, 0.85)] == [{1: 1.0}, {1: 0.0}]

    def test_a_pair_of_weight_zero_does_not_count(self) -> None:
        labels = squares(STACK, (1, (slice(0, 1), *BOX)))
        pairs = paired(STACK, [mask(STACK, 0, *BOX)], [mask(STACK, 0, *BOX)], [0.0])
        case = metrics.PairsCase(pairs, labels, labels, 0)
        assert metrics.pair_recall(case) == {1: 0.0}
        assert measure(case)["n_pairs"] == 0

    def test_small_structures_are_not_looked_for(self) -> None:
        small = squares(STACK, (1, (slice(0, 1), slice(0, 9), slice(0, 11))))
        nothing = PairedRois.none(STACK, STACK)
        assert metrics.pair_recall(metrics.PairsCase(nothing, small, small, 0)) == {}
        assert "pair_recall" not in measure(metrics.PairsCase(nothing, small, small, 0))

    def test_in_a_volume_a_structure_is_an_organ_of_more_than_20_ml(self) -> None:
        # 14 * 14 * 14 voxels of 8 cubic mm are 22 ml, 13 * 13 * 13 are 17.6 ml.
        large, small = (slice(3, 17),) * 3, (slice(3, 16), slice(20, 33), slice(20, 33))
        labels = squares(VOLUME, (1, large), (2, small))
        half = mask(VOLUME, slice(3, 10), *large[1:])
        case = metrics.PairsCase(paired(VOLUME, [half], [half], [1.0]), labels, labels)
        assert metrics.pair_recall(case) == {1: 0.0}
        whole = mask(VOLUME, *large)
        case = metrics.PairsCase(paired(VOLUME, [whole], [whole], [1.0]), labels, labels)
        assert metrics.pair_recall(case) == {1: 1.0}

    def test_regions_are_laid_over_labels_once_for_all_metrics(self, monkeypatch: pytest.MonkeyPatch) -> None:
        count, calls = LabelOverlaps.of, 0

        def counted(*given: Any) -> LabelOverlaps:
            nonlocal calls
            calls += 1
            return count(*given)

        monkeypatch.setattr(LabelOverlaps, "of", counted)
        labels = squares(STACK, (1, (slice(0, 2), *BOX)))
        region = mask(STACK, 0, *BOX)
        case = metrics.PairsCase(paired(STACK, [region], [region], [1.0]), labels, labels, slice_axis=0)
        assert metrics.pair_recall(case) == metrics.pair_recall(case, 0.8) == {1: 0.5}
        assert metrics.pair_precision(case) == 1.0
        assert structures(case) == {1: 2.0}
        assert calls == 2

    def test_labels_on_another_grid_are_refused(self) -> None:
        labels = squares(STACK, (1, (slice(0, 1), *BOX)))
        with pytest.raises(GeometryError, match="the moving labels have shape"):
            metrics.pair_recall(metrics.PairsCase(PairedRois.none(STACK, VOLUME), labels, labels))


class TestPrecision:
    def test_a_pair_of_two_structures_is_wrong(self) -> None:
        labels = squares(STACK, (1, (slice(0, 1), *BOX)), (2, (slice(0, 1), *OTHER)))
        one, two = mask(STACK, 0, *BOX), mask(STACK, 0, *OTHER)
        pairs = paired(STACK, [one, two, one], [one, two, two], [1.0, 0.3, 1.0])
        assert metrics.pair_precision(metrics.PairsCase(pairs, labels, labels, 0)) == pytest.approx(2 / 3)

    def test_a_pair_of_a_structure_and_of_none_is_wrong(self) -> None:
        labels = squares(STACK, (1, (slice(0, 1), *BOX)))
        pairs = paired(STACK, [mask(STACK, 0, *BOX)], [mask(STACK, 0, *OTHER)], [1.0])
        assert metrics.pair_precision(metrics.PairsCase(pairs, labels, labels, 0)) == 0.0

    def test_pairs_that_show_no_label_say_nothing(self) -> None:
        labels = squares(STACK, (1, (slice(0, 1), *BOX)))
        pairs = paired(STACK, [mask(STACK, 0, *OTHER)], [mask(STACK, 0, *OTHER)], [1.0])
        assert metrics.pair_precision(metrics.PairsCase(pairs, labels, labels, 0)) is None


def test_the_records_of_a_pair_leave_out_what_was_given(tmp_path: Path) -> None:
    labels = squares(STACK, (1, (slice(0, 1), *BOX)), (2, (slice(0, 1), *OTHER)))
    paths = []
    for name in ("fixed", "moving"):
        paths.append(tmp_path / f"{name}.nii.gz")
        write_image(Image(labels.astype(np.float32), STACK, name), paths[-1])
    record = PairRecord("a", paths[0], paths[1], paths[0], paths[1])
    one, two = mask(STACK, 0, *BOX), mask(STACK, 0, *OTHER)
    pairs = paired(STACK, [one, two], [one, two], [1.0, 1.0])
    pairs = dataclasses.replace(pairs, given=np.asarray([True, False]))
    image = Image(labels.astype(np.float32), STACK)
    found = score(record, DisplacementField.identity(STACK), image, STACK, pairs, 0)
    assert found["pair_recall"] == {"1": 0.0, "2": 1.0}
    assert (found["pair_precision"], found["n_pairs"]) == (1.0, 1.0)
    assert found["implausible_fraction"] == 0.0
    assert "pair_recall" not in score(record, DisplacementField.identity(STACK), image, STACK)
