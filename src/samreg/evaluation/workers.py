"""Many independent tasks on worker processes of this machine or on a Dask cluster; one failure never stops the rest.

Only the calling process sees the answers, so whoever writes records writes each exactly once, whatever happens to the
workers.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from samreg.errors import ConfigError, MissingDependencyError

__all__ = ["run_tasks"]

Answer = Any
Task = tuple[Any, ...]
OnAnswer = Callable[[int, Answer, str], None]
"""Called in the calling process with the index of the task, its answer, and an error text (empty if it went well)."""

_DIED = "the worker process died while it computed this"
_DASK_ATTEMPTS = 3


def run_tasks(
    function: Callable[..., Answer],
    tasks: Sequence[Task],
    on_answer: OnAnswer,
    *,
    jobs: int = 1,
    dask: str = "",
    threads: int = 0,
    dask_timeout_s: float = 30.0,
) -> None:
    """Call `function(*task)` for every task, in any order.

    Args:
        function: importable by name in another process.
        tasks: arguments of each call; they and the answers are pickled.
        on_answer: gets each answer as soon as it is there, in the calling process.
        jobs: worker processes on this machine; 0 computes in the calling process, where a crash of a tool takes
            everything with it.
        dask: address of a Dask scheduler, for example `tcp://10.0.0.1:8786`, instead of processes here.
        threads: threads of each worker process; 0 leaves the choice to the libraries.
        dask_timeout_s: how long to wait for the scheduler.

    Raises:
        ConfigError: if jobs is negative.
        MissingDependencyError: if an address is given and Dask is not installed.
    """
    if jobs < 0:
        raise ConfigError(f"jobs is the number of worker processes, 0 or more, got {jobs}")
    if dask:
        _run_on_dask(function, tasks, on_answer, dask, dask_timeout_s)
    elif jobs == 0:
        for index, task in enumerate(tasks):
            on_answer(index, *_attempt(function, task))
    else:
        _run_on_processes(function, tasks, on_answer, jobs, threads)


def _attempt(function: Callable[..., Answer], task: Task) -> tuple[Answer, str]:
    try:
        return function(*task), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _run_on_processes(
    function: Callable[..., Answer], tasks: Sequence[Task], on_answer: OnAnswer, jobs: int, threads: int
) -> None:
    waiting, suspects = list(range(len(tasks)))[::-1], list[int]()
    while waiting or suspects:
        # After a crash the tasks that were under way run one by one, which tells the guilty from the bystanders.
        alone = bool(suspects)
        queue, suspects_next = (suspects[:1] if alone else waiting), list[int]()
        if alone:
            suspects = suspects[1:]
        with _pool(1 if alone else min(jobs, len(queue)), threads) as pool:
            running: dict[Future[tuple[Answer, str]], int] = {}
            broken = False
            while (queue and not broken) or running:
                while queue and not broken and len(running) < jobs:
                    index = queue.pop()
                    try:
                        running[pool.submit(_attempt, function, tasks[index])] = index
                    except BrokenProcessPool:
                        queue.append(index)
                        broken = True
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    index = running.pop(future)
                    try:
                        answer = future.result()
                    except BrokenProcessPool:
                        broken = True
                        suspects_next.append(index)
                    else:
                        on_answer(index, *answer)
        if alone:
            for index in suspects_next:
                on_answer(index, None, _DIED)
        else:
            suspects += suspects_next


def _pool(jobs: int, threads: int) -> ProcessPoolExecutor:
    # A forked child would inherit the thread pools of torch and ITK in an unknown state.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(threads,))


def _start_worker(threads: int) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if threads:
        from samreg.evaluation.methods.base import set_threads

        set_threads(threads)


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_on_dask(
    function: Callable[..., Answer], tasks: Sequence[Task], on_answer: OnAnswer, address: str, timeout_s: float
) -> None:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise MissingDependencyError("distributed", "--dask", "dask") from None
    try:
        client = Client(address, timeout=timeout_s)
    except OSError as error:
        raise ConfigError(
            f"no Dask scheduler answers at {address!r} ({error}); start one with: dask scheduler"
        ) from None
    with client:
        futures = {
            client.submit(_attempt, function, task, pure=False, retries=_DASK_ATTEMPTS): index
            for index, task in enumerate(tasks)
        }
        for future in as_completed(list(futures)):
            index = futures.pop(future)
            if future.status == "finished":
                on_answer(index, *future.result())
            else:  # the scheduler gave up: the workers that took it died one after the other
                on_answer(index, None, f"{_DIED} ({future.status})")
            future.release()
