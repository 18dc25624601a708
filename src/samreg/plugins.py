"""Parts that are found by name: those of samreg, and those that another installed package adds through entry points.

A package adds a part by one line in its pyproject.toml, for example

    [project.entry-points."samreg.solvers"]
    newton = "my_package.newton:minimise"

The groups are the plug points; `docs/extending.md` says what each expects. The laboratory of samreg itself
(`samreg.lab`) is found in the same way, so that nothing else has to import it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeAlias

from samreg.errors import PluginError

__all__ = ["Kind", "find", "load", "location", "names"]

Kind: TypeAlias = Literal[
    "checks", "commands", "datasets", "formats", "metrics", "peers", "segmenters", "solvers", "terms"
]
"""The plug points; the group of entry points of a kind is `samreg.KIND`."""


def names(kind: Kind, built_in: Mapping[str, str] | None = None) -> list[str]:
    """Names of all parts of a kind, those of samreg first.

    Args:
        kind: the plug point.
        built_in: name -> "module:attribute" of the parts that samreg brings without entry points.
    """
    own = list(built_in or {})
    return own + sorted(name for name in _entries(kind) if name not in own)


def location(kind: Kind, name: str, built_in: Mapping[str, str] | None = None) -> str:
    """Where the part of a name is, as "module:attribute", without importing it; empty if there is none."""
    if built_in and name in built_in:
        return built_in[name]
    entry = _entries(kind).get(name)
    return "" if entry is None else entry.value


def find(kind: Kind, name: str, built_in: Mapping[str, str] | None = None) -> Any | None:
    """The part of a name, imported now; None if there is none.

    Args:
        kind: the plug point.
        name: of the part; a built-in part cannot be replaced by an entry point of the same name.
        built_in: as for `names`.

    Raises:
        PluginError: if the part is announced and cannot be imported.
    """
    if built_in and name in built_in:
        module, _, attribute = built_in[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    entry = _entries(kind).get(name)
    if entry is None:
        return None
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        where = f" of the package {entry.dist.name}" if entry.dist is not None else ""
        raise PluginError(
            f"{name!r}{where} is announced as one of samreg's {kind} and cannot be imported ({error}); repair or "
            "uninstall that package"
        ) from error


def load(kind: Kind, name: str, built_in: Mapping[str, str] | None = None) -> Any:
    """`find`, or an error that lists what there is.

    Raises:
        PluginError: if there is no such part, or it cannot be imported.
    """
    part = find(kind, name, built_in)
    if part is None:
        raise PluginError(f"there is no {name!r} among the {kind}; choose from {', '.join(names(kind, built_in))}")
    return part


@functools.cache
def _entries(kind: Kind) -> dict[str, EntryPoint]:
    """Entry points of one group; reading the metadata of all installed packages takes tens of milliseconds."""
    return {entry.name: entry for entry in entry_points(group=f"samreg.{kind}")}
