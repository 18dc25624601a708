"""The built page: files that come with an installation, made of `viewer-web/` when samreg is built."""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from typing import Any

from samreg.errors import InputError

__all__ = ["Page"]

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Page:
    """All files of the page.

    Args:
        files: path below the address -> content and its kind.
    """

    files: dict[str, tuple[bytes, str]]

    @classmethod
    def load(cls, run: str) -> Page:
        """Read the page of this installation.

        Args:
            run: the run folder, for the message.

        Raises:
            InputError: if the page was not built.
        """
        folder = importlib.resources.files("samreg.viewer").joinpath("built")
        files: dict[str, tuple[bytes, str]] = {}
        if folder.is_dir():
            _collect(folder, "", files)
        if "index.html" not in files:
            raise InputError(
                "the viewer's page is not in this installation, because npm's registry could not be reached when it "
                "was built; install samreg again where it can (in a clone: python hatch_build.py), or open "
                f"{run}/report.html"
            )
        return cls(files)


def _collect(folder: Any, prefix: str, files: dict[str, tuple[bytes, str]]) -> None:
    for entry in folder.iterdir():
        name = prefix + entry.name
        if entry.is_dir():
            _collect(entry, name + "/", files)
        else:
            kind = next((k for end, k in _KINDS.items() if name.endswith(end)), "application/octet-stream")
            files[name] = (entry.read_bytes(), kind)
