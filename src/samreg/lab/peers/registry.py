"""The names under which methods are opened."""

from __future__ import annotations

from importlib import import_module

from samreg.errors import ConfigError
from samreg.lab.peers.base import Method

__all__ = ["load_method", "method_names", "missing_methods"]

# The order in which tables show them.
_MODULES = {
    "identity": "identity",
    "niftyreg": "niftyreg",
    "niftyreg-lncc": "niftyreg",
    "ants": "ants",
    "ants-mi": "ants",
    "ants2d": "ants",
    "elastix": "elastix",
    "elastix2d": "elastix",
    "greedy": "greedy",
    "convexadam": "convexadam",
}
_TRAINED = ("voxelmorph", "labelreg")
_PRESETS = ("samreg", "samreg:fast", "samreg:paper")


def method_names() -> list[str]:
    """Names that `load_method` knows; samreg's ablations and the trained networks, which need a file, aside."""
    return [*_MODULES, *_PRESETS]


def load_method(name: str, reuse: bool = False) -> Method:
    """The method of a name; nothing of the tool itself is imported yet.

    Args:
        name: one of `method_names()`, `samreg:PRESET+setting=value` for an ablation, or `voxelmorph:FILE` and
            `labelreg:FILE` for a trained network.
        reuse: let samreg take regions from the cache; the seconds then say little.

    Raises:
        ConfigError: if there is no such method.
        ModelError: if a trained network has no checkpoint, or one of another architecture.
    """
    if name.partition(":")[0].partition("+")[0] == "samreg":
        from samreg.lab.peers.samreg_method import samreg_method

        return samreg_method(name, reuse)
    if name.partition(":")[0] in _TRAINED:
        from samreg.lab.peers.trained import trained_method

        return trained_method(name)
    if name not in _MODULES:
        shown = [*method_names(), *(f"{network}:FILE" for network in _TRAINED)]
        raise ConfigError(f"there is no method {name!r}; choose from {', '.join(shown)}")
    module = import_module(f"samreg.lab.peers.{_MODULES[name]}")
    methods: tuple[Method, ...] = module.METHODS
    return next(method for method in methods if method.name == name)


def missing_methods(names: list[str]) -> dict[str, str]:
    """Of these methods, those whose tool is not installed: name -> command that installs it."""
    methods = [load_method(name) for name in names]
    return {method.name: method.install for method in methods if not method.is_installed}
