"""A process beside the server for heavy work: it keeps what it loaded, reports progress, and can be stopped."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import Connection, wait
from typing import Any

from samreg.errors import InputError, RegistrationError
from samreg.types import Progress

__all__ = ["CancelledError", "Worker"]

_PATIENCE_S = 5.0


class CancelledError(RegistrationError):
    """The work was stopped on request."""


class Worker:
    """One process; it starts with the first call, and again after it was stopped.

    Calls come from any thread and are answered one after the other.
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Connection | None = None
        self._turn = threading.Lock()
        self._change = threading.Lock()
        self._stopped = False

    def call(self, task: str, *arguments: Any, progress: Progress | None = None) -> Any:
        """Run a task of `samreg.viewer.tasks` and wait for its answer.

        Raises:
            InputError: as the task did.
            CancelledError: if `stop` was called meanwhile.
            RegistrationError: if the task failed otherwise, or the process died.
        """
        with self._turn:
            with self._change:
                self._stopped = False
                pipe = self._started()
            try:
                pipe.send((task, arguments))
                while True:
                    kind, value = pipe.recv()
                    if kind == "progress":
                        if progress is not None:
                            progress(*value)
                    elif kind == "done":
                        return value
                    elif kind == "input":
                        raise InputError(value)
                    else:
                        raise RegistrationError(value)
            except (EOFError, OSError):
                with self._change:
                    stopped = self._stopped
                    self._drop()
                if stopped:
                    raise CancelledError("stopped") from None
                raise RegistrationError(
                    "the process that computes has died, perhaps for want of memory; try it again"
                ) from None

    def stop(self) -> None:
        """End the process, and with it what it computes; the next call starts another one."""
        with self._change:
            self._stopped = True
            process = self._process
        if process is None:
            return
        process.terminate()
        process.join(_PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()

    @property
    def pid(self) -> int | None:
        """Of the process; None where it does not run."""
        process = self._process
        return None if process is None or not process.is_alive() else process.pid

    def _started(self) -> Connection:
        if self._pipe is not None and self._process is not None and self._process.is_alive():
            return self._pipe
        self._drop()
        context = multiprocessing.get_context("spawn")  # threads of the server and of torch do not survive a fork
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs,), daemon=True, name="samreg view worker")
        self._process.start()
        theirs.close()
        self._pipe = ours
        return ours

    def _drop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None and not self._process.is_alive():
            self._process.join()
        self._pipe = self._process = None


def _main(pipe: Connection) -> None:
    """The process: takes tasks until the server is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's business
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from samreg.viewer.tasks import TASKS

    def progress(stage: str, done: int, total: int) -> None:
        pipe.send(("progress", (stage, int(done), int(total))))

    with contextlib.suppress(EOFError, OSError):
        while True:
            task, arguments = pipe.recv()
            pipe.send(_answer(TASKS[task], progress, arguments))


def _answer(function: Any, progress: Progress, arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "done", function(progress, *arguments)
    except InputError as error:
        return "input", str(error)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"


def _end_with_parent() -> None:
    """A server that was killed leaves no process behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
