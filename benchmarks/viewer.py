"""Times of the viewer in a browser without a graphics card.

    python -m benchmarks.viewer RUN [--prompts 3]

Starts `samreg view` on a copy of the run folder, opens the page in Chromium with software GL, and prints: seconds from
the start of the command to its answer, from there to images on the screen, and milliseconds a step through the slices
and a change of the window take for all three images; with --prompts also seconds of points in the fixed image.
Needs Playwright (extra `browser`) and a Chromium (its path in SAMREG_CHROMIUM, else `chromium`).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ARGUMENTS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--use-gl=angle", "--use-angle=swiftshader"]
ARGUMENTS += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
_DRAWN = """await new Promise((done) => requestAnimationFrame(() => {
  for (const canvas of document.querySelectorAll(".panel > canvas")) canvas.getContext("2d").getImageData(0, 0, 1, 1);
  done(); }));"""
STEPS = (
    """async (n) => { const times = [], slider = document.getElementById("slice"), count = Number(slider.max) + 1;
for (let i = 0; i < n; i++) { const begun = performance.now(); slider.value = String(i % count);
slider.dispatchEvent(new Event("input")); """
    + _DRAWN
    + """ times.push(performance.now() - begun); } return times; }"""
)
WINDOWS = (
    """async (n) => { const times = [], canvas = document.querySelector(".panel > canvas");
const send = (type, x) => canvas.dispatchEvent(
  new PointerEvent(type, { clientX: x, clientY: 300, button: 2, pointerId: 1 }));
canvas.setPointerCapture = () => {}; send("pointerdown", 200);
for (let i = 0; i < n; i++) { const begun = performance.now(); send("pointermove", 200 + 3 * i); """
    + _DRAWN
    + """ times.push(performance.now() - begun); } send("pointerup", 200); return times; }"""
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--prompts", type=int, default=0)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    path = os.environ.get("SAMREG_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        run = shutil.copytree(options.run, Path(folder) / "run")
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        begun = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-u", "-m", "samreg", "view", str(run), "--no-browser"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        try:
            if server.stdout is None:
                raise RuntimeError("no output of samreg view")
            address = server.stdout.readline().split(" is at ")[1].split(" until")[0]
            answered = time.perf_counter()
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.set_default_timeout(600_000)
            page.goto(address)
            page.wait_for_selector("body[data-ready]")
            images = time.perf_counter()
            page.wait_for_selector("body[data-ready=all]")
            pairs = time.perf_counter()
            print(f"the command answers after {answered - begun:.1f} s")
            print(f"images on the screen {images - answered:.2f} s later, pairs {pairs - answered:.2f} s later")
            for name, script in (("step", STEPS), ("window", WINDOWS)):
                times = page.evaluate(script, 40)
                print(f"{name}: median {statistics.median(times):.0f} ms, largest {max(times):.0f} ms")
            prompts(page, options.prompts)
        finally:
            server.send_signal(2)
            server.wait(30)
            browser.close()


def prompts(page: Any, n: int) -> None:
    """Points around the middle of the fixed image, each in turn."""
    page.locator("[data-name=point]").click()
    box = page.locator(".panel > canvas").first.bounding_box()
    for i in range(n):
        begun = time.perf_counter()
        page.mouse.click(box["x"] + box["width"] * (0.5 + 0.03 * i), box["y"] + box["height"] * 0.5)
        page.wait_for_function("() => /Asking/.test(document.getElementById('proposal').textContent)")
        page.wait_for_function("() => !/Asking/.test(document.getElementById('proposal').textContent)")
        text = page.locator("#proposal").inner_text().splitlines()[0]
        print(f"point {i + 1}: {time.perf_counter() - begun:.2f} s ({text})")


if __name__ == "__main__":
    main()
