"""Folders of results that are there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from samreg.errors import InputError

__all__ = ["check_output", "sha256_of", "staged"]

_MARKER = "manifest.json"
_CHUNK = 1 << 20


def check_output(folder: str | Path, overwrite: bool = False) -> Path:
    """Make sure that a folder can be written, before the work is done.

    Nothing is created. A folder that exists must be empty, or, with `overwrite`, be one that samreg wrote.

    Raises:
        InputError: if the folder cannot be used.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise InputError(f"{target}: is a file; --out wants a folder")
    if target.is_dir() and any(target.iterdir()):
        if not overwrite:
            raise InputError(f"{target}: is not empty; choose another folder, or say --overwrite to replace it")
        if not (target / _MARKER).is_file():
            raise InputError(f"{target}: was not written by samreg and is not replaced; choose another folder")
    nearest = next(parent for parent in (target.absolute(), *target.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"{target}: cannot be written: no permission in {nearest}")
    return target


@contextlib.contextmanager
def staged(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """A hidden folder beside the real one that takes its place when the block ends well, and vanishes otherwise.

    Raises:
        InputError: if the folder cannot be used, or the disk is full.
    """
    target = check_output(folder, overwrite).absolute()
    made = _missing_parents(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.partial-", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}") from None
    try:
        stage.chmod(0o755)  # mkdtemp makes private folders; results are as readable as any other
        yield stage
        _swap(stage, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()  # only what is still empty


def _missing_parents(target: Path) -> list[Path]:
    return [parent for parent in target.parents if not parent.exists()]


def _swap(stage: Path, target: Path) -> None:
    """Put the finished folder in its place; an older one is moved aside first and deleted last."""
    aside = None
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
        target.replace(aside / target.name)
    try:
        stage.replace(target)
    except OSError:
        if aside is not None:
            (aside / target.name).replace(target)
        raise
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


def sha256_of(path: str | Path) -> str:
    """sha256 of a file, or of all files of a folder in the order of their names."""
    source = Path(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
