"""The index of a batch: a row a pair, with pictures before and after, to sort and to rate."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from samreg.report.assets import page, text_of

__all__ = ["Entry", "render_batch", "stills"]

_STILL = re.compile(r"<img class='(before|after)' src='data:image/jpeg;base64,([A-Za-z0-9+/=]+)'")
_HEAD = 4_000_000
"""Characters of a report in which its stills are: far more than they have before them."""
_RANKS = {"FAIL": 0, "LOOK": 1, "PASS": 2}
_TONES = {"FAIL": "bad", "LOOK": "fair", "PASS": "good"}


@dataclass(frozen=True)
class Entry:
    """A pair of the batch.

    Args:
        name: its id.
        verdict: PASS, LOOK or FAIL; empty where it failed.
        numbers: (name, text, sorting value or None) of each number; the same names for all.
        report: path of its report from the index, or empty.
        before: path of a picture before registration, or empty.
        after: the same after it.
        said: what did not pass, or why it failed.
    """

    name: str
    verdict: str
    numbers: tuple[tuple[str, str, float | None], ...]
    report: str = ""
    before: str = ""
    after: str = ""
    said: str = ""


def stills(report: str) -> dict[str, bytes]:
    """JPEG files of the pictures before and after that a report holds, by `before` and `after`."""
    return {when: base64.b64decode(data) for when, data in _STILL.findall(report[:_HEAD])}


def render_batch(title: str, entries: Sequence[Entry]) -> str:
    """The page; the worst verdicts first."""
    order = sorted(entries, key=lambda e: (_RANKS.get(e.verdict, -1), e.name))
    names = [name for name, _, _ in order[0].numbers] if order else []
    heads = [("id", "pair", "left"), ("", "before, after", "left"), ("rank", "verdict", "left")]
    heads += [(f"n{i}", name, "") for i, name in enumerate(names)]
    heads += [("rating", "rating", "left"), ("", "found", "left")]
    columns = "".join(
        f"<th scope='col' class='{side}'>"
        + (f"<button type='button' data-key='{key}'>{escape(name)}</button>" if key else escape(name))
        + "</th>"
        for key, name, side in heads
    )
    rows = "".join(_row(i, entry) for i, entry in enumerate(order))
    verdicts = [entry.verdict or "failed" for entry in order]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ("FAIL", "LOOK", "PASS", "failed") if v in verdicts)
    controls = (
        "<div class='controls'><span id='counts'></span><button type='button' id='save'>Save ratings as TSV</button>"
        "<label>Go on with saved ratings <input type='file' id='load' accept='.tsv,text/tab-separated-values'></label>"
        "</div>"
    )
    body = (
        f"<h1>{escape(title)}</h1><p class='soft'>{len(order)} pairs: {counts or 'none'}. Fixed image in green, "
        "moving in magenta, grey where they agree. samreg is research software and not a medical device.</p><section>"
        f"{controls}<table class='pairs runs' id='runs'><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table>"
        "</section>"
    )
    return page(title, body, text_of("batch.js"))


def _row(i: int, entry: Entry) -> str:
    keys = {"id": entry.name, "rank": str(_RANKS.get(entry.verdict, -1)), "verdict": entry.verdict or "failed"}
    keys |= {f"n{n}": "" if value is None else repr(value) for n, (_, _, value) in enumerate(entry.numbers)}
    attributes = " ".join(f'data-{key}="{escape(value, quote=True)}"' for key, value in keys.items())
    name = escape(entry.name)
    link = f"<a href='{quote(entry.report)}'>{name}</a>" if entry.report else name
    pictures = "".join(
        f"<img class='still' loading='lazy' src='{quote(path)}' alt='{when} registration'>"
        for when, path in (("before", entry.before), ("after", entry.after))
        if path
    )
    choices = "".join(
        f"<label><input type='radio' name='r{i}' value='{value}'>{value}</label>" for value in ("good", "bad", "unsure")
    )
    verdict = f"<b class='{_TONES.get(entry.verdict, 'bad')}'>{escape(entry.verdict or 'failed')}</b>"
    cells = [
        f"<td class='left'>{link}</td>",
        f"<td class='left pictures'>{pictures}</td>",
        f"<td class='left' data-label='verdict'>{verdict}</td>",
        *(f"<td data-label='{escape(name, quote=True)}'>{escape(text)}</td>" for name, text, _ in entry.numbers),
        f"<td class='left'><fieldset class='rate' aria-label='rating of {escape(entry.name, quote=True)}'>{choices}"
        "</fieldset></td>",
        f"<td class='left'>{escape(entry.said)}</td>",
    ]
    return f"<tr {attributes}>{''.join(cells)}</tr>"
