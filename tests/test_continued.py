"""Structures that go on through the stack: the pair beside a slice asks both images in it."""

from __future__ import annotations

import numpy as np
import pytest

from bright_stacks import AWAY, EMPTY, LARGE, SIDE, Threshold, disc, pair, parts, segmented
from samreg.geometry.grid import Grid
from samreg.pairs.continued import continued
from samreg.pairs.counterparts import SlicePair

STACK = Grid((5, SIDE, SIDE), (1.0, 1.0, 8.0), (0.0, 0.0, 0.0))
SMALLER, DOT = disc(20, 20, 6), disc(20, 20, 2)


def at(number: int, fixed: np.ndarray = LARGE, moving: np.ndarray = LARGE) -> SlicePair:
    return pair(fixed, moving, 0.9, 0.9, slices=(number, number))


def asked(
    fixed: list[np.ndarray], moving: list[np.ndarray], pairs: list[SlicePair]
) -> tuple[list[SlicePair], int, Threshold]:
    segmenter = Threshold()
    images = [segmented([1.0 * s for s in side], [], STACK) for side in (fixed, moving)]
    found, n_prompts = continued(pairs, *parts(images[0], images[1], segmenter), 0.8)
    return found, n_prompts, segmenter


class TestStack:
    def test_the_slices_beside_a_structure_are_asked_in_both_images(self) -> None:
        slices = [LARGE] * 4 + [EMPTY]
        found, n_prompts, segmenter = asked(slices, slices, [at(1), at(2)])
        assert sorted(p.slices for p in found) == [(0, 0), (3, 3)]
        assert n_prompts == sum(len(b) for b in segmenter.boxes) == 4
        for p in found:
            assert (p.kind, p.rows) == ("counterpart", (-1, -1))
            assert p.agreement > 0.95
            assert p.similarity > 0.95

    def test_each_image_is_asked_with_its_own_box(self) -> None:
        found, _, _ = asked([LARGE] * 5, [SMALLER] * 5, [at(n, LARGE, SMALLER) for n in (1, 2)])
        assert len(found) == 2
        for p in found:
            assert p.fixed.sum() > 1.5 * p.moving.sum() > 120

    def test_a_gap_is_asked_once_from_each_side(self) -> None:
        found, n_prompts, _ = asked([LARGE] * 5, [LARGE] * 5, [at(n) for n in (0, 1, 3, 4)])
        assert [p.slices for p in found] == [(2, 2), (2, 2)]
        assert n_prompts == 4

    @pytest.mark.parametrize(
        ("pairs", "prompts"),
        [
            pytest.param([], 0, id="no pairs"),
            pytest.param([at(2)], 0, id="one slice is no structure"),
            pytest.param([at(n) for n in range(5)], 0, id="whole"),
            pytest.param([at(1), at(2, AWAY, AWAY)], 0, id="two structures"),
            pytest.param([at(n, DOT, DOT) for n in (1, 2)], 0, id="a few pixels"),
        ],
    )
    def test_what_does_not_go_on_does_not_ask(self, pairs: list[SlicePair], prompts: int) -> None:
        found, n_prompts, segmenter = asked([LARGE] * 5, [LARGE] * 5, pairs)
        assert (found, n_prompts, segmenter.boxes) == ([], prompts, [])

    @pytest.mark.parametrize(
        ("fixed", "moving", "prompts"),
        [
            pytest.param(EMPTY, LARGE, 2, id="the fixed image ends: the moving one is not asked"),
            pytest.param(LARGE, EMPTY, 4, id="the moving image ends"),
            pytest.param(LARGE, disc(27, 27, 3), 4, id="something else is there"),
            pytest.param(LARGE, disc(20, 20, 1.5), 4, id="a dot is left of it"),
        ],
    )
    def test_a_structure_that_ends_is_not_continued(self, fixed: np.ndarray, moving: np.ndarray, prompts: int) -> None:
        sides = [fixed, LARGE, LARGE, fixed, EMPTY], [moving, LARGE, LARGE, moving, EMPTY]
        found, n_prompts, _ = asked(*sides, [at(1), at(2)])
        assert (found, n_prompts) == ([], prompts)

    def test_pairs_of_two_slices_go_on_side_by_side(self) -> None:
        # The moving stack starts a slice earlier.
        pairs = [pair(LARGE, LARGE, 0.9, 0.9, slices=(n, n + 1)) for n in (1, 2)]
        found, n_prompts, _ = asked([LARGE] * 5, [LARGE] * 5, pairs)
        assert sorted(p.slices for p in found) == [(0, 1), (3, 4)]
        assert n_prompts == 4
