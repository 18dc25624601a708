"""How many threads torch, OpenVINO, ITK and OpenMP use: of a process for good, or within a block.

OpenVINO takes as many as torch has, so that one number bounds all of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from samreg.errors import ConfigError

__all__ = ["available_cores", "bound_threads", "limit_threads", "number_of_threads", "set_threads", "share_of"]

_VARIABLES = ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


_CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Cores that this process may use: those it is bound to, and no more than a container's quota allows; at least 1.

    Args:
        cgroup: where the kernel tells the quota, of either version.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    for quota, period in (("cpu.max", ""), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = (cgroup / quota).read_text("utf-8").split()
            words += (cgroup / period).read_text("utf-8").split() if period else []
            share = float(words[0]) / float(words[1])
        except (OSError, ValueError, IndexError, ZeroDivisionError):  # no quota, or `max`
            continue
        if share > 0:
            cores = min(cores, max(1, round(share)))
    return cores


def share_of(jobs: int, threads: int = 0) -> int:
    """Threads of each of several processes: as many as were asked for, else an equal share of the cores.

    Args:
        jobs: processes at a time.
        threads: asked for; 0 divides the machine.
    """
    return threads or max(1, _asked() or available_cores()) // max(1, jobs) or 1


def bound_threads(arguments: Sequence[str] = ()) -> None:
    """Bound the threads of what is loaded later: by `--threads N`, else by `SAMREG_THREADS`, else by a quota.

    Called before torch is loaded; it sets the variables that torch, ITK and OpenMP read once. Without any of the three
    nothing changes. What `--threads` may be is checked where the arguments are read.

    Raises:
        ConfigError: if the variable is not a whole number of at least 1.
    """
    threads = _asked()
    for row, word in enumerate(arguments):
        if word == "--threads" or word.startswith("--threads="):
            following = arguments[row + 1] if row + 1 < len(arguments) else ""
            given = following if word == "--threads" else word.partition("=")[2]
            threads = int(given) if given.isdecimal() and int(given) > 0 else threads
    cores = available_cores()
    if threads or cores < (os.cpu_count() or 1):
        for name in _VARIABLES:
            if threads or name not in os.environ:
                os.environ[name] = str(threads or cores)


def _asked() -> int:
    given = os.environ.get("SAMREG_THREADS", "")
    return number_of_threads(given, "SAMREG_THREADS") if given else 0


def number_of_threads(text: str, name: str) -> int:
    """A number of threads that was given as text.

    Args:
        text: as given.
        name: of the option or variable, for the message.

    Raises:
        ConfigError: if it is not a whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"{name} is a number of threads, 1 or more, got {text!r}")
    return int(text)


def set_threads(threads: int) -> None:
    """Bound the threads of this process for good; what a worker process does before it loads anything.

    Most libraries read these variables once, when they are first used. torch is told where it is loaded already; it is
    not loaded for this, which takes seconds.
    """
    for name in _VARIABLES:
        os.environ[name] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


class limit_threads:  # noqa: N801 (used as a function: `with limit_threads(2):`)
    """Bound the threads of torch, ITK and OpenMP within a block, as far as they can be bounded late."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, int(threads))

    def __enter__(self) -> None:
        import torch

        self._before = {name: os.environ.get(name) for name in _VARIABLES}
        self._torch = torch.get_num_threads()
        set_threads(self.threads)

    def __exit__(self, *_: object) -> None:
        import torch

        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        torch.set_num_threads(self._torch)
