"""Formats of other packages: entry points of the group `samreg.formats`, named after the ending of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from samreg import plugins
from samreg.geometry.image import Image

__all__ = ["ForeignFormat", "foreign_format"]


@runtime_checkable
class ForeignFormat(Protocol):
    """What an entry point such as `".npy"` names."""

    def read(self, path: Path) -> Image:
        """The image of a file; an `ImageReadError` where it cannot be used."""
        ...

    def write(self, image: Image, path: Path) -> None:
        """Write an image to a file that does not exist; an `InputError` where the format cannot hold it."""
        ...


def foreign_format(path: Path) -> tuple[str, ForeignFormat] | None:
    """Ending and format of a file that another package reads and writes; None if there is none.

    Raises:
        PluginError: if the format is announced and cannot be imported.
    """
    name = path.name.lower()
    suffix = next((ending for ending in plugins.names("formats") if name.endswith(ending)), None)
    return None if suffix is None else (suffix, plugins.load("formats", suffix))
