"""The report: self-contained, true to the geometry, escaped."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image as Picture

from results import photograph_result, true_result
from samreg.errors import InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.report import render_registration
from samreg.report.assets import text_of
from samreg.report.batch_page import stills
from samreg.report.checks import tone
from samreg.report.evaluation import add_numbers
from samreg.report.maps import jacobian_colours
from samreg.report.methods import paragraph
from samreg.report.outlines import outline
from samreg.report.png import encode
from samreg.report.slices import black_and_white, body_in_slices, plane_of, shown_window
from samreg.report.structures import result_structures
from samreg.result import Origin, PromptRecord, StartRecord
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
        result = true_result(3)
        none = PairedRois.none(result.fixed.grid, result.moving.grid)
        return render_registration(replace(result, pairs=none))
    return render_registration(true_result(2 if request.param == "2d" else 3, with_field=request.param != "pairs only"))


def slides(page: str) -> dict[str, Any]:
    found = re.search(r'id="slides">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_it_is_well_formed_and_needs_nothing_else(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.links
    assert all(link.startswith(("data:image/", "#")) for link in tags.links)
    assert {link[1:] for link in tags.links if link.startswith("#")} <= set(re.findall(r"id='([a-z]+)'", page))
    assert not re.search(r"https?://(?!www\.w3\.org)", page)
    assert "@import" not in page
    assert "url(" not in page.replace("url(#j)", "")


def test_every_slice_is_a_picture(page: str) -> None:
    data = slides(page)
    for stack in ("fixed", "moving", "before", "after"):
        for uri in data.get(stack) or []:
            assert base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")).startswith(b"\xff\xd8")
    n = data["planes"]["fixed"]["n"]
    assert len(data["fixed"]) == len(data["before"]) == len(data["partner"]) == len(data["outlines"]["fixed"]) == n
    for uri in data.get("jacobian", []):
        assert base64.b64decode(uri.removeprefix("data:image/png;base64,")).startswith(b"\x89PNG")


def test_every_structure_is_on_both_sides_and_in_the_table() -> None:
    result = true_result(2)
    page = render_registration(result)
    data = slides(page)
    for i, structure in enumerate(result_structures(result)):
        assert data["structures"][i]["colour"] == list(structure.colour)
        for side in ("fixed", "moving"):
            assert [mark for mark in data["outlines"][side][0] if mark[0] == i]
        assert f'data-structure="{i}"' in page
        assert "rgb({},{},{})".format(*structure.colour) in page
    assert "8 pairs used of 8" in page


def test_ten_structures_at_first_and_the_rest_on_demand() -> None:
    grid = Grid((60, 60), (1.0, 1.0))
    masks = np.zeros((14, 60, 60), bool)
    for i in range(14):
        masks[i, 4 * i : 4 * i + 3, 5:50] = True
    rois = RoiSet.from_masks(masks, grid)
    image = Image(np.full((60, 60), 50, np.float32) + np.arange(60, dtype=np.float32), grid)
    weights = np.r_[np.ones(12), 0.0, 0.0]
    result = replace(
        true_result(2),
        fixed=image,
        moving=image,
        field=None,
        affine=None,
        pairs=PairedRois(rois, rois, np.ones(14), weights),
    )
    page = render_registration(result)
    assert "12 pairs used of 14; 2 of weight zero folded away" in page
    rows = re.findall(r'<tr data-structure="\d+"[^>]*?( hidden)?>', page)
    assert len(rows) == 12
    assert rows.count("") == 10
    assert "max='12' value='10'" in page
    assert "2 pairs that are folded away" in page


def test_what_lies_outside_the_moving_image_is_marked() -> None:
    data = slides(render_registration(photograph_result()))
    assert data["outsideAfter"] == [None]  # the moving image is larger on all sides that the shift goes to
    far = DisplacementField(np.full((50, 60, 2), 30.0, np.float32), photograph_result().fixed.grid)
    data = slides(render_registration(replace(photograph_result(), field=far)))
    assert data["outsideAfter"][0].startswith("data:image/png;base64,")


def test_letters_only_where_an_orientation_is_known() -> None:
    result = true_result(3)
    assert slides(render_registration(result))["planes"]["fixed"]["letters"] == ["R", "L", "A", "P"]
    assert slides(render_registration(result))["planes"]["fixed"]["at"][0].endswith(" mm")
    assert slides(render_registration(true_result(2)))["planes"]["fixed"]["letters"] is None


def test_names_and_warnings_are_escaped() -> None:
    page = render_registration(true_result(2))
    assert "This is &lt;not&gt; a real registration." in page
    assert "<not>" not in page


def test_a_name_cannot_end_the_script() -> None:
    result = true_result(2)
    rois = [replace(roi, name="</script><b>") for roi in result.pairs.fixed.rois]
    pairs = replace(result.pairs, fixed=replace(result.pairs.fixed, rois=tuple(rois)))
    page = render_registration(replace(result, pairs=pairs))
    assert page.count("</script>") == 2
    assert slides(page)["structures"][0]["title"].endswith(" </script><b>")


def test_seconds_settings_and_provenance_are_there() -> None:
    page = render_registration(true_result(2), extra={"mean Dice": "0.93"})
    for text in (
        "segment",
        "1.2</td>",
        "epsilon",
        "weights_sha256",
        "mean Dice",
        "0.93",
        "folded",
        "not a medical device",
    ):
        assert text in page


def test_methods_text_names_versions_references_and_settings() -> None:
    made = {"created": "2031-02-03T04:05:06+00:00", "samreg": "9.8.7", "torch": "5.4"}
    result = replace(true_result(2), origins=(Origin("litemedsam"), Origin("litemedsam")))
    page = render_registration(result, made=made)
    text = page[page.index("id='methods-text'") :]
    for part in (
        "samreg 9.8.7",
        "torch 5.4",
        "2031-02-03",
        "MICCAI 2024",
        "s41467-024-44824-z",
        "preset default, seed 0",
    ):
        assert part in text


def test_numbers_have_the_digits_that_mean_something() -> None:
    result = replace(true_result(2), seconds={"load": 0.03, "fit": 64.691}, losses={"similarity": 0.872991234})
    page = render_registration(result)
    for text in ("&lt; 0.1</td>", "64.7</td>", "0.873</td>"):
        assert text in page


@pytest.mark.parametrize("both", [True, False])
def test_methods_text_says_whether_both_directions_were_fitted(both: bool) -> None:
    result = replace(true_result(2), start=StartRecord("headers", {}, 0, 0.0, both_ways=both))
    assert ("both directions were fitted" in paragraph(result, {})) == both


def test_methods_text_says_how_many_pairs_with_a_weight_are_not_counted_as_used() -> None:
    result = true_result(2)
    known = [replace(s, background=i == 0) for i, s in enumerate(result_structures(result))]
    page = render_registration(result, structures=known)
    assert f"{len(result.pairs)} had a weight in the fit, 1 of them of background." in page
    assert f"{len(result.pairs)} had a weight in the fit." in render_registration(result)


def test_a_good_number_beside_a_warning_does_not_look_like_one() -> None:
    assert tone("LOOK", "good") == ""
    assert (tone("PASS", "good"), tone("LOOK", "bad"), tone("FAIL", "fair")) == ("good", "bad", "fair")


class TestWindow:
    @pytest.fixture
    def values(self) -> np.ndarray:
        return np.random.default_rng(0).uniform(50, 150, (40, 50)).astype(np.float32)

    def test_a_bright_coil_does_not_make_the_rest_black(self, values: np.ndarray) -> None:
        values[:4, :10] = 2000
        image = Image(values, Grid((40, 50), (1.0, 1.0)))
        assert black_and_white(image)[1] > 1900
        low, high = shown_window(image)
        assert 150 <= high < 250
        assert low < 60

    def test_other_images_keep_theirs(self, values: np.ndarray) -> None:
        for change in (lambda v: v, lambda v: np.where(np.arange(50) < 45, 0, v).astype(np.float32)):
            image = Image(change(values), Grid((40, 50), (1.0, 1.0)))
            assert shown_window(image) == black_and_white(image)


def test_the_body_holds_what_it_encloses_in_its_slices() -> None:
    values = np.zeros((3, 20, 20), np.float32)
    values[:, 4:16, 4:16] = 100
    values[1, 8:12, 8:12] = 0  # air in a body
    values[2, 8:12, 0:12] = 0  # and air that leads out of it
    found = body_in_slices(Image(values, Grid((3, 20, 20), (1.0, 1.0, 5.0))))
    expected = values > 0
    expected[1, 8:12, 8:12] = True
    np.testing.assert_array_equal(found, expected)


def test_a_prompt_is_drawn_where_it_was_given() -> None:
    result = true_result(3)
    grid = result.fixed.grid
    point = grid.index_to_world(np.array([[20.0, 30.0, 1.0]]))[0]
    record = PromptRecord(1, 1, 1, 1, 0.9, point=tuple(point.tolist()))
    mark = slides(render_registration(replace(result, prompt=record)))["prompt"]
    assert mark["slice"] == 1
    x = [float(v) for v in re.findall(r"[ML](-?[\d.]+) ", mark["path"])]
    y = [float(v) for v in re.findall(r"[ML]-?[\d.]+ (-?[\d.]+)", mark["path"])]
    at = plane_of(grid).to_screen(np.array([[1.0, 30.0, 20.0]]), grid.shape)[0]
    np.testing.assert_allclose([np.mean(x), np.mean(y)], at, atol=0.02)
    assert "prompt" not in slides(render_registration(result))


def test_numbers_that_are_measured_later_are_put_in_and_replaced() -> None:
    page = render_registration(true_result(2))
    once = add_numbers(page, [(["label", "Dice"], [["<1>", "0.9137"]])], "labels a and b")
    again = add_numbers(once, [(["label", "Dice"], [["2", "0.7719"]])], "labels c")
    assert "&lt;1&gt;" in once
    assert "0.9137" not in again
    assert "0.7719" in again
    assert add_numbers(again, [(["label", "Dice"], [["<1>", "0.9137"]])], "labels a and b") == once
    with pytest.raises(InputError, match="older samreg"):
        add_numbers("<html></html>", [], "")


def _luminance(colour: str) -> float:
    share = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_has_the_contrast_of_wcag_aa(theme: str) -> None:
    css = text_of("page.css")
    start = {"light": 0, "dark": css.index("prefers-color-scheme: dark"), "print": css.index("@media print")}[theme]
    block = css[css.index(":root {", start) :]
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6})\b", block[: block.index("}")]))
    colours = {k: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:]) for k, v in colours.items()}
    for ink in ("ink", "soft", "accent", "good", "fair", "bad"):
        for paper in ("paper", "wash", "row"):
            assert _contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


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

    def test_nothing_names_the_sides_of_a_patient_who_may_lie_any_way(self) -> None:
        assert plane_of(Grid((3, 10, 12), (1, 1, 5)), oriented=False).letters == ("", "", "", "")
        result = true_result(3)
        unknown = replace(result, fixed=replace(result.fixed, oriented=False))
        for case, said in ((result, False), (unknown, True)):
            page = render_registration(case, case.field.warp(case.moving))
            assert (f"the header of {case.fixed.name} records no orientation" in page) == said

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
    def test_jacobian_colours(self) -> None:
        colours = jacobian_colours(np.array([1.0, 0.5, 2.0, 0.0, -3.0]))
        assert colours[0].tolist() == [255, 255, 255]
        assert colours[1][2] > colours[1][0]  # smaller in the moving image: blue
        assert colours[2][0] > colours[2][2]
        assert colours[3].tolist() == colours[4].tolist() == [255, 230, 0]


def test_images_that_do_not_meet_before_registration_are_shown_without_a_warning() -> None:
    result = photograph_result()
    apart = replace(result.moving.grid, origin=(500.0, 500.0))
    field = DisplacementField(np.full((50, 60, 2), 500.0, np.float32), result.fixed.grid)
    moving = replace(result.pairs.moving, grid=apart)
    pairs = replace(result.pairs, moving=moving)
    data = slides(
        render_registration(replace(result, moving=Image(result.moving.data, apart), field=field, pairs=pairs))
    )
    assert data["outsideBefore"][0] is not None
    assert data["outsideAfter"] == [None]


def test_the_small_picture_is_grey_where_the_moving_image_does_not_reach() -> None:
    """Bright green there would look like a fault of the registration."""
    result = photograph_result(colour=False)
    far = DisplacementField(np.full((50, 60, 2), 30.0, np.float32), result.fixed.grid)
    page = render_registration(replace(result, field=far))
    found = stills(page)["after"]
    pixels = np.asarray(Picture.open(io.BytesIO(found)).convert("RGB"), dtype=int)
    corner = pixels[-20:, -20:]
    assert np.abs(corner[..., 0] - corner[..., 1]).max() < 12
    assert np.ptp(pixels[:60, :60], axis=-1).max() > 60


def test_importing_the_report_loads_no_torch() -> None:
    """The command line imports it before it reads the images: what takes seconds to load comes after the first line."""
    ask = "import sys, samreg.runs.run_folder; print([m for m in ('torch', 'scipy.ndimage') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_an_atlas_of_hundreds_of_regions_has_pictures_of_the_first_only() -> None:
    grid = Grid((20 * 3, 16 * 3), (1.0, 1.0))
    rows, columns = np.indices(grid.shape)
    rois = RoiSet.from_labels((rows // 3) * 16 + columns // 3 + 1, grid)
    image = Image((rows + columns + 50).astype(np.float32), grid)
    pairs = PairedRois(rois, rois, np.ones(len(rois)))
    page = render_registration(replace(true_result(2), fixed=image, moving=image, field=None, affine=None, pairs=pairs))
    assert page.count('<tr data-structure="') > 310
    assert page.count('<svg class="thumb"') == 2 * 300
