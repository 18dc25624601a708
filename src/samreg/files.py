"""Files and folders that are there whole or not at all; checksums; values as JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import InputError

__all__ = ["check_output", "sha256_of", "staged", "to_json", "write_json", "written"]

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
        _swap(stage, target, overwrite)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()  # only what is still empty


def _missing_parents(target: Path) -> list[Path]:
    return [parent for parent in target.parents if not parent.exists()]


def _swap(stage: Path, target: Path, overwrite: bool) -> None:
    """Put the finished folder in its place; an older one is moved aside first and deleted last."""
    # Another run may have taken the place meanwhile.
    check_output(target, overwrite)
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


@contextlib.contextmanager
def written(path: str | Path, suffix: str = "") -> Iterator[Path]:
    """A hidden file beside the real one that takes its place when the block ends well, and vanishes otherwise.

    Two processes may write the same path at once: the file is that of the one that ends last. Errors of the file
    system are passed on as OSError.

    Args:
        path: the file; its folder must exist.
        suffix: ending of the hidden file, for writers that choose by it; the name of the file by default.
    """
    target = Path(path)
    partial = target.with_name(f".partial-{uuid.uuid4().hex[:8]}{suffix or '-' + target.name}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def sha256_of(path: str | Path) -> str:
    """sha256 of a file, or of all files of a folder in the order of their names."""
    source = Path(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all; what JSON cannot hold is changed as `to_json` does it."""
    text = json.dumps(to_json(value), indent=2, ensure_ascii=False, allow_nan=False)
    with written(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def to_json(value: Any) -> Any:
    """What JSON can hold: keys as text, numpy values and paths as Python's, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(item) for item in value]
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
