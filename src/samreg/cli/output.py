"""How much a command says: `--quiet`, `--verbose`, and `--json` for programs.

One state a process, which `begin` sets. What people read goes to stdout, or to stderr where `--json` keeps stdout for
its one line.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from samreg.errors import InputError
from samreg.runs.threads import number_of_threads

if TYPE_CHECKING:
    from pathlib import Path

    from samreg.result import RegistrationResult

__all__ = ["Output", "begin", "current", "logged", "report", "report_run"]

_WORDS = {"-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose", "--json": "json"}


@dataclass
class Output:
    """What was asked for, and what the line of JSON will hold."""

    quiet: bool = False
    verbose: bool = False
    json: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def stream(self) -> TextIO:
        """Where text for people goes."""
        return sys.stderr if self.json else sys.stdout

    def line(self, command: str, status: int, seconds: float, notes: Sequence[str], error: str) -> str:
        """The line of JSON: what every command says of itself, then what this one reported.

        Args:
            command: its name.
            status: exit status.
            seconds: wall time of the whole command.
            notes: what the readers noted.
            error: the message of the error that ended it; empty without one.
        """
        word = {0: "done", 130: "interrupted"}.get(status, "failed")
        warnings = list(dict.fromkeys([*notes, *self.facts.get("warnings", ())]))
        row = {"command": command, "status": word, "exit_status": status, "seconds": round(seconds, 2), **self.facts}
        row |= {"warnings": warnings, "error": error or None}
        from samreg.files import to_json  # numpy comes with it, and help needs none

        return json.dumps(to_json(row), ensure_ascii=False, allow_nan=False)


_STATE = [Output()]


def current() -> Output:
    """What the command that runs was asked for."""
    return _STATE[-1]


def begin(arguments: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """Set how much is said, from the switches among the arguments; returns the other arguments.

    Args:
        arguments: of the command.
        taken: names that the command uses for options of its own.

    Raises:
        InputError: if `--quiet` and `--verbose` are both given.
        ConfigError: if `--threads` is not a whole number of at least 1.
    """
    words = {word: name for word, name in _WORDS.items() if name not in taken}
    arguments = arguments if "threads" in taken else _without_threads(arguments)
    asked = {words[word] for word in arguments if word in words}
    _STATE[-1] = Output("quiet" in asked, "verbose" in asked, "json" in asked)
    if {"quiet", "verbose"} <= asked:
        raise InputError("--quiet and --verbose are both given; give one of them")
    return [word for word in arguments if word not in words]


def _without_threads(arguments: Sequence[str]) -> list[str]:
    """The arguments without `--threads N`, which has been read before anything was loaded."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--threads":
            number_of_threads(next(words, ""), "--threads")
        elif word.startswith("--threads="):
            number_of_threads(word.partition("=")[2], "--threads")
        else:
            kept.append(word)
    return kept


def report(**facts: Any) -> None:
    """Add to the line of JSON."""
    current().facts.update(facts)


def report_run(result: RegistrationResult, folder: Path) -> None:
    """Add what a registration came to."""
    verdict = getattr(result, "verdict", None)
    report(
        run=str(folder),
        **({} if verdict is None else {"verdict": getattr(verdict, "word", verdict)}),
        confidence=round(float(result.confidence), 4),
        score=None if result.score is None else round(float(result.score), 4),
        pairs=len(result.pairs),
        stages={stage: round(value, 3) for stage, value in result.seconds.items()},
        warnings=list(result.warnings),
    )


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """With `--verbose`, what samreg logs goes to stderr while the block runs."""
    if not current().verbose:
        yield
        return
    logger, handler = logging.getLogger("samreg"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("samreg: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
