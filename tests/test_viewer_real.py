"""The viewer on runs of real images, through every state: a heart, an abdomen, a prostate and a retina.

    pytest -m browser tests/test_viewer_real.py

registers the four pairs of images first, which takes some minutes each; with SAMREG_TEST_RUNS=FOLDER it takes the run
folders acdc, btcv, prostate and retina that are there. SAMREG_TEST_SHOTS=FOLDER keeps a picture of every state.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser_pages import SIZES
from samreg.cli import main
from samreg.runs.refit import refit_run
from samreg.runs.run_folder import read_run
from viewer_pages import browser_for_the_page, check_look, middle, opened, pixels, served, settled, shot

pytestmark = pytest.mark.browser

IMAGES = {
    "acdc": (
        "acdc/training/patient015/patient015_frame01.nii.gz",
        "acdc/training/patient015/patient015_frame10.nii.gz",
    ),
    "btcv": ("abdomen_ct_btcv/img0003.nii.gz", "abdomen_ct_btcv/img0005.nii.gz"),
    "prostate": ("prostate_mr_promise12/img00.nii.gz", "prostate_mr_promise12/img01.nii.gz"),
    "retina": ("retina_fire/A01_1.jpg", "retina_fire/A01_2.jpg"),
}
PROMPT_S = 2.0
"""Processor seconds of a prompt after the first: one second of two cores."""
FLICKERS = "() => /^flicker/.test(document.querySelector('.panel[data-role=result] figcaption b').textContent)"
SAVED = "() => document.getElementById('saved').textContent === 'saved'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_for_the_page() as opened_browser:
        yield opened_browser


@pytest.fixture
def run(name: str, data_root: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a run that the test may change."""
    made = Path(os.environ.get("SAMREG_TEST_RUNS") or tmp_path_factory.getbasetemp() / "runs") / name
    if not (made / "manifest.json").is_file():
        images = [str(data_root / path) for path in IMAGES[name]]
        assert main(["register", *images, "--no-inverse", "--out", str(made)]) == 0
    return shutil.copytree(made, tmp_path / name)


def state(page: Any, name: str) -> None:
    """A picture of what is on the screen, and what holds in every state."""
    shot(page, name)
    check_look(page)


def position(page: Any, role: str) -> np.ndarray:
    """World coordinates of the crosshair, as the caption says them."""
    text = page.locator(f".panel[data-role={role}] figcaption span").nth(1).inner_text()
    return np.array([float(v) for v in re.findall(r"-?\d+\.\d", text)])


def click_at(page: Any, role: str, right: float, down: float) -> None:
    """Click into an image, as shares of its canvas."""
    box = page.locator(f".panel[data-role={role}] > canvas").bounding_box()
    page.mouse.click(box["x"] + right * box["width"], box["y"] + down * box["height"])
    settled(page)


def drag(page: Any, role: str, by: tuple[float, float], button: str = "left") -> None:
    """Drag from the middle of an image."""
    x, y = middle(page, role)
    page.mouse.move(x, y)
    page.mouse.down(button=button)
    page.mouse.move(x + by[0], y + by[1], steps=4)
    page.mouse.up(button=button)
    settled(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", IMAGES)
class TestLooking:
    def test_every_way(self, browser: Any, run: Path, name: str, size: str, theme: str) -> None:
        field = read_run(run).transform()
        with served(run) as server, opened(browser, server, size, theme) as page:
            label = f"{name}-{size}-{theme}"
            flat = bool(server.session.describe()["fixed"]["flat"])
            for role in ("fixed", "moving", "result"):
                assert pixels(page, role)[1] > 5
            state(page, f"{label}-01-start")
            self.linked(page, field)
            self.pairs(page, label)
            self.compared(page, label)
            self.deformed(page, label)
            self.window(page, colour=name == "retina")
            if not flat:
                self.planes(page, label)
            self.filters(page, run, label)
            if page.locator("#help").is_visible():  # not on a telephone, which has no keys
                page.locator("#help").click()
                state(page, f"{label}-20-keys")
                page.locator("dialog button").click()

    def linked(self, page: Any, field: Any) -> None:
        """The crosshair of the moving image stands where the field takes that of the fixed one."""
        click_at(page, "fixed", 0.42, 0.47)
        here, there = position(page, "fixed"), position(page, "moving")
        np.testing.assert_allclose(field.transform_points(here[None])[0], there, atol=1.5 * max(field.grid.spacing))
        assert (position(page, "result") == here).all()
        for right, down in ((0.55, 0.52), (0.5, 0.48), (0.4, 0.5), (0.6, 0.55), (0.45, 0.42)):
            click_at(page, "moving", right, down)
            here, there = position(page, "fixed"), position(page, "moving")
            np.testing.assert_allclose(field.transform_points(here[None])[0], there, atol=2 * max(field.grid.spacing))

    def pairs(self, page: Any, label: str) -> None:
        """A pair under the pointer lights up on both sides, which show a slice of it; a click goes there."""
        rows = page.locator(".pair")
        page.mouse.move(1, 1)
        page.keyboard.press("Escape")  # the last click may have chosen the very pair that is pointed at here
        before = {role: pixels(page, role) for role in ("fixed", "moving")}
        rows.nth(1).scroll_into_view_if_needed()
        rows.nth(1).hover()
        assert all(pixels(page, role) != before[role] for role in before)
        shot(page, f"{label}-02-hover")
        rows.nth(1).click()
        page.wait_for_selector(".pair.on")
        assert all(pixels(page, role) != before[role] for role in before)
        state(page, f"{label}-03-pair")
        # Not that of the second row: the rows are those of the slice to which the click went.
        number = int(page.locator(".pair.on").get_attribute("data-id"))
        page.keyboard.press("n")
        settled(page)
        assert int(page.locator(".pair.on").get_attribute("data-id")) != number

    def compared(self, page: Any, label: str) -> None:
        """Swipe, blend, checkerboard, difference and flicker are different pictures; the line can be dragged."""
        page.keyboard.press("o")
        seen = []
        for i, mode in enumerate(("alone", "swipe", "blend", "checkerboard", "difference")):
            page.select_option("#mode", mode)
            seen.append(pixels(page, "result"))
            state(page, f"{label}-{4 + i:02d}-{mode}")
        assert len({tuple(np.round(v, 3)) for v in seen}) == 5
        page.select_option("#mode", "blend")
        half = pixels(page, "result")
        page.fill("#opacity", "100")
        assert pixels(page, "result") != half
        page.fill("#opacity", "50")
        page.select_option("#mode", "swipe")
        half = pixels(page, "result")
        page.locator("[data-name=look]").click()
        drag(page, "result", (-60, 0))
        assert pixels(page, "result") != half
        page.select_option("#mode", "flicker")
        settled(page)
        shown = set()
        for _ in range(12):
            shown.add(page.locator(".panel[data-role=result] figcaption b").inner_text())
            page.wait_for_timeout(200)
        assert shown == {"flicker: fixed", "flicker: warped"}
        page.select_option("#shown", "before")
        page.wait_for_selector("body:not([data-busy])")
        state(page, f"{label}-09-before")
        page.select_option("#shown", "warped")
        page.select_option("#mode", "alone")
        page.keyboard.press("o")

    def deformed(self, page: Any, label: str) -> None:
        """The grid lies in the moving image as the field bends it; the Jacobian has a legend."""
        plain = {role: pixels(page, role) for role in ("moving", "result")}
        page.locator("[data-name=grid]").click()
        assert pixels(page, "moving") != plain["moving"]
        state(page, f"{label}-10-grid")
        page.locator("[data-name=grid]").click()
        page.locator("[data-name=jacobian]").click()
        page.wait_for_selector("#legend:visible")
        page.wait_for_selector("body:not([data-busy])")
        assert pixels(page, "result") != plain["result"]
        state(page, f"{label}-11-jacobian")
        page.locator("[data-name=jacobian]").click()
        assert pixels(page, "result") == plain["result"]

    def window(self, page: Any, *, colour: bool) -> None:
        """Dragging changes brightness and contrast, with the tool or the right button; colours have none."""
        page.keyboard.press("o")  # an outline under the pointer lights up
        for begin, button in ((lambda: page.locator("[data-name=window]").click(), "left"), (lambda: None, "right")):
            begin()
            before = pixels(page, "fixed")
            drag(page, "fixed", (30, 40), button)
            assert (pixels(page, "fixed") != before) is not colour
            page.locator("[data-name=look]").click()
        page.keyboard.press("o")

    def planes(self, page: Any, label: str) -> None:
        for i, plane in enumerate(("coronal", "sagittal", "axial")):
            page.locator(f"[data-name={plane}]").click()
            assert pixels(page, "fixed")[1] > 3
            state(page, f"{label}-{12 + i}-{plane}")
        before = pixels(page, "fixed")
        page.keyboard.press("+")
        page.keyboard.press("+")
        assert pixels(page, "fixed") != before
        state(page, f"{label}-15-larger")
        page.keyboard.press("0")

    def filters(self, page: Any, run: Path, label: str) -> None:
        """The sliders leave the pairs that the numbers of pairs.json leave."""
        rows = json.loads((run / "pairs.json").read_text(encoding="utf-8"))
        page.keyboard.press("Escape")
        if page.locator("#here").is_visible():
            page.locator("#here").set_checked(False)
        page.locator("#all").set_checked(False)
        page.locator("#best").evaluate("e => { e.value = e.max; e.dispatchEvent(new Event('input')) }")
        for epsilon in (0.0, 0.9, 0.95):
            page.fill("#epsilon", str(round(100 * epsilon)))
            settled(page)
            left = [
                row
                for row in rows
                if row["keep"] and row["confidence"] > 0 and not row["background"] and row["similarity"] >= epsilon
            ]
            assert page.locator(".pair").count() == len(left)
        page.fill("#epsilon", "0")
        settled(page)  # the slider of the best reaches as far as the pairs that are listed
        page.fill("#best", "3")
        settled(page)
        assert page.locator(".pair").count() == 3
        state(page, f"{label}-16-filters")


@pytest.mark.parametrize("name", IMAGES)
class TestChanging:
    def test_every_edit_is_in_the_files(self, browser: Any, run: Path, name: str) -> None:
        with served(run) as server, opened(browser, server) as page:
            n = len(read_run(run).pairs)
            first = page.locator(".pair").first
            number = int(first.get_attribute("data-id"))
            first.click()
            page.keyboard.press("x")
            page.wait_for_function(SAVED)
            assert len(read_run(run).pairs) == n - 1
            page.locator("#all").set_checked(True)
            page.locator("#best").evaluate("e => { e.value = e.max; e.dispatchEvent(new Event('input')) }")
            state(page, f"{name}-30-rejected")
            page.locator(f".pair[data-id='{number}'] button:has-text('Restore')").click()
            page.wait_for_function("() => !document.querySelector('.pair.rejected')")
            page.wait_for_function(SAVED)
            assert len(read_run(run).pairs) == n
            worker = server.session.worker
            used, found = [], []
            for i, at in enumerate(((0.5, 0.5), (0.53, 0.5), (0.47, 0.47))):
                used.append(self.asked(page, worker, f"{name}-31-point-{i + 1}", at))
                found += [at] if page.locator("#proposal button:has-text('Add')").count() else []
            assert min(used[1:]) < PROMPT_S, used
            self.boxed(page, name)
            add = page.locator("#proposal button:has-text('Add')")
            if not add.count() and found:  # what lies in the box may have no counterpart
                self.asked(page, worker, f"{name}-33-again", found[-1])
            elif not add.count():
                page.locator("#proposal button:has-text('Look elsewhere')").click()
                answered(page)
                state(page, f"{name}-33-elsewhere")
            if add.count():
                self.added(page, run, name, n)
            else:
                page.locator("#proposal button:has-text('Discard')").click()

    def asked(self, page: Any, worker: Any, label: str, at: tuple[float, float]) -> float:
        """Processor seconds until a point has its answer, which other work on the machine does not change."""
        page.locator("[data-name=point]").click()
        begun = processor_seconds(worker.pid)
        click_at(page, "fixed", *at)
        answered(page)
        used = processor_seconds(worker.pid) - begun
        state(page, label)
        return used

    def boxed(self, page: Any, name: str) -> None:
        page.locator("[data-name=box]").click()
        x, y = middle(page, "moving")
        page.mouse.move(x - 30, y - 25)
        page.mouse.down()
        page.mouse.move(x + 30, y + 25, steps=4)
        shot(page, f"{name}-32-dragging")
        page.mouse.up()
        answered(page)
        state(page, f"{name}-33-box")

    def added(self, page: Any, run: Path, name: str, n: int) -> None:
        page.locator("#proposal button:has-text('Add')").click()
        page.wait_for_selector("#proposal", state="hidden")
        page.wait_for_function(SAVED)
        assert len(read_run(run).pairs) == n + 1
        page.keyboard.press("r")
        page.keyboard.type("found by hand")
        page.keyboard.press("Enter")
        page.wait_for_function("() => /found by hand/.test(document.querySelector('#pairs').textContent)")
        page.wait_for_function(SAVED)
        state(page, f"{name}-34-added")
        page.locator("[data-name=brush]").click()
        drag(page, "fixed", (25, 0))
        state(page, f"{name}-35-brush")
        page.locator("#proposal button:has-text('Save outline')").click()
        page.wait_for_selector("#proposal", state="hidden")
        page.wait_for_function(SAVED)
        rows = json.loads((run / "pairs.json").read_text(encoding="utf-8"))
        assert [row["name"] for row in rows if row["id"] == max(r["id"] for r in rows)] == ["found by hand"]
        for _ in range(3):  # the outline, the name, the pair
            page.keyboard.press("Control+z")
            page.wait_for_function("() => document.getElementById('saved').textContent !== 'saving …'")
            page.wait_for_timeout(300)
        assert len(read_run(run).pairs) == n
        page.locator("[data-name=look]").click()


def processor_seconds(process: int | None) -> float:
    """What a process has used so far; 0 where it does not run yet, or the system does not say."""
    path = Path(f"/proc/{process}/stat")
    if process is None or not path.is_file():
        return 0.0
    fields = path.read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def answered(page: Any) -> None:
    page.wait_for_function(
        "() => /confidence|No counterpart|no region/.test(document.getElementById('proposal').textContent)"
    )
    settled(page)


@pytest.mark.parametrize("name", IMAGES)
def test_registered_again_and_saved(browser: Any, run: Path, name: str, tmp_path: Path) -> None:
    """Stop, again, old and new by flicker, a new folder; the command line makes the same field of the same edits."""
    with served(run) as server, opened(browser, server, "laptop", "dark") as page:
        page.locator(".pair button:has-text('Reject')").nth(1).click()
        page.wait_for_function(SAVED)
        page.locator("#register").click()
        page.wait_for_function("() => { const p = document.querySelector('#job progress'); return p && p.value > 0 }")
        state(page, f"{name}-40-running")
        page.locator("#job button:has-text('Stop')").click()
        page.wait_for_function("() => /Stopped/.test(document.getElementById('job').textContent)")
        state(page, f"{name}-41-stopped")
        page.locator("#register").click()
        page.wait_for_function("() => /New result/.test(document.getElementById('job').textContent)", timeout=900_000)
        page.locator("#job button:has-text('Flicker')").click()
        # The new image is fetched first, which takes a moment in a large volume.
        page.wait_for_function(FLICKERS)
        shown = set()
        for _ in range(12):
            shown.add(page.locator(".panel[data-role=result] figcaption b").inner_text())
            page.wait_for_timeout(200)
        assert shown == {"flicker: old result", "flicker: new result"}
        state(page, f"{name}-42-flicker")
        page.locator("#job button:has-text('Save')").click()
        page.wait_for_function("() => /-2$/.test(document.getElementById('facts').textContent)")
        page.wait_for_selector("body[data-ready=all]")
        state(page, f"{name}-43-saved")
    refit_run(run, tmp_path / "line")
    new, line = (read_run(folder) for folder in (tmp_path / f"{name}-2", tmp_path / "line"))
    assert len(new.pairs) == len(line.pairs) > 0
    np.testing.assert_array_equal(new.transform().u, line.transform().u)


@pytest.mark.parametrize("name", ["acdc"])
def test_three_planes_and_the_volume(browser: Any, run: Path, name: str) -> None:
    with served(run) as server, opened(browser, server) as page:
        page.locator("[data-name=volume]").click()
        page.wait_for_selector("#volume canvas")
        page.wait_for_function("() => !document.querySelector('#volume .notice').textContent")
        page.wait_for_timeout(5000)
        shot(page, f"{name}-50-volume")
        page.locator("[data-name=axial]").click()
        page.wait_for_selector("#panels:visible")
