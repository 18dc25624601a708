"""What a choice among methods could reach: for every pair the best of them, chosen with the labels.

    python -m benchmarks.best_of RECORDS --methods ants,ants2d,elastix,greedy,samreg [--metric slice_centroid_tre]

RECORDS is a `records.jsonl` that `samreg benchmark` wrote. Nobody can choose so without the labels: a mean that
lies below what this prints is out of reach of any choice among these methods, though not of a better method.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from samreg.runs.records import read_records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, metavar="RECORDS")
    parser.add_argument("--methods", required=True, help="names in the records, with commas between them")
    parser.add_argument("--metric", default="slice_centroid_tre", help="a distance per label, as the records name it")
    options = parser.parse_args()
    methods = options.methods.split(",")
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in methods}
    for record in read_records(options.records):
        if record["status"] == "done" and record["method"] in found and options.metric in record["metrics"]:
            found[record["method"]][record["pair"]] = record["metrics"][options.metric]
    pairs = sorted(set.intersection(*(set(rows) for rows in found.values())))
    if not pairs:
        parser.error(f"no pair has {options.metric} of all of {options.methods}; run samreg benchmark with them first")
    labels = sorted({label for name in methods for pair in pairs for label in found[name][pair]})
    # (pairs, methods, labels); a label that a method has lost has no distance.
    table = np.array(
        [[[found[name][p].get(label) for label in labels] for name in methods] for p in pairs], dtype=np.float64
    )
    means = np.nanmean(table, axis=2)
    print(f"{len(pairs)} pairs, mean {options.metric}")
    for name, value in zip(methods, means.mean(axis=0), strict=True):
        print(f"  {name}: {value:.2f}")
    print(f"  the best method of each pair: {means.min(axis=1).mean():.2f}")
    print(f"  the best method of each pair and label: {np.nanmean(np.nanmin(table, axis=1)):.2f}")


if __name__ == "__main__":
    main()
