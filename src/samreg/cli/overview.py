"""The line of a command in `samreg --help`, read from the source of its dataclass: importing all commands is slow."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

__all__ = ["summary_of"]


def summary_of(location: str) -> str:
    """The first sentence of a class's docstring, up to a colon or semicolon; empty if there is no source.

    Args:
        location: "module:Class".
    """
    module, _, name = location.partition(":")
    source = _source(module)
    if source is None:
        return ""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            text = " ".join((ast.get_docstring(node) or "").split())
            return re.split(r"[.:;](?:\s|$)", text, maxsplit=1)[0]
    return ""


def _source(module: str) -> Path | None:
    """The file of a module, found without importing the packages that it is in."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None
