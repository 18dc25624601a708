"""The checks by name, those of samreg and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from samreg import plugins
from samreg.checks.finished import Finished
from samreg.result import CheckResult

__all__ = ["BUILT_IN", "Check", "run_checks"]

Check: TypeAlias = Callable[[Finished], "CheckResult | None"]
"""A finished registration to what the check found; None where the check does not apply."""

BUILT_IN = {
    "pairs": "samreg.checks.pairs:check",
    "folding": "samreg.checks.folding:check",
    "settings": "samreg.checks.idle:check",
    "likeness": "samreg.checks.likeness:check",
}


def run_checks(finished: Finished) -> tuple[CheckResult, ...]:
    """What every check that applies found, in the order of their names in `BUILT_IN`, then those of other packages."""
    found = []
    for name in plugins.names("checks", BUILT_IN):
        check: Check = plugins.load("checks", name, BUILT_IN)
        result = check(finished)
        if result is not None:
            found.append(result)
    return tuple(found)
