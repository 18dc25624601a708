"""Whether a run knows when two images do not belong together: its confidence between every two of the given images.

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
from samreg.regions.cache import RegionsCache, cached_segment
from samreg.runs.shared import shared_segmenter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    paths = parser.parse_args().images
    if len(paths) < 2:
        parser.error(f"give two images or more, got {len(paths)}")
    config = preset("default")
    segmenter, cache = shared_segmenter(config), RegionsCache()
    regions = {path: cached_segment(read_image(path), config, segmenter, cache) for path in paths}
    print("| fixed | moving | pairs | confidence | warned |")
    print("| --- | --- | ---: | ---: | --- |")
    for fixed, moving in permutations(paths, 2):
        result = register_regions(regions[fixed], regions[moving], config)
        warned = "yes" if result.warnings else "no"
        print(
            f"| {fixed.name} | {moving.name} | {len(result.pairs)} | {result.confidence:.2f} | {warned} |", flush=True
        )


if __name__ == "__main__":
    main()
