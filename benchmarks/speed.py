"""One pair by samreg and by other tools, one after another in the same run with the same threads: seconds and ratios.

    python -m benchmarks.speed FIXED MOVING [--methods cold,fast,warm,elastix,niftyreg] [--before SRC] [--one-person]

`cold` is `samreg register` with images that were never seen (networks are compiled before), `warm` is the same with
both images segmented before, `fast` is `cold` with `--preset fast`, and `fast-warm` is `warm` with it; every other name
is a method of `samreg benchmark`. `--before` is the folder `src` of another checkout of samreg, which is run as well:
its rows are `before-cold` and `before-warm`.

Of samreg the whole command is timed, from starting Python to the files of the run. Of the other tools the registration
alone is timed: without starting Python, without reading and writing files. The methods take turns, so that a machine
that becomes slower becomes slower for all. Processor seconds are of all threads; they depend little on what else the
machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import SimpleITK as sitk

_PEER = """
import json, os, sys, time
from samreg.io.images import read_image
from samreg.lab.peers.registry import load_method
name, fixed, moving, one_person, threads = sys.argv[1:]
fixed, moving = read_image(fixed), read_image(moving)
method = load_method(name)
if method.prepare is not None:
    method.prepare()
before = os.times()
out = method.run(fixed, moving, intra_subject=one_person == "1", threads=int(threads))
after = os.times()
print(json.dumps([out.seconds, sum(after[:4]) - sum(before[:4])]))
"""


class Cost(NamedTuple):
    """Seconds of one run, by the clock and of all processors, and the largest resident set in GiB (0: not measured)."""

    wall: float
    processor: float
    memory: float = 0.0


def _samreg(pair: tuple[Path, Path], folder: Path, source: Path | None, options: list[str], threads: int) -> Cost:
    env = {
        **os.environ,
        "SAMREG_CACHE_DIR": str(folder / "cache"),
        "SAMREG_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
    }
    if source is not None:
        env["PYTHONPATH"] = str(source)
    command = [sys.executable, "-m", "samreg", "register", *map(str, pair), "--out", str(folder / "run")]
    began = time.perf_counter()
    process = subprocess.Popen([*command, "--overwrite", *options], env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"samreg ended with {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20)


def _compile(args: argparse.Namespace, folder: Path, source: Path | None) -> None:
    """Have the networks compiled: by a registration of three slices of each image."""
    few = []
    for which, path in (("fixed", args.fixed), ("moving", args.moving)):
        image = sitk.ReadImage(str(path))
        if image.GetDimension() == 3:
            middle = image.GetSize()[2] // 2
            image = image[:, :, max(middle - 1, 0) : middle + 2]
        few.append(folder / f"{which}.nii.gz")
        sitk.WriteImage(image, str(few[-1]))
    _samreg((few[0], few[1]), folder, source, [], args.threads)


def _peer(name: str, pair: tuple[Path, Path], one_person: bool, threads: int) -> Cost:
    arguments = [name, *map(str, pair), "1" if one_person else "0", str(threads)]
    done = subprocess.run([sys.executable, "-c", _PEER, *arguments], check=True, capture_output=True, text=True)
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def without_regions(cache: Path) -> None:
    """Forget the images, keep the compiled networks."""
    for entry in cache.iterdir():
        if entry.name != "compiled":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _measure(name: str, args: argparse.Namespace, folders: dict[str, Path]) -> Cost:
    pair = args.fixed, args.moving
    old = name.startswith("before-")
    kind = name.removeprefix("before-")
    if kind not in ("cold", "warm", "fast", "fast-warm"):
        return _peer(name, pair, args.one_person, args.threads)
    folder, source = folders["before" if old else "now"], args.before if old else None
    options = ["--preset", "fast"] if kind.startswith("fast") else []
    if kind.endswith("warm"):  # the run before may have been another one: segment, then time
        marker = folder / f"{kind}.done"
        if not marker.exists():
            _samreg(pair, folder, source, options, args.threads)
            marker.touch()
    else:
        without_regions(folder / "cache")
        for marker in folder.glob("*.done"):
            marker.unlink()
    return _samreg(pair, folder, source, options, args.threads)


def processor_name() -> str:
    """The processor's name, as far as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line for line in lines if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("--methods", default="cold,fast,warm,elastix,niftyreg,greedy")
    parser.add_argument("--before", type=Path, help="folder src of another checkout")
    parser.add_argument("--one-person", action="store_true", help="both images show one person: peers need no affine")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    names = args.methods.split(",")
    if args.before is not None and not any(name.startswith("before-") for name in names):
        names += [f"before-{name}" for name in names if name in ("cold", "warm")]
    print(f"{processor_name()}, {args.threads} threads, {args.runs} runs", flush=True)
    rows: dict[str, list[Cost]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {which: Path(temporary) / which for which in ("now", "before")}
        for which, folder in folders.items():
            (folder / "cache").mkdir(parents=True)
            if which == "now" or any(name.startswith("before-") for name in names):  # networks are compiled here
                _compile(args, folder, args.before if which == "before" else None)
        for _ in range(args.runs):
            for name in names:
                rows[name].append(_measure(name, args, folders))
                print(f"  {name}: {rows[name][-1].wall:.1f} s", file=sys.stderr, flush=True)
    first = statistics.median(cost.wall for cost in rows[names[0]])
    first_processor = statistics.median(cost.processor for cost in rows[names[0]])
    for name, costs in rows.items():
        wall = statistics.median(cost.wall for cost in costs)
        processor = statistics.median(cost.processor for cost in costs)
        memory = max(cost.memory for cost in costs)
        line = f"{name:12s} {wall:7.1f} s ({min(c.wall for c in costs):.1f} to {max(c.wall for c in costs):.1f})"
        line += f"  {wall / first:5.2f} of {names[0]}"
        line += f"  processor {processor:7.1f} s, {processor / first_processor:5.2f}"
        print(line + (f"  {memory:.2f} GiB" if memory else ""), flush=True)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
