"""The viewer's page in a browser: it draws, it can be worked, nothing overlaps, everything can be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser_pages import SIZES
from results import photograph_result, true_result
from samreg.geometry.field import DisplacementField
from samreg.io.images import write_image
from samreg.runs.run_folder import read_run
from viewer_pages import browser_for_the_page, check_look, make_run, opened, pixels, served, settled, shot


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_for_the_page() as opened_browser:
        yield opened_browser


def test_it_draws_and_changes(browser: Any, tmp_path: Path) -> None:
    """The shortest part, in every test run: three images, a step, a rejected pair, undo, a tab that is closed."""
    run = make_run(true_result(3), tmp_path / "a", ".nii.gz")
    with served(run) as server:
        with opened(browser, server) as page:
            assert f"token={server.token}" not in page.url
            for role in ("fixed", "moving", "result"):
                assert pixels(page, role)[1] > 5
            before = pixels(page, "fixed")
            n_asked = len([u for u in page.asked if "/overlaps" not in u])
            page.keyboard.press("ArrowDown")
            # The page draws when the browser next asks it to, and says where it is once it has drawn.
            page.wait_for_function("() => document.getElementById('where').textContent === '3 / 3'")
            assert pixels(page, "fixed") != before
            assert len([u for u in page.asked if "/overlaps" not in u]) == n_asked
            page.locator(".pair[data-id='3'] button:has-text('Reject')").click()
            page.wait_for_function("() => document.getElementById('saved').textContent === 'saved'")
            check_look(page)
        assert [row["id"] for row in read_run(run).rows] == [1, 2, 4, 5, 6, 7, 8]
        with opened(browser, server) as page:  # the tab was closed; nothing is lost
            page.locator("#undo").click()
            page.wait_for_function("() => document.getElementById('saved').textContent === 'saved'")
        assert len(read_run(run).pairs) == 8


@pytest.mark.browser
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["volume", "photograph"])
def test_every_window(browser: Any, tmp_path: Path, kind: str, size: str, theme: str) -> None:
    result = photograph_result() if kind == "photograph" else true_result(3)
    run = make_run(result, tmp_path / "a", ".png" if kind == "photograph" else ".nii.gz")
    with served(run) as server, opened(browser, server, size, theme) as page:
        check_look(page)
        shot(page, f"phantom-{kind}-{size}-{theme}")
        page.locator(".pair").first.click()
        check_look(page)


GREYS = """(canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let n = 0;
  for (let i = 0; i < data.length; i += 4) n += data[i] === 96 && data[i + 1] === 96 && data[i + 2] === 96;
  return (4 * n) / data.length;
}"""


@pytest.mark.browser
def test_grey_where_the_moving_image_does_not_reach(browser: Any, tmp_path: Path) -> None:
    """Also in the difference, where it would look like a fault of the registration; not in what is no result."""
    result = photograph_result(colour=False)
    far = DisplacementField(np.full((50, 60, 2), 30.0, np.float32), result.fixed.grid)
    run = make_run(replace(result, field=far), tmp_path / "a", ".nii.gz")
    with served(run) as server, opened(browser, server) as page:
        assert page.locator("#count").inner_text() == "1 pair used of 1"
        assert not page.locator("#slice").is_visible()  # there is one
        page.keyboard.press("o")
        share: dict[str, float] = {}
        for mode in ("alone", "difference"):
            page.select_option("#mode", mode)
            settled(page)
            share[mode] = page.eval_on_selector(".panel[data-role=result] > canvas", GREYS)
            assert "outside the moving image" in page.get_attribute(".panel[data-role=result] > canvas", "aria-label")
            shot(page, f"outside-{mode}")
        page.select_option("#mode", "alone")
        page.select_option("#shown", "before")  # the fixed image lies inside the moving one
        page.wait_for_selector("body:not([data-busy])")
        settled(page)
        before = page.eval_on_selector(".panel[data-role=result] > canvas", GREYS)
        fixed = page.eval_on_selector(".panel[data-role=fixed] > canvas", GREYS)
    # Inside are the rows to 29 and the columns to 39 of 50 x 60, and the picture fills a part of the canvas.
    assert share["alone"] == pytest.approx(share["difference"], rel=0.1)
    assert share["alone"] > 0.1
    assert before < 0.02
    assert fixed < 0.02


@pytest.mark.browser
def test_captions_say_what_the_picture_shows(browser: Any, tmp_path: Path) -> None:
    run = make_run(true_result(3), tmp_path / "a", ".nii.gz")
    with served(run) as server, opened(browser, server) as page:
        lines = {role: page.locator(f".panel[data-role={role}] figcaption span") for role in ("fixed", "result")}
        assert re.fullmatch(r"slice 2/3 · LPS (-?\d+\.\d, ){2}-?\d+\.\d mm", lines["fixed"].nth(1).inner_text())
        own = lines["fixed"].nth(0).inner_text().removeprefix("fixed ")
        value = re.match(r"value (\S+),", own)
        assert value is not None
        page.select_option("#mode", "difference")
        settled(page)
        assert re.fullmatch(
            rf"difference: fixed, warped values {value[1]} and \S+", lines["result"].nth(0).inner_text()
        )
        page.select_option("#mode", "flicker")
        page.wait_for_function(
            "(text) => document.querySelector('.panel[data-role=result] figcaption span').textContent === text",
            arg=f"flicker: fixed {own}",
        )


@pytest.mark.browser
def test_a_row_that_comes_to_lie_under_a_resting_pointer_is_not_pointed_at(browser: Any, tmp_path: Path) -> None:
    run = make_run(true_result(3), tmp_path / "a", ".nii.gz")
    with served(run) as server, opened(browser, server) as page:
        page.wait_for_function("() => !/…/.test(document.getElementById('pairs').textContent)")
        row = page.locator(".pair").nth(1)
        row.hover()
        assert page.locator(".pair.on").get_attribute("data-id") == row.get_attribute("data-id")
        row.click()
        page.keyboard.press("n")
        settled(page)
        chosen = page.locator(".pair.on").get_attribute("data-id")
        assert chosen != row.get_attribute("data-id")
        page.evaluate("() => document.getElementById('pairs').prepend(document.getElementById('pairs').lastChild)")
        page.wait_for_timeout(1000)
        settled(page)
        assert page.locator(".pair.on").get_attribute("data-id") == chosen
        page.keyboard.press("o")  # the rows go back to their order
        settled(page)
        row = page.locator(".pair").first
        row.hover()
        settled(page)
        assert page.locator(".pair.on").get_attribute("data-id") == row.get_attribute("data-id")


@pytest.mark.browser
def test_planes_have_no_names_where_the_header_does_not_say_how_the_patient_lies(browser: Any, tmp_path: Path) -> None:
    result = true_result(3)
    blind = replace(result, fixed=replace(result.fixed, oriented=False), moving=replace(result.moving, oriented=False))
    for name, whole, words, lps in (("a", result, "axial coronal sagittal", True), ("b", blind, "xy xz yz", False)):
        run = make_run(whole, tmp_path / name, ".nii.gz")
        with served(run) as server, opened(browser, server) as page:
            shown = [page.locator(f"[data-name={n}]").inner_text() for n in ("axial", "coronal", "sagittal")]
            assert shown == words.split()
            assert ("LPS" in page.locator(".panel[data-role=fixed] figcaption").inner_text()) is lps


@pytest.mark.browser
def test_register_again_in_the_page(browser: Any, tmp_path: Path) -> None:
    from samreg.cli import main
    from samreg.cli.demo import write_phantom
    from samreg.geometry.phantom import phantom

    write_phantom(phantom(2), tmp_path / "images")
    labels = [f"--{side}-labels={tmp_path / 'images' / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    images = [str(tmp_path / "images" / f"{side}.nii.gz") for side in ("fixed", "moving")]
    run = tmp_path / "run"
    options = ["--labels-only", "--transform", "affine", "--no-inverse", "--out", str(run)]
    assert main(["register", *images, *labels, *options]) == 0
    with served(run) as server, opened(browser, server) as page:
        page.locator(".pair[data-id='3'] button:has-text('Reject')").click()
        page.locator("#register").click()
        page.wait_for_selector("#job button:has-text('Stop')")
        shot(page, "register-running")
        page.locator("#job button:has-text('Stop')").click()
        page.wait_for_function("() => /Stopped/.test(document.getElementById('job').textContent)")
        shot(page, "register-stopped")
        page.locator("#register").click()
        page.wait_for_function("() => /New result from 7 pairs/.test(document.getElementById('job').textContent)")
        page.locator("#job button:has-text('Flicker')").click()
        shot(page, "register-flicker")
        check_look(page)
        page.locator("#job input").fill("../x")
        page.locator("#job button:has-text('Save')").click()
        page.wait_for_selector("#saved.wrong")
        page.locator("#job input").fill("run-2")
        page.locator("#job button:has-text('Save')").click()
        page.wait_for_function("() => document.getElementById('facts').textContent.endsWith('run-2')")
        page.wait_for_selector("body[data-ready=all]")
        shot(page, "register-saved")
    assert len(read_run(tmp_path / "run-2").pairs) == 7


@pytest.mark.browser
def test_three_planes_and_the_volume(browser: Any, tmp_path: Path) -> None:
    run = make_run(true_result(3, n_slices=12), tmp_path / "a", ".nii.gz")
    with served(run) as server, opened(browser, server) as page:
        page.locator("[data-name=volume]").click()
        page.wait_for_selector("#volume canvas")
        page.wait_for_function("() => !document.querySelector('#volume .notice').textContent")
        page.wait_for_timeout(3000)
        shot(page, "volume")
        page.locator("[data-name=axial]").click()
        page.wait_for_selector("#panels:visible")  # when the volume has been drawn, which software GL takes long for


def test_two_images_that_were_not_registered(browser: Any, tmp_path: Path) -> None:
    from samreg.viewer.start import folder_for

    result = photograph_result()
    for side, image in (("a", result.fixed), ("b", result.moving)):
        write_image(image, tmp_path / f"{side}.png")
    run = folder_for(tmp_path / "a.png", tmp_path / "b.png", tmp_path / "view")
    with served(run) as server, opened(browser, server) as page:
        assert page.locator("button:has-text('Find pairs and register')").is_enabled()
        assert page.locator(".panel[data-role=result] .notice").inner_text() == "Not registered yet."
        check_look(page)
        shot(page, "two-images")
