"""The benchmark: pairs x methods -> records, resumable at any moment, on processes or on Dask."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from samreg.errors import ConfigError, SamregError, check_choice, check_number
from samreg.io.tables import PairRecord
from samreg.lab.baselines.splits import only_test
from samreg.lab.datasets import open_dataset
from samreg.lab.peers import load_method, missing_methods
from samreg.lab.pseudo_rois import score_pseudo_rois
from samreg.metrics.score import score
from samreg.runs.records import Record, RecordLog, read_records
from samreg.runs.workers import run_tasks
from samreg.types import Progress

__all__ = ["BenchmarkOptions", "BenchmarkSummary", "evaluate_pair", "record_key", "run_benchmark"]

RECORDS = "records.jsonl"


@dataclass(frozen=True)
class BenchmarkOptions:
    """What `samreg benchmark` runs."""

    dataset: str
    """Name of the dataset: acdc, amos22, msd, nnunet, promise12, learn2reg, folder, pairs, ..."""
    root: Path
    """Folder the dataset was unpacked into; for pairs the table."""
    out: Path
    """Folder for the records, tables and figures."""
    methods: tuple[str, ...] = ("identity", "samreg")
    """Methods, for example identity niftyreg ants elastix greedy convexadam samreg samreg+match.max_pairs=3."""
    limit: int = 0
    """Only the first so many pairs; 0 is all."""
    split: Literal["all", "test"] = "all"
    """test keeps to the test subjects of the dataset's stored split: what trained methods have not seen."""
    jobs: int = 1
    """Worker processes on this machine; 0 computes in this process."""
    dask: str = ""
    """Address of a Dask scheduler, instead of processes on this machine."""
    threads: int = 2
    """Threads of each registration."""
    retry_failed: bool = False
    """Try the pairs again that failed in an earlier run."""
    reuse: bool = False
    """Let samreg take regions from the cache, for ablations; the seconds then leave the segmentation out."""
    pseudo_rois: str = ""
    """Segmenter whose paired regions are measured as well (Pse-ROI); empty for none."""

    def __post_init__(self) -> None:
        check_number(self, "limit", 0, whole=True)
        check_choice(self, "split", ("all", "test"))
        check_number(self, "jobs", 0, whole=True)
        check_number(self, "threads", 1, whole=True)


@dataclass(frozen=True)
class BenchmarkSummary:
    """What a benchmark run did.

    Args:
        records: the record file.
        n_done: pairs x methods computed now.
        n_kept: those that were recorded before.
        n_failed: those that have failed, now or earlier.
        skipped: methods whose tool is not installed -> command that installs it.
    """

    records: Path
    n_done: int
    n_kept: int
    n_failed: int
    skipped: dict[str, str]


def run_benchmark(
    options: BenchmarkOptions,
    *,
    progress: Progress | None = None,
    message: Callable[[str], None] | None = None,
) -> BenchmarkSummary:
    """Register every pair with every method and append a record of each to `out/records.jsonl`.

    What is recorded with the same settings is not computed again, so a run that was killed goes on where it was.
    Methods whose tool is absent are skipped, with a message.

    Args:
        options: what to run.
        progress: called with (stage, done, total).
        message: called with one line for the user.

    Raises:
        DatasetError: if the dataset is absent or incomplete.
        ConfigError: if a method does not exist.
        InputError: if another run writes into the same folder.
    """
    message = message or (lambda _: None)
    if not options.methods:
        raise ConfigError("a benchmark needs at least one method, for example --methods identity samreg")
    pairs = open_dataset(options.dataset, options.root, 0 if options.split == "test" else options.limit)
    if options.split == "test":
        pairs = only_test(pairs, options.dataset)[: options.limit or None]
    skipped = missing_methods(list(options.methods))
    for name, command in skipped.items():
        message(f"skipped: {name} is not installed; to install it: {command}")
    names = [name for name in dict.fromkeys(options.methods) if name not in skipped]
    path = options.out / RECORDS
    counts = {"done": 0, "failed": 0}
    with RecordLog(path) as log:
        known = {record["key"]: record for record in read_records(path)}
        # Pair by pair rather than method by method: a run that is stopped early has whole rows.
        wanted = [(pair, name) for pair in pairs for name in names]
        tasks = []
        n_kept = 0
        for pair, name in wanted:
            earlier = known.get(record_key(options.dataset, pair, name))
            if earlier is None or (earlier["status"] == "failed" and options.retry_failed):
                tasks.append((options.dataset, pair, name, options.threads, options.reuse, options.pseudo_rois))
            else:
                n_kept += 1
                counts["failed"] += earlier["status"] == "failed"
        if n_kept:
            message(f"{n_kept} of {len(wanted)} registrations are recorded already")

        def keep(index: int, record: Record | None, error: str) -> None:
            dataset, pair, name, threads, *_ = tasks[index]
            if record is None:
                record = _record(dataset, pair, name) | {"status": "failed", "error": error, "threads": threads}
            log.append(record)
            counts["done"] += 1
            if record["status"] == "failed":
                counts["failed"] += 1
                message(f"failed: {pair.id}, {name}: {record['error']}")
            if progress:
                progress("benchmark", n_kept + counts["done"], len(wanted))

        run_tasks(evaluate_pair, tasks, keep, jobs=options.jobs, dask=options.dask, threads=options.threads)
    return BenchmarkSummary(path, counts["done"], n_kept, counts["failed"], skipped)


def evaluate_pair(
    dataset: str, pair: PairRecord, name: str, threads: int = 2, reuse: bool = False, pseudo_rois: str = ""
) -> Record:
    """Register one pair with one method and score it; a failure becomes a record as well.

    Args:
        dataset: name of the dataset.
        pair: the pair.
        name: the method.
        threads: threads of the registration.
        reuse: let samreg take regions from the cache.
        pseudo_rois: segmenter whose paired regions are measured as well; empty for none.
    """
    from samreg.io.images import read_image

    record = _record(dataset, pair, name)
    try:
        method = load_method(name, reuse)
        fixed, moving = read_image(pair.fixed), read_image(pair.moving)
        reason = method.why_not(fixed, intra_subject=pair.intra_subject)
        if reason:
            return record | {"status": "not_applicable", "error": reason}
        output = method.run(fixed, moving, intra_subject=pair.intra_subject, threads=threads)
        found = score(pair, output.field, fixed, moving.grid, output.pairs, output.slice_axis)
        if pseudo_rois:
            found |= score_pseudo_rois(fixed, moving, output.field, pseudo_rois)
        record |= {
            "status": "done",
            "seconds": round(output.seconds, 3),
            "metrics": found,
            "label_names": {str(key): value for key, value in pair.label_names.items()},
            "unit": fixed.grid.unit,
            "settings": dict(output.settings),
            "extra": dict(output.extra),
        }
        # What cannot be written must fail here, where it becomes the failure of one pair.
        json.dumps(record, allow_nan=False)
    except SamregError as error:
        return record | {"status": "failed", "error": str(error)}
    except Exception as error:
        return record | {"status": "failed", "error": f"{type(error).__name__}: {error}"}
    return record


def record_key(dataset: str, pair: PairRecord, name: str) -> str:
    """What makes a registration the same one: dataset, pair, method and the method's settings."""
    settings = json.dumps(dict(load_method(name).settings), sort_keys=True, default=str)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:12]
    return f"{dataset}/{pair.id}/{name}/{digest}"


def _record(dataset: str, pair: PairRecord, name: str) -> Record:
    import samreg

    return {
        "key": record_key(dataset, pair, name),
        "dataset": dataset,
        "pair": pair.id,
        "method": name,
        "intra_subject": pair.intra_subject,
        "samreg": samreg.__version__,
        "host": platform.node(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
