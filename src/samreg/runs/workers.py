"""Many independent tasks on worker processes of this machine or on a Dask cluster; one failure never stops the rest.

Only the calling process gets the answers, so it can write each record exactly once, whatever happens to the workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from samreg.errors import ConfigError, MissingDependencyError, RegistrationError
from samreg.runs.threads import set_threads, share_of

__all__ = ["run_tasks"]

Answer = Any
Task = tuple[Any, ...]
OnAnswer = Callable[[int, Answer, str], None]
"""Called in the calling process with the index of the task, its answer, and an error text (empty if it went well)."""

_DIED = "the worker process died while it computed this"
_ENDS_WITHIN_S = 10.0
"""Seconds that an interrupted worker has to take away what is half-written."""
_DASK_ATTEMPTS = 3
_DASK_TIMEOUT_S = 30.0


def run_tasks(
    function: Callable[..., Answer],
    tasks: Sequence[Task],
    on_answer: OnAnswer,
    *,
    jobs: int = 1,
    dask: str = "",
    threads: int = 0,
) -> None:
    """Call `function(*task)` for every task, in any order.

    Args:
        function: importable by name in another process.
        tasks: arguments of each call; they and the answers are pickled.
        on_answer: called with each answer as soon as it has come, in the calling process.
        jobs: worker processes on this machine; 0 computes in the calling process, where a crash of a tool ends
            the whole run.
        dask: address of a Dask scheduler, for example `tcp://10.0.0.1:8786`, instead of processes here.
        threads: threads of each worker process; 0 gives each an equal share of the cores.

    Raises:
        ConfigError: if jobs is negative, or no scheduler answers.
        RegistrationError: if no worker process can be started.
        MissingDependencyError: if an address is given and Dask is not installed.
    """
    if jobs < 0:
        raise ConfigError(f"jobs is the number of worker processes, 0 or more, got {jobs}")
    if dask:
        _run_on_dask(function, tasks, on_answer, dask)
    elif jobs == 0:
        for index, task in enumerate(tasks):
            on_answer(index, *_attempt(function, task))
    else:
        _run_on_processes(function, tasks, on_answer, jobs, share_of(min(jobs, len(tasks)), threads))


def _attempt(function: Callable[..., Answer], task: Task) -> tuple[Answer, str]:
    try:
        return function(*task), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _run_on_processes(
    function: Callable[..., Answer], tasks: Sequence[Task], on_answer: OnAnswer, jobs: int, threads: int
) -> None:
    waiting = deque(range(len(tasks)))
    while waiting:
        n_before = len(waiting)
        interrupted = _drain(function, tasks, waiting, on_answer, min(jobs, len(waiting)), threads)
        # After a crash, what was under way runs alone: that shows which of them caused it.
        for index in interrupted:
            alone = deque([index])
            if _drain(function, tasks, alone, on_answer, 1, threads) or alone:
                on_answer(index, None, _DIED)
        if len(waiting) == n_before:
            raise RegistrationError("the worker processes die before they take a task; try --jobs 0 to see why")


def _drain(
    function: Callable[..., Answer],
    tasks: Sequence[Task],
    waiting: deque[int],
    on_answer: OnAnswer,
    jobs: int,
    threads: int,
) -> list[int]:
    """Work through `waiting` with one pool until it is empty or the pool breaks; returns what was under way then."""
    running: dict[Future[tuple[Answer, str]], int] = {}
    interrupted: list[int] = []
    with _pool(jobs, threads) as pool, _ended_with_us():
        while (waiting and not interrupted) or running:
            # No more than there are workers, so that a crash interrupts few.
            while waiting and not interrupted and len(running) < jobs:
                try:
                    running[pool.submit(_work, function, tasks[waiting[0]])] = waiting[0]
                except BrokenProcessPool:
                    break
                waiting.popleft()
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                index = running.pop(future)
                try:
                    answer = future.result()
                except BrokenProcessPool:
                    interrupted.append(index)
                else:
                    on_answer(index, *answer)
    return interrupted


def _pool(jobs: int, threads: int) -> ProcessPoolExecutor:
    # A forked child would inherit the thread pools of torch and ITK in an unknown state.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(threads,))


@contextlib.contextmanager
def _ended_with_us() -> Iterator[None]:
    """Where this process is interrupted, the workers that it started within end as well, what they do unfinished."""
    others = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        workers = set(multiprocessing.active_children()) - others
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(_ENDS_WITHIN_S)
            worker.kill()
        raise


def _work(function: Callable[..., Answer], task: Task) -> tuple[Answer, str]:
    """The attempt of a worker, which its end does not outlast: a pool would hand it the next task."""
    try:
        return _attempt(function, task)
    except SystemExit:
        os._exit(1)


def _start_worker(threads: int) -> None:
    # Ctrl-C in a terminal goes to all processes: the calling one decides, and says so once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    set_threads(threads)


def _leave(*_: object) -> None:
    """End a worker so that what is half-written is taken away."""
    # A pool that misses one worker ends the others once more, which must not stop them from clearing up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _die_with_parent() -> None:
    """End a worker whose parent was killed: it would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run_on_dask(function: Callable[..., Answer], tasks: Sequence[Task], on_answer: OnAnswer, address: str) -> None:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise MissingDependencyError("distributed", "--dask", "dask") from None
    try:
        client = Client(address, timeout=_DASK_TIMEOUT_S)
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
            else:  # the scheduler gave up: every worker that took it died
                on_answer(index, None, f"{_DIED} ({future.status})")
            future.release()
