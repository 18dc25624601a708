"""Regions that ask the other image for their counterpart, what stays of the answers, and rings."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bright_stacks import (
    AWAY,
    EMPTY,
    LARGE,
    SIDE,
    SMALL,
    STACK,
    Threshold,
    disc,
    pair,
    parts,
    segmented,
)
from samreg.config import SegmentConfig, preset
from samreg.fit.rough import bring_near
from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.rois import PairedRois, Roi, RoiSet
from samreg.initial.problem import ImagePair
from samreg.initial.start import Start, find_start
from samreg.pairs.choose import choose, weight_of
from samreg.pairs.counterparts import ask
from samreg.pairs.find import Asking, ask_for_pairs, find_pairs
from samreg.pairs.planes import PlaneMaps, Planes, facing
from samreg.pairs.rings import rings
from samreg.regions.linking import between, chains_of
from samreg.regions.slices import window


class TestAsking:
    def test_a_region_that_only_one_image_has_finds_its_counterpart_in_the_other(self) -> None:
        segmenter = Threshold()
        fixed = segmented([LARGE * 1.0, EMPTY], [(0, LARGE)])
        moving = segmented([SMALL * 1.0, EMPTY], [])
        asked = ask(*parts(fixed, moving, segmenter))
        assert len(asked.pairs) == 1
        pair = asked.pairs[0]
        assert (pair.slices, pair.rows, pair.kind) == ((0, 0), (0, -1), "counterpart")
        both = 2 * np.count_nonzero(pair.moving & SMALL) / (pair.moving.sum() + SMALL.sum())
        assert both > 0.85
        assert 0.5 < pair.agreement < 1

    def test_both_images_ask_and_what_was_found_does_not_ask_again(self) -> None:
        segmenter = Threshold()
        fixed = segmented([np.maximum(LARGE, AWAY) * 1.0, EMPTY], [(0, LARGE)])
        moving = segmented([np.maximum(LARGE, AWAY) * 1.0, EMPTY], [(0, LARGE), (0, AWAY)])
        asked = ask(*parts(fixed, moving, segmenter))
        assert sorted(p.rows for p in asked.pairs) == [(-1, 1), (0, -1)]
        assert asked.n_prompts == 2  # both agree at once, so that no other size is asked

    def test_only_what_a_mask_of_its_own_slice_shows_does_not_ask(self) -> None:
        segmenter = Threshold()
        fixed = segmented([LARGE * 1.0, AWAY * 1.0], [(0, LARGE)])
        moving = segmented([LARGE * 1.0, LARGE * 1.0], [(0, LARGE), (0, AWAY), (1, LARGE)])
        asked = ask(*parts(fixed, moving, segmenter))
        # The counterpart of the fixed region is moving region 0; region 2 looks the same, a slice further on.
        assert len(segmenter.boxes) == asked.n_prompts == 3

    def test_settled_regions_do_not_ask(self) -> None:
        segmenter = Threshold()
        fixed = segmented([LARGE * 1.0, EMPTY], [(0, LARGE)])
        asked = ask(*parts(fixed, fixed, segmenter), ({0}, {0}))
        assert (asked.pairs, asked.n_prompts, segmenter.boxes) == ([], 0, [])

    def test_kept_cells_spare_the_encoder(self) -> None:
        fixed, moving = segmented([LARGE * 1.0, EMPTY], [(0, LARGE)]), segmented([LARGE * 1.0, EMPTY], [])
        segmenter = Threshold()
        assert ask(*parts(fixed, moving, segmenter)).n_encoded == segmenter.encoded == 0
        segmenter.whole_cells = 0  # its decoder needs more than the cells
        again = ask(*parts(fixed, moving, segmenter))
        assert again.n_encoded == segmenter.encoded == 1
        assert len(again.pairs) == 1

    @pytest.mark.parametrize("same_slices", [True, False])
    def test_a_region_of_a_shared_stack_asks_its_own_slice(self, same_slices: bool) -> None:
        segmenter = Threshold()
        fixed = segmented([LARGE * 1.0, EMPTY], [(0, LARGE)])
        moving = segmented([SMALL * 1.0, LARGE * 1.0], [])
        planes = [Planes(r, segmenter, SegmentConfig(), window(r.image)) for r in (fixed, moving)]
        # The first registration takes everything to the next slice.
        displacement = torch.zeros(3, *fixed.image.grid.shape)
        displacement[0] = 1.0
        frame = Frame(fixed.image.grid, moving.image.grid, np.eye(4))
        maps = PlaneMaps(planes[0], planes[1], frame, displacement, same_slices=same_slices)
        asked = ask(planes[0], planes[1], maps)
        assert [p.slices for p in asked.pairs] == [(0, 0) if same_slices else (0, 1)]
        (found,) = asked.pairs
        assert found.contained > 0.9

    def test_slices_that_cross_are_not_asked(self) -> None:
        upright = segmented([LARGE * 1.0, EMPTY], [(0, LARGE)])
        fixed = Planes(upright, Threshold(), SegmentConfig(), window(upright.image))
        turned_grid = Grid(
            STACK.shape, STACK.spacing, STACK.origin, ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0))
        )
        turned = segmented([LARGE * 1.0, EMPTY], [], turned_grid)
        moving = Planes(turned, Threshold(), SegmentConfig(), window(turned.image))
        assert facing(fixed, fixed, np.eye(4))
        assert not facing(fixed, moving, np.eye(4))


class TestFindPairs:
    def test_a_counterpart_is_a_pair_that_counts(self) -> None:
        segmenter = Threshold()
        fixed = segmented([np.maximum(LARGE, AWAY) * 1.0] * 2, [(0, LARGE), (0, AWAY), (1, AWAY)])
        moving = segmented([np.maximum(LARGE, AWAY) * 1.0] * 2, [(0, AWAY), (1, LARGE)])
        config = preset("default")
        images = ImagePair.of(fixed, moving, config)
        start = find_start(images, config, bring_near)
        plain = find_pairs(images, start, config.match)
        assert len(plain) == 1
        asking = Asking(segmenter, start.guide, config.segment)
        pairs, asked = ask_for_pairs(images, start, config.match, plain, asking)
        assert pairs.kinds.tolist() == ["found", "counterpart", "counterpart", "counterpart"]
        assert pairs.weights[1:].min() > 0.5
        assert asked["prompts"] >= 3
        places = {
            (roi.start[0], tuple(np.round(c[:2] / 10)))
            for roi, c in zip(pairs.fixed.rois, pairs.fixed.centroids, strict=True)
        }
        assert places == {(0, (2, 2)), (0, (5, 4)), (1, (2, 2)), (1, (5, 4))}

    def test_given_pairs_come_first_and_keep_their_kind(self) -> None:
        fixed = segmented([LARGE * 1.0, EMPTY], [(0, LARGE)])
        config = preset("default")
        images = ImagePair.of(fixed, fixed, config)
        given = PairedRois(fixed.rois, fixed.rois, np.ones(1))
        found = find_pairs(images, find_start(images, config, bring_near), config.match, given)
        assert found.kinds.tolist() == ["given", "found"]


class TestChoosing:
    def test_of_the_same_regions_the_best_pair_stays(self) -> None:
        doubtful, sure = pair(LARGE, LARGE, 0.7), pair(disc(20, 20, 8.2), LARGE, 0.84)
        other = pair(AWAY, AWAY, 0.6)
        assert choose([doubtful, other, sure], 0.8) == [sure, other]

    def test_where_regions_lie_counts_more_than_how_they_look(self) -> None:
        # A chamber that contracts, and a part of it that is as small as the contracted chamber.
        chamber, part = pair(LARGE, disc(20, 20, 5), 0.88, 0.76), pair(disc(20, 20, 5), disc(20, 20, 5), 0.75, 0.95)
        assert choose([part, chamber], 0.8) == [chamber]

    def test_what_two_everything_modes_agree_on_comes_before_an_answer(self) -> None:
        found, answer = replace(pair(LARGE, LARGE, 0.65), kind="found"), pair(LARGE, disc(20, 20, 7), 0.9)
        assert choose([answer, found], 0.8) == [found]
        assert choose([answer, replace(found, agreement=0.5)], 0.8) == [answer]

    @pytest.mark.parametrize(("agreement", "similarity"), [(0.5, 0.99), (0.9, 0.6)])
    def test_an_answer_elsewhere_or_of_another_look_is_no_counterpart(
        self, agreement: float, similarity: float
    ) -> None:
        assert choose([pair(LARGE, LARGE, agreement, similarity)], 0.8) == []
        found = replace(pair(LARGE, LARGE, agreement, similarity), kind="found")
        assert choose([found], 0.8) == [found]

    @pytest.mark.parametrize(
        ("changed", "stays"),
        [
            ({}, True),
            ({"contained": 0.7}, False),
            ({"agreement": 0.3}, False),
            ({"quality": (0.9, 0.7)}, False),
            ({"similarity": 0.55}, False),
        ],
    )
    def test_a_chamber_that_empties_further_than_the_first_registration_stays(
        self, changed: dict[str, Any], stays: bool
    ) -> None:
        emptied = replace(pair(LARGE, disc(20, 20, 5), 0.4, 0.65), contained=1.0)
        assert bool(choose([replace(emptied, **changed)], 0.8)) is stays

    def test_the_weight_rises_with_the_agreement(self) -> None:
        assert [weight_of(a) for a in (0.2, 0.3, 0.55, 0.8, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])


class TestRings:
    def test_what_lies_between_two_nested_pairs_is_a_region(self) -> None:
        outer, inner = pair(disc(30, 30, 16), disc(30, 30, 15)), pair(disc(30, 30, 9), disc(30, 30, 8))
        (ring,) = rings([outer, inner], lambda p: p.moving)
        assert (ring.kind, ring.rows) == ("ring", (-1, -1))
        assert (ring.fixed == (outer.fixed & ~inner.fixed)).all()
        assert (ring.moving == (outer.moving & ~inner.moving)).all()

    def test_a_part_at_the_edge_and_a_ring_of_one_image_are_none(self) -> None:
        outer = pair(disc(30, 30, 16), disc(30, 30, 16))
        edge = pair(disc(41, 30, 6), disc(41, 30, 6))
        beside = pair(disc(30, 30, 9), disc(56, 56, 5))
        assert rings([outer, edge, beside], lambda p: p.moving) == []

    def test_rings_that_do_not_meet_are_none(self) -> None:
        outer, inner = pair(disc(30, 30, 16), disc(30, 30, 16)), pair(disc(30, 30, 9), disc(30, 30, 9))
        assert rings([outer, inner], lambda _: disc(30, 30, 9)) == []


def test_a_segmenter_without_prompts_pairs_what_it_found() -> None:
    from samreg.pipeline import register_regions

    fixed = segmented([LARGE * 1.0, EMPTY], [(0, LARGE)])
    finder = SimpleNamespace(segmenter=None, find=lambda *_: None, name="classes", fingerprint="")
    config = preset("default")
    config = replace(config, fit=replace(config.fit, transform="none"))
    result = register_regions(fixed, fixed, config, segmenter=finder)  # type: ignore[arg-type]
    assert result.asked == {}
    assert result.pairs.kinds.tolist() == ["found"]


class TestWholeStructures:
    def test_a_slice_that_lacks_the_region_is_stepped_over_and_filled_in(self) -> None:
        grid = Grid((5, SIDE, SIDE), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
        outlines = [(n, disc(30, 30, 6 + n)) for n in (0, 1, 3, 4)]
        regions = segmented([EMPTY] * 5, outlines, grid)
        chain = (regions.rois, np.ones((4, 3), dtype=np.float32), regions.slice_index, 0)
        assert chains_of(*chain) == [[0, 1], [2, 3]]
        assert chains_of(*chain, longest_step=2) == [[0, 1, 2, 3]]
        filled = between(dict(outlines))
        assert list(filled) == [2]
        assert np.count_nonzero(filled[2] ^ disc(30, 30, 8)) < 0.1 * disc(30, 30, 8).sum()

    def test_a_structure_that_only_one_image_has_is_one_whole_pair(self) -> None:
        # Slices of 3 mm: a volume, whose regions are linked. Everything mode found nothing in the moving image.
        grid = Grid((20, SIDE, SIDE), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
        body = [disc(30, 30, 6 + n / 2) * 1.0 if 1 <= n <= 18 else EMPTY for n in range(20)]
        fixed = segmented(body, [(n, disc(30, 30, 6 + n / 2)) for n in range(1, 19) if n != 4], grid)
        moving = segmented(body, [(19, AWAY)], grid)
        config = preset("default")
        images = ImagePair.of(fixed, moving, config)
        assert images.linked
        still = torch.zeros(3, *grid.shape)
        start = Start(np.eye(4), still, still)
        nothing = PairedRois.none(grid, grid)
        segmenter = Threshold()
        pairs, asked = ask_for_pairs(images, start, config.match, nothing, Asking(segmenter, still, config.segment))
        assert pairs.kinds.tolist() == ["counterpart"]
        whole = np.stack(body) > 0
        for side in (pairs.fixed, pairs.moving):
            mask = side.mask(0)
            assert 2 * np.count_nonzero(mask & whole) / (mask.sum() + whole.sum()) > 0.95
            assert mask[1].any()  # the first and the last slice have their counterparts, too
            assert mask[18].any()
        assert pairs.fixed.mask(0)[4].any()
        # Six of its seventeen slices ask; with three sizes at most.
        assert 6 <= asked["prompts"] <= 18

    @pytest.mark.parametrize(("shift", "kind"), [(5, "found"), (8, "counterpart")])
    def test_what_both_images_show_stays_unless_the_registration_is_far_from_it(self, shift: int, kind: str) -> None:
        # The first registration says that nothing moves, and the segmenter answers what lies there.
        grid = Grid((6, SIDE, SIDE), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0))
        outlines = [(n, disc(30, 30, 12)) for n in range(6)]
        fixed = segmented([disc(30, 30, 12) * 1.0] * 6, outlines, grid)
        moving = segmented([disc(30, 30, 12) * 1.0] * 6, [(n, disc(30 + shift, 30, 12)) for n in range(6)], grid)
        config = preset("default")
        images = ImagePair.of(fixed, moving, config)
        still = torch.zeros(3, *grid.shape)
        start = Start(np.eye(4), still, still)
        stack = np.stack([mask for _, mask in outlines])
        whole = [RoiSet((Roi.from_mask(mask),), grid) for mask in (stack, np.roll(stack, shift, axis=2))]
        found = PairedRois(whole[0], whole[1], np.ones(1))
        pairs, _ = ask_for_pairs(images, start, config.match, found, Asking(Threshold(), still, config.segment))
        assert pairs.kinds.tolist() == [kind]
