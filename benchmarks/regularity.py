"""Dice against SDlogJ of every method, one panel a task: the figure of docs/results.md.

    python -m benchmarks.regularity results/*/records.jsonl --out docs/images/regularity.png

The records are those of `samreg benchmark`; the heading of a panel is the name of its folder. Records of one name of a
folder are put together, so that those of the peers (benchmarks/records) and those of samreg may lie apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from samreg.lab.figures import draw_regularity
from samreg.runs.records import Record, read_records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="a PNG")
    arguments = parser.parse_args()
    tasks: dict[str, list[Record]] = {}
    for path in arguments.records:
        tasks.setdefault(path.parent.name, []).extend(read_records(path))
    figure = draw_regularity(tasks)
    if figure is None:
        parser.error("no record has both labels and a field")
    figure.savefig(arguments.out, dpi=110)


if __name__ == "__main__":
    main()
