"""Arguments to a command dataclass, by tyro; what is wrong with them in one line."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from samreg.errors import InputError

__all__ = ["parse"]

T = TypeVar("T")
_STYLE = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)


def parse(command: type[T], prog: str, arguments: Sequence[str]) -> T:
    """Make a command of its arguments.

    Nested settings have flat names: `--epsilon`, not `--config.match.epsilon`.

    Raises:
        InputError: if an argument is missing, unknown or has no meaning.
        SystemExit: after `--help`.
    """
    defaults = getattr(command, "defaults", None)
    extra: dict[str, Any] = {} if defaults is None else {"default": defaults(list(arguments))}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: T = tyro.cli(command, prog=prog, args=list(arguments), config=_STYLE, **extra)
    except SystemExit as exit_:
        if not exit_.code:
            raise
        raise InputError(_one_line(complaint.getvalue(), prog)) from None
    return parsed


def _one_line(box: str, prog: str) -> str:
    """The text of tyro's message box, without the box."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    rows = [row.strip("│╭╮╰╯").rstrip() for row in text.splitlines()[1:]]
    said: list[str] = []
    for row in rows:
        if row.strip() and not row.strip(" ─"):
            break
        if not row.startswith(" " * 9):  # the help of an option that is missing
            said.append(row)
    if said and said[0].strip().startswith("Missing from"):
        message = "missing: " + ", ".join(row.strip() for row in said[1:])
    else:
        message = " ".join(" ".join(said).split()).rstrip(".")
        # A setting that refuses itself says which it is; the name of the class that holds it says nothing to a user.
        message = re.sub(r"^Error parsing [\w.-]+: (?=\w+ \(--)", "", message)
    close = re.search(r"Perhaps you meant:\s*(--[\w-]+)", " ".join(rows))
    if close:
        message += f"; did you mean {close[1]}?"
    return f"{message or 'the arguments make no sense'}; see {prog} --help"
