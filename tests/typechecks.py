"""Run-time checks of annotations, in tests only: types by beartype, array shapes and dtypes by jaxtyping."""

from __future__ import annotations

import numpy as np
from beartype import BeartypeConf, BeartypeHintOverrides, beartype
from jaxtyping import install_import_hook

CHECKED = ("geometry.field", "geometry.grid", "geometry.ops", "geometry.phantom", "geometry.rois", "io")
CHECKED += ("regions.regions", "report", "result", "viewer")
"""Parts of samreg whose functions are checked. The command line is not: tyro fills dataclasses with markers."""


def _overrides() -> BeartypeHintOverrides:
    """Numbers of numpy are numbers; and what the package itself refuses by a message of its own is let through."""
    from samreg.types import Interpolation, Unit

    integer, real = int | np.integer, float | int | np.integer | np.floating
    return BeartypeHintOverrides({int: integer, float: real, Interpolation: str, Unit: str})


def check(function: object) -> object:
    """The type checker that jaxtyping applies: an int passes for a float, as in Python itself, and so do numpy's."""
    return beartype(function, conf=BeartypeConf(hint_overrides=_overrides()))


def install() -> None:
    """Check every function of `CHECKED` that is imported from now on."""
    install_import_hook([f"samreg.{name}" for name in CHECKED], "typechecks.check")
