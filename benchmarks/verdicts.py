"""Whether the verdict finds failures: pairs of a dataset, and the same pairs broken on purpose.

    python -m benchmarks.verdicts run DATASET --root DIR --out RECORDS.jsonl [--limit N] [--only A,B] [--other IMAGE]
        [--checks all] [--jobs N] [--flat]
    python -m benchmarks.verdicts table RECORDS.jsonl [RECORDS.jsonl ...]

`run` registers each pair of the dataset as it is, and the moving image broken in these ways:

    crop      the moving image keeps 30 % of each axis, in a corner
    blank     every third slice holds a single value (3D), or a third of the rows (2D)
    padding   a frame of zeros makes the moving image twice as large along each axis of a slice; spacing and origin stay
              as they were, so that the header lies
    mirrored  the moving image mirrored along x, the header as it was
    turned    upside down and mirrored (180 degrees in the plane), the header as it was
    inverted  grey values inverted within the body: another contrast
    part      another part of the body: --other, an image of something else

With `--flat` only one slice of each volume takes part, as a 2D image: the one with most labelled voxels of each
image or, within a subject, the one that has most of them in both. That costs seconds a pair.

A record that is there is kept, so that a run that was stopped goes on. `table` holds verdict and score against the
Dice: Spearman's rho within each dataset (good pairs), the failures that are caught (Dice below that before
registration, or below half of the median of the dataset's good pairs; `part` is always a failure), and how many of the
good pairs in the upper three quarters of the Dice are not PASS. A broken pair that registers well is no failure, and is
counted apart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from samreg import Image, metrics, read_image, register
from samreg.config import preset
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.io.images import read_labels
from samreg.lab.datasets import open_dataset
from samreg.regions.cache import RegionsCache
from samreg.runs.records import RecordLog, read_records
from samreg.runs.shared import shared_finder
from samreg.runs.workers import run_tasks

Broken = tuple[Image, np.ndarray | None]
"""An image and its labels; None where no label of the fixed image is in it."""


def _same_header(data: np.ndarray, grid: Grid) -> Grid:
    return Grid(data.shape[: grid.ndim], grid.spacing, grid.origin, grid.direction, grid.unit)


def crop(image: Image, labels: np.ndarray) -> Broken:
    part = tuple(slice(0, max(8 if n >= 8 else 1, round(0.3 * n))) for n in image.grid.shape)
    return Image(image.data[part], _same_header(image.data[part], image.grid), image.name), labels[part]


def blank(image: Image, labels: np.ndarray) -> Broken:
    data = image.data.copy()
    axis = int(np.argmax(image.grid.array_spacing)) if image.grid.ndim == 3 else 0
    n = image.grid.shape[axis]
    rows = np.arange(1, n, 3) if image.grid.ndim == 3 else np.arange(n // 3, 2 * n // 3)
    data[(slice(None),) * axis + (rows,)] = data.min()
    return image.with_data(data), labels


def padding(image: Image, labels: np.ndarray) -> Broken:
    d = image.grid.ndim
    width = [(0, 0)] * (d - 2) + [(n // 2, n - n // 2) for n in image.grid.shape[-2:]]
    colour = [(0, 0)] if image.is_colour else []
    data = np.pad(image.data, width + colour)
    return Image(data, _same_header(data, image.grid), image.name), np.pad(labels, width)


def mirrored(image: Image, labels: np.ndarray) -> Broken:
    axis = image.grid.ndim - 1
    return image.with_data(np.flip(image.data, axis).copy()), np.flip(labels, axis).copy()


def turned(image: Image, labels: np.ndarray) -> Broken:
    axes = (image.grid.ndim - 1, image.grid.ndim - 2)
    return image.with_data(np.flip(image.data, axes).copy()), np.flip(labels, axes).copy()


def inverted(image: Image, labels: np.ndarray) -> Broken:
    low, high = np.percentile(image.data, [2, 99])
    body = image.data > low + 0.05 * (high - low)
    data = np.where(body, high + 0.1 * (high - low) - image.data, image.data)
    return image.with_data(data.astype(np.float32)), labels


def labelled(image: Image, labels: np.ndarray) -> np.ndarray:
    """Labelled voxels of each slice across the coarsest axis."""
    axis = int(np.argmax(image.grid.array_spacing))
    return np.count_nonzero(np.moveaxis(labels, axis, 0).reshape(labels.shape[axis], -1), axis=1)


def flat(image: Image, labels: np.ndarray, k: int) -> Broken:
    """Slice k of a volume across its coarsest axis, and its labels."""
    axis = int(np.argmax(image.grid.array_spacing))
    spacing = tuple(s for a, s in enumerate(image.grid.array_spacing) if a != axis)[::-1]
    data = np.take(image.data, k, axis)
    return Image(data, Grid(data.shape[:2], spacing), image.name), np.take(labels, k, axis)


BREAKS: dict[str, Callable[[Image, np.ndarray], Broken]] = {
    "good": lambda image, labels: (image, labels),
    "crop": crop,
    "blank": blank,
    "padding": padding,
    "mirrored": mirrored,
    "turned": turned,
    "inverted": inverted,
}


def dice_of(fixed: np.ndarray, field: DisplacementField, moving: np.ndarray | None, grid: Grid) -> float | None:
    """Mean Dice of the labels of the fixed image; None where the moving image has none."""
    if moving is None:
        return None
    warped = field.warp_labels(moving, grid)
    return float(metrics.mean(metrics.dice(fixed, warped, [int(v) for v in np.unique(fixed) if v]).values()))


def one(options: argparse.Namespace, pair: Any, name: str, kind: str) -> dict[str, Any] | None:
    """The record of one pair, whole or broken; None where there is no field."""
    config = preset("default")
    finder, cache = shared_finder(config.segment), RegionsCache()
    fixed, moving = read_image(pair.fixed), read_image(pair.moving)
    fixed_labels, moving_labels = (read_labels(path)[0] for path in (pair.fixed_labels, pair.moving_labels))
    if options.flat:
        counts = [labelled(fixed, fixed_labels), labelled(moving, moving_labels)]
        if pair.intra_subject:
            counts = [np.minimum(*counts)] * 2
        fixed, fixed_labels = flat(fixed, fixed_labels, int(np.argmax(counts[0])))
        moving, moving_labels = flat(moving, moving_labels, int(np.argmax(counts[1])))
    if kind == "part":
        image, labels = replace(read_image(options.other), name="part"), None
        if options.flat and image.grid.ndim == 3:
            middle = image.grid.shape[int(np.argmax(image.grid.array_spacing))] // 2
            image = flat(image, np.zeros(image.grid.shape, dtype=np.int32), middle)[0]
    else:
        image, labels = BREAKS[kind](moving, moving_labels)
    result = register(fixed, image, config, segmenter=finder, cache=cache, checks=options.checks)
    if result.field is None:
        return None
    still = DisplacementField.identity(fixed.grid)
    return {
        "key": f"{name}/{pair.id}/{kind}",
        "dataset": name,
        "pair": pair.id,
        "kind": kind,
        "verdict": result.verdict,
        "confidence": round(result.confidence, 4),
        "score": None if result.score is None else round(result.score, 4),
        "checks": {c.name: {"value": c.value, "state": c.state} for c in result.checks},
        "dice": dice_of(fixed_labels, result.field, labels, image.grid),
        "before": dice_of(fixed_labels, still, labels, image.grid),
        "seconds": {stage: round(value, 2) for stage, value in result.seconds.items()},
    }


def run(options: argparse.Namespace) -> None:
    """Register and record."""
    pairs = open_dataset(options.dataset, options.root)[options.first :][: options.limit or None]
    pairs = [pair for pair in pairs if pair.fixed_labels is not None and pair.moving_labels is not None]
    wanted = options.only.split(",") if options.only else [*BREAKS, *(["part"] if options.other else [])]
    name = options.root.name + (", one slice" if options.flat else "")
    known = {record["key"] for record in read_records(options.out)}
    settings = argparse.Namespace(flat=options.flat, other=options.other, checks=options.checks)
    tasks = [
        (settings, pair, name, kind) for pair in pairs for kind in wanted if f"{name}/{pair.id}/{kind}" not in known
    ]
    with RecordLog(options.out) as log:

        def keep(index: int, record: dict[str, Any] | None, error: str) -> None:
            _, pair, _, kind = tasks[index]
            if record is None:
                print(f"{name}/{pair.id}/{kind}: {error or 'no field'}", file=sys.stderr, flush=True)
                return
            log.append(record)
            print(record["key"], record["verdict"], f"score {record['score'] or 0:.2f}", flush=True)

        run_tasks(one, tasks, keep, jobs=options.jobs, threads=options.threads)


def is_failure(record: dict[str, Any], median: float) -> bool:
    """Dice below that before registration, or below half of the dataset's median; always where nothing corresponds."""
    dice = record["dice"]
    return dice is None or dice < record["before"] or dice < median / 2


def lines(records: list[dict[str, Any]]) -> list[str]:
    """The tables of one dataset, in Markdown."""
    good = [r for r in records if r["kind"] == "good"]
    dice = np.asarray([r["dice"] for r in good], dtype=float)
    median = float(np.median(dice)) if len(dice) else 0.0
    rows = ["| pairs | n | Dice | PASS | LOOK | FAIL | failures | caught | checks that spoke |"]
    rows.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |")
    for kind in dict.fromkeys(r["kind"] for r in records):
        of = [r for r in records if r["kind"] == kind]
        counts = [sum(r["verdict"] == word for r in of) for word in ("PASS", "LOOK", "FAIL")]
        failed = [r for r in of if is_failure(r, median)]
        caught = sum(r["verdict"] != "PASS" for r in failed)
        values = [r["dice"] for r in of if r["dice"] is not None]
        spoke: dict[str, int] = {}
        for r in of:
            for name, check in r["checks"].items():
                if check["state"] in ("look", "fail"):
                    spoke[name] = spoke.get(name, 0) + 1
        names = ", ".join(f"{name} {n}" for name, n in sorted(spoke.items(), key=lambda item: -item[1]))
        mean = f"{np.mean(values):.3f}" if values else ""
        rows.append(
            f"| {kind} | {len(of)} | {mean} | {' | '.join(map(str, counts))} | {len(failed)} | {caught} | {names} |"
        )
    if len(good) > 2:
        upper = [r for r in good if r["dice"] >= np.quantile(dice, 0.25)]
        alarms = sum(r["verdict"] != "PASS" for r in upper)
        rho = stats.spearmanr([r["score"] for r in good], dice)
        other = stats.spearmanr([r["confidence"] for r in good], dice)
        rows += [
            "",
            f"Of the {len(upper)} pairs in the upper three quarters of the Dice {alarms} are not PASS. The score "
            f"ranks the Dice of the {len(good)} good pairs with Spearman's rho {rho.statistic:.2f} "
            f"(p = {rho.pvalue:.2g}), the confidence with {other.statistic:.2f}.",
        ]
        scored = [r for r in records if r["dice"] is not None]
        worst = [{"FAIL": 0, "LOOK": 1, "PASS": 2}[r["verdict"]] for r in scored]
        if len(set(worst)) > 1:
            rank = stats.spearmanr(worst, [r["dice"] for r in scored])
            rows.append(f"Over these and the broken pairs the verdict ranks the Dice with {rank.statistic:.2f}.")
    return rows


def totals(records: list[dict[str, Any]]) -> list[str]:
    """What all datasets come to: broken pairs, failures that are caught, false alarms."""
    broken = n_broken = caught = failures = alarms = upper = 0
    for dataset in dict.fromkeys(r["dataset"] for r in records):
        of = [r for r in records if r["dataset"] == dataset]
        good = [r for r in of if r["kind"] == "good"]
        dice = [r["dice"] for r in good]
        median, quarter = (float(np.quantile(dice, q)) if dice else 0.0 for q in (0.5, 0.25))
        above = [r for r in good if r["dice"] >= quarter]
        failed = [r for r in of if is_failure(r, median)]
        worse = [r for r in of if r["kind"] != "good"]
        n_broken, broken = n_broken + len(worse), broken + sum(r["verdict"] != "PASS" for r in worse)
        failures, caught = failures + len(failed), caught + sum(r["verdict"] != "PASS" for r in failed)
        upper, alarms = upper + len(above), alarms + sum(r["verdict"] != "PASS" for r in above)
    return [
        f"{broken} of {n_broken} broken pairs are not PASS. {caught} of {failures} failures are not PASS, broken or "
        f"not. {alarms} of {upper} good pairs in the upper three quarters of their dataset's Dice are not PASS."
    ]


def table(options: argparse.Namespace) -> None:
    """Print what the records come to."""
    records = [record for path in options.records for record in read_records(path)]
    for dataset in dict.fromkeys(r["dataset"] for r in records):
        print(f"\n### {dataset}\n")
        print("\n".join(lines([r for r in records if r["dataset"] == dataset])))
    print("\n" + "\n".join(totals(records)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    work = commands.add_parser("run", help="register and record")
    work.add_argument("dataset", help="name of a dataset; `folder` for imgNN with labelNN")
    work.add_argument("--root", type=Path, required=True)
    work.add_argument("--out", type=Path, required=True, help="record file")
    work.add_argument("--limit", type=int, default=0, help="at most so many pairs")
    work.add_argument("--first", type=int, default=0, help="number of the first pair, from 0")
    work.add_argument("--flat", action="store_true", help="one slice of each volume alone")
    work.add_argument("--only", default="", help="which ways, separated by commas")
    work.add_argument("--other", type=Path, help="an image of another part of the body")
    work.add_argument("--checks", choices=("quick", "all"), default="quick", help="as of samreg register")
    work.add_argument("--jobs", type=int, default=0, help="worker processes; 0 computes in this process")
    work.add_argument("--threads", type=int, default=1, help="threads of each worker process")
    work.set_defaults(work=run)
    two = commands.add_parser("table", help="print the tables")
    two.add_argument("records", nargs="+", type=Path)
    two.set_defaults(work=table)
    options = parser.parse_args()
    options.work(options)


if __name__ == "__main__":
    main()
