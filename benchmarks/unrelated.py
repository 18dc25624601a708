"""Whether a run knows when two images do not belong together: its verdict between every two of the given images.

    python -m benchmarks.unrelated IMAGE IMAGE [IMAGE ...]

Give images of different organs. Each is segmented once and kept (SAMREG_CACHE_DIR, or the user's cache folder); images
of the other order are another registration, since the grid of the result is the fixed one.
"""

from __future__ import annotations

import argparse
from itertools import permutations
from pathlib import Path

from samreg import read_image, register_regions
from samreg.config import preset
from samreg.regions.cache import RegionsCache
from samreg.regions.find import find_regions
from samreg.runs.shared import shared_finder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    paths = parser.parse_args().images
    if len(paths) < 2:
        parser.error(f"give two images or more, got {len(paths)}")
    config = preset("default")
    finder, cache = shared_finder(config.segment), RegionsCache()
    regions = {path: find_regions(read_image(path), finder, config.segment, cache) for path in paths}
    print("| fixed | moving | pairs | confidence | verdict |")
    print("| --- | --- | ---: | ---: | --- |")
    for fixed, moving in permutations(paths, 2):
        result = register_regions(regions[fixed], regions[moving], config, segmenter=finder)
        numbers = f"{len(result.pairs)} | {result.confidence:.2f} | {result.verdict}"
        print(f"| {fixed.name} | {moving.name} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
