"""The verdict of a run, and its checks: what they found and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from samreg.report.tables import details, table
from samreg.result import CheckResult, Verdict

__all__ = ["found", "tone", "words"]

_WORDS = {
    "PASS": "No check found anything wrong. This is no proof that the result is right.",
    "LOOK": "Look at the result before you use it.",
    "FAIL": "Do not use this result as it is.",
}
_TONES = {"PASS": "good", "LOOK": "fair", "FAIL": "bad", "pass": "good", "look": "fair", "fail": "bad", "skipped": ""}


def words(verdict: Verdict, checks: Sequence[CheckResult]) -> str:
    """The verdict in one line."""
    nothing = "" if any(c.state != "skipped" for c in checks) else " Nothing was checked."
    return f"<div class='verdict {_TONES[verdict]}'><b>{verdict}</b><span>{_WORDS[verdict]}{nothing}</span></div>"


def found(checks: Sequence[CheckResult]) -> str:
    """What the checks found: those that did not pass with what to do, worst first; the others folded."""
    wrong = [c for state in ("fail", "look") for c in checks if c.state == state]
    shown = "".join(
        f"<li class='{_TONES[c.state]}'><span class='state'>{c.state}</span> · <b>{escape(_name(c))}</b>: "
        f"{escape(c.message or 'outside of its limit')}. "
        + (f"<b>What to do:</b> {escape(c.advice)}. " if c.advice else "")
        + f"<span class='soft'>{escape(_numbers(c))}</span></li>"
        for c in wrong
    )
    states = [c.state for c in checks]
    counts = [f"{states.count(s)} {word}" for s, word in (("pass", "passed"), ("skipped", "skipped")) if s in states]
    rows = [
        (
            escape(_name(c)),
            f"<b class='{_TONES[c.state]}'>{c.state}</b>",
            "" if c.value is None else escape(f"{c.value:.3g} {c.unit}"),
            escape(_limit(c)),
            escape(c.advice if c.state == "skipped" else c.sentence),
            escape(c.source),
        )
        for c in checks
    ]
    head = ("check", "state", "value", "limit", "found", "where the limit comes from")
    every = table(head, rows, "wide") if rows else ""
    title = f"All {len(checks)} checks" + (f": {', '.join(counts)}" if counts else "")
    return (f"<ul class='checks'>{shown}</ul>" if shown else "") + (details(title, every) if rows else "")


def tone(verdict: Verdict, wanted: str) -> str:
    """The class of a number: green only where the verdict is PASS; a good number beside a warning has no colour."""
    return "" if wanted == "good" and verdict != "PASS" else wanted


def _name(check: CheckResult) -> str:
    return check.name.replace("_", " ")


def _numbers(check: CheckResult) -> str:
    if check.value is None:
        return ""
    limit = _limit(check)
    return f"Measured {check.value:.3g} {check.unit}".rstrip() + (f", wanted {limit}." if limit else ".")


def _limit(check: CheckResult) -> str:
    low, high = check.limit
    if low is None:
        return "" if high is None else f"at most {high:.3g}"
    return f"at least {low:.3g}" if high is None else f"{low:.3g} to {high:.3g}"
