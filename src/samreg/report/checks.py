"""The checks of a run as a table, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from samreg.result import CheckResult, Verdict

__all__ = ["section", "tone"]

_WORDS = {
    "PASS": "No check found anything wrong. This is no proof that the result is right.",
    "LOOK": "Look at the result before you use it.",
    "FAIL": "Do not use this result as it is.",
}
_TONES = {
    "PASS": "good",
    "LOOK": "fair",
    "FAIL": "bad",
    "pass": "good",
    "look": "fair",
    "fail": "bad",
    "skipped": "soft",
}


def section(verdict: Verdict, checks: Sequence[CheckResult]) -> str:
    """The verdict and a row a check: state, value, limit, what it found, what to do, where the limit comes from."""
    nothing = "" if any(c.state != "skipped" for c in checks) else " Nothing was checked."
    head = "".join(f"<th class='left'>{name}</th>" for name in ("check", "state", "value", "limit", "found and advice"))
    rows = "".join(_row(check) for check in checks)
    table = f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    return (
        f"<section><h2 class='{_TONES[verdict]}'>Verdict: <b>{verdict}</b></h2>"
        f"<p>{_WORDS[verdict]}{nothing}</p>{table if checks else ''}</section>"
    )


def tone(verdict: Verdict, wanted: str) -> str:
    """The class of a number: green only where the verdict is PASS."""
    return "fair" if wanted == "good" and verdict != "PASS" else wanted


def _row(check: CheckResult) -> str:
    value = "" if check.value is None else f"{check.value:.3g} {check.unit}"
    words = check.advice if check.state == "skipped" else check.sentence
    cells = (
        escape(check.name.replace("_", " ")),
        f"<b>{check.state}</b>",
        escape(value),
        escape(_limit(check)),
        f"{escape(words)} <span class='soft'>{escape(f'Limit: {check.source}.') if check.source else ''}</span>",
    )
    body = "".join(f"<td class='left{' wrap' if i == 4 else ''}'>{cell}</td>" for i, cell in enumerate(cells))
    return f"<tr class='{_TONES[check.state]}'>{body}</tr>"


def _limit(check: CheckResult) -> str:
    low, high = check.limit
    if low is None:
        return "" if high is None else f"at most {high:.3g}"
    return f"at least {low:.3g}" if high is None else f"{low:.3g} to {high:.3g}"
