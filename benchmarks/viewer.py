"""Times of the viewer in a browser without a graphics card.

    python -m benchmarks.viewer RUN [--prompts 3]
    python -m benchmarks.viewer --large          # a CT of 512 x 512 x 300 that is made for it

Starts `samreg view` on a copy of the run folder, opens the page in Chromium with software GL, and prints: seconds from
the start of the command to its answer, from there to images on the screen, and milliseconds a step through the slices
and a change of the window take for all three images; with --prompts also seconds of points in either image, until
its region and until the counterpart are on the screen; and the memory of the server and its worker. Beside each time
stand the processor seconds that the command and the browser used for it, which other work on the machine does not
change much.
Needs Linux, Playwright (extra `browser`) and a Chromium (its path in SAMREG_CHROMIUM, else `chromium`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

N_STEPS = 40
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
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--prompts", type=int, default=0)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    if options.large == (options.run is not None):
        parser.error("give a run folder or --large")
    with tempfile.TemporaryDirectory() as folder:
        run = large_run(Path(folder)) if options.large else shutil.copytree(options.run, Path(folder) / "run")
        measure(run, options.prompts)


def measure(run: Path, n_prompts: int) -> None:
    """Open a run folder and print the times."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("SAMREG_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        used, begun = processor_seconds(), time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-u", "-m", "samreg", "view", str(run), "--no-browser"],
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        try:
            if server.stdout is None:
                raise RuntimeError("no output of samreg view")
            address = server.stdout.readline().split(" is at ")[1].split(" until")[0]
            say("the command answers", used, begun)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.set_default_timeout(600_000)
            used, begun = processor_seconds(), time.perf_counter()
            page.goto(address)
            page.wait_for_selector("body[data-ready]")
            say("images on the screen", used, begun)
            page.wait_for_selector("body[data-ready=all]")
            say("pairs as well", used, begun)
            asked: list[str] = []
            # They are computed beside the page, which would be slowed down.
            page.wait_for_function("() => !/Dice …/.test(document.getElementById('pairs').textContent)", polling=100)
            page.wait_for_load_state("networkidle")
            say("the overlaps of all pairs as well", used, begun)
            page.on("request", lambda request: asked.append(request.url))
            thread = page.context.new_cdp_session(page)
            thread.send("Performance.enable", {"timeDomain": "threadTicks"})
            for name, script in (("step", STEPS), ("window", WINDOWS)):
                used, busy = processor_seconds(), page_seconds(thread)
                times = page.evaluate(script, N_STEPS)
                own = 1000 * (page_seconds(thread) - busy) / N_STEPS
                each = 1000 * (processor_seconds() - used) / N_STEPS
                middle, most = statistics.median(times), max(times)
                print(f"{name}: median {middle:.0f} ms, largest {most:.0f} ms; {own:.0f} ms of processor in the page,")
                print(f"    {each:.0f} ms in all processes of the browser and the server")
            print(f"requests to the server meanwhile: {len(asked)}")
            prompts(page, n_prompts)
            for name, gib in peaks(server.pid).items():
                print(f"{name}: largest resident set {gib:.2f} GiB")
        finally:
            server.send_signal(2)
            server.wait(30)
            browser.close()


def page_seconds(thread: Any) -> float:
    """Processor seconds that the thread of the page has used for its tasks: scripts, layout and drawing of slices."""
    rows = thread.send("Performance.getMetrics")["metrics"]
    return float(next(row["value"] for row in rows if row["name"] == "TaskDuration"))


def say(what: str, used: float, begun: float) -> None:
    """Print seconds on the clock and on the processor since then."""
    print(f"{what}: {time.perf_counter() - begun:.2f} s, {processor_seconds() - used:.2f} s of processor")


def processor_seconds() -> float:
    """Seconds that all processes below this one have used so far."""
    parents, seconds = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text("utf-8").rpartition(")")[2].split()
            pid = int(stat.parent.name)
            parents[pid] = int(fields[1])
            seconds[pid] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(seconds[pid] for pid in below - {os.getpid()})


def peaks(server: int) -> dict[str, float]:
    """GiB of the largest resident set of the server and of the processes that compute for it."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            rows = dict(line.split(":", 1) for line in status.read_text("utf-8").splitlines())
            pid, parent = int(rows["Pid"]), int(rows["PPid"])
            # The tracker of shared things, which Python starts beside a worker, computes nothing.
            tracks = b"resource_tracker" in (status.parent / "cmdline").read_bytes()
            if server in (pid, parent) and "VmHWM" in rows and not tracks:
                found["server" if pid == server else "worker"] = int(rows["VmHWM"].split()[0]) / 2**20
    return found


def large_run(folder: Path) -> Path:
    """A run of two CT-like images of 512 x 512 x 300 voxels, with three pairs and an affine map."""
    from samreg.config import preset
    from samreg.geometry.grid import Grid
    from samreg.geometry.image import Image
    from samreg.geometry.rois import PairedRois, RoiSet
    from samreg.io.images import write_image
    from samreg.result import RegistrationResult
    from samreg.runs.run_folder import write_run

    grid = Grid((300, 512, 512), (0.8, 0.8, 1.5), (0.0, 0.0, 0.0))
    z, y, x = np.ogrid[-1:1:300j, -1:1:512j, -1:1:512j]
    noise = np.random.default_rng(0).normal(0, 20, (512, 512))
    images, rois, files = [], [], {}
    for side, shift in (("fixed", 0.0), ("moving", 0.03)):
        body = (x - shift) ** 2 / 0.6 + y**2 / 0.35 < 1
        middles = (0.3, 0, 0), (-0.3, 0, 0.2), (0, 0.2, -0.3)
        organs = [(x - a - shift) ** 2 + (y - b) ** 2 + (z - c) ** 2 < 0.02 for a, b, c in middles]
        data = np.where(body, 40.0, -1000.0).astype(np.float32) + np.zeros(grid.shape, np.float32)
        for value, organ in zip((120.0, 160.0, 200.0), organs, strict=True):
            data[organ] = value
        images.append(Image(np.rint(data + noise).astype(np.float32), grid, f"{side}.nii.gz"))
        rois.append(RoiSet.from_masks(organs, grid))
        files[side] = folder / f"{side}.nii.gz"
        write_image(images[-1], files[side])
    affine = np.eye(4)
    affine[0, 3] = 0.015 * 512 * 0.8
    pairs = PairedRois(rois[0], rois[1], np.full(3, 0.9))
    result = RegistrationResult(images[0], images[1], pairs, affine, None, preset("default"), 0.9)
    return write_run(result, folder / "run", inputs=files, inverse=False)


def prompts(page: Any, n: int) -> None:
    """Points around the middle of both images in turn, each when the one before it is complete."""
    page.locator("[data-name=point]").click()
    boxes = [page.locator(".panel > canvas").nth(side).bounding_box() for side in range(2)]
    for i in range(n):
        box, side = boxes[i % 2], ("fixed", "moving")[i % 2]
        used, begun = processor_seconds(), time.perf_counter()
        page.mouse.click(box["x"] + box["width"] * (0.5 + 0.03 * i), box["y"] + box["height"] * 0.5)
        # Asked every few milliseconds: with each frame it would take the processor from what is measured.
        page.wait_for_function("() => /Asking/.test(document.getElementById('proposal').textContent)", polling=20)
        page.wait_for_function("() => !/Asking/.test(document.getElementById('proposal').textContent)", polling=20)
        say(f"point {i + 1}, {side} image: region", used, begun)
        page.wait_for_function("() => !/Looking/.test(document.getElementById('proposal').textContent)", polling=20)
        text = page.locator("#proposal").inner_text().splitlines()[0]
        say(f"point {i + 1}, {side} image: {text}", used, begun)
        # A person looks at an answer before the next click: what is still being followed through the slices ends first.
        page.wait_for_function("() => !/Following/.test(document.getElementById('proposal').textContent)", polling=100)


if __name__ == "__main__":
    main()
