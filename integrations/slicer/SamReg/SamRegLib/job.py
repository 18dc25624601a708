"""One registration as a process: its command, what it prints, how it ended, and the files to load.

Nothing here imports 3D Slicer or samreg: Slicer's Python runs the module, and samreg runs in a process of its own, so
that Slicer stays usable meanwhile and a registration can be cancelled.
"""

from __future__ import annotations

import importlib.util
import json
import queue
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "PRESETS",
    "REQUIREMENT",
    "TRANSFORMS",
    "Files",
    "Job",
    "JobError",
    "Outcome",
    "Process",
    "check_python",
    "is_installed",
    "python_of",
    "words_of",
]

REQUIREMENT = "samreg"
"""What pip installs, once the user has agreed."""
OLDEST_PYTHON = (3, 10)
PRESETS = ("default", "fast", "regions", "paper")
TRANSFORMS = ("ddf", "ffd", "svf", "affine", "rigid")


class JobError(RuntimeError):
    """A registration that cannot start or did not end well: one line for the user."""


def is_installed() -> bool:
    """Whether samreg is in this Python."""
    return importlib.util.find_spec("samreg") is not None


def check_python(version: Sequence[int] = sys.version_info) -> None:
    """Make sure that samreg can be installed into this Python.

    Raises:
        JobError: if it is too old.
    """
    if tuple(version[:2]) < OLDEST_PYTHON:
        have, want = (".".join(map(str, v[:2])) for v in (version, OLDEST_PYTHON))
        raise JobError(f"this 3D Slicer has Python {have} and samreg wants {want} or newer; use a newer 3D Slicer")


def python_of(find: Callable[[str], str | None] = shutil.which) -> str:
    """Slicer's own Python, as a program.

    Raises:
        JobError: if it is not on the path.
    """
    program = find("PythonSlicer")
    if program is None:
        raise JobError("PythonSlicer was not found; start 3D Slicer by its own launcher")
    return program


def words_of(text: str) -> tuple[str, ...]:
    """Options that the user typed, as words.

    Raises:
        JobError: if a quotation mark has no partner.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError:
        raise JobError(f"other options: a quotation mark has no partner in {text}") from None


@dataclass(frozen=True)
class Job:
    """What to register and how.

    Args:
        fixed: file of the fixed volume.
        moving: file of the moving volume.
        run: folder for the result; must not exist or be empty.
        preset: one of `PRESETS`.
        transform: one of `TRANSFORMS`; None: what the preset says.
        extra: further options of `samreg register`.
    """

    fixed: Path
    moving: Path
    run: Path
    preset: str = "default"
    transform: str | None = None
    extra: tuple[str, ...] = ()

    def command(self, python: str) -> list[str]:
        """The command line; its last line of output is JSON.

        Raises:
            JobError: if there is no such preset or transform.
        """
        if self.preset not in PRESETS:
            raise JobError(f"there is no preset {self.preset}; choose one of {', '.join(PRESETS)}")
        if self.transform is not None and self.transform not in TRANSFORMS:
            raise JobError(f"there is no transform {self.transform}; choose one of {', '.join(TRANSFORMS)}")
        words = [python, "-m", "samreg", "register", str(self.fixed), str(self.moving), "--out", str(self.run)]
        words += ["--preset", self.preset, "--json", *self.extra]
        return words if self.transform is None else [*words, "--transform", self.transform]


@dataclass(frozen=True)
class Outcome:
    """How a registration ended.

    Args:
        status: exit status of the process.
        error: one line; empty where it ended well.
        verdict: PASS, LOOK or FAIL; empty without one.
        pairs: number of pairs.
        warnings: one sentence each.
    """

    status: int
    error: str = ""
    verdict: str = ""
    pairs: int = 0
    warnings: tuple[str, ...] = ()

    @classmethod
    def of(cls, status: int, lines: Sequence[str]) -> Outcome:
        """What the lines that a process printed say."""
        for line in reversed(lines):
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and "exit_status" in row:
                error = row.get("error") or ("" if status in (0, 3) else f"samreg ended with status {status}")
                warnings = tuple(row.get("warnings") or ())
                return cls(status, error, row.get("verdict") or "", int(row.get("pairs") or 0), warnings)
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        return cls(status, f"samreg ended with status {status}: {last}")

    @property
    def summary(self) -> str:
        """One line for the user."""
        if self.error:
            return self.error
        return f"{self.pairs} pairs, verdict {self.verdict or 'unknown'}" + "".join(f"\n{w}" for w in self.warnings)


@dataclass(frozen=True)
class Files:
    """The files of a run folder that Slicer loads.

    Args:
        transform: from fixed to moving points; Slicer takes it as a transform from parent, so that the moving volume
            under it lies on the fixed one.
        fixed_segmentation: regions of the fixed volume.
        moving_segmentation: regions of the moving volume; a pair has one name and colour in both.
        report: a page to look at.
    """

    transform: Path
    fixed_segmentation: Path
    moving_segmentation: Path
    report: Path

    @classmethod
    def of(cls, run: Path) -> Files:
        """Those of a folder.

        Raises:
            JobError: if one is missing.
        """
        names = ("transform.h5", "fixed_rois.seg.nrrd", "moving_rois.seg.nrrd", "report.html")
        missing = [name for name in names if not (run / name).is_file()]
        if missing:
            raise JobError(f"{run} holds no {', '.join(missing)}; register again")
        return cls(*(run / name for name in names))


class Process:
    """A process whose lines are read by a thread, so that nobody waits for them.

    Args:
        popen: the process; its standard output is a pipe of text, with its errors in it.
    """

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, command: Sequence[str]) -> Process:
        """Start a command without Slicer's help."""
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(list(command), stdout=pipe, stderr=subprocess.STDOUT, text=True))

    def _read(self) -> None:
        if self._popen.stdout is not None:
            with self._popen.stdout as stream:
                for line in stream:
                    self._queue.put(line.rstrip("\n"))

    def new_lines(self) -> list[str]:
        """What was printed since the last call."""
        found = []
        while not self._queue.empty():
            found.append(self._queue.get())
        self.lines += found
        return found

    @property
    def is_running(self) -> bool:
        """Whether it has not ended, or its last lines were not read yet."""
        return self._popen.poll() is None or self._reader.is_alive()

    def cancel(self) -> None:
        """End the process."""
        self._popen.terminate()

    def outcome(self) -> Outcome:
        """How it ended; waits for it."""
        self._popen.wait()
        self._reader.join()
        self.new_lines()
        return Outcome.of(self._popen.returncode, self.lines)
