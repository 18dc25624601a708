"""Runs commands of samreg with a fault at a named place: a process that loads samreg once and forks for each case.

    python faults.py        and lines of two paths on stdin, CASES.json and RESULTS.json: each is answered by "done"

A case has `argv` (of samreg) or `program` (Python text), `folder` (where it runs), `place` (`module:function` or
`module:Class.method`, entered for the `nth` time) and `fault`: kill (SIGKILL), full (the disk), readonly, memory,
interrupt, or intrude (another run takes the output folder).
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LOADED = (
    "SimpleITK", "h5py", "pydicom", "rich.progress", "samreg.checks.registry", "samreg.cli.parse",
    "samreg.cli.register", "samreg.metrics", "samreg.pipeline", "samreg.report.page", "samreg.runs.batch",
    "samreg.runs.run_folder",
)  # fmt: skip
"""Modules that are loaded once, before the forks."""
LOADED_FOR_BENCHMARKS = (
    "matplotlib.backends.backend_agg", "matplotlib.figure", "samreg.lab.benchmark", "samreg.lab.commands.benchmark",
    "samreg.lab.figures",
)  # fmt: skip
FAULTS = ("kill", "full", "readonly", "memory", "interrupt")


def _strike(fault: str, out: Path) -> None:
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if fault == "readonly":
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if fault == "memory":
        raise MemoryError
    if fault == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
    if fault == "intrude":
        out.mkdir()
        (out / "theirs.txt").write_text("another run")


def _arm(place: str, fault: str, nth: int, out: Path) -> Callable[[], int]:
    """Replace a function, wherever it was imported to, by one that fails when it is entered for the nth time."""
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)
    count = 0

    def struck(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == nth:
            _strike(fault, out)
        return original(*args, **kwargs)

    setattr(owner, name, struck)
    for other in list(sys.modules.values()):
        if getattr(other, "__name__", "").startswith("samreg") and getattr(other, name, None) is original:
            setattr(other, name, struck)
    return lambda: count


def _run(case: dict[str, Any]) -> None:
    """In the child: run the command, and say where it ended."""
    from samreg.cli import main

    os.chdir(case["folder"])
    # A job in the background inherits that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    entered = _arm(case["place"], case["fault"], case.get("nth", 1), Path(case["folder"]) / "out")
    if "program" in case:
        exec(case["program"], {"__name__": "program"})  # noqa: S102 - written in the tests
        status = 0
    else:
        status = main(case["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if entered() >= case.get("nth", 1) else 99)


def run_cases(cases: Path, results: Path) -> None:
    """Run every case of a file, one after another."""
    found, rows = [], json.loads(cases.read_text(encoding="utf-8"))
    if any(case.get("argv", [""])[0] == "benchmark" for case in rows):
        load(LOADED_FOR_BENCHMARKS)
    for case in rows:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                _run(case)
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
                os._exit(98)
        _, status = os.waitpid(pid, 0)
        log = Path(case["folder"]) / "log.txt"
        found.append({
            "status": os.waitstatus_to_exitcode(status),
            "log": log.read_text(errors="replace") if log.exists() else "",
        })  # fmt: skip
    results.write_text(json.dumps(found), encoding="utf-8")


def load(names: Sequence[str] = LOADED) -> None:
    for name in names:
        importlib.import_module(name)


def main() -> None:
    load()
    for line in sys.stdin:
        run_cases(*map(Path, json.loads(line)))
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
