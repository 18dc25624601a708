"""Numbers that are measured later, put into the page of a run."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from samreg.errors import InputError
from samreg.report.tables import table

__all__ = ["add_numbers", "place"]

_START, _END = "<!-- evaluation -->", "<!-- end of evaluation -->"


def place() -> str:
    """Where the numbers come to stand."""
    return _START + _END


def add_numbers(page: str, tables: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]], source: str) -> str:
    """The page with the numbers in it, in place of those that were there.

    Args:
        page: the report.
        tables: heads and rows, plain text.
        source: what they were measured with, in a line.

    Raises:
        InputError: if the page has no place for them.
    """
    first, last = page.find(_START), page.find(_END)
    if first < 0 or last < first:
        raise InputError("report.html has no place for numbers: it was written by an older samreg; register again")
    made = "".join(table([*head], [[escape(cell) for cell in row] for row in rows]) for head, rows in tables)
    block = f"<h3>Evaluation</h3><p class='soft'>{escape(source)}</p>{made}"
    return page[: first + len(_START)] + block + page[last:]
