"""The arguments of a command, read from its dataclass: what `--help` and shell completion are made of."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tyro

__all__ = ["COMMON", "Argument", "arguments_of", "common_of", "first_line"]


_LONGEST = 14
"""Choices that are longer than this are named in the text, not in place of the value."""


@dataclass(frozen=True)
class Argument:
    """One argument of a command.

    Args:
        name: of the field.
        flags: all spellings, the short one first; none for a positional argument.
        metavar: what stands for the value; empty for a switch.
        text: what it does.
        default: its value where it is not given; `dataclasses.MISSING` where it has to be.
        choices: the values that it may have, where they are few.
        switch: whether it is on or off, without a value.
        file: whether its value is a path.
        group: what the settings class that holds it is about; empty for the command's own arguments.
    """

    name: str
    flags: tuple[str, ...]
    metavar: str
    text: str
    default: Any = dataclasses.MISSING
    choices: tuple[str, ...] = ()
    switch: bool = False
    file: bool = False
    group: str = ""


COMMON = (
    Argument("quiet", ("-q", "--quiet"), "", "Print nothing but notes and errors.", False, switch=True),
    Argument("verbose", ("-v", "--verbose"), "", "Say what is compiled, found and kept.", False, switch=True),
    Argument("json", ("--json",), "", "Print one line of JSON; all else goes to stderr.", False, switch=True),
    Argument("help", ("-h", "--help"), "", "Show the options that are used most.", False, switch=True),
    Argument("help_all", ("--help-all",), "", "Show all options.", False, switch=True),
)
"""The switches that every command has."""
_THREADS = Argument("threads", ("--threads",), "INT", "Threads at most; SAMREG_THREADS, else all cores.", 0)


def common_of(own: Sequence[Argument]) -> tuple[Argument, ...]:
    """What a command with arguments of its own takes besides them."""
    return COMMON if any(argument.name == _THREADS.name for argument in own) else (*COMMON, _THREADS)


def arguments_of(command: type, default: Any = None) -> list[Argument]:
    """All arguments of a command, in the order of its dataclass; those of nested settings come where the field stands.

    Args:
        command: a dataclass.
        default: an instance that holds the defaults; otherwise those of the class.
    """
    return list(_walk(command, default, ""))


def first_line(command: type) -> str:
    """The first paragraph of a class's docstring, in one line."""
    return " ".join((inspect.getdoc(command) or "").split("\n\n")[0].split())


def _walk(kind: type, default: Any, group: str) -> Iterator[Argument]:
    hints, texts = typing.get_type_hints(kind, include_extras=True), _texts(kind)
    for field in dataclasses.fields(kind):
        value = _default(field) if default is None else getattr(default, field.name)
        if value is tyro.MISSING:
            value = dataclasses.MISSING
        hint, extra = hints[field.name], ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *rest = typing.get_args(hint)
            extra = tuple(rest)
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            inside = None if value is dataclasses.MISSING else value
            yield from _walk(hint, inside, first_line(hint) or group)
            continue
        yield _argument(field.name, hint, extra, texts.get(field.name, ""), value, group)


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _argument(name: str, hint: Any, extra: tuple[Any, ...], text: str, value: Any, group: str) -> Argument:
    """An argument from its type and what `tyro.conf.arg` says of it."""
    said = next((e for e in extra if hasattr(e, "metavar")), None)
    shown = str(getattr(said, "name", None) or name)
    flags: tuple[str, ...] = ()
    if tyro.conf.Positional not in extra:
        flags = (*(getattr(said, "aliases", None) or ()), "--" + shown.replace("_", "-"))
    if hint is bool:
        return Argument(name, flags, "", text, value, switch=True, group=group)
    parts = [part for part in _parts(hint) if part is not type(None)]
    choices = tuple(str(v) for part in parts if typing.get_origin(part) is Literal for v in typing.get_args(part))
    metavar = getattr(said, "metavar", None) or "|".join(map(_named, parts))
    if choices and len(metavar) > _LONGEST:
        metavar = "NAME"
    if choices and not all(choice in text for choice in choices) and metavar == "NAME":
        text = f"{text} One of {', '.join(choices)}."
    file = any(getattr(part, "__name__", "") == "Path" for part in parts)
    return Argument(name, flags, metavar, text, value, choices, file=file, group=group)


def _parts(hint: Any) -> tuple[Any, ...]:
    """The members of a union; the type itself otherwise."""
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _named(hint: Any) -> str:
    """What stands for a value of this type."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return "|".join(map(str, arguments))
    if typing.get_origin(hint) is tuple:
        return " ".join("..." if part is Ellipsis else _named(part) for part in arguments)
    return {"int": "N", "float": "X", "str": "NAME", "Path": "FILE"}.get(getattr(hint, "__name__", ""), "VALUE")


def _texts(kind: type) -> dict[str, str]:
    """The docstring under every field, those of base classes too."""
    found: dict[str, str] = {}
    for cls in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(cls):
            continue
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        except (OSError, SyntaxError):  # no source on this machine
            continue
        body = getattr(tree, "body", [])
        for field, below in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                text = getattr(below.value, "value", None)
                if isinstance(text, str):
                    found[field.target.id] = " ".join(text.split())
    return found
