"""Damaged inputs through every reader: each ends with a result or with one clear line, and nothing else.

    python -m benchmarks.fuzz [--count 10000] [--only nifti,dicom] [--first 0] [--jobs 1] [--out FAULTS.jsonl]

Input number n is made from valid files by a generator that n seeds, so that one number is enough to make it again
(`--first n --count 1 --only TARGET --keep DIR` leaves it in a folder). A fault is

    traceback   an exception that is no `samreg.errors.InputError` (nor a file that is missing or may not be read), or a
                message of several lines
    crash       the process ended
    hang        it took longer than ten seconds
    memory      reading took more than 256 MiB beside 100 times the size of the file
    outside     something was written outside the folder of the input, a program was started, a connection was made or
                an object other than plain numbers was unpickled

Exit status 1 where there was one.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from benchmarks.fuzz_inputs import TARGETS, damaged

__all__ = ["Fault", "faults_of", "inputs"]

_SECONDS = 10.0
_MEMORY = 256 << 20
_TIMES_THE_FILE = 100
_ADDRESS_SPACE = 3 << 30
_UNPICKLED = ("collections", "torch", "numpy", "_codecs", "builtins", "copyreg")


@dataclass(frozen=True)
class Fault:
    """An input that ended otherwise than it may."""

    target: str
    number: int
    kind: str
    text: str


def inputs(count: int, first: int = 0, only: tuple[str, ...] = ()) -> list[tuple[str, int]]:
    """Target and number of each input: the targets take turns."""
    names = list(only or TARGETS)
    return [(names[n % len(names)], first + n // len(names)) for n in range(count)]


def faults_of(wanted: list[tuple[str, int]], folder: Path) -> Iterator[Fault | None]:
    """Read inputs in another process, one after the other; None for each that ended well.

    Args:
        wanted: target and number of each.
        folder: an empty folder for the valid files and the damaged ones.
    """
    worker = None
    valid = {target: _valid(target, folder) for target in dict.fromkeys(target for target, _ in wanted)}
    try:
        for target, number in wanted:
            if worker is None:
                worker = _Worker(folder, valid)
            fault = worker.ask(target, number)
            yield fault
            if fault is not None and fault.kind in ("crash", "hang", "memory"):
                worker.close()
                worker = None
    finally:
        if worker is not None:
            worker.close()


class _Worker:
    """A process that reads inputs until it is closed, crashes or hangs."""

    def __init__(self, folder: Path, valid: dict[str, list[Path]]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, end = context.Pipe()
        self.process = context.Process(target=_serve, args=(end, folder, valid), daemon=True)
        self.process.start()
        end.close()
        self.pipe.recv()  # it has loaded what it needs

    def ask(self, target: str, number: int) -> Fault | None:
        self.pipe.send((target, number))
        # Making the input and loading a library take time too; the reader's own is measured there.
        if not self.pipe.poll(3 * _SECONDS):
            return Fault(target, number, "hang", f"no answer after {_SECONDS:g} s")
        try:
            kind, text = self.pipe.recv()
        except EOFError:
            self.process.join(5)
            return Fault(target, number, "crash", f"the process ended with {self.process.exitcode}")
        return Fault(target, number, kind, text) if kind else None

    def close(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


def _serve(pipe: Connection, folder: Path, valid: dict[str, list[Path]]) -> None:
    """The loop of the other process."""
    warnings.simplefilter("ignore")
    logging.disable()
    for target, paths in valid.items():
        # What a reader loads when it is first used is not memory of the input.
        TARGETS[target].read(paths[0])
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE + _memory("VmSize"), -1))
    watch = _Watch()
    sys.addaudithook(watch)
    pipe.send("ready")
    while True:
        try:
            target, number = pipe.recv()
        except EOFError:
            return
        pipe.send(_outcome(target, number, valid[target], folder, watch))


class _Watch:
    """What a reader has no business to do, by Python's audit events."""

    def __init__(self) -> None:
        self.allowed: str | None = None
        self.temporary = tempfile.gettempdir()
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.allowed is None:
            return
        if event == "open":
            path, mode, flags = arguments[0], arguments[1], arguments[2]
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            writes = writes or (isinstance(mode, str) and any(c in mode for c in "wax+"))
            if (
                writes
                and isinstance(path, str | bytes)
                and not os.fsdecode(path).startswith((self.allowed, self.temporary))
            ):
                self.seen.append(f"opened {os.fsdecode(path)} to write")
        elif event == "pickle.find_class" and str(arguments[0]).split(".")[0] not in _UNPICKLED:
            self.seen.append(f"unpickled {arguments[0]}.{arguments[1]}")
        elif event in ("os.system", "subprocess.Popen", "socket.connect", "os.exec", "os.posix_spawn"):
            self.seen.append(event)


def _valid(target: str, folder: Path) -> list[Path]:
    place = folder / "valid" / target
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    return TARGETS[target].make(place)


def make_input(target: str, number: int, valid: list[Path], folder: Path) -> Path:
    """Make the damaged input of a number in a folder, and return its path."""
    random = np.random.default_rng([number, *target.encode()])
    source = valid[int(random.integers(0, len(valid)))]
    if folder.exists():
        shutil.rmtree(folder)
    inside = source.is_dir() or target == "cache"
    base = source if source.is_dir() else source.parent
    shutil.copytree(base, folder / base.name)
    copy = folder / base.name if source.is_dir() else folder / base.name / source.name
    files = sorted(p for p in copy.rglob("*") if p.is_file()) if copy.is_dir() else [copy]
    hit = files[int(random.integers(0, len(files)))]
    if inside and copy.is_dir() and random.random() < 0.05:
        hit.unlink()
    else:
        hit.write_bytes(damaged(hit.read_bytes(), hit.name, TARGETS[target], random))
    return copy


def _outcome(target: str, number: int, valid: list[Path], folder: Path, watch: _Watch) -> tuple[str, str]:
    """The kind of the fault and what is known of it; two empty texts where there was none."""
    place = folder / f"damaged-{os.getpid()}"
    path = make_input(target, number, valid, place)
    size = sum(p.stat().st_size for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
    before, begun = _peak(), time.monotonic()
    watch.seen, watch.allowed = [], str(place)
    kind, text = "", ""
    try:
        from samreg.errors import InputError

        TARGETS[target].read(path)
    except InputError as error:
        if "\n" in str(error):
            kind, text = "traceback", f"a message of several lines: {error}"
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
        if error.filename is None:
            kind, text = "traceback", traceback.format_exc()
    except BaseException:
        kind, text = "traceback", traceback.format_exc()
    finally:
        watch.allowed = None
    if watch.seen:
        kind, text = "outside", "; ".join(watch.seen)
    elif time.monotonic() - begun > _SECONDS:
        kind, text = "hang", f"{time.monotonic() - begun:.1f} s"
    elif (took := _peak() - before) > _MEMORY + _TIMES_THE_FILE * size:
        kind, text = "memory", f"{took >> 20} MiB for {size} bytes"
    return kind, text


def _memory(field: str) -> int:
    """Bytes of this process, from /proc; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(field)), 0)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="make the inputs in this folder and read none")
    options = parser.parse_args()
    only = tuple(name for name in options.only.split(",") if name)
    wanted = inputs(options.count, options.first, only)
    if options.keep:
        for target, number in wanted:
            valid = _valid(target, options.keep)
            print(make_input(target, number, valid, options.keep / f"{target}-{number}"))
        return 0
    found: list[Fault] = []
    done = 0

    def work(part: list[tuple[str, int]]) -> None:
        nonlocal done
        with tempfile.TemporaryDirectory() as folder:
            for fault in faults_of(part, Path(folder)):
                done += 1
                if fault is not None:
                    found.append(fault)
                    print(
                        f"{fault.target} {fault.number}: {fault.kind}: {fault.text.strip().splitlines()[-1]}",
                        flush=True,
                    )
                if done % 500 == 0:
                    print(f"{done} of {len(wanted)}", flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, [wanted[k :: options.jobs] for k in range(options.jobs)]))
    if options.out:
        options.out.write_text("".join(json.dumps(asdict(fault)) + "\n" for fault in found))
    kinds = Counter((fault.target, fault.kind) for fault in found)
    print(
        f"{len(wanted)} inputs, {len(found)} faults",
        *(f"{t} {k}: {n}" for (t, k), n in sorted(kinds.items())),
        sep="\n",
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
