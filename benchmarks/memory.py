"""Peak memory of `samreg register`, from files to run folder, nothing cached.

    python -m benchmarks.memory FIXED MOVING [FIXED MOVING ...] [--preset P] [--thin]

`--thin` makes CT as scanners write it of volumes with thick slices: 512 x 512 pixels, slices of 1 mm.
Each pair runs in a process of its own; what is printed is the largest resident set of that process, which is what has
to fit into the machine, and of a Python that only imports torch, which nobody can go below.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from samreg import read_image


def _peak(arguments: list[str], cache: str) -> float:
    """GiB that a command took at most; Linux counts kibibytes, macOS bytes."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=sys.stderr); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "SAMREG_CACHE_DIR": cache},
        stdout=subprocess.PIPE,
        check=True,
        encoding="utf-8",
    )
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024) / 2**30


def _thin(path: Path, folder: Path) -> Path:
    """The volume with 512 x 512 pixels and slices of 1 mm, interpolated linearly."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    size = (512, 512, round(image.GetSize()[2] * image.GetSpacing()[2]))
    spacing = [s * n / m for s, n, m in zip(image.GetSpacing(), image.GetSize(), size, strict=True)]
    darkest = float(sitk.GetArrayViewFromImage(image).min())
    thin = sitk.Resample(
        image, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), spacing, image.GetDirection(), darkest
    )
    out = folder / path.name
    sitk.WriteImage(thin, str(out))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, nargs="+", metavar="FIXED MOVING")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--thin", action="store_true", help="512 x 512 pixels and slices of 1 mm")
    arguments = parser.parse_args()
    if len(arguments.images) % 2:
        parser.error("give pairs: FIXED MOVING FIXED MOVING ...")
    with tempfile.TemporaryDirectory() as folder:
        bare = _peak([sys.executable, "-c", "import torch, openvino"], folder)
        print(f"a Python that imports torch and openvino: {bare:.2f} GiB")
        for number, (fixed, moving) in enumerate(zip(arguments.images[::2], arguments.images[1::2], strict=True)):
            run = str(Path(folder) / f"run{number}")
            if arguments.thin:
                fixed, moving = _thin(fixed, Path(folder)), _thin(moving, Path(folder))
            started = time.monotonic()
            command = ["register", str(fixed), str(moving), "--out", run, "--preset", arguments.preset]
            peak = _peak([sys.executable, "-m", "samreg", *command], str(Path(folder) / f"cache{number}"))
            shapes = " and ".join(" x ".join(map(str, read_image(path).grid.shape)) for path in (fixed, moving))
            print(f"{fixed.name} <- {moving.name} ({shapes}): {peak:.2f} GiB, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
