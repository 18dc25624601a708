"""The report: self-contained, true to the geometry, escaped."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from results import photograph_result, true_result
from samreg.geometry.grid import Grid
from samreg.geometry.rois import PairedRois
from samreg.io.palette import pair_colour
from samreg.report import render_registration
from samreg.report.maps import blend, checkerboard, difference, jacobian_colours
from samreg.report.outlines import outline
from samreg.report.png import encode
from samreg.report.slices import plane_of
from worlds import GRIDS


class Tags(HTMLParser):
    """Collects tags and checks that they close."""

    VOID = frozenset({"meta", "input", "br", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if k in ("href", "src", "xlink:href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v or "" for k, v in attrs if k in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module", params=["2d", "3d", "photograph", "pairs only", "no pairs"])
def page(request: pytest.FixtureRequest) -> str:
    if request.param == "photograph":
        return render_registration(photograph_result())
    if request.param == "no pairs":
        from dataclasses import replace

        result = true_result(3)
        none = PairedRois.none(result.fixed.grid, result.moving.grid)
        return render_registration(replace(result, pairs=none))
    return render_registration(true_result(2 if request.param == "2d" else 3, with_field=request.param != "pairs only"))


def test_it_is_well_formed_and_needs_nothing_else(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.links
    assert all(link.startswith("data:image/png;base64,") for link in tags.links)
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert "@import" not in page
    assert "url(" not in page.replace("url(#j)", "")


def test_pictures_are_pngs(page: str) -> None:
    for data in re.findall(r"base64,([A-Za-z0-9+/=]+)", page)[:4]:
        assert base64.b64decode(data).startswith(b"\x89PNG")


def test_every_pair_is_on_both_sides_and_in_the_table() -> None:
    result = true_result(2)
    page = render_registration(result)
    for number in range(1, 9):
        assert len(re.findall(rf'<path class="roi" data-pair="{number}"', page)) == 2
        assert f"<tr data-pair={number}>" in page
        r, g, b = pair_colour(number - 1)
        assert page.count(f'stroke="rgb({r},{g},{b})"') == 2


def test_names_and_warnings_are_escaped() -> None:
    page = render_registration(true_result(2))
    assert "This is &lt;not&gt; a real registration." in page
    assert "<not>" not in page


def test_seconds_settings_and_provenance_are_there() -> None:
    page = render_registration(true_result(2), extra={"mean Dice": "0.93"})
    for text in ("segment", "1.25", "epsilon", "weights_sha256", "mean Dice", "0.93", "folded"):
        assert text in page


class TestOrientation:
    """Radiological: the patient's right on the left of the screen, the front up, the head up."""

    @pytest.mark.parametrize("name", [n for n in sorted(GRIDS) if n.endswith("3d")])
    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_letters_tell_the_truth(self, name: str, axis: int) -> None:
        grid = GRIDS[name]
        plane = plane_of(grid, axis)
        world = grid.voxel_centres()
        shown = [plane.take(world[..., i], grid.shape[axis] // 2) for i in range(3)]
        position = np.stack(shown, -1)
        across = position[0, -1] - position[0, 0]
        down = position[-1, 0] - position[0, 0]
        letters = {"R": (0, -1), "L": (0, 1), "A": (1, -1), "P": (1, 1), "I": (2, -1), "S": (2, 1)}
        left, right, top, bottom = plane.letters
        for letter, direction in ((left, -across), (right, across), (top, -down), (bottom, down)):
            world_axis, sign = letters[letter]
            if np.abs(direction).max() > 0:  # one row or column has no direction
                assert direction[world_axis] * sign > 0

    def test_axial_slices_are_seen_from_below(self) -> None:
        for direction in (np.diag([1.0, 1, 1]), np.diag([-1.0, -1, 1]), np.diag([-1.0, 1, 1])):
            plane = plane_of(Grid((3, 10, 12), (1, 1, 5), (0, 0, 0), tuple(map(tuple, direction))))
            assert plane.letters == ("R", "L", "A", "P")
            assert plane.name == "axial"

    def test_coronal_and_sagittal(self) -> None:
        grid = Grid((20, 20, 20), (1, 1, 1))
        assert plane_of(grid, 1).letters == ("R", "L", "S", "I")
        assert plane_of(grid, 2).letters == ("A", "P", "S", "I")

    def test_proportions_are_those_of_the_patient(self) -> None:
        plane = plane_of(Grid((40, 20, 20), (1.0, 1.0, 3.0)), 1)
        assert plane.size == (20.0, 120.0)

    def test_photographs_are_shown_as_stored(self) -> None:
        data = np.arange(12).reshape(3, 4)
        plane = plane_of(Grid((3, 4), (1, 1), unit="px"))
        np.testing.assert_array_equal(plane.take(data, 0), data)
        assert plane.letters == ("", "", "", "")

    @pytest.mark.parametrize("name", [n for n in sorted(GRIDS) if n.endswith("3d")])
    def test_points_land_on_their_pixels(self, name: str) -> None:
        grid = GRIDS[name]
        plane = plane_of(grid, 0)
        marked = np.zeros(grid.shape)
        marked[0, 2, 7] = 1
        row, column = np.argwhere(plane.take(marked, 0))[0]
        at = plane.to_screen(np.array([[0.0, 2.0, 7.0]]), grid.shape)
        np.testing.assert_allclose(at, [[column + 0.5, row + 0.5]])


@settings(max_examples=80, deadline=None)
@given(npst.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_outlines_enclose_exactly_the_mask(mask: np.ndarray) -> None:
    """Even-odd filling of the path gives the mask back."""
    loops = [[tuple(map(int, p.split())) for p in part.rstrip("Z").split("L")] for part in outline(mask).split("M")[1:]]
    filled = np.zeros(mask.shape, bool)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            crossings = 0
            for loop in loops:
                for (x0, y0), (x1, y1) in zip(loop, loop[1:] + loop[:1], strict=True):
                    if x0 == x1 and x0 > x + 0.5 and min(y0, y1) < y + 0.5 < max(y0, y1):
                        crossings += 1
            filled[y, x] = crossings % 2 == 1
    np.testing.assert_array_equal(filled, mask)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (300, 2)])
def test_png_is_read_back_by_itk(tmp_path: pytest.TempPathFactory, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    (tmp_path / "a.png").write_bytes(encode(pixels))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.png"))), pixels)


class TestMaps:
    A = np.full((16, 16), 200, np.uint8)
    B = np.full((16, 16), 100, np.uint8)

    def test_blend_is_grey_where_images_agree(self) -> None:
        assert (np.ptp(blend(self.A, self.A), axis=-1) == 0).all()
        assert blend(self.A, self.B)[0, 0].tolist() == [100, 200, 100]

    def test_checkerboard_holds_both(self) -> None:
        board = checkerboard(self.A, self.B)
        assert set(np.unique(board)) == {100, 200}
        assert (board == 200).mean() == 0.5

    def test_difference_is_mid_grey_where_there_is_none(self) -> None:
        assert (difference(self.A, self.A) == 128).all()
        assert difference(self.A, self.B)[0, 0] == 178

    def test_jacobian_colours(self) -> None:
        colours = jacobian_colours(np.array([1.0, 0.5, 2.0, 0.0, -3.0]))
        assert colours[0].tolist() == [255, 255, 255]
        assert colours[1][2] > colours[1][0]  # smaller in the moving image: blue
        assert colours[2][0] > colours[2][2]
        assert colours[3].tolist() == colours[4].tolist() == [255, 230, 0]
