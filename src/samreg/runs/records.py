"""The record file: one JSON object a line, appended whole, readable however the process ended.

A line is written by one `write` of an append-only descriptor and forced to the disk before the next task is handed
out. A process that is killed in the middle leaves at most one broken last line, which reading skips and the next
writer closes with a line end. One lock lets one writer at a time into a folder.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from samreg.errors import InputError

__all__ = ["RecordLog", "read_records"]

Record = dict[str, Any]


class RecordLog:
    """An append-only file of records, each with a `key`; the last record of a key counts.

    Use it as a context manager; entering takes the lock of the file.

    Args:
        path: the JSONL file; made when the first record comes.

    Raises:
        InputError: on entering, if another process is writing the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack = contextlib.ExitStack()
        self._descriptor = -1

    def __enter__(self) -> RecordLog:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(_lock(self.path.with_suffix(".lock")))
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        self._stack.callback(os.close, self._descriptor)
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            os.write(self._descriptor, b"\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def append(self, record: Record) -> None:
        """Write one record and force it to the disk."""
        line = json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n"
        os.write(self._descriptor, line.encode())
        os.fsync(self._descriptor)


def read_records(path: Path) -> list[Record]:
    """The last record of each key, in the order in which the keys first came; broken lines are skipped.

    Args:
        path: the JSONL file; a file that does not exist has no records.
    """
    found: dict[str, Record] = {}
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        for line in stream:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("key"), str):
                found[record["key"]] = record
    return list(found.values())


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows has no flock; the user keeps two writers apart
        yield
        return
    with path.open("w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{path.parent} is in use by another run; wait for it, or give another output folder"
            ) from None
        yield  # the lock goes with the process, however it ends
