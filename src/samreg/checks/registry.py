"""The checks by name, those of samreg and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from samreg import plugins
from samreg.checks.finished import Finished
from samreg.errors import ConfigError
from samreg.result import CheckResult

__all__ = ["BUILT_IN", "EXPENSIVE", "EXPENSIVE_IN_VOLUMES", "Check", "run_checks"]

Check: TypeAlias = Callable[[Finished], "CheckResult | tuple[CheckResult, ...] | None"]
"""A finished registration to what the check found; None where the check does not apply."""

BUILT_IN = {
    "pairs": "samreg.checks.pairs:check",
    "likeness": "samreg.checks.likeness:check",
    "found_again": "samreg.checks.found_again:check",
    "contrast": "samreg.checks.contrast:check",
    "jacobian": "samreg.checks.jacobian:check",
    "folding": "samreg.checks.folding:check",
    "displacement": "samreg.checks.displacement:check",
    "overlap": "samreg.checks.overlap:check",
    "pairs_apart": "samreg.checks.apart:check",
    "start": "samreg.checks.start:check",
    "blank_slices": "samreg.checks.blank:check",
    "margin": "samreg.checks.margin:check",
    "mirrored": "samreg.checks.mirrored:check",
    "handedness": "samreg.checks.handedness:check",
    "settings": "samreg.checks.idle:check",
}
EXPENSIVE = {
    "swapped": "samreg.checks.swapped:check",
    "perturbed": "samreg.checks.perturbed:check",
    "resegmented": "samreg.checks.resegmented:check",
}
"""What registers again, so that it costs as much as the run: with `--checks all` only."""
EXPENSIVE_IN_VOLUMES = ("handedness",)
"""What encodes an image once more: about a tenth of a first run for a slice, every slice anew for a volume."""


def run_checks(finished: Finished, which: str = "quick") -> tuple[CheckResult, ...]:
    """What every check found, in the order of their names in `BUILT_IN`, then those of other packages.

    A check that does not apply, or was not asked for, is skipped, and the result says so.

    Args:
        finished: the registration.
        which: `quick`, or `all` for those in `EXPENSIVE` and `EXPENSIVE_IN_VOLUMES` as well.

    Raises:
        ConfigError: if `which` is neither.
    """
    if which not in ("quick", "all"):
        raise ConfigError(f"checks (--checks) is {which!r}: choose quick, all")
    found: list[CheckResult] = []
    known = BUILT_IN | EXPENSIVE
    volume = finished.images.fixed_grid.ndim == 3
    for name in plugins.names("checks", known):
        if which != "all" and (name in EXPENSIVE or (volume and name in EXPENSIVE_IN_VOLUMES)):
            found.append(CheckResult(name, None, state="skipped", advice="--checks all runs it"))
            continue
        check: Check = plugins.load("checks", name, known)
        result = check(finished)
        if result is None:
            found.append(CheckResult(name, None, state="skipped", advice="does not apply to this registration"))
        else:
            found += [result] if isinstance(result, CheckResult) else result
    return tuple(found)
