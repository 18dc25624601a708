"""Whether the confidence of a run predicts its Dice: rank correlation within each dataset, and over all pairs.

    python -m benchmarks.confidence RECORDS [RECORDS ...] [--method samreg] [--below LIMIT]

RECORDS are the `records.jsonl` files that `samreg benchmark` wrote. Over all pairs, a high correlation may only say
that the datasets differ: the rows of each dataset tell whether it ranks the pairs of one task as well. The last lines
say what the warning that a user sees is worth: the Dice of the runs below the limit, and of the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

from samreg.checks.likeness import LOW_CONFIDENCE
from samreg.lab.tables import confidence_and_dice
from samreg.runs.records import read_records


def known(path: Path, method: str) -> np.ndarray:
    """(n, 2) confidence and Dice of the pairs of one record file."""
    return confidence_and_dice(r for r in read_records(path) if r["status"] == "done" and r["method"] == method)


def line(name: str, rows: np.ndarray) -> str:
    """One row of the table."""
    rho = stats.spearmanr(rows[:, 0], rows[:, 1]) if len(rows) > 2 else None
    ranks = "" if rho is None else f"{rho.statistic:.2f} (p = {rho.pvalue:.2g})"
    low, high = rows[:, 0].min(), rows[:, 0].max()
    return f"| {name} | {len(rows)} | {low:.2f} to {high:.2f} | {rows[:, 1].mean():.3f} | {ranks} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORDS")
    parser.add_argument("--method", default="samreg", help="name of the method in the records")
    parser.add_argument("--below", type=float, default=LOW_CONFIDENCE, help="confidence below which samreg warns")
    options = parser.parse_args()
    found = {path.parent.name or str(path): known(path, options.method) for path in options.records}
    found = {name: rows for name, rows in found.items() if len(rows)}
    if not found:
        parser.error(f"no record of {options.method} holds a confidence and a Dice; run samreg benchmark first")
    print("| dataset | pairs | confidence | mean Dice | Spearman rho |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, rows in found.items():
        print(line(name, rows))
    every = np.concatenate(list(found.values()))
    print(line("all", every))
    low = every[:, 0] < options.below
    for what, rows in (("below", every[low]), ("from", every[~low])):
        if len(rows):
            dice = rows[:, 1]
            print(f"{what} {options.below:g}: {len(rows)} pairs, Dice {dice.mean():.3f}, lowest {dice.min():.3f}")


if __name__ == "__main__":
    main()
