"""report.html in a browser: it draws, it can be worked, nothing overlaps, everything can be read."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from browser_pages import CONTRAST, DRAWN, OVERPRINTED, SIDEWAYS, chromium, opened
from results import photograph_result, true_result
from samreg.report import render_registration
from samreg.report.batch_page import Entry, render_batch

RUNS = os.environ.get("SAMREG_TEST_RUNS", "")
"""A folder of run folders whose reports are tried as well, for example of real images."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened_browser:
        yield opened_browser


@functools.cache
def written(folder: Path, kind: str) -> str:
    result = photograph_result() if kind == "photograph" else true_result(3)
    path = folder / f"{kind}.html"
    path.write_text(render_registration(result, extra={"mean Dice": "0.93"}), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


def settle(page: Any) -> None:
    """Wait until nothing is drawn any more."""
    page.wait_for_function(
        """() => { const now = document.body.dataset.drawn; const same = window.seen === now; window.seen = now;
        return same && now; }""",
        polling=250,
    )


def check_look(page: Any) -> None:
    """What holds for every page in every window."""
    settle(page)
    assert page.evaluate(SIDEWAYS) <= 0
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(OVERPRINTED) == []


def test_it_draws_and_answers(browser: Any, folder: Path) -> None:
    """The shortest part, in every test run."""
    with opened(browser, written(folder, "volume")) as page:
        check_look(page)
        means = [page.eval_on_selector(f"figure[data-view={view}] canvas", DRAWN) for view in ("before", "after")]
        assert all(spread > 5 for _, spread in means)
        assert page.inner_text("figure[data-view=after] .where").startswith("slice 2 of 3, ")
        page.fill("input.slice >> nth=0", "0")
        settle(page)
        assert page.inner_text("figure[data-view=after] .where").startswith("slice 1 of 3, ")
        # Both images of a pair have one scale.
        widths = page.eval_on_selector_all("figure[data-view=pairs] .stage", "all => all.map(s => s.clientWidth)")
        sizes = page.evaluate(
            "() => { const p = JSON.parse(document.getElementById('slides').textContent).planes;"
            "return [p.fixed.size[0], p.moving.size[0]]; }"
        )
        assert widths[0] / sizes[0] == pytest.approx(widths[1] / sizes[1], rel=0.01)


@pytest.mark.browser
class TestEveryState:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize("size", ["laptop", "desk", "phone"])
    @pytest.mark.parametrize("kind", ["volume", "photograph"])
    def test_every_window(self, browser: Any, folder: Path, kind: str, size: str, theme: str) -> None:
        with opened(browser, written(folder, kind), size, theme) as page:
            check_look(page)
            for part in page.query_selector_all("details"):
                part.evaluate("d => { d.open = true; }")
            check_look(page)

    def test_ways_to_compare(self, browser: Any, folder: Path) -> None:
        with opened(browser, written(folder, "volume")) as page:
            settle(page)
            seen = set()
            for mode in ("swipe", "blend", "difference", "flicker"):
                page.check(f"input[name=mode][value={mode}]")
                if mode == "flicker":
                    assert page.inner_text("#play") == "Stop"
                    page.click("#turn")
                settle(page)
                seen.add(page.eval_on_selector("figure[data-view=before] canvas", "c => c.toDataURL()"))
            assert len(seen) == 4
            first = page.inner_text("#now")
            page.click("#turn")
            settle(page)
            assert {first, page.inner_text("#now")} == {"Now on screen: fixed.", "Now on screen: moving."}

    def test_flicker_stands_still_where_motion_is_unwanted(self, browser: Any, folder: Path) -> None:
        with opened(browser, written(folder, "volume")) as page:
            page.emulate_media(reduced_motion="reduce")
            page.reload()
            settle(page)
            page.check("input[name=mode][value=flicker]")
            assert page.inner_text("#play") == "Start"

    def test_the_line_can_be_dragged(self, browser: Any, folder: Path) -> None:
        with opened(browser, written(folder, "volume")) as page:
            settle(page)
            stage = page.query_selector("figure[data-view=after] .stage")
            stage.scroll_into_view_if_needed()
            box = stage.bounding_box()
            page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40)
            page.mouse.down()
            page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 40)
            page.mouse.up()
            settle(page)
            assert float(page.input_value("#swipe")) == pytest.approx(20, abs=2)

    def test_level_and_window_change_the_picture_and_can_be_reset(self, browser: Any, folder: Path) -> None:
        with opened(browser, written(folder, "volume")) as page:
            settle(page)
            grey = lambda: page.eval_on_selector("figure[data-view=pairs] canvas", DRAWN)[0]  # noqa: E731
            start = grey()
            page.fill("input.level[name=level] >> nth=0", "20")
            settle(page)
            assert grey() > start + 5
            page.click("button.reset >> nth=0")
            settle(page)
            assert grey() == pytest.approx(start)

    def test_the_right_button_changes_level_and_window(self, browser: Any, folder: Path) -> None:
        with opened(browser, written(folder, "volume")) as page:
            settle(page)
            for view in ("pairs", "after"):
                canvas = f"figure[data-view={view}] canvas"
                start = page.eval_on_selector(canvas, DRAWN)[0]
                stage = page.query_selector(f"figure[data-view={view}] .stage")
                stage.scroll_into_view_if_needed()
                box = stage.bounding_box()
                page.mouse.move(box["x"] + 60, box["y"] + 60)
                page.mouse.down(button="right")
                page.mouse.move(box["x"] + 100, box["y"] + 20, steps=3)
                page.mouse.up(button="right")
                page.mouse.move(box["x"] + 30, box["y"] + 90)  # without a button nothing follows
                settle(page)
                assert float(page.input_value("input[name=level] >> nth=0")) == pytest.approx(40, abs=1)
                assert float(page.input_value("input[name=width] >> nth=0")) == pytest.approx(120, abs=1)
                assert page.eval_on_selector(canvas, DRAWN)[0] > start
                assert float(page.input_value("#swipe")) == 50
                page.click("button.reset >> nth=0")
                settle(page)
                assert page.eval_on_selector(canvas, DRAWN)[0] == pytest.approx(start)

    def test_a_row_lights_its_pair_and_goes_to_its_slice(self, browser: Any, folder: Path) -> None:
        with opened(browser, written(folder, "volume")) as page:
            settle(page)
            page.fill("input.slice >> nth=0", "0")
            settle(page)
            row = page.query_selector("#pairs-body tr >> nth=2")
            number = row.get_attribute("data-structure")
            row.query_selector("button.pick").focus()
            page.keyboard.press("Enter")
            settle(page)
            assert page.input_value("input.slice >> nth=0") == row.get_attribute("data-fixed")
            lit = page.eval_on_selector_all(".roi.on", "all => all.map(e => e.dataset.structure)")
            assert lit
            assert set(lit) == {number}

    def test_the_table_is_sorted_and_cut(self, browser: Any, folder: Path) -> None:
        with opened(browser, written(folder, "volume")) as page:
            settle(page)
            page.click("th button[data-key=before]")
            values = page.eval_on_selector_all("#pairs-body tr", "all => all.map(r => Number(r.dataset.before))")
            assert values == sorted(values, reverse=True)
            page.fill("#count", "3")
            settle(page)
            assert page.inner_text("#count-text") == "3 of 8"
            assert page.eval_on_selector_all("#pairs-body tr:not([hidden])", "all => all.length") == 3
            drawn = page.eval_on_selector_all(".roi", "all => new Set(all.map(e => e.dataset.structure)).size")
            assert 0 < drawn <= 3

    def test_it_prints_on_few_pages(self, browser: Any, folder: Path) -> None:
        with opened(browser, written(folder, "volume")) as page:
            settle(page)
            page.emulate_media(media="print")
            sizes = "(all) => [...new Set(all.map((e) => getComputedStyle(e).fontSize))]"
            texts = "section p, .facts span, figcaption, .copy, footer"  # on paper all of one size
            assert page.eval_on_selector_all(texts, sizes) == ["12px"]
            page.emulate_media(media=None)
            printed = page.pdf(format="A4", print_background=True)
            assert 2 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 6

    def test_without_scripts_there_is_a_picture(self, browser: Any, folder: Path) -> None:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(written(folder, "volume"))
        assert page.is_visible("img.after")
        context.close()


@pytest.mark.browser
class TestTheIndexOfABatch:
    @pytest.fixture
    def index(self, tmp_path: Path) -> str:
        entries = [
            Entry(
                f"pair {i} <&>",
                ("PASS", "LOOK", "FAIL", "")[i],
                (("Dice", f"0.{7 + i}", 0.7 + i / 10), ("seconds", "", None)) if i < 3 else (("Dice", "", None),) * 2,
                said="overlap: look" if i == 1 else "",
            )
            for i in range(4)
        ]
        (tmp_path / "index.html").write_text(render_batch("Batch out", entries), encoding="utf-8")
        return (tmp_path / "index.html").as_uri()

    @pytest.mark.parametrize("theme", ["light", "dark"])
    @pytest.mark.parametrize("size", ["laptop", "phone"])
    def test_every_window(self, browser: Any, index: str, size: str, theme: str) -> None:
        with opened(browser, index, size, theme) as page:
            assert page.evaluate(SIDEWAYS) <= 0
            assert page.evaluate(CONTRAST) == []

    @pytest.mark.parametrize("size", ["laptop", "phone"])
    def test_pictures_lie_beside_each_other_and_names_are_whole(self, browser: Any, tmp_path: Path, size: str) -> None:
        for when in ("before", "after"):
            PIL.Image.new("RGB", (256, 216)).save(tmp_path / f"{when}.jpg")
        entry = Entry("prostate", "LOOK", (("Dice", "0.81", 0.81),), "", "before.jpg", "after.jpg", "look at it " * 30)
        (tmp_path / "index.html").write_text(render_batch("Batch out", [entry]), encoding="utf-8")
        with opened(browser, (tmp_path / "index.html").as_uri(), size) as page:
            page.eval_on_selector_all(
                "img.still", "all => Promise.all(all.map(i => { i.loading = 'eager'; return i.decode(); }))"
            )
            before, after = (page.locator("img.still").nth(i).bounding_box() for i in range(2))
            assert before["y"] == after["y"]
            assert before["x"] + before["width"] <= after["x"]
            lines = (
                "e => { const r = document.createRange(); r.selectNodeContents(e); return r.getClientRects().length; }"
            )
            assert page.eval_on_selector("#runs tbody td", lines) == 1

    def test_it_is_sorted_rated_and_saved(self, browser: Any, index: str, tmp_path: Path) -> None:
        with opened(browser, index) as page:
            ids = "all => all.map(r => r.dataset.id.slice(5, 6)).join('')"
            assert page.eval_on_selector_all("#runs tbody tr", ids) == "3210"  # failed, FAIL, LOOK, PASS
            page.click("th button[data-key=n0]")
            assert page.eval_on_selector_all("#runs tbody tr", ids) == "0123"  # without a number: last
            page.click("th button[data-key=n0]")
            assert page.eval_on_selector_all("#runs tbody tr", ids) == "2103"
            page.check("tr[data-id^='pair 2'] input[value=bad]")
            page.check("tr[data-id^='pair 0'] input[value=good]")
            assert page.inner_text("#counts") == "1 good, 1 bad, 0 unsure, of 4"
            with page.expect_download() as download:
                page.click("#save")
            saved = tmp_path / "ratings.tsv"
            download.value.save_as(saved)
            rows = [line.split("\t") for line in saved.read_text(encoding="utf-8").splitlines()]
            assert rows[0] == ["id", "rating", "verdict"]
            assert ["pair 2 <&>", "bad", "FAIL"] in rows
            assert ["pair 3 <&>", "", "failed"] in rows
        with opened(browser, index) as page:
            saved.write_text("id\trating\nnobody\tgood\npair 1 <&>\tunsure\n", encoding="utf-8")
            page.set_input_files("#load", saved)
            page.wait_for_function("document.getElementById('counts').textContent.includes('1 unsure')")


@pytest.mark.browser
@pytest.mark.skipif(not RUNS, reason="SAMREG_TEST_RUNS names no folder of run folders")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", ["laptop", "desk", "phone"])
def test_real_runs(browser: Any, size: str, theme: str) -> None:
    """Every report below SAMREG_TEST_RUNS; pictures of it go to SAMREG_SCREENSHOTS, where that is set."""
    pages = sorted(Path(RUNS).rglob("*.html"))
    assert pages
    for path in pages:
        with opened(browser, path.absolute().as_uri(), size, theme) as page:
            check_look(page)
            _, spread = page.eval_on_selector("figure[data-view=after] canvas", DRAWN)
            assert np.isfinite(spread)
            assert spread > 5
            shots = os.environ.get("SAMREG_SCREENSHOTS")
            if shots:
                page.screenshot(path=f"{shots}/{path.parent.name}-{path.stem}-{size}-{theme}.png", full_page=True)
