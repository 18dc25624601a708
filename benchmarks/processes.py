"""How much several processes that know nothing of each other get done together, beside one process alone.

    python -m benchmarks.processes FIXED MOVING [--counts 1,2,4] [--runs 1]

Each process is `samreg register FIXED MOVING` with images that it has never seen and networks that are compiled;
`--threads` and SAMREG_THREADS are left alone, as on a machine that several people use. Throughput is the number of
registrations in the time from the start of the first to the end of the last; the ratio is to one process alone in the
same run.
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

from benchmarks.speed import processor_name, without_regions

from samreg.runs.threads import available_cores

_LEFT_ALONE = ("SAMREG_THREADS", "OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


def _start(pair: tuple[Path, Path], folder: Path) -> subprocess.Popen[bytes]:
    env = {name: value for name, value in os.environ.items() if name not in _LEFT_ALONE}
    env["SAMREG_CACHE_DIR"] = str(folder / "cache")
    command = [sys.executable, "-m", "samreg", "register", *map(str, pair), "--out", str(folder / "run"), "--overwrite"]
    return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def together(pair: tuple[Path, Path], folders: list[Path]) -> float:
    """Seconds until a process in each of the folders has registered the pair, all started at once."""
    for folder in folders:
        without_regions(folder / "cache")
    began = time.perf_counter()
    for process in [_start(pair, folder) for folder in folders]:
        if process.wait():
            raise SystemExit(f"samreg register ended with {process.returncode}")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("--counts", default="1,2,4", help="by commas; the first is what the others are compared with")
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.counts.split(",")]
    pair = arguments.fixed, arguments.moving
    print(f"{processor_name()}, {available_cores()} cores")
    with tempfile.TemporaryDirectory(prefix="samreg-processes-") as name:
        folders = [Path(name) / str(number) for number in range(max(counts))]
        (folders[0] / "cache").mkdir(parents=True)
        together(pair, folders[:1])  # compiles the networks
        for folder in folders[1:]:
            shutil.copytree(folders[0] / "cache", folder / "cache")
        seconds: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(arguments.runs):
            for count in counts:
                seconds[count].append(together(pair, folders[:count]))
    per_hour = {count: 3600 * count / statistics.median(times) for count, times in seconds.items()}
    print(f"{'processes':>9} {'seconds':>9} {'an hour':>9} {'ratio':>6}")
    for count, rate in per_hour.items():
        print(f"{count:>9} {statistics.median(seconds[count]):>9.1f} {rate:>9.1f} {rate / per_hour[counts[0]]:>6.2f}")


if __name__ == "__main__":
    main()
