"""The viewer's page, served and opened in a browser: what its tests share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from browser_pages import CONTRAST, DRAWN, SIDEWAYS, SLOW_MS, chromium, window
from samreg.errors import InputError
from samreg.io.images import write_image
from samreg.result import RegistrationResult
from samreg.runs.run_folder import write_run
from samreg.viewer import serve
from samreg.viewer.page import Page
from samreg.viewer.server import Server

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


# Texts on an image that lie on each other: what is written after the last time that the whole canvas was filled.
WRITTEN = """() => {
  const drawing = CanvasRenderingContext2D.prototype, { fillText, fillRect } = drawing;
  window.written = new Map();
  drawing.fillRect = function (x, y, w, h) {
    if (!x && !y && w === this.canvas.width && h === this.canvas.height) window.written.set(this.canvas, []);
    fillRect.call(this, x, y, w, h);
  };
  drawing.fillText = function (text, x, y) {
    const m = this.measureText(text);
    window.written.get(this.canvas)?.push([text, x - m.actualBoundingBoxLeft, y - m.actualBoundingBoxAscent,
      x + m.actualBoundingBoxRight, y + m.actualBoundingBoxDescent]);
    fillText.call(this, text, x, y);
  };
}"""
OVERWRITTEN = """() => [...window.written].filter(([canvas]) => canvas.checkVisibility()).flatMap(([, rows]) =>
  rows.flatMap(([a, ...p], i) => rows.slice(i + 1).filter(([, ...q]) =>
    p[0] < q[2] && q[0] < p[2] && p[1] < q[3] && q[1] < p[3]).map(([b]) => `${a} and ${b}`)))"""


@contextmanager
def browser_for_the_page() -> Iterator[Any]:
    """A browser; the test is skipped where there is none, or no page."""
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
    asked: list[str] = []
    own = f"http://127.0.0.1:{server.port}/"
    with window(browser, size, theme) as (page, wrong):
        page.on("request", lambda request: asked.append(request.url))
        page.add_init_script(f"({WRITTEN})()")
        page.goto(server.address)
        page.wait_for_selector("body[data-ready=all]")
        page.asked = asked
        yield page
    assert [text for text in wrong if "422" not in text] == []
    assert [url for url in asked if not url.startswith((own, "blob:", "data:"))] == []


def settled(page: Any) -> None:
    """The images are drawn, and the table, which follows them."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")
    page.wait_for_selector("body:not([data-listing])")


def shot(page: Any, name: str) -> None:
    if SHOTS:
        settled(page)
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), timeout=SLOW_MS)


def check_look(page: Any) -> None:
    settled(page)
    assert page.evaluate(SIDEWAYS) <= 0
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate(OVERLAPPING) == []
    assert page.evaluate(OVERWRITTEN) == []


def pixels(page: Any, role: str) -> list[float]:
    settled(page)
    found: list[float] = page.eval_on_selector(f".panel[data-role={role}] > canvas", DRAWN)
    return found


def middle(page: Any, role: str) -> tuple[float, float]:
    box = page.locator(f".panel[data-role={role}] > canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
