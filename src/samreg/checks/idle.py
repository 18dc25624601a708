"""Check: was a setting changed that acts nowhere in this registration?"""

from __future__ import annotations

from samreg.checks.finished import Finished
from samreg.config import RegisterConfig, nearest_preset
from samreg.errors import flag_of
from samreg.result import CheckResult

__all__ = ["check", "idle_options"]

_NOT_IN_A_ROUGH_FIT = ("roi_weight",)
"""A rough fit goes by the images."""


def check(finished: Finished) -> CheckResult:
    """The number of settings that differ from the nearest preset and have no effect."""
    classes = all(r.origin is not None and r.origin.classes for r in (finished.images.fixed, finished.images.moving))
    idle = idle_options(finished.config, rough_fit=finished.start.rough, classes=classes)
    transform = finished.config.fit.transform
    message = f"without effect in this registration (transform {transform}): {', '.join(idle)}" if idle else ""
    return CheckResult(
        "settings",
        float(len(idle)),
        message,
        "pass",  # it says nothing about the result
        source="what each kind of transform reads",
    )


def idle_options(config: RegisterConfig, *, rough_fit: bool, classes: bool = False) -> list[str]:
    """Options of the command line that were changed and act nowhere in a registration.

    Args:
        config: the settings.
        rough_fit: whether an elastic level brings the images near each other before the pairs are found.
        classes: whether the segmenter knows its classes, so that nothing is proposed.
    """
    transform, dense = config.fit.transform, config.fit.is_dense
    idle = []
    for key in nearest_preset(config)[1]:
        name = key.rpartition(".")[2]
        if key.startswith("fit.flow."):
            acts = transform == "ddf"
        elif key.startswith("fit.elastic."):
            acts = (dense and transform != "ddf") or (rough_fit and name not in _NOT_IN_A_ROUGH_FIT)
        elif key.startswith("segment.proposals."):
            acts = not classes
        else:
            acts = key not in ("fit.work_size", "fit.similarity", "fit.stiffness") or dense
        if not acts:
            idle.append(flag_of(name))
    return idle
