"""How far a result depends on threads, workers, engine and arithmetic: the same two images, registered in several ways.

    python -m benchmarks.determinism                          the phantom in 2D
    python -m benchmarks.determinism FIXED MOVING [OPTION ...]      two images; options of samreg register

Each way is a process of its own that finds all regions anew. It is compared with the first way, which uses one thread:

    bytes     whether displacement.nii.gz has the same bytes
    pairs     how many there are, and how many have a counterpart in the first run: the same region on both sides, to a
              Dice of at least 0.9
    Dice      the smallest and the mean of those, over both sides
    field     length of the difference of the two displacement fields, over all voxels of the fixed grid: mean, 99 % and
              largest, in the unit of the image
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from samreg.cli.demo import write_phantom
from samreg.geometry.phantom import phantom
from samreg.geometry.rois import RoiSet
from samreg.runs.run_folder import Run, read_run

WAYS = {
    "as it is, 1 thread": ["--threads", "1"],
    "again": ["--threads", "1"],
    "2 threads": ["--threads", "2"],
    "OpenVINO, float32": ["--threads", "1", "--engine", "openvino", "--precision", "float32"],
    "OpenVINO, bfloat16": ["--threads", "1", "--engine", "openvino", "--precision", "bfloat16"],
    "torch, float32": ["--threads", "1", "--engine", "torch", "--precision", "float32"],
    "torch, float32, 2 threads": ["--threads", "2", "--engine", "torch", "--precision", "float32"],
}
"""Ways to compute: the options of each. A worker of a batch is a process with the threads that it was given."""
_SAME = 0.9


def dice(a: RoiSet, b: RoiSet) -> np.ndarray:
    """Dice of every region with every other, (len(a), len(b))."""
    one, two = (s.masks().reshape(len(s), -1).astype(np.float32) for s in (a, b))
    return 2 * (one @ two.T) / (one.sum(1)[:, None] + two.sum(1)[None])


def row(name: str, run: Run, first: Run, equal: bool) -> list[str]:
    """What is printed of one way."""
    both = np.minimum(dice(first.pairs.fixed, run.pairs.fixed), dice(first.pairs.moving, run.pairs.moving))
    best = both.max(axis=0)
    found = best[best >= _SAME]
    apart = np.linalg.norm(run.transform().u - first.transform().u, axis=-1)
    return [
        name,
        "equal" if equal else "other",
        f"{len(run.pairs)}",
        f"{len(found)}",
        f"{found.min():.3f}" if len(found) else "",
        f"{found.mean():.4f}" if len(found) else "",
        f"{apart.mean():.4f}",
        f"{np.percentile(apart, 99):.4f}",
        f"{apart.max():.4f}",
    ]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE")
    options, more = parser.parse_known_args()
    if len(options.images) not in (0, 2):
        parser.error("give two images, or none for the phantom")
    table = csv.writer(sys.stdout)
    table.writerow(["way", "bytes", "pairs", "same", "least Dice", "mean Dice", "field mean", "field 99 %", "largest"])
    with tempfile.TemporaryDirectory(prefix="samreg-determinism-") as folder:
        images = options.images
        if not images:
            write_phantom(phantom(2), Path(folder) / "data")
            images = [Path(folder) / "data" / f"{side}.nii.gz" for side in ("fixed", "moving")]
        first: Run | None = None
        reference = b""
        for k, (name, ways) in enumerate(WAYS.items()):
            out = Path(folder) / f"run{k}"
            command = [sys.executable, "-m", "samreg", "register", *map(str, images), "--out", str(out)]
            command += ["--no-cache", "--no-inverse", "--quiet", *ways, *more]
            done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=os.environ)
            if done.returncode:
                print(f"{name}: {done.stderr.strip()}", file=sys.stderr)
                continue
            run, content = read_run(out), (out / "displacement.nii.gz").read_bytes()
            if first is None:
                first, reference = run, content
            table.writerow(row(name, run, first, content == reference))
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
