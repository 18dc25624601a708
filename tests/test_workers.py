"""Worker processes end with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samreg.runs.workers import run_tasks

_BATCH = """
import signal, sys
from test_workers import slow
from samreg.runs.workers import run_tasks

def stop(*_):
    raise KeyboardInterrupt

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell started in the background
    try:
        run_tasks(slow, [(sys.argv[1], i) for i in range(4)], lambda *_: None, jobs=2, threads=1)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise SystemExit(130)
"""


def slow(folder: str, i: int) -> None:
    """A task of ten minutes that takes away what it had begun."""
    half = Path(folder) / f"half-{i}"
    try:
        half.write_text("begun", "utf-8")
        time.sleep(600)
    finally:
        time.sleep(i)  # the pool sees that the first worker has gone, and ends the other one once more
        half.unlink()
        (Path(folder) / f"gone-{i}").touch()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("to_all", [False, True], ids=["the process alone", "Ctrl-C in a terminal"])
def test_an_interrupt_ends_workers_that_are_busy(tmp_path: Path, to_all: bool) -> None:
    script = tmp_path / "batch.py"
    script.write_text(_BATCH, "utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        while len(list(tmp_path.glob("half-*"))) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        if to_all:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGTERM)
        said, complaint = process.communicate(timeout=120)  # far less than the tasks take
    finally:
        process.kill()
    assert (process.returncode, said.strip(), complaint.strip()) == (130, "interrupted", "")
    assert not list(tmp_path.glob("half-*"))
    assert len(list(tmp_path.glob("gone-*"))) == 2  # the tasks that waited were not begun


def test_an_error_of_the_caller_ends_them_too(tmp_path: Path) -> None:
    def refuse(_index: int, _answer: object, _error: str) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        run_tasks(_first_is_quick, [(str(tmp_path), i) for i in range(2)], refuse, jobs=2, threads=1)
    assert not list(tmp_path.glob("half-*"))


def _first_is_quick(folder: str, i: int) -> None:
    if i == 0:
        while not (Path(folder) / "half-1").exists():
            time.sleep(0.05)
    else:
        slow(folder, i)
