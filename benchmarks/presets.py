"""What the presets cost, cold: processor seconds of one pair, segmented anew by each; Dice where labels are given.

    python -m benchmarks.presets FIXED MOVING [--fixed-labels F --moving-labels M] [--presets default,fast]

Processor seconds (of all threads) hardly depend on what else the machine does. Networks are compiled before.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import samreg
from samreg.io.images import read_image, read_labels
from samreg.regions.find import open_finder
from samreg.segmenters import Prompts


def _mean_dice(a: np.ndarray, b: np.ndarray) -> float:
    values = [v for v in np.unique(a) if v]
    return float(np.mean([2 * ((a == v) & (b == v)).sum() / ((a == v).sum() + (b == v).sum()) for v in values]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("moving", type=Path)
    parser.add_argument("--fixed-labels", type=Path)
    parser.add_argument("--moving-labels", type=Path)
    parser.add_argument("--presets", default="default,fast")
    args = parser.parse_args()
    fixed, moving = read_image(args.fixed), read_image(args.moving)
    finder = open_finder(samreg.preset("default").segment)
    if finder.segmenter is not None:
        encoding, _ = finder.segmenter.encode([np.zeros((256, 256), np.float32)] * 2)
        for coarse in (True, False):
            finder.segmenter.prompt(encoding, Prompts(boxes=np.asarray([[1.0, 1.0, 6.0, 6.0]])), coarse=coarse)
    first = 0.0
    for name in args.presets.split(","):
        wall, cpu = time.perf_counter(), time.process_time()
        regions = [samreg.segment(image, preset=name, segmenter=finder) for image in (fixed, moving)]
        segmented = time.process_time()
        result = samreg.register_regions(*regions, preset=name)
        done = time.process_time()
        total = done - cpu
        first = first or total
        line = f"{name:8s} segment {segmented - cpu:7.1f} s  rest {done - segmented:6.1f} s  all {total:7.1f} s"
        line += f" ({total / first:.2f} of the first)  by the clock {time.perf_counter() - wall:.1f} s"
        line += f"  regions {sum(map(len, regions))}  pairs {len(result.pairs)}"
        if args.fixed_labels and args.moving_labels and result.field is not None:
            labels, (others, grid) = read_labels(args.fixed_labels)[0], read_labels(args.moving_labels)
            line += f"  Dice {_mean_dice(labels, result.field.warp_labels(others, grid)):.3f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
