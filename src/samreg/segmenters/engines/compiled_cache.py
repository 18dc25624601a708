"""Compiled networks, kept between runs in the user's cache folder.

A file is a line with the sha256 of its content, then the content: a file that was cut off or changed is written again,
never used. An error here costs time and never ends the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from pathlib import Path

from samreg.files import written

__all__ = ["cache_folder", "load", "store"]

_log = logging.getLogger(__name__)

_LARGEST = 1 << 30
_ALL_TOGETHER = 4 << 30


def cache_folder() -> Path:
    """Where samreg keeps what it can compute again: `SAMREG_CACHE_DIR`, or the platform's cache folder for samreg."""
    if given := os.environ.get("SAMREG_CACHE_DIR"):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "samreg" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "samreg"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samreg"


def _path(key: str) -> Path:
    return cache_folder() / "compiled" / (hashlib.sha256(key.encode()).hexdigest()[:32] + ".bin")


def load(key: str) -> bytes | None:
    """What was stored under a key, or None."""
    try:
        content = _path(key).read_bytes()
    except (OSError, RuntimeError):
        return None
    digest, _, body = content.partition(b"\n")
    return body if digest == hashlib.sha256(body).hexdigest().encode() else None


def store(key: str, body: bytes) -> None:
    """Keep bytes under a key, for the next run; the oldest files are deleted when there is too much."""
    if len(body) > _LARGEST:
        return
    try:
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, len(body))
        with written(path) as partial:  # two runs may store the same key at once
            partial.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    except (OSError, RuntimeError) as error:
        _log.info("compiled network not kept for the next run: %s", error)


def _make_room(folder: Path, needed: int) -> None:
    files = sorted(folder.glob("*.bin"), key=lambda p: p.stat().st_mtime)
    total = needed + sum(p.stat().st_size for p in files)
    for path in files:
        if total <= _ALL_TOGETHER:
            return
        total -= path.stat().st_size
        with contextlib.suppress(OSError):
            path.unlink()
