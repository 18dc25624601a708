"""`samreg batch`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from samreg.cli.common import show
from samreg.cli.output import report
from samreg.cli.progress import ProgressLines
from samreg.cli.settings_file import asked_settings
from samreg.config import PresetName, RegisterConfig

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """Register every pair of a table; one failure never stops the rest, and a run that was stopped goes on.

    Writes a folder a pair under DIR/runs, records.jsonl, summary.csv, failures.csv and index.html.
    """

    pairs: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PAIRS.csv")]
    """Table with the columns fixed and moving, and optionally id, labels, landmarks, initial (a transform), masks; or
    an image of several frames, each of which is registered to one."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR", aliases=("-o",))]
    """Folder for the results; the same folder again goes on where it was."""
    jobs: int = 1
    """Worker processes on this machine; 0 computes in this process."""
    dask: Annotated[str, tyro.conf.arg(metavar="ADDRESS")] = ""
    """Dask scheduler, for example tcp://10.0.0.1:8786, instead of processes on this machine."""
    threads: int = 0
    """Threads of each worker; 0 gives each an equal share of the cores."""
    checks: Literal["quick", "all"] = "quick"
    """Checks of each result: what costs little, or also those that register again (swapped, perturbed and mirrored
    images)."""
    strict: bool = False
    """End with status 3 if the verdict of a pair is not PASS."""
    retry_failed: bool = False
    """Try the pairs again that failed in an earlier run."""
    cache: bool = True
    """Segment an image once, however many pairs and runs it is in; --no-cache segments it anew for every pair."""
    cache_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where segmented images are kept; SAMREG_CACHE_DIR, else the platform's cache folder."""
    cache_gib: float = 20.0
    """What the cache may take, in GiB."""
    fixed_frame: int = 1
    """Of an image of several frames, the one that all others are registered to, from 1."""
    fixed_labels: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Label map of that frame: motion.csv lists how far each of its parts moved in every frame."""
    preset: PresetName = "default"
    """What all settings start from: default, fast, regions or paper."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config", metavar="FILE")] = None
    """Settings from a TOML file or the manifest.json of a run; options given here win over it."""
    config: Annotated[RegisterConfig, tyro.conf.arg(name="")] = field(default_factory=RegisterConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> Batch:
        """All other options default to what preset and settings file say."""
        return cls(tyro.MISSING, tyro.MISSING, config=asked_settings(arguments))

    def run(self) -> int:
        """Register and count. A batch with failures ends with status 3, so that a script notices."""
        with ProgressLines() as progress:
            progress.begin(f"reading {self.pairs}")
            from samreg.runs.batch import BatchOptions, run_batch

            options = BatchOptions(
                self.pairs,
                self.out,
                self.jobs,
                self.dask,
                self.threads,
                self.retry_failed,
                self.cache,
                self.cache_dir,
                self.cache_gib,
                self.config,
                self.checks,
                self.fixed_frame,
                self.fixed_labels,
            )
            try:
                found = run_batch(options, progress=progress, message=progress.message)
            except KeyboardInterrupt:
                kept = "; segmented images are kept for the next run" if self.cache else ""
                raise KeyboardInterrupt(f"interrupted{kept}; the same command goes on with the other pairs") from None
        report(
            folder=str(self.out),
            registered=found.n_done,
            kept=found.n_kept,
            failed=found.n_failed,
            encoded=found.n_encoded,
            summary=str(self.out / "summary.csv"),
            index=str(self.out / "index.html"),
        )
        show(
            f"{found.n_done} registered, {found.n_kept} kept from an earlier run, {found.n_failed} failed, "
            f"the verdict of {found.n_not_pass} is not PASS, {found.n_encoded} images encoded, {found.seconds:.0f} s; "
            f"see {self.out / 'index.html'} and {self.out / 'summary.csv'}"
        )
        if found.motion is not None:
            show(f"how far everything moved in each frame: {found.motion}")
        if found.n_failed:
            show(f"the failures and their reasons: {found.failures}")
        return 3 if found.n_failed or (self.strict and found.n_not_pass) else 0
