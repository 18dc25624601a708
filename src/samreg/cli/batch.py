"""`samreg batch`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from samreg.cli.common import asked_preset, show
from samreg.cli.progress import ProgressLines
from samreg.config import PresetName, RegisterConfig

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """Register every pair of a table; one failure never stops the rest, and a run that was stopped goes on.

    Writes a folder a pair under DIR/runs, records.jsonl, summary.csv and failures.csv.
    """

    pairs: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PAIRS.csv")]
    """Table with the columns fixed and moving, and optionally id, labels, landmarks and initial (a transform)."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder for the results; the same folder again goes on where it was."""
    jobs: int = 1
    """Worker processes on this machine; 0 computes in this process."""
    dask: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = ""
    """Dask scheduler, for example tcp://10.0.0.1:8786, instead of processes on this machine."""
    threads: int = 0
    """Threads of each worker; 0 leaves the choice to the libraries."""
    strict: bool = False
    """End with status 3 if the verdict of a pair is not PASS."""
    retry_failed: bool = False
    """Try the pairs again that failed in an earlier run."""
    no_cache: bool = False
    """Segment every image anew, however many pairs it is in."""
    cache_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where segmented images are kept; SAMREG_CACHE_DIR, else the platform's cache folder."""
    cache_gib: float = 20.0
    """What the cache may take, in GiB."""
    preset: PresetName = "default"
    """Where all settings below start from."""
    config: Annotated[RegisterConfig, tyro.conf.arg(name="")] = field(default_factory=RegisterConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> Batch:
        """All other options default to what the preset says."""
        return cls(tyro.MISSING, tyro.MISSING, config=asked_preset(arguments))

    def run(self) -> int:
        """Register and count. A batch with failures ends with status 3, so that a script notices."""
        from samreg.runs.batch import BatchOptions, run_batch

        options = BatchOptions(
            self.pairs,
            self.out,
            self.jobs,
            self.dask,
            self.threads,
            self.retry_failed,
            not self.no_cache,
            self.cache_dir,
            self.cache_gib,
            self.config,
        )
        with ProgressLines() as progress:
            found = run_batch(options, progress=progress, message=progress.message)
        show(
            f"{found.n_done} registered, {found.n_kept} kept from an earlier run, {found.n_failed} failed, "
            f"the verdict of {found.n_not_pass} is not PASS, {found.n_encoded} images encoded, {found.seconds:.0f} s; "
            f"see {self.out / 'summary.csv'}"
        )
        if found.n_failed:
            show(f"the failures and their reasons: {found.failures}")
        return 3 if found.n_failed or (self.strict and found.n_not_pass) else 0
