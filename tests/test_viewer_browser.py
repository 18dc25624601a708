"""The viewer's page in a browser: it draws, it can be worked, nothing overlaps, everything can be read."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser_pages import _SLOW_MS, CONTRAST, DRAWN, SIDEWAYS, SIZES, chromium
from results import photograph_result, true_result
from samreg.errors import InputError
from samreg.io.images import write_image
from samreg.result import RegistrationResult
from samreg.runs.run_folder import read_run, write_run
from samreg.viewer import serve
from samreg.viewer.page import Page
from samreg.viewer.server import Server

RUNS = os.environ.get("SAMREG_TEST_RUNS", "")
"""A folder of run folders that are tried as well, for example acdc, btcv, prostate and retina."""
SHOTS = os.environ.get("SAMREG_TEST_SHOTS", "")
"""A folder for pictures of what was seen."""

# Buttons, sliders, texts and pictures that lie on each other; what is meant to lie on an image is left out.
OVERLAPPING = """() => {
  const all = [...document.querySelectorAll("button, select, input, label, h1, canvas, figcaption, .pair .name")]
    .filter((e) => e.checkVisibility() && !e.closest(".result-bar, dialog"));
  const boxes = all.map((e) => [e, e.getBoundingClientRect()]);
  const side = document.querySelector("#pairs").getBoundingClientRect();
  const seen = ([e, b]) => !e.closest("#pairs") || (b.top >= side.top && b.bottom <= side.bottom);
  const shown = boxes.filter(seen);
  return shown.flatMap(([a, p], i) => shown.slice(i + 1).filter(([b, q]) => !a.contains(b) && !b.contains(a)
    && p.left < q.right - 2 && q.left < p.right - 2 && p.top < q.bottom - 2 && q.top < p.bottom - 2)
    .map(([b]) => `${a.tagName} ${a.textContent.slice(0, 20)} and ${b.tagName} ${b.textContent.slice(0, 20)}`));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        Page.load("run")
    except InputError:
        pytest.skip("the page is not built: python hatch_build.py")
    with chromium() as opened_browser:
        yield opened_browser


def make_run(result: RegistrationResult, folder: Path, ending: str) -> Path:
    folder.mkdir(parents=True)
    files = {side: folder / f"{side}{ending}" for side in ("fixed", "moving")}
    write_image(result.fixed, files["fixed"])
    write_image(result.moving, files["moving"])
    return write_run(result, folder / "run", inputs=files, inverse=False)


@contextmanager
def served(run: Path) -> Iterator[Server]:
    with serve(run) as server:
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server._server.started:
            time.sleep(0.01)
        try:
            yield server
        finally:
            server.stop()
            thread.join()


@contextmanager
def opened(browser: Any, server: Server, size: str = "laptop", theme: str = "light") -> Iterator[Any]:
    """The page in a window of its own; errors of its scripts, and requests to anybody else, fail the test."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    page.set_default_timeout(_SLOW_MS)
    wrong: list[str] = []
    asked: list[str] = []
    own = f"http://127.0.0.1:{server.port}/"
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(server.address)
        page.wait_for_selector("body[data-ready=all]")
        page.asked = asked
        yield page
    finally:
        page.close()
    assert [text for text in wrong if "422" not in text] == []
    assert [url for url in asked if not url.startswith((own, "blob:", "data:"))] == []


def settled(page: Any) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")


def shot(page: Any, name: str) -> None:
    if SHOTS:
        settled(page)
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), timeout=_SLOW_MS)


def check_look(page: Any) -> None:
    settled(page)
    assert page.evaluate(SIDEWAYS) <= 0
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(OVERLAPPING) == []


def pixels(page: Any, role: str) -> list[float]:
    settled(page)
    found: list[float] = page.eval_on_selector(f".panel[data-role={role}] > canvas", DRAWN)
    return found


def middle(page: Any, role: str) -> tuple[float, float]:
    box = page.locator(f".panel[data-role={role}] > canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


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
            assert page.locator("#where").inner_text() == "3 / 3"
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


def work_through(page: Any, name: str, *, flat: bool) -> None:
    """Every way of looking, with a picture of each."""
    for role in ("fixed", "moving", "result"):
        assert pixels(page, role)[1] > 5
    shot(page, f"{name}-start")
    page.locator(".pair").first.hover()
    shot(page, f"{name}-hover")
    page.locator(".pair").first.click()
    page.wait_for_selector(".pair.on")
    shot(page, f"{name}-pair")
    seen = {}
    for mode in ("swipe", "blend", "checkerboard", "difference", "flicker", "alone"):
        page.select_option("#mode", mode)
        seen[mode] = pixels(page, "result")
        shot(page, f"{name}-{mode}")
    assert len({tuple(np.round(v, 2)) for v in seen.values()}) >= 4
    alone = pixels(page, "result")
    page.keyboard.press("g")
    assert pixels(page, "moving") != alone
    shot(page, f"{name}-grid")
    page.keyboard.press("g")
    if page.locator("[data-name=jacobian]").count():
        page.locator("[data-name=jacobian]").click()
        page.wait_for_selector("#legend:visible")
        page.wait_for_function("() => !document.querySelector('.panel[data-role=result] .notice').textContent")
        assert pixels(page, "result") != alone
        shot(page, f"{name}-jacobian")
        page.locator("[data-name=jacobian]").click()
    page.locator("[data-name=window]").click()
    x, y = middle(page, "fixed")
    before = pixels(page, "fixed")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 40)
    page.mouse.up()
    if not name.startswith("retina"):  # colours have no window
        assert pixels(page, "fixed") != before
    shot(page, f"{name}-window")
    page.locator("[data-name=look]").click()
    page.keyboard.press("+")
    page.keyboard.press("+")
    shot(page, f"{name}-larger")
    page.keyboard.press("0")
    if not flat:
        for plane in ("coronal", "sagittal", "axial"):
            page.locator(f"[data-name={plane}]").click()
            assert pixels(page, "fixed")[1] > 3
            shot(page, f"{name}-{plane}")
    page.locator("#epsilon").fill("99")
    page.locator("#best").fill("3")
    assert page.locator(".pair").count() <= 4
    shot(page, f"{name}-filters")
    page.locator("#epsilon").fill("0")
    page.locator("#help").click()
    shot(page, f"{name}-keys")
    page.locator("dialog button").click()
    check_look(page)


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


@pytest.mark.browser
@pytest.mark.parametrize("name", sorted(p.name for p in Path(RUNS).iterdir()) if RUNS else ["no runs"])
def test_real_runs(browser: Any, tmp_path: Path, name: str) -> None:
    """Real runs through every state: SAMREG_TEST_RUNS=FOLDER [SAMREG_TEST_SHOTS=FOLDER] pytest -m browser."""
    if not RUNS:
        pytest.skip("no runs: name a folder of run folders in SAMREG_TEST_RUNS")
    if not (Path(RUNS) / name / "manifest.json").is_file():
        pytest.skip(f"{name} is no run folder")
    run = shutil.copytree(Path(RUNS) / name, tmp_path / name)
    with served(run) as server:
        flat = bool(server.session.describe()["fixed"]["flat"])
        with opened(browser, server) as page:
            work_through(page, name, flat=flat)
            edit_through(page, run, name)
        for size, theme in (("desk", "dark"), ("phone", "light")):
            with opened(browser, server, size, theme) as page:
                page.locator(".pair").first.click()
                check_look(page)
                shot(page, f"{name}-{size}-{theme}")


def edit_through(page: Any, run: Path, name: str) -> None:
    """Point, add, rename, brush, undo; each is in the files."""
    saved = "() => document.getElementById('saved').textContent === 'saved'"
    n = len(read_run(run).pairs)
    page.locator("[data-name=point]").click()
    page.mouse.click(*middle(page, "fixed"))
    page.wait_for_function(
        "() => /confidence|No counterpart|no region/.test(document.getElementById('proposal').textContent)"
    )
    shot(page, f"{name}-point")
    add = page.locator("#proposal button:has-text('Add')")
    if add.count():
        add.click()
        page.wait_for_function(saved)
        page.wait_for_selector("#proposal", state="hidden")
        assert len(read_run(run).pairs) == n + 1
        shot(page, f"{name}-added")
        page.keyboard.press("r")
        page.keyboard.type("found by hand")
        page.keyboard.press("Enter")
        page.wait_for_function(saved)
        assert any(row["name"] == "found by hand" for row in json.loads((run / "pairs.json").read_text()))
        page.locator("[data-name=brush]").click()
        x, y = middle(page, "fixed")
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 25, y, steps=4)
        page.mouse.up()
        shot(page, f"{name}-brush")
        page.locator("#proposal button:has-text('Save outline')").click()
        page.wait_for_selector("#proposal", state="hidden")
        page.wait_for_function(saved)
        for _ in range(3):
            page.keyboard.press("Control+z")
            page.wait_for_timeout(1500)
        assert len(read_run(run).pairs) == n
    else:
        page.locator("#proposal button").first.click()
    page.locator("[data-name=look]").click()


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
        assert page.locator("#panels").is_visible()


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
