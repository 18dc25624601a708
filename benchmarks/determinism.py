"""How far a result depends on threads, workers, engine and arithmetic: the same two images, registered in several ways.

    python -m benchmarks.determinism                          the phantom in 2D
    python -m benchmarks.determinism FIXED MOVING [OPTION ...]      two images; options of samreg register
    python -m benchmarks.determinism --only WAY [FIXED MOVING ...]  the first way and this one alone
    python -m benchmarks.determinism --workers [FIXED MOVING ...]   workers instead of threads and engines: batches of
                                                                    two pairs, the images, and the images exchanged

Each way is a process of its own that finds all regions anew. It is compared with the first way, which uses one thread;
of a batch the first pair is compared:

    bytes     whether displacement.nii.gz has the same bytes
    pairs     how many there are, and how many have a counterpart in the first run: the same region on both sides, to a
              Dice of at least 0.9
    Dice      the smallest and the mean of those, over both sides
    field     length of the difference of the two displacement fields, over all voxels of the fixed grid: mean, 99 % and
              largest, in the unit of the image
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from samreg.cli.demo import write_phantom
from samreg.geometry.phantom import phantom
from samreg.geometry.rois import RoiSet
from samreg.runs.run_folder import Run, read_run

_FIRST = "as it is, 1 thread"
WAYS = {
    _FIRST: ["--threads", "1"],
    "again": ["--threads", "1"],
    "2 threads": ["--threads", "2"],
    "OpenVINO, float32": ["--threads", "1", "--engine", "openvino", "--precision", "float32"],
    "OpenVINO, bfloat16": ["--threads", "1", "--engine", "openvino", "--precision", "bfloat16"],
    "torch, float32": ["--threads", "1", "--engine", "torch", "--precision", "float32"],
    "torch, float32, 2 threads": ["--threads", "2", "--engine", "torch", "--precision", "float32"],
}
"""Ways to compute one pair: the options of each."""
WORKERS = {
    "batch, in its own process": ("jobs", 0),
    "batch, 1 worker": ("jobs", 1),
    "batch, 2 workers": ("jobs", 2),
    "Dask, 1 worker": ("dask", 1),
    "Dask, 2 workers": ("dask", 2),
}
"""Ways to compute a table of pairs, with one thread a worker."""
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


def samreg(*arguments: str) -> str:
    """A command in a process of its own; returns what went wrong."""
    command = [sys.executable, "-m", "samreg", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"status {done.returncode}"


def register(images: Sequence[Path], out: Path, options: Sequence[str]) -> str:
    """One pair into the run folder `out`; returns what went wrong."""
    fixed, moving = map(str, images)
    return samreg("register", fixed, moving, f"--out={out}", "--no-cache", "--no-inverse", "--quiet", *options)


def batch(images: Sequence[Path], out: Path, kind: str, n: int, options: Sequence[str]) -> str:
    """The two images, and exchanged, by n workers; the first pair's run folder goes to `out`."""
    folder = out.with_suffix(".batch")
    rows = [("id", "fixed", "moving"), ("one", *images), ("two", *reversed(images))]
    table = out.with_suffix(".csv")
    table.write_text("".join(",".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    command = ["batch", str(table), "--out", str(folder), "--no-cache", "--threads", "1", "--quiet", *options]
    with contextlib.ExitStack() as stack:
        if kind == "dask":
            from distributed import LocalCluster

            cluster = stack.enter_context(LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None))
            command += ["--dask", cluster.scheduler_address]
        else:
            command += ["--jobs", str(n)]
        fault = samreg(*command)
    if not fault:
        (folder / "runs" / "one").rename(out)
    return fault


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGE")
    parser.add_argument("--workers", action="store_true", help="batches instead of threads and engines")
    parser.add_argument("--only", action="append", choices=[*WAYS, *WORKERS], help="this way beside the first one")
    options, more = parser.parse_known_args()
    if len(options.images) not in (0, 2):
        parser.error("give two images, or none for the phantom")
    table = csv.writer(sys.stdout)
    table.writerow(["way", "bytes", "pairs", "same", "least Dice", "mean Dice", "field mean", "field 99 %", "largest"])
    with tempfile.TemporaryDirectory(prefix="samreg-determinism-") as folder:
        images = [path.resolve() for path in options.images]
        if not images:
            write_phantom(phantom(2), Path(folder) / "data")
            images = [Path(folder) / "data" / f"{side}.nii.gz" for side in ("fixed", "moving")]
        first: Run | None = None
        reference = b""
        ways = {_FIRST: WAYS[_FIRST], **WORKERS} if options.workers else WAYS
        if options.only:
            ways = {name: {**WAYS, **WORKERS}[name] for name in [_FIRST, *options.only]}
        for k, (name, how) in enumerate(ways.items()):
            out = Path(folder) / f"run{k}"
            fault = batch(images, out, *how, more) if name in WORKERS else register(images, out, [*how, *more])
            if fault:
                print(f"{name}: {fault}", file=sys.stderr)
                continue
            run, content = read_run(out), (out / "displacement.nii.gz").read_bytes()
            if first is None:
                first, reference = run, content
            table.writerow(row(name, run, first, content == reference))
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
