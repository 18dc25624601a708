"""`--help` and `--help-all` of a command: the options that people use on one screen, and all of them."""

from __future__ import annotations

import dataclasses
import inspect
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from samreg.cli.arguments import COMMON, Argument, arguments_of, common_of

__all__ = ["PAGES", "Page", "full_page", "short_page"]

_WIDEST = 100
_COLUMN = 28
"""Where the texts start."""
_WHOLE = "\x00"
"""Stands for a space at which no line is broken."""


@dataclass(frozen=True)
class Page:
    """What `--help` of a command shows.

    Args:
        groups: title and names of fields, in order; without them all arguments of its own and `USED` settings.
        examples: lines that can be pasted.
    """

    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    examples: tuple[str, ...] = ()


USED = ("segmenter", "device", "epsilon", "transform", "stiffness")
"""The settings that `--help` shows where a command has many."""

PAGES = {
    "register": Page(
        (
            ("result", ("out", "overwrite", "transform", "stiffness")),
            ("settings", ("preset", "config_file", "segmenter", "device")),
            ("pairs", ("epsilon", "fixed_labels", "moving_labels", "labels_only")),
        ),
        (
            "samreg register ed.nii.gz es.nii.gz -o run",
            "samreg register ct_dicom/ mr.nii.gz -o run --preset fast --json",
            "samreg register a.nii b.nii -o run2 --config run/manifest.json --epsilon 0.7",
        ),
    ),
    "batch": Page(examples=("samreg batch pairs.csv -o results --jobs 4", "samreg batch pairs.csv -o results")),
    "segment": Page(examples=("samreg segment ct.nii.gz -o regions",)),
    "prompt": Page(
        examples=(
            "samreg prompt ed.nii.gz es.nii.gz --point 12.5,-3,40 -o run",
            "samreg prompt ed.nii.gz es.nii.gz --mask liver.nii.gz -o run",
        )
    ),
    "warp": Page(examples=("samreg warp es_labels.nii.gz --run run -o es_on_ed.nii.gz",)),
    "warp-points": Page(examples=("samreg warp-points points.csv --run run --to moving -o moved.csv",)),
    "evaluate": Page(examples=("samreg evaluate --run run --fixed-labels a.nii.gz --moving-labels b.nii.gz",)),
    "demo": Page(examples=("samreg demo -o demo",)),
    "completion": Page(
        examples=(
            "samreg completion bash > ~/.local/share/bash-completion/completions/samreg",
            'samreg completion zsh > "${fpath[1]}/_samreg"',
            "samreg completion fish > ~/.config/fish/completions/samreg.fish",
        )
    ),
}
"""Command -> its page."""


def short_page(command: type, name: str, default: Any = None, width: int | None = None) -> str:
    """The options that are used most, grouped, with examples.

    Args:
        command: the dataclass.
        name: of the command.
        default: an instance that holds the defaults.
        width: columns; those of the terminal by default, at most 100.
    """
    found, page = arguments_of(command, default), PAGES.get(name, Page())
    columns = width or _columns()
    groups = _groups(found, page)
    lines = [*_head(command, name, found, columns), ""]
    places = [argument for argument in found if not argument.flags]
    if places:
        lines += [*_rows(places, columns), ""]
    for title, members in groups:
        lines += [f"{title}:", *_rows(members, columns)]
    shown = sum(len(members) for _, members in groups) + len(places)
    more = len(found) - shown
    last = COMMON if more else COMMON[:4]
    if more:
        last = (*COMMON[:3], dataclasses.replace(COMMON[4], text=f"Show all options, {more} more."))
    lines += ["output:", *_rows(last, columns)]
    if page.examples:
        lines += ["", "examples:", *(f"  {line}" for line in page.examples)]
    return "\n".join(lines)


def full_page(command: type, name: str, default: Any = None, width: int | None = None) -> str:
    """All options with their defaults; arguments as for `short_page`."""
    found, page = arguments_of(command, default), PAGES.get(name, Page())
    columns = width or _columns()
    about = (inspect.getdoc(command) or "").split("\n\n")[1:]
    lines = [*_head(command, name, found, columns), ""]
    for paragraph in about:
        lines += [*textwrap.wrap(" ".join(paragraph.split()), columns), ""]
    for title in dict.fromkeys(argument.group for argument in found):
        members = [argument for argument in found if argument.group == title]
        lines += [title.rstrip(".") + ":" if title else "arguments:", *_rows(members, columns), ""]
    lines += ["output:", *_rows(common_of(found), columns)]
    if page.examples:
        lines += ["", "examples:", *(f"  {line}" for line in page.examples)]
    return "\n".join(lines)


def _columns() -> int:
    return max(60, min(_WIDEST, shutil.get_terminal_size((_WIDEST, 40)).columns))


def _head(command: type, name: str, found: Sequence[Argument], columns: int) -> list[str]:
    needed = [f"{a.flags[0]} {a.metavar}" for a in found if a.default is dataclasses.MISSING and a.flags]
    places = [a.metavar if a.default is dataclasses.MISSING else f"[{a.metavar}]" for a in found if not a.flags]
    first = " ".join((inspect.getdoc(command) or "").split("\n\n")[0].split())
    usage = " ".join(["usage: samreg", name, *places, *needed, "[options]"])
    return [*_wrapped(usage, columns, "    "), "", *_wrapped(first, columns)]


def _groups(found: Sequence[Argument], page: Page) -> list[tuple[str, list[Argument]]]:
    named = {argument.name: argument for argument in found}
    if page.groups:
        return [(title, [named[n] for n in names if n in named]) for title, names in page.groups]
    own = [argument for argument in found if argument.flags and not argument.group]
    used = [argument for argument in found if argument.group and argument.name in USED]
    groups = [("options", own), ("settings", used)]
    return [(title, members) for title, members in groups if members]


def _rows(members: Sequence[Argument], columns: int) -> list[str]:
    """A line or more an argument."""
    lines: list[str] = []
    for argument in members:
        left = "  " + (_flags(argument) if argument.flags else argument.metavar)
        text = _wrapped(argument.text + _default(argument), columns - _COLUMN) or [""]
        if len(left) > _COLUMN - 2:
            lines.append(left)
            left = ""
        lines += [f"{left if i == 0 else '':<{_COLUMN}}{part}".rstrip() for i, part in enumerate(text)]
    return lines


def _flags(argument: Argument) -> str:
    flags = list(argument.flags)
    if argument.switch and argument.default is True:
        flags.append("--no-" + flags[-1].removeprefix("--"))
    return " ".join([", ".join(flags), argument.metavar]).rstrip()


def _default(argument: Argument) -> str:
    """The default in words, where there is one that says something."""
    value = argument.default
    if argument.switch:
        return " (default: on)" if value is True else ""
    if value is dataclasses.MISSING or value is None or value == "":
        return ""
    text = _WHOLE.join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f" (default:{_WHOLE}{text})"


def _wrapped(text: str, columns: int, further: str = "") -> list[str]:
    """Lines of at most so many columns; what has no space stays whole."""
    rows = textwrap.wrap(text, columns, subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
    return [row.replace(_WHOLE, " ") for row in rows]
