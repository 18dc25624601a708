"""Methods by name: those of samreg, and those that another package adds by an entry point of `samreg.peers`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from samreg import plugins
from samreg.errors import ConfigError
from samreg.lab.peers.base import Method

__all__ = ["Factory", "load_method", "method_names", "missing_methods"]

Factory: TypeAlias = Callable[[str, bool], Method]
"""An entry point of `samreg.peers` names a `Method`, or a function that makes one from the whole name that the user
gave, such as `samreg:paper+match.max_pairs=3`, and whether regions may come from the cache."""


def method_names() -> list[str]:
    """Names that `load_method` knows; some take more behind a `:` or a `+`."""
    return plugins.names("peers")


def load_method(name: str, reuse: bool = False) -> Method:
    """The method of a name; nothing of the tool itself is imported yet.

    Args:
        name: one of `method_names()`, `samreg:PRESET+setting=value` for an ablation, or `voxelmorph:FILE` and
            `labelreg:FILE` for a trained network.
        reuse: let samreg take regions from the cache; the seconds then leave the segmentation out.

    Raises:
        ConfigError: if there is no such method.
        ModelError: if a trained network has no checkpoint, or one of another architecture.
        PluginError: if the method cannot be imported.
    """
    part: Method | Factory | None = plugins.find("peers", name)
    if part is None:
        part = plugins.find("peers", re.split("[:+]", name, maxsplit=1)[0])
        part = None if isinstance(part, Method) else part  # it takes nothing behind its name
    if part is None:
        shown = ", ".join(method_names())
        raise ConfigError(
            f"there is no method {name!r}; choose from {shown}; settings of samreg follow its name, as in "
            "samreg:fast+match.max_pairs=3, and the file of a network its, as in voxelmorph:FILE"
        )
    return part if isinstance(part, Method) else part(name, reuse)


def missing_methods(names: list[str]) -> dict[str, str]:
    """Of these methods, those whose tool is not installed: name -> command that installs it."""
    methods = [load_method(name) for name in names]
    return {method.name: method.install for method in methods if not method.is_installed}
