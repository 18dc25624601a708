"""Debian's Chromium, driven by Playwright: what tests of pages ask of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--enable-unsafe-swiftshader",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SIZES = {"laptop": (1280, 720), "desk": (1920, 1080), "phone": (390, 844)}
SLOW_MS = 180_000  # a machine that does much else at the same time


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="no Playwright: install samreg with the extra browser")
    path = os.environ.get("SAMREG_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in SAMREG_CHROMIUM")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, timeout=SLOW_MS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def window(browser: Any, size: str, theme: str) -> Iterator[tuple[Any, list[str]]]:
    """An empty page in a window of its own, and the list of what goes wrong in its scripts."""
    width, height = SIZES[size]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    page.set_default_timeout(SLOW_MS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    try:
        yield page, wrong
    finally:
        page.close()


@contextmanager
def opened(browser: Any, url: str, size: str = "laptop", theme: str = "light") -> Iterator[Any]:
    """A page in a window of its own; what goes wrong in its scripts fails the test."""
    with window(browser, size, theme) as (page, wrong):
        page.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        page.goto(url)
        yield page
    assert wrong == []


# Every text of a page on its own ground: WCAG 2.1, 1.4.3. Returns what falls short of 4.5 (3 for large text).
CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92
    : ((v + 0.055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".stage, svg, script, style")) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(style.color)), light(ground(element))].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    if ((a + 0.05) / (b + 0.05) < least) bad.push(`${element.tagName} ${element.textContent.slice(0, 40)}`);
  }
  return bad;
}"""

# Numbers beside a picture that lie on each other.
OVERPRINTED = """() => [...document.querySelectorAll(".stage svg")].flatMap((layer) => {
  const boxes = [...layer.querySelectorAll(".no text")].map((t) => [t.textContent, t.getBoundingClientRect()]);
  return boxes.flatMap(([a, p], i) => boxes.slice(i + 1).filter(([, q]) => p.left < q.right - 1 && q.left < p.right - 1
    && p.top < q.bottom - 4 && q.top < p.bottom - 4).map(([b]) => `${a} and ${b}`));
})"""

# Things that reach out of the window sideways.
SIDEWAYS = "() => document.documentElement.scrollWidth - window.innerWidth"

# Mean grey and spread of what a canvas shows: 0 and 0 where nothing was drawn.
DRAWN = """(canvas) => {
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0, square = 0;
  for (let i = 0; i < data.length; i += 4) { sum += data[i + 1]; square += data[i + 1] ** 2; }
  const n = data.length / 4;
  return [sum / n, Math.sqrt(Math.max(0, square / n - (sum / n) ** 2))];
}"""
