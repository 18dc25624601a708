"""Progress of long work: bars on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ProgressLines"]


class ProgressLines:
    """A context manager that is also the `progress` callable of the pipeline: `(stage, done, total)`.

    On a terminal it draws a bar a stage on stderr. Elsewhere it writes a line to stdout when a stage is done, so that
    stderr holds errors only.
    """

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._since = time.monotonic()
        self._finished: set[str] = set()

    def __enter__(self) -> ProgressLines:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, console=Console(stderr=True))
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of a stage are finished."""
        if self._bars is not None:
            if stage not in self._tasks:
                self._tasks[stage] = self._bars.add_task(stage, total=max(total, 1))
            self._bars.update(self._tasks[stage], completed=min(done, total) if total else 1, total=max(total, 1))
        elif done >= total and stage not in self._finished:
            # Stages follow one another; the first call of a stage comes when its first step is done.
            now = time.monotonic()
            self._finished.add(stage)
            sys.stdout.write(f"{stage}: {done} of {total}, {now - self._since:.1f} s\n")
            sys.stdout.flush()
            self._since = now

    def message(self, text: str) -> None:
        """Write one line to stdout; above the bars on a terminal."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
