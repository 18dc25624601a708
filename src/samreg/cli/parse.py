"""Arguments to a command dataclass, by tyro; what is wrong with them in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import tyro

from samreg.errors import InputError
from samreg.notes import environment

__all__ = ["parse"]

T = TypeVar("T")
_STYLE = (tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff)
"""samreg writes its own help: looking for comments beside the fields would parse whole modules at every command."""
_UNION = re.compile(r"^Error parsing (--[\w-]+): no type matching (.*?) could be instantiated from \[(.*?)\]\..*$")
_KINDS = {"INT": "a whole number", "FLOAT": "a number", "STR": "a name"}


def parse(command: type[T], prog: str, arguments: Sequence[str]) -> T:
    """Make a command of its arguments.

    Nested settings have flat names: `--epsilon`, not `--config.match.epsilon`. A switch has two forms, `--verify` and
    `--no-verify`, so that an option can take back what a preset or a settings file says.

    Raises:
        InputError: if an argument is missing, unknown or has no meaning.
        SystemExit: after `--help` and `--help-all`.
    """
    defaults = getattr(command, "defaults", None)
    for word, page in (
        ()
        if not dataclasses.is_dataclass(command)
        else (("--help-all", "full_page"), ("--help", "short_page"), ("-h", "short_page"))
    ):
        if word in arguments:
            from samreg.cli import help as pages

            shown = getattr(pages, page)(command, prog.split()[-1], None if defaults is None else defaults([]))
            sys.stdout.write(shown + "\n")
            raise SystemExit(0)
    extra: dict[str, Any] = {} if defaults is None else {"default": defaults(list(arguments))}
    complaint = io.StringIO()
    try:
        # No terminal is wide enough for tyro's box: it would break a long path in the middle of a name.
        with contextlib.redirect_stderr(complaint), environment("COLUMNS", "100000"):
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
        message = "missing: " + ", ".join(row.strip().split(", ")[-1] for row in said[1:])
    else:
        message = " ".join(" ".join(said).split()).rstrip(".")
        # A setting that refuses itself says which it is; the name of the class that holds it says nothing to a user.
        message = re.sub(r"^Error parsing [\w.-]+: (?=\w+ \(--)", "", message)
        message = _UNION.sub(_wanted, message)
    close = re.search(r"Perhaps you meant:\s*(--[\w-]+)", " ".join(rows))
    if close:
        message += f"; did you mean {close[1]}?"
    return f"{message or 'the arguments make no sense'}; see {prog} --help"


def _wanted(found: re.Match[str]) -> str:
    """What an option that may also be left out wants, without the names of types."""
    option, kinds, value = found.groups()
    wanted = [_KINDS.get(kind, kind.strip("{}")) for kind in kinds.split("|") if kind != "{None}"]
    return f"{option} is {value}: give {' or '.join(wanted)}"
