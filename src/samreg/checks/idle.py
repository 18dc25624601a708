"""Check: was a setting changed that acts nowhere in this registration?"""

from __future__ import annotations

from samreg.checks.finished import Finished
from samreg.config import nearest_preset
from samreg.errors import flag_of
from samreg.result import CheckResult

__all__ = ["check"]

_NOT_IN_A_ROUGH_FIT = ("roi_weight",)
"""A rough fit goes by the images."""


def check(finished: Finished) -> CheckResult:
    """The number of settings that differ from the nearest preset and have no effect."""
    config, transform = finished.config, finished.config.fit.transform
    classes = all(r.origin is not None and r.origin.classes for r in (finished.images.fixed, finished.images.moving))
    idle = []
    for key in nearest_preset(config)[1]:
        name = key.rpartition(".")[2]
        if key.startswith("fit.flow."):
            acts = transform == "ddf"
        elif key.startswith("fit.elastic."):
            rough = finished.start.rough and name not in _NOT_IN_A_ROUGH_FIT
            acts = rough or (config.fit.is_dense and transform != "ddf")
        elif key.startswith("segment.proposals."):
            acts = not classes
        else:
            acts = key not in ("fit.work_size", "fit.similarity") or config.fit.is_dense
        if not acts:
            idle.append(flag_of(name))
    message = f"without effect in this registration (transform {transform}): {', '.join(idle)}" if idle else ""
    return CheckResult("settings", float(len(idle)), message)
