"""Progress of long work: one bar over all on a terminal, plain lines in a log."""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

from samreg.cli.output import current

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["ProgressLines", "left"]

_SHARES = {"segment fixed": 42.0, "segment moving": 42.0, "fit": 9.0, "rest": 7.0}
"""Stages of a registration -> their share of the work; images that were segmented before have none. The rest
(asking for counterparts, checks, files) reports no steps."""
_NAMES = {"segment fixed": "encode and prompt fixed", "segment moving": "encode and prompt moving"}
_AFTER = {
    "segment fixed": _NAMES["segment moving"],
    "segment moving": "start and pairs",
    "fit": "pairs, checks and files",
}
"""What comes after a stage, before its own first step is done."""
_LOGGERS = "samreg.segmenters.engines", "samreg.cache"
_BEATS = 10
"""Looks at the clock within the longest silence of a log."""


class ProgressLines:
    """A context manager that is also the `progress` callable of the pipeline: `(stage, done, total)`.

    On a terminal it draws one bar over all stages on stderr, with the time left. Elsewhere it writes a line to stdout
    when something begins or a stage is done, and at least every `silence` seconds, so that stderr holds errors only.

    Args:
        silence: seconds without a line in a log at most.
    """

    def __init__(self, silence: float = 30.0) -> None:
        self.n_kept = 0
        """Images whose regions are in the cache by now."""
        self._silence = silence
        self._quiet = current().quiet
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._work = _Work()
        self._now = self._before = ""
        self._began = self._since = self._spoke = time.monotonic()
        self._finished: set[str] = set()
        self._lock = threading.RLock()
        self._end = threading.Event()
        self._listener, self._levels = _Listener(self), dict[str, int]()

    def __enter__(self) -> ProgressLines:
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            logger.addHandler(self._listener)
            self._levels[name] = logger.level
            if not logger.isEnabledFor(logging.INFO):
                logger.setLevel(logging.INFO)
        if self._quiet:
            return self
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            # Square brackets in file names are no markup.
            told = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[left]}", markup=False)
            columns = told[0], BarColumn(30), TimeElapsedColumn(), told[1]
            self._bars = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bars.start()
            self._task = self._bars.add_task("", total=None, left="")
        else:
            threading.Thread(target=self._speak_up, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._end.set()
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._listener)
            logging.getLogger(name).setLevel(self._levels[name])
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` steps of a stage are finished."""
        with self._lock:
            now = time.monotonic()
            ended = done >= total
            self._work.add(stage, done / total if total else 1.0, now)
            self._now = _AFTER.get(stage, "") if ended else f"{_NAMES.get(stage, stage)}, {done} of {total}"
            if self._bars is not None:
                self._draw()
            elif ended and stage not in self._finished:
                # Stages follow one another; the first call of a stage comes when its first step is done.
                self._write(f"{_NAMES.get(stage, stage)}: {done} of {total}, {now - self._since:.1f} s")
                self._since = now
            if ended:
                self._finished.add(stage)

    def begin(self, what: str) -> None:
        """Say what begins, where it has no steps: reading, loading, compiling."""
        with self._lock:
            self._now = what
            if self._bars is not None:
                self._draw()
            else:
                self._write(what)

    def interject(self, what: str) -> None:
        """Say what begins in the midst of something else, which `resume` shows again."""
        with self._lock:
            self._before = self._now
            self.begin(what)

    def resume(self) -> None:
        """What went on before `interject` goes on."""
        with self._lock:
            self._now = self._before
            self._draw()

    def known(self, name: str) -> None:
        """Say that an image needs no segmentation, so that nobody waits for one; what follows has no steps to count."""
        self.begin(f"{name}: its regions are known from an earlier run")
        self._now = _AFTER["segment moving"]

    def message(self, text: str) -> None:
        """Write one line for people; above the bar on a terminal."""
        if not self._quiet:
            self._write(text)

    def interrupted(self) -> KeyboardInterrupt:
        """What to raise after Ctrl-C: it says whether the next run starts from segmented images."""
        if self.n_kept:
            return KeyboardInterrupt("interrupted; segmented images are kept for the next run")
        return KeyboardInterrupt()

    def _draw(self) -> None:
        if self._bars is None or self._task is None:
            return
        share = self._work.share
        time_left = left(self._work.left(time.monotonic()))
        # The bar moves to and fro until there is something to count.
        total = None if share == 0 else 1.0
        self._bars.update(self._task, description=self._now, completed=share, total=total, left=time_left)

    def _write(self, text: str) -> None:
        self._spoke = time.monotonic()
        if self._quiet:
            return
        stream = current().stream
        stream.write(f"{text}\n")
        stream.flush()

    def _speak_up(self) -> None:
        """Break a silence that is too long."""
        while not self._end.wait(self._silence / _BEATS):
            with self._lock:
                now = time.monotonic()
                if now - self._spoke < self._silence * (1 - 1 / _BEATS):
                    continue
                time_left = left(self._work.left(now))
                parts = [self._now or "working", f"{now - self._began:.0f} s so far", time_left]
                self._write(", ".join(part for part in parts if part))


class _Work:
    """How much of all the work is done, over stages of which some may never come."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._first: tuple[float, float] | None = None

    def add(self, stage: str, fraction: float, now: float) -> None:
        """A stage is done to a fraction; stages before it that did not come are done."""
        if stage not in self._shares:
            # What did not come before the first stage was found in the cache.
            names = list(_SHARES)
            self._shares |= {n: _SHARES[n] for n in names[names.index(stage) :]} if stage in names else {stage: 100.0}
        known = list(self._shares)
        for earlier in known[: known.index(stage)]:
            self._done[earlier] = 1.0
        self._done[stage] = min(1.0, fraction)
        if self._first is None:  # what came before, such as compiling, says nothing of the speed
            self._first = now, self.share

    @property
    def share(self) -> float:
        """Done of all, 0 to 1."""
        total = sum(self._shares.values())
        return sum(self._shares[n] * f for n, f in self._done.items()) / total if total else 0.0

    def left(self, now: float) -> float | None:
        """Seconds that the rest will take; None where nobody knows yet."""
        if self._first is None or self.share <= self._first[1]:
            return None
        return (now - self._first[0]) * (1 - self.share) / (self.share - self._first[1])


def left(seconds: float | None) -> str:
    """The time left in words; empty where it is not known."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"about {minutes} min {rest:02d} s left" if minutes else f"about {rest} s left"


class _Listener(logging.Handler):
    """Shows what the engines log before a long step, and counts the images that the cache holds."""

    def __init__(self, lines: ProgressLines) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Take one message."""
        if record.name == "samreg.cache":
            self._lines.n_kept += record.levelno == logging.INFO
            if record.getMessage().startswith("found"):
                self._lines.known(record.getMessage().removeprefix("found "))
        elif record.getMessage().startswith("compiling"):
            self._lines.interject(record.getMessage())
        elif record.getMessage().startswith("compiled"):
            self._lines.resume()
