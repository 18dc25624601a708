"""Structures, their colours and sizes, and how far the regions of a pair cover each other."""

from __future__ import annotations

import numpy as np
import pytest

from results import photograph_result, true_result
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.io.palette import PALETTE, colours_apart
from samreg.metrics.overlap import dice
from samreg.metrics.pair_overlap import pair_dice
from samreg.report.structures import counted, result_structures, size_text, structures_of
from samreg.report.thumbnails import Thumbnails

GRID = Grid((6, 40, 40), (1.0, 1.0, 8.0))


def paired(
    masks: list[np.ndarray],
    weights: list[float] | None = None,
    moving: list[np.ndarray] | None = None,
    names: list[str] | None = None,
) -> PairedRois:
    fixed = RoiSet.from_masks(masks, GRID, names=names)
    return PairedRois(
        fixed,
        RoiSet.from_masks(moving or masks, GRID, names=names),
        np.full(len(masks), 0.9),
        None if weights is None else np.asarray(weights),
    )


def block(z: slice | int, y: slice, x: slice) -> np.ndarray:
    mask = np.zeros(GRID.shape, bool)
    mask[z, y, x] = True
    return mask


class TestStructures:
    def test_pairs_on_top_of_each_other_are_one_structure(self) -> None:
        a = [block(k, slice(5 + k, 15 + k), slice(5, 15)) for k in (3, 1, 2)]
        apart = block(2, slice(25, 35), slice(25, 35))
        first, second = structures_of(paired([apart, *a]))
        assert first.rows == (2, 3, 1)
        assert first.pairs == (3, 4, 2)
        assert first.number == 2
        assert first.sizes == (2400.0, 2400.0)
        assert second.rows == (0,)

    def test_both_images_must_agree(self) -> None:
        a = [block(k, slice(5, 15), slice(5, 15)) for k in (1, 2)]
        elsewhere = [a[0], block(2, slice(25, 35), slice(5, 15))]
        assert len(structures_of(paired(a, moving=elsewhere))) == 2

    def test_overlap_below_a_half_parts_them_whatever_the_boxes_say(self) -> None:
        """Sizes and boxes would allow more: a frame and what it encloses, and two triangles of one square."""
        square = block(2, slice(5, 15), slice(5, 15))
        frame = block(1, slice(4, 16), slice(4, 16)) & ~block(1, slice(6, 14), slice(6, 14))
        assert len(structures_of(paired([frame, square]))) == 2
        upper, lower = (np.zeros(GRID.shape, bool) for _ in range(2))
        upper[1, 5:15, 5:15], lower[2, 5:15, 5:15] = np.tri(10, dtype=bool), np.tri(10, dtype=bool)[::-1]
        kept = np.zeros(GRID.shape, bool)
        kept[2, 5:15, 5:15] = np.tri(10, dtype=bool)
        assert len(structures_of(paired([upper, lower]))) == 2
        assert len(structures_of(paired([upper, kept]))) == 1

    def test_a_gap_of_a_slice_parts_them(self) -> None:
        assert len(structures_of(paired([block(k, slice(5, 15), slice(5, 15)) for k in (1, 3)]))) == 2

    def test_pairs_of_one_name_are_one_structure(self) -> None:
        a = [block(0, slice(5, 9), slice(5, 9)), block(5, slice(25, 35), slice(25, 35))]
        (one,) = structures_of(paired(a, names=["liver", "liver"]))
        assert one.title == "1 liver"
        assert one.rows == (0, 1)
        assert structures_of(paired(a, names=["3", "3"]))[0].title == "1 label 3"

    def test_the_most_used_come_first_and_weight_zero_last(self) -> None:
        a = [block(0, slice(5 * i, 5 * i + 4), slice(0, 4 + i)) for i in range(4)]
        found = structures_of(paired(a, [0.0, 0.5, 1.0, 0.5]))
        assert [s.number for s in found] == [3, 4, 2, 1]
        assert [s.used for s in found] == [True, True, True, False]
        assert counted(found) == "3 pairs used of 4; 1 of weight zero folded away"

    def test_background_is_folded_away(self) -> None:
        body = np.zeros(GRID.shape, np.float32)
        body[:, 10:30, 10:30] = 100
        image = Image(body, GRID)
        found = structures_of(
            paired([block(2, slice(0, 9), slice(0, 40)), block(2, slice(12, 20), slice(12, 20))]), image, image
        )
        assert [s.number for s in found] == [2, 1]
        assert found[1].background
        assert counted(found) == "1 pair used of 2; 1 of background folded away"

    def test_numbers_of_a_run_are_kept(self) -> None:
        a = [block(0, slice(5, 9), slice(5, 9)), block(5, slice(25, 35), slice(25, 35))]
        assert {s.number for s in structures_of(paired(a), numbers=[7, 31])} == {7, 31}

    def test_colours_of_a_run_are_kept_but_for_neighbours_of_one_colour(self) -> None:
        a = [
            block(0, slice(5, 9), slice(5, 9)),
            block(0, slice(5, 9), slice(9, 13)),
            block(5, slice(25, 35), slice(25, 35)),
        ]
        kept = {7: PALETTE[4], 8: PALETTE[4], 31: PALETTE[9]}
        found = {s.number: s.colour for s in structures_of(paired(a), numbers=[7, 8, 31], colours=kept)}
        assert found[31] == PALETTE[9]
        assert PALETTE[4] in (found[7], found[8])
        assert found[7] != found[8]
        alone = {s.number: s.colour for s in structures_of(paired(a[1:]), numbers=[8, 31], colours=kept)}
        assert alone == {8: PALETTE[4], 31: PALETTE[9]}

    def test_none(self) -> None:
        assert structures_of(PairedRois.none(GRID, GRID)) == ()
        assert counted(()) == "0 pairs used of 0"

    @pytest.mark.parametrize(
        ("size", "grid", "text"),
        [(424_000.0, GRID, "424 ml"), (1234.5, GRID, "1.23 ml"), (250.0, GRID.slice_grid(0), "2.5 cm²")],
    )
    def test_sizes(self, size: float, grid: Grid, text: str) -> None:
        assert size_text(size, grid) == text

    def test_sizes_of_photographs(self) -> None:
        assert size_text(12345.0, photograph_result().fixed.grid) == "12,345 px²"


class TestOverlap:
    @pytest.mark.parametrize("ndim", [2, 3])
    def test_it_is_the_dice_of_warped_labels(self, ndim: int) -> None:
        result = true_result(ndim)
        for field in (None, result.field):
            found = pair_dice(result.pairs, field)
            transform = field or DisplacementField.identity(result.fixed.grid)
            for k in range(len(result.pairs)):
                mask = Image(result.pairs.moving.mask(k).astype(np.float32), result.moving.grid)
                warped = transform.warp(mask, "nearest", 0.0).data > 0
                wanted = dice(result.pairs.fixed.mask(k).astype(int), warped.astype(int))[1]
                assert found[k] == pytest.approx(wanted, abs=0.01)

    def test_registration_raises_it(self) -> None:
        found = result_structures(true_result(2))
        before, after = (np.asarray([s.dice[i] for s in found], dtype=float) for i in (0, 1))
        assert before.mean() < 0.8
        assert after.min() > 0.9

    def test_a_structure_that_leaves_its_slices_is_compared_as_a_whole(self) -> None:
        """A pair a slice, carried by one slice: each region meets its neighbour, the structure itself."""
        pairs = paired([block(k, slice(5, 15), slice(5, 15)) for k in range(4)])
        u = np.zeros((*GRID.shape, 3), np.float32)
        u[..., 2] = GRID.array_spacing[0]
        field = DisplacementField(u, GRID)
        assert pair_dice(pairs, field).max() == 0
        (one,) = structures_of(pairs, field=field)
        assert one.dice == (1.0, pytest.approx(2 * 3 / (4 + 3)))  # three of its four slices meet

    def test_slabs_do_not_change_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        result = true_result(3)
        whole = pair_dice(result.pairs, result.field)
        monkeypatch.setattr("samreg.geometry.grid._VOXELS_AT_ONCE", 1)
        np.testing.assert_array_equal(pair_dice(result.pairs, result.field), whole)


class TestThumbnails:
    @pytest.mark.parametrize("which", ["2d", "3d", "photograph"])
    def test_both_crops_hold_the_outline(self, which: str) -> None:
        result = photograph_result() if which == "photograph" else true_result(2 if which == "2d" else 3)
        made = Thumbnails(result.pairs, result.fixed, result.moving)
        for structure in result_structures(result):
            for side, picture in zip(("fixed", "moving"), made.of(structure), strict=True):
                assert f"{structure.title} in the {side} image" in picture
                assert "data:image/jpeg;base64," in picture
                assert 'd="M' in picture


def lab(colours: np.ndarray, sight: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB colours as somebody sees them (Machado et al. 2009, severity 1)."""
    share = np.asarray(colours, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ sight.T, 0, 1)
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    )
    xyz = seen @ to_xyz.T / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def delta_e(one: np.ndarray, other: np.ndarray) -> float:
    """CIEDE2000 (Sharma, Wu, Dalal 2005)."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(mean**7 / (mean**7 + 25.0**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2)
    lightness, c = (l1 + l2) / 2, (c1 + c2) / 2
    h = h1 + h2 if not c1 * c2 else (h1 + turn / 2) % 360
    t = 1 - 0.17 * np.cos(np.radians(h - 30)) + 0.24 * np.cos(np.radians(2 * h))
    t += 0.32 * np.cos(np.radians(3 * h + 6)) - 0.2 * np.cos(np.radians(4 * h - 63))
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / np.sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * c, 1 + 0.015 * c * t
    rotation = -2 * np.sqrt(c**7 / (c**7 + 25.0**7)) * np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2))))
    x, y, z = (l2 - l1) / s_l, (c2 - c1) / s_c, d_h / s_h
    return float(np.sqrt(x**2 + y**2 + z**2 + rotation * y * z))


SIGHT = {
    "normal": (np.eye(3), 19.0),
    "protanopia": (
        np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
        14.0,
    ),
    "deuteranopia": (
        np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
        14.0,
    ),
    "tritanopia": (
        np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
        11.0,
    ),
}


class TestColours:
    def test_delta_e_of_a_published_pair(self) -> None:
        assert delta_e(np.array([50.0, 2.6772, -79.7751]), np.array([50.0, 0.0, -82.7485])) == pytest.approx(
            2.0425, abs=1e-4
        )
        assert delta_e(np.array([22.7233, 20.0904, -46.694]), np.array([23.0331, 14.973, -42.5619])) == pytest.approx(
            2.0373, abs=1e-4
        )

    @pytest.mark.parametrize("sight", SIGHT)
    def test_neighbours_are_far_apart(self, sight: str) -> None:
        """A board of 9 x 9 regions, each with its eight neighbours, which have four more around them."""
        masks = [block(0, slice(4 * i, 4 * i + 4), slice(4 * j, 4 * j + 4)) for i in range(9) for j in range(9)]
        found = structures_of(paired(masks))
        matrix, least = SIGHT[sight]
        colours = {s.rows[0]: lab(np.array([s.colour]), matrix)[0] for s in found}
        for i in range(81):
            for j in range(i):
                if max(abs(i // 9 - j // 9), abs(i % 9 - j % 9)) == 1:
                    assert delta_e(colours[i], colours[j]) >= least

    @pytest.mark.parametrize("sight", SIGHT)
    @pytest.mark.parametrize("paper", [(255, 255, 255), (0, 0, 0)])
    def test_no_colour_is_that_of_the_paper(self, sight: str, paper: tuple[int, int, int]) -> None:
        matrix, _ = SIGHT[sight]
        ground = lab(np.array([paper]), matrix)[0]
        assert min(delta_e(c, ground) for c in lab(np.array(PALETTE), matrix)) >= 9.0

    def test_the_first_ten_all_differ(self) -> None:
        assert len(set(colours_apart([[]] * 10))) == 10
        assert len(set(colours_apart([[]] * 25))) == 10
