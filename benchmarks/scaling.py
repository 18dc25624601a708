"""How batch work scales: N images in all ordered pairs, the encodings they cost, and the seconds of a further pair.

    python benchmarks/scaling.py ROOT --images 20 --out DIR [--jobs 2]

ROOT is a folder of ACDC (training/patientXXX). The images are middle slices: the whole experiment takes minutes.
What is printed goes into docs/results.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from pathlib import Path

from samreg import Image, preset, read_image, write_image
from samreg.lab.datasets import open_dataset
from samreg.runs.batch import BatchOptions, run_batch
from samreg.runs.records import read_records


def write_table(root: Path, n_images: int, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pairs = open_dataset("acdc", root)
    names = []
    for pair in pairs[:n_images]:
        stack = read_image(pair.fixed)
        middle = stack.grid.shape[0] // 2
        name = f"{pair.id}.mha"
        write_image(Image(stack.data[middle], stack.grid.slice_grid(0)), folder / name)
        names.append(name)
    table = folder / "pairs.csv"
    rows = [f"{a},{b}" for a, b in itertools.permutations(names, 2)]
    table.write_text("fixed,moving\n" + "\n".join(rows) + "\n")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--preset", default="default")
    arguments = parser.parse_args()
    table = write_table(arguments.root, arguments.images, arguments.out / "images")
    options = BatchOptions(
        table,
        arguments.out / "batch",
        jobs=arguments.jobs,
        cache_dir=arguments.out / "cache",
        config=preset(arguments.preset),
    )
    summary = run_batch(options, message=print)
    records = [r for r in read_records(summary.records) if r["status"] == "done"]
    fresh = [r["segment_seconds"] / len(r["encoded"]) for r in records if r["encoded"]]
    further = [r["seconds"] for r in records if not r["encoded"]]
    found = {
        "images": arguments.images,
        "pairs": summary.n_pairs,
        "failed": summary.n_failed,
        "encodings": sum(len(r["encoded"]) for r in records),
        "seconds_an_encoding_median": round(statistics.median(fresh), 3) if fresh else None,
        "seconds_a_further_pair_median": round(statistics.median(further), 3) if further else None,
        "seconds_total": round(summary.seconds, 1),
        "jobs": arguments.jobs,
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
