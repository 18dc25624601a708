"""From a number and its limits to what a check says."""

from __future__ import annotations

from typing import TypeAlias

from samreg.result import CheckResult

__all__ = ["Limits", "judge"]

Limits: TypeAlias = tuple[float | None, float | None]
"""Lowest and highest value; None leaves that side open."""


def judge(
    name: str,
    value: float,
    passes: Limits,
    fails: Limits = (None, None),
    *,
    unit: str = "",
    source: str,
    says: str,
    advice: str,
) -> CheckResult:
    """The result of a check that measured a number.

    Args:
        name: of the check.
        value: what was measured; NaN passes nothing.
        passes: the check passes within these limits, and says `look` outside of them.
        fails: it fails outside of these; without any it never fails.
        unit: of the value.
        source: where the limits come from.
        says: the message, where it does not pass.
        advice: what to do then.
    """
    state = "pass" if _within(value, passes) else "look" if _within(value, fails) else "fail"
    return CheckResult(name, value, "" if state == "pass" else says, state, unit, passes, source, advice)


def _within(value: float, limits: Limits) -> bool:
    low, high = limits
    return (low is None or value >= low) and (high is None or value <= high)
