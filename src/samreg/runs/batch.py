"""Many pairs, for production: one failure never stops the rest, nothing is done twice, an image is segmented once."""

from __future__ import annotations

import csv
import dataclasses
import functools
import hashlib
import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from samreg.config import RegisterConfig
from samreg.errors import DatasetError, SamregError, check_number
from samreg.io.tables import PairRecord, read_pairs
from samreg.metrics import all_metrics, single_number
from samreg.metrics.score import score
from samreg.runs.index import write_index
from samreg.runs.motion import frame_pairs, is_series, write_motion
from samreg.runs.records import Record, RecordLog, read_records
from samreg.runs.shared import CountingFinder, shared_finder
from samreg.runs.workers import run_tasks
from samreg.types import Progress

__all__ = ["BatchOptions", "BatchSummary", "register_pair", "run_batch", "time_left"]

RECORDS, RUNS, FAILURES, SUMMARY = "records.jsonl", "runs", "failures.csv", "summary.csv"
_MOST_NAME = 80
_GIB = 1024**3


@dataclass(frozen=True)
class BatchOptions:
    """What `samreg batch` runs."""

    pairs: Path
    """Table with the columns fixed and moving, and optionally id, labels, landmarks, initial (a transform), masks; or
    an image of several frames, each of which is registered to one."""
    out: Path
    """Folder for the run folders, the records and the list of failures."""
    jobs: int = 1
    """Worker processes on this machine; 0 computes in this process."""
    dask: str = ""
    """Address of a Dask scheduler, instead of processes on this machine."""
    threads: int = 0
    """Threads of each worker process; 0 leaves the choice to the libraries."""
    retry_failed: bool = False
    """Try the pairs again that failed in an earlier run."""
    cache: bool = True
    """Keep the regions of each image, so that it is segmented once however many pairs it is in."""
    cache_dir: Path | None = None
    """Where to keep them; SAMREG_CACHE_DIR, else the platform's cache folder, by default."""
    cache_gib: float = 20.0
    """What the cache may take, in GiB; what was not used for the longest time goes first."""
    config: RegisterConfig = field(default_factory=RegisterConfig)
    """Settings of the registration."""
    checks: Literal["quick", "all"] = "quick"
    """Checks of each result; `all` also those that register again."""
    fixed_frame: int = 1
    """Of an image of several frames, the one that all others are registered to, from 1."""
    fixed_labels: Path | None = None
    """Label map of that frame, whose parts the summary of the motion lists."""

    def __post_init__(self) -> None:
        check_number(self, "jobs", 0, whole=True)
        check_number(self, "threads", 0, whole=True)
        check_number(self, "fixed_frame", 1, whole=True)
        check_number(self, "cache_gib", 0, above=True)


@dataclass(frozen=True)
class BatchSummary:
    """What a batch run did.

    Args:
        n_pairs: pairs of the table.
        n_done: registered now.
        n_kept: registered by an earlier run.
        n_failed: pairs without a result.
        n_not_pass: pairs with a result whose verdict is not PASS, now or by an earlier run.
        n_encoded: images that were segmented now.
        seconds: wall time of this run.
        records: the record file.
        failures: table of the pairs without a result, with the reason of each.
        motion: table of the motion in a time series; None for a table of pairs.
    """

    n_pairs: int
    n_done: int
    n_kept: int
    n_failed: int
    n_not_pass: int
    n_encoded: int
    seconds: float
    records: Path
    failures: Path
    motion: Path | None = None


def run_batch(
    options: BatchOptions,
    *,
    progress: Progress | None = None,
    message: Callable[[str], None] | None = None,
) -> BatchSummary:
    """Register every pair of a table; write a run folder, a record and at the end a summary and an index of all.

    Args:
        options: what to run.
        progress: called with (stage, done, total).
        message: called with one line for the user: a failure, or the counts and the time left.

    Raises:
        DatasetError: if the table cannot be used. Images that are missing or damaged are failures of their pairs.
        InputError: if another run writes into the same folder.
    """
    message = message or (lambda _: None)
    series = is_series(options.pairs)
    if options.fixed_labels is not None and not series:
        raise DatasetError(
            f"{options.pairs}: is a table; give labels in its columns, and --fixed-labels for a time series"
        )
    pairs = frame_pairs(options.pairs, options.fixed_frame) if series else read_pairs(options.pairs, must_exist=False)
    keys = {pair.id: _key(pair, options.config, options.checks) for pair in pairs}
    folders = _run_folders(pairs, options.out / RUNS)
    path = options.out / RECORDS
    with RecordLog(path) as log:
        known = {record["key"]: record for record in read_records(path)}
        tasks = []
        tally = _Tally(len(pairs), message)
        for pair in pairs:
            earlier = known.get(keys[pair.id], {"status": "unknown"})
            if earlier["status"] == "done" and folders[pair.id].is_dir():
                tally.n_kept += 1
            elif earlier["status"] == "failed" and not options.retry_failed:
                tally.n_failed += 1
            else:
                tasks.append((keys[pair.id], pair, folders[pair.id], options))
        tally.start(len(tasks))

        def keep(index: int, record: Record | None, error: str) -> None:
            key, pair, _, _ = tasks[index]
            kept = _record(key, pair) | {"status": "failed", "error": error} if record is None else record
            log.append(kept)
            tally.add(kept)
            if progress:
                progress("batch", tally.n_seen, len(pairs))

        if progress and tasks:
            progress("batch", tally.n_seen, len(pairs))  # the table is read: what takes long begins
        run_tasks(register_pair, tasks, keep, jobs=options.jobs, dask=options.dask, threads=options.threads)
    records = {record["key"]: record for record in read_records(path)}
    rows = [(pair, records[keys[pair.id]]) for pair in pairs if keys[pair.id] in records]
    failures = _write_summaries(options.out, rows)
    write_index(options.out, rows)
    return BatchSummary(
        len(pairs),
        tally.n_done,
        tally.n_kept,
        tally.n_failed,
        sum(record["status"] == "done" and record.get("verdict") != "PASS" for _, record in rows),
        tally.n_encoded,
        tally.seconds,
        path,
        failures,
        _motion(options, rows) if series else None,
    )


def _motion(options: BatchOptions, rows: list[tuple[PairRecord, Record]]) -> Path:
    done = {p.moving_frame: Path(r["run"]) for p, r in rows if r["status"] == "done" and p.moving_frame is not None}
    return write_motion(options.out, done, options.fixed_frame, options.fixed_labels)


class _Tally:
    """Counts of a batch run, and a line about them from time to time."""

    every_s = 30.0

    def __init__(self, n_pairs: int, message: Callable[[str], None]) -> None:
        self.n_pairs, self._message = n_pairs, message
        self.n_done = self.n_kept = self.n_failed = self.n_encoded = 0
        self._started = self._last_message = time.monotonic()
        self._n_tasks = self._n_handled = 0

    @property
    def n_seen(self) -> int:
        """Pairs that are done or have failed, now or earlier."""
        return self.n_pairs - self._n_tasks + self._n_handled

    @property
    def seconds(self) -> float:
        """Wall time so far."""
        return time.monotonic() - self._started

    def start(self, n_tasks: int) -> None:
        """Count what is to be done now, with a message about what an earlier run did."""
        self._n_tasks = n_tasks
        if n_tasks < self.n_pairs:
            failed = f", {self.n_failed} have failed (--retry-failed tries them again)" if self.n_failed else ""
            self._message(f"{self.n_kept} of {self.n_pairs} pairs are registered already{failed}")

    def add(self, record: Record) -> None:
        """Count one pair."""
        self._n_handled += 1
        self.n_encoded += len(record.get("encoded", []))
        if record["status"] == "done":
            self.n_done += 1
        else:
            self.n_failed += 1
            self._message(f"failed: {record['pair']}: {record['error']}")
        now = time.monotonic()
        if now - self._last_message >= self.every_s or self._n_handled == self._n_tasks:
            self._last_message = now
            self._message(
                f"{self.n_seen} of {self.n_pairs} pairs, {self.n_failed} failed, {self.n_encoded} images encoded, "
                f"{time_left(self.seconds, self._n_handled, self._n_tasks)}"
            )


def time_left(seconds: float, n_done: int, n_total: int) -> str:
    """How long it has taken and will take, in words: `3.1 s a pair, 2 h 05 min left`.

    Args:
        seconds: time spent so far.
        n_done: what it was spent on, at least 1.
        n_total: what there is in all.
    """
    each = seconds / max(1, n_done)
    left = round(each * (n_total - n_done))
    hours, minutes = left // 3600, left % 3600 // 60
    text = f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left % 60:02d} s" if minutes else f"{left} s"
    return f"{each:.1f} s a pair, {text} left"


def register_pair(key: str, pair: PairRecord, folder: Path, options: BatchOptions) -> Record:
    """Register one pair and write its run folder; a failure becomes a record as well.

    Args:
        key: key of the record.
        pair: the pair.
        folder: its run folder; an incomplete record's leftover is replaced.
        options: settings of the batch.
    """
    from samreg.io.images import read_image
    from samreg.notes import collected
    from samreg.pipeline import register
    from samreg.regions.cache import RegionsCache
    from samreg.runs.guides import MASKS, Guides
    from samreg.runs.initial import read_initial
    from samreg.runs.run_folder import write_run

    record = _record(key, pair)
    start = time.perf_counter()
    try:
        cache = None
        if options.cache:
            size = int(options.cache_gib * _GIB)
            cache = RegionsCache(options.cache_dir, size) if options.cache_dir else RegionsCache(max_bytes=size)
        finder = CountingFinder(shared_finder(options.config.segment))
        with collected() as notes:
            frames = {"fixed": {"frame": pair.fixed_frame}, "moving": {"frame": pair.moving_frame}}
            images = read_image(pair.fixed, **frames["fixed"]), read_image(pair.moving, **frames["moving"])
            # The points of a table score the result; those that pull it have columns of their own.
            given = {role: getattr(pair, role) for role in MASKS}
            given |= {"fixed_points": pair.fixed_guides, "moving_points": pair.moving_guides}
            guides = Guides.read(given, images[0].grid, images[1].grid)
        initial = None if pair.initial is None else read_initial(pair.initial, images[0].grid)
        result = register(
            *images,
            options.config,
            segmenter=finder,
            cache=cache,
            initial=initial,
            **guides.arguments,
            checks=options.checks,
        )
        result = dataclasses.replace(result, notes=(*notes, *result.notes))
        inputs = {"fixed": pair.fixed, "moving": pair.moving}
        inputs |= ({} if pair.initial is None else {"initial": pair.initial}) | guides.files
        write_run(result, folder, inputs=inputs, overwrite=True, chosen=frames)
        record |= {
            "status": "done",
            "run": str(folder),
            "encoded": finder.found,
            "n_pairs": len(result.pairs),
            "verdict": result.verdict,
            "checks": {c.name: {"value": c.value, "state": c.state} for c in result.checks},
            "confidence": round(float(result.confidence), 4),
            "score": None if result.score is None else round(float(result.score), 4),
            "seconds": round(time.perf_counter() - start, 3),
            "segment_seconds": round(result.seconds.get("segment", 0.0), 3),
            "warnings": list(result.warnings),
        }
        if pair.fixed_labels or pair.fixed_points:
            parts = result.fixed, result.moving.grid, result.pairs, result.stack_axis
            record["metrics"] = {} if result.field is None else score(pair, result.field, *parts)
        json.dumps(record, allow_nan=False)
    except SamregError as error:
        return _record(key, pair) | {"status": "failed", "error": str(error)}
    except Exception as error:
        return _record(key, pair) | {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    return record


def _record(key: str, pair: PairRecord) -> Record:
    import samreg

    return {
        "key": key,
        "pair": pair.id,
        "fixed": str(pair.fixed),
        "moving": str(pair.moving),
        "samreg": samreg.__version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _key(pair: PairRecord, config: RegisterConfig, checks: str = "quick") -> str:
    """What makes a pair the same work: its id, its files, the settings, and checks beyond the quick ones."""
    facts: list[Any] = [dataclasses.asdict(config), *(str(path.absolute()) for path in pair.files())]
    facts += [checks] if checks != "quick" else []
    facts += [pair.fixed_frame, pair.moving_frame] if pair.fixed_frame or pair.moving_frame else []
    return f"{pair.id}/{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"


def _run_folders(pairs: list[PairRecord], root: Path) -> dict[str, Path]:
    """A folder for each pair, named after its id as far as file systems allow."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for pair in pairs:
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", pair.id).strip("._")[:_MOST_NAME]
        # Two ids may become one name, also where a file system ignores case; the sha256 of the id makes them differ.
        if not name or name.lower() in taken:
            name = f"{name or 'pair'}-{hashlib.sha256(pair.id.encode()).hexdigest()[:8]}"
        taken.add(name.lower())
        names[pair.id] = name
    return {pair_id: root / name for pair_id, name in names.items()}


def _write_summaries(out: Path, rows: list[tuple[PairRecord, Record]]) -> Path:
    """`summary.csv`, a row a pair in the order of the table, and `failures.csv`, a table that can be given again."""
    numbers: list[tuple[str, Callable[[Record], Any]]] = [
        ("seconds", lambda r: r.get("seconds", "")),
        ("verdict", lambda r: r.get("verdict", "")),
        ("n_pairs", lambda r: r.get("n_pairs", "")),
        ("confidence", lambda r: r.get("confidence", "")),
        ("score", lambda r: "" if r.get("score") is None else r["score"]),
        *((name, functools.partial(_metric, name)) for name, metric in all_metrics().items() if metric.in_tables),
        ("warnings", lambda r: "; ".join(r.get("warnings", []))),
        ("error", lambda r: r.get("error", "")),
    ]
    with (out / SUMMARY).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "status", "run", *(name for name, _ in numbers)])
        for pair, record in rows:
            writer.writerow(
                [pair.id, record["status"], record.get("run", ""), *(value(record) for _, value in numbers)]
            )
    failures = out / FAILURES
    with failures.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "fixed", "moving", "error"])
        for pair, record in rows:
            if record["status"] == "failed":
                writer.writerow([pair.id, pair.fixed, pair.moving, record["error"]])
    return failures


def _metric(name: str, record: Record) -> float | str:
    value = single_number(record.get("metrics", {}).get(name))
    return "" if math.isnan(value) else round(value, 6)
