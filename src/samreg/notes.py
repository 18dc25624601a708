"""Notes: what a reader did that the user should know of, as Python warnings of the class `InputWarning`.

A reader says `note(text)`. A program decides what happens then: by default Python prints the warning once; the command
line prints `samreg: note: ...`; `collected` keeps the texts, for example for a manifest.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from samreg.errors import InputWarning

__all__ = ["collected", "environment", "hushed", "note", "unsaid"]

# Python's own list of filters belongs to the whole process: of two threads that each change it for a while, the one
# that ends first undoes what the other set, and notes are lost. So a collector belongs to its context.
_COLLECTORS: ContextVar[tuple[Callable[[str], bool], ...]] = ContextVar("samreg_note_collectors", default=())

_NUMBERS = itertools.count()


def note(text: str, stacklevel: int = 2) -> None:
    """Tell the user something in one line, without stopping.

    Args:
        text: what the user should know; line breaks become spaces.
        stacklevel: whose line Python names beside the warning: 1 the caller of this function, 2 that one's caller.
    """
    line = " ".join(text.split())
    for keep in reversed(_COLLECTORS.get()):
        if keep(line):
            return
    warnings.warn(InputWarning(line), stacklevel=stacklevel + 1)


@contextlib.contextmanager
def collected(show: Callable[[str], None] | None = None) -> Iterator[list[str]]:
    """Keep the notes that are made inside the block by this thread, each text once; other warnings go their usual way.

    Args:
        show: called with each new note; by default it goes on to the block around this one, or to Python's warnings.

    Yields:
        The list of texts; it grows while the block runs.
    """
    texts: list[str] = []

    def keep(text: str) -> bool:
        new = text not in texts
        if new:
            texts.append(text)
            if show is not None:
                show(text)
        return show is not None or not new

    token = _COLLECTORS.set((*_COLLECTORS.get(), keep))
    try:
        yield texts
    finally:
        _COLLECTORS.reset(token)


def unsaid(text: str) -> None:
    """For `collected`: keep a note and do not say it, since it was said before."""


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keep away what libraries warn of inside the block; notes stay.

    Unlike `warnings.catch_warnings` it takes back only its own filter, and so disturbs no other thread.
    """
    name = f"(?#samreg {next(_NUMBERS)})"  # a comment matches every module, and makes these filters nobody else's
    warnings.filterwarnings("ignore", module=name)
    warnings.filterwarnings("default", category=InputWarning, module=name)
    own = list(warnings.filters[:2])
    try:
        yield
    finally:
        for item in own:
            with contextlib.suppress(ValueError):
                warnings.filters.remove(item)  # type: ignore[attr-defined]


@contextlib.contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """A variable of the environment that makes a library say less, inside the block; it belongs to the whole process.

    Args:
        name: of the variable.
        value: what it is inside the block.
    """
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
