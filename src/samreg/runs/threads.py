"""How many threads torch, ITK and OpenMP use: of a process for good, or within a block."""

from __future__ import annotations

import os

__all__ = ["limit_threads", "set_threads"]

_VARIABLES = ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def set_threads(threads: int) -> None:
    """Bound the threads of this process for good; what a worker process does before it loads anything.

    Most libraries read these variables once, when they are first used.
    """
    for name in _VARIABLES:
        os.environ[name] = str(threads)
    import torch

    torch.set_num_threads(threads)


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
