"""index.html of a batch, beside its summary; its pictures are in the folder thumbnails."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samreg.io.tables import PairRecord
from samreg.metrics import all_metrics, single_number
from samreg.report.batch_page import Entry, render_batch, stills
from samreg.runs.records import Record

__all__ = ["write_index"]

INDEX, THUMBNAILS = "index.html", "thumbnails"


def write_index(out: Path, rows: Sequence[tuple[PairRecord, Record]]) -> Path:
    """Write the index of the pairs of a table.

    Args:
        out: folder of the batch.
        rows: each pair and its last record.

    Returns:
        The page.
    """
    known = [name for name, metric in all_metrics().items() if metric.in_tables]
    metrics = [name for name in known if any(_metric(record, name) is not None for _, record in rows)]
    entries = [_entry(out, pair, record, metrics) for pair, record in rows]
    path = out / INDEX
    path.write_text(render_batch(f"Batch: {out.absolute().name}", entries), encoding="utf-8")
    return path


def _entry(out: Path, pair: PairRecord, record: Record, metrics: Sequence[str]) -> Entry:
    states = {name.replace("_", " "): check["state"] for name, check in record.get("checks", {}).items()}
    wrong = [f"{name}: {state}" for name, state in states.items() if state in ("look", "fail")]
    numbers = [
        _number("confidence", record.get("confidence"), ".2f"),
        _number("score", record.get("score"), ".2f"),
        _number("pairs", record.get("n_pairs"), "d"),
        _number("seconds", record.get("seconds"), ".1f"),
        *(_number(all_metrics()[name].title("mm"), _metric(record, name), ".3g") for name in metrics),
    ]
    report, pictures = "", {"before": "", "after": ""}
    if record["status"] == "done":
        source = Path(record["run"]) / "report.html"
        if source.is_file():
            report = Path(os.path.relpath(source, out)).as_posix()
            pictures |= _pictures(out, source)
    return Entry(
        pair.id,
        record.get("verdict", ""),
        tuple(numbers),
        report,
        pictures["before"],
        pictures["after"],
        record.get("error", "") or ", ".join(wrong),
    )


def _pictures(out: Path, report: Path) -> dict[str, str]:
    """Take the pictures out of a report; those that are there and newer than it stay."""
    folder, name = out / THUMBNAILS, report.parent.name
    there = {when: folder / f"{name}-{when}.jpg" for when in ("before", "after")}
    if not all(path.is_file() and path.stat().st_mtime >= report.stat().st_mtime for path in there.values()):
        folder.mkdir(exist_ok=True)
        for when, data in stills(report.read_text(encoding="utf-8")).items():
            there[when].write_bytes(data)
    return {when: path.relative_to(out).as_posix() for when, path in there.items() if path.is_file()}


def _number(name: str, value: Any, form: str) -> tuple[str, str, float | None]:
    return (name, "", None) if value is None else (name, format(value, form), float(value))


def _metric(record: Record, name: str) -> float | None:
    value = single_number(record.get("metrics", {}).get(name))
    return None if math.isnan(value) else value
