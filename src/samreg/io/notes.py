"""Notes: what a reader did that the user should know of, as Python warnings of the class `InputWarning`.

A reader says `note(text)`. A program decides what happens then: by default Python prints the warning once; the command
line prints `samreg: note: ...`; `collected` keeps the texts, for example for a manifest.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import TextIO

from samreg.errors import InputWarning

__all__ = ["collected", "note"]


def note(text: str) -> None:
    """Tell the user something in one line, without stopping."""
    warnings.warn(InputWarning(" ".join(text.split())), stacklevel=3)


@contextlib.contextmanager
def collected(show: Callable[[str], None] | None = None) -> Iterator[list[str]]:
    """Keep the notes that are made inside the block, each text once; other warnings go their usual way.

    Args:
        show: called with each new note; by default it goes on to whoever showed warnings before.

    Yields:
        The list of texts; it grows while the block runs.
    """
    texts: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        before = warnings.showwarning

        def keep(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, InputWarning):
                before(message, category, filename, lineno, file, line)
            elif str(message) not in texts:
                texts.append(str(message))
                if show is None:
                    before(message, category, filename, lineno, file, line)
                else:
                    show(str(message))

        warnings.showwarning = keep
        yield texts
