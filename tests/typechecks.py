"""Run-time checks of annotations, in tests only: types by beartype, array shapes and dtypes by jaxtyping."""

from __future__ import annotations

from beartype import BeartypeConf, BeartypeHintOverrides, beartype
from jaxtyping import install_import_hook

CHECKED = ("field", "fitting", "grid", "io", "lifting", "matching", "ops", "phantom", "proposals", "regions", "report")
CHECKED += ("result", "rois", "viewer")
"""Parts of samreg whose functions are checked. The command line is not: tyro fills dataclasses with markers."""


def _overrides() -> BeartypeHintOverrides:
    """Values that the package itself refuses, with a message of its own that other tests look at."""
    from samreg.types import Interpolation, Unit

    return BeartypeHintOverrides({Interpolation: str, Unit: str})


def check(function: object) -> object:
    """The type checker that jaxtyping applies: an int passes for a float, as in Python itself."""
    return beartype(function, conf=BeartypeConf(is_pep484_tower=True, hint_overrides=_overrides()))


def install() -> None:
    """Check every function of `CHECKED` that is imported from now on."""
    install_import_hook([f"samreg.{name}" for name in CHECKED], "typechecks.check")
