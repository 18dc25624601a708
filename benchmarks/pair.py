"""One pair from files to run folder by the command line, against the same pair by the published way, in the same run.

    python -m benchmarks.pair FIXED MOVING [--runs 3] [--batches 1] [--steps 20]

Three cases, a new process each: the first run on a machine (nothing cached, the networks are compiled), a cold cache
(the networks are compiled, the images are new), and a warm cache (both images have been segmented before).

The reference is what one would run otherwise: segment-anything's automatic mask generator with the network of
LiteMedSAM on every slice of both images, then 10,000 steps of Adam on a full-resolution field. It is not run whole: a
middle slice with `--batches` of the 16 batches of prompts, and `--steps` of the steps with the same pairs, both scaled
up, as the output says.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from benchmarks.everything import reference_generator, reference_seconds
from benchmarks.speed import without_regions

from samreg import read_image
from samreg.geometry.ops.displacement import gradient_energy, warp
from samreg.regions.slices import plan_slices, window
from samreg.runs.run_folder import read_run


def _run(fixed: Path, moving: Path, run: Path, cache: Path) -> float:
    command = [sys.executable, "-m", "samreg", "register", str(fixed), str(moving), "--out", str(run), "--overwrite"]
    began = time.perf_counter()
    subprocess.run(command, env={**os.environ, "SAMREG_CACHE_DIR": str(cache)}, check=True, capture_output=True)
    return time.perf_counter() - began


def _published(fixed: Path, moving: Path, run: Path, batches: int, steps: int) -> tuple[float, float]:
    """Seconds of everything mode on all slices, and of 10,000 steps of Adam, both scaled up."""
    n_slices, picture = 0, np.zeros((1, 1))
    for path in (fixed, moving):
        image = read_image(path)
        plan = plan_slices(image.grid)
        n_slices += plan.n_slices
        picture = plan.slices(window(image))[plan.n_slices // 2]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        model, _ = reference_generator("litemedsam", Path(folder))
        grey = np.rint(picture * 255).astype(np.uint8)
        _, seconds = reference_seconds(model, np.repeat(grey[..., None], 3, axis=2), batches)
    pairs = read_run(run).pairs
    shape = pairs.fixed.grid.shape
    u = torch.zeros(len(shape), *shape, requires_grad=True)
    optimiser = torch.optim.Adam([u], lr=0.1)
    parts = [
        [
            torch.stack([torch.from_numpy(rois.mask(i)).float() for i in range(first, min(first + 16, len(pairs)))])
            for rois in (pairs.fixed, pairs.moving)
        ]
        for first in range(0, len(pairs), 16)
    ]
    axes = tuple(range(1, 1 + len(shape)))
    each = []
    for _ in range(steps):
        began = time.perf_counter()
        optimiser.zero_grad()
        gradient_energy(u, [1.0] * len(shape)).backward()  # type: ignore[no-untyped-call]
        for a, b in parts:  # gradients add up, so that only one part of the pairs is in flight
            warped = warp(b, u)
            both, total = (a * warped).sum(axes), (a + warped).sum(axes)
            loss = ((a - warped).square().mean(axes) + 1 - (2 * both + 1) / (total + 1)).sum() / len(pairs)
            loss.backward()
        optimiser.step()
        each.append(time.perf_counter() - began)
    return seconds.wall * n_slices, statistics.median(each) * 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batches", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    pair = arguments.fixed, arguments.moving
    with tempfile.TemporaryDirectory() as folder:
        run, cache = Path(folder) / "run", Path(folder) / "cache"
        cache.mkdir()
        first = _run(*pair, run, cache)
        cold, warm = [], []
        for _ in range(arguments.runs):
            without_regions(cache)
            cold.append(_run(*pair, run, cache))
            warm.append(_run(*pair, run, cache))
        print(f"first run on the machine: {first:.1f} s")
        for name, values in (("cold", cold), ("warm", warm)):
            print(f"{name} cache: median {statistics.median(values):.1f} s of {', '.join(f'{v:.1f}' for v in values)}")
        segmenting, fitting = _published(*pair, run, arguments.batches, arguments.steps)
    print(f"the published way, scaled up: {segmenting:.0f} s to segment, {fitting:.0f} s to fit")
    print(f"ratio to a cold cache: {(segmenting + fitting) / statistics.median(cold):.0f}")


if __name__ == "__main__":
    main()
