"""What the report of a pair costs: processor seconds of its parts, and its size.

    python -m benchmarks.report FIXED MOVING [FIXED MOVING ...]

Registers each pair with the default preset, with regions from the cache where they are in it.
"""

from __future__ import annotations

import argparse
import time

import samreg
from samreg.regions.cache import RegionsCache
from samreg.report import render_registration
from samreg.report.structures import counted, result_structures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    images = parser.parse_args().images
    print("| pair | slices | pairs | structures / s | page / s | size / MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for fixed, moving in zip(images[::2], images[1::2], strict=True):
        result = samreg.register(samreg.read_image(fixed), samreg.read_image(moving), cache=RegionsCache())
        warped = None if result.field is None else result.field.warp(result.moving)
        started = time.process_time()
        structures = result_structures(result)
        between = time.process_time()
        page = render_registration(result, warped, None, structures)
        ended = time.process_time()
        shape = result.fixed.grid.shape
        slices = shape[result.fixed.grid.coarsest_axis] if len(shape) == 3 else 1
        print(
            f"| {result.fixed.name} | {slices} | {counted(structures).split(';')[0]} | {between - started:.1f} | "
            f"{ended - between:.1f} | {len(page.encode()) / 1e6:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
