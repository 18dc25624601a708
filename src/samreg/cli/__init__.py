"""The command line: arguments go in, and files, lines on the screen and an exit status come out.

One dataclass a command, one module a dataclass, imported when it is called.

To add a command, write a module with a dataclass whose fields are the arguments, whose docstring and field docstrings
are the help, and whose `run` does the work and returns an exit status or None. Then name it in `BUILT_IN`; another
package names its commands as entry points of the group `samreg.commands`. Where the defaults depend on the arguments
themselves, give the dataclass a class method `defaults(arguments)`.

Every command takes `--quiet`, `--verbose`, `--json` (`samreg.cli.output`) and `--threads` (`samreg.runs.threads`).

Notes of the readers (`samreg.errors.InputWarning`) are printed to stderr as `samreg: note: ...`.

Exit status: 0 done; 1 an error inside samreg; 2 what the user gave cannot be used; 3 `--strict` and the verdict is not
PASS, or some pairs of a batch failed; 130 interrupted. An error is one line on stderr.
"""

from __future__ import annotations

import _thread
import contextlib
import dataclasses
import errno
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from samreg import __version__, plugins
from samreg.cli.output import begin, current, logged
from samreg.errors import ConfigError, InputError, SamregError
from samreg.notes import collected, hushed
from samreg.runs.threads import bound_threads

__all__ = ["BUILT_IN", "command_names", "main"]

BUILT_IN = {
    "demo": "samreg.cli.demo:Demo",
    "register": "samreg.cli.register:Register",
    "fit": "samreg.cli.fit:Fit",
    "pairs": "samreg.cli.pairs:Pairs",
    "segment": "samreg.cli.segment:SegmentImage",
    "prompt": "samreg.cli.prompt:Prompt",
    "warp": "samreg.cli.warp:Warp",
    "warp-points": "samreg.cli.warp_points:WarpPoints",
    "evaluate": "samreg.cli.evaluate:Evaluate",
    "export": "samreg.cli.export:Export",
    "batch": "samreg.cli.batch:Batch",
    "warmup": "samreg.cli.warmup:Warmup",
    "models": "samreg.cli.models:Models",
    "view": "samreg.cli.view:View",
    "completion": "samreg.cli.completion:Completion",
}
"""Command -> its dataclass."""

_OF_THE_MACHINE = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EROFS),
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENAMETOOLONG, errno.ELOOP, errno.EADDRINUSE, errno.ESTALE),
)
"""Errors of files, folders and ports: what the user gave, or what the machine has."""
_AGAIN = 0.001
"""Seconds after which an interruption that Python dropped comes again."""


def command_names() -> list[str]:
    """All commands: those of samreg, then those that are found by entry points of `samreg.commands`."""
    return plugins.names("commands", BUILT_IN)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _print(_overview())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        _print(f"samreg {__version__}")
        return 0
    # Before torch is loaded: threads that wait by spinning take the core from the one they wait for as soon as anything
    # else runs on the machine (a fit beside two other processes on two cores: 152 s instead of 11 s). A few
    # microseconds of spinning are enough on a machine that is free.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        bound_threads(arguments)
    except ConfigError as error:
        return _fail(str(error), 2)
    begin(())
    started = time.monotonic()
    notes: list[str] = []
    said: list[str] = []
    status = 1
    try:
        with _interruptible():
            status = _run(arguments, notes, said)
    finally:
        if current().json:
            with contextlib.suppress(BrokenPipeError):
                _print(current().line(arguments[0], status, time.monotonic() - started, notes, " ".join(said)))
    return status


def _run(arguments: list[str], notes: list[str], said: list[str]) -> int:
    """Run a command and turn every error into one line and a status; notes and that line are added to the lists."""

    def fail(message: str, status: int) -> int:
        said.append(_line(message))
        return _fail(message, status)

    def keep(text: str) -> None:
        notes.append(text)
        _note(text)

    try:
        # What a library deprecates does not concern the user, unless Python was started with -W.
        with contextlib.nullcontext() if sys.warnoptions else hushed(), collected(keep):
            command = _command(arguments[0], arguments[1:])
            with logged():
                return int(command.run() or 0)
    except InputError as error:
        return fail(str(error), 2)
    except SamregError as error:
        return fail(str(error), 1)
    except KeyboardInterrupt as error:
        return fail(str(error) or "interrupted; nothing was written", 130)
    except BrokenPipeError:
        # Who read the output has ended (`samreg ... | head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except Exception as error:
        # Files, folders and memory are the user's to mend, wherever it shows that they do not suffice.
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            where = "" if error.filename is None else f"{error.filename}: "
            return fail(f"{where}{os.strerror(error.errno)}; choose another place, or make this one usable", 2)
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return fail("there is not enough memory for this; use smaller images, or --device cpu if it was a GPU's", 1)
        if os.environ.get("SAMREG_TRACEBACK"):
            raise
        if current().verbose:
            traceback.print_exc()
        kind = type(error).__name__
        return fail(f"an error inside samreg, {kind}: {error}; set SAMREG_TRACEBACK=1 to see where, and report it", 1)


def _command(name: str, arguments: list[str]) -> Any:
    kind = plugins.find("commands", name, BUILT_IN)
    if kind is None:
        import difflib

        known = command_names()
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"commands: {' '.join(known)}"
        raise InputError(f"there is no command {name!r}; {hint}")
    from samreg.cli.parse import parse

    own = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    arguments = begin(arguments, tuple(own))
    return parse(kind, f"samreg {name}", arguments)


def _overview() -> str:
    from samreg.cli.overview import summary_of

    rows = "\n".join(
        f"  {name:<12} {summary_of(plugins.location('commands', name, BUILT_IN))}" for name in command_names()
    )
    return (
        f"samreg {__version__}: medical image registration by paired regions\n\n"
        f"usage: samreg COMMAND ... (samreg COMMAND --help explains each)\n\n{rows}\n\n"
        "first steps:\n"
        "  samreg demo --out demo\n"
        "  samreg register FIXED MOVING --out run\n"
        "  samreg view run"
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Make SIGTERM end the work as Ctrl-C does, so that nothing half-written stays, and lose neither of the two.

    Python drops an exception of a signal that comes while it frees an object, or while a module is imported; it only
    tells `sys.unraisablehook`. Such an interruption is raised again a moment later.
    """
    # A lock in a handler of signals could be held by what it interrupts.
    comes_again = False

    def stop(_number: int, frame: FrameType | None) -> None:
        nonlocal comes_again
        while frame is not None:
            if frame.f_code is dropped.__code__:  # an exception here would be dropped as well
                return
            frame = frame.f_back
        comes_again = False
        raise KeyboardInterrupt

    def again() -> None:
        pause = _AGAIN
        time.sleep(pause)
        while comes_again:
            # SIGTERM, since a job in the background ignores SIGINT.
            _thread.interrupt_main(signal.SIGTERM)
            pause *= 2  # leaves the main thread time to get out of where it would be dropped
            time.sleep(pause)

    def dropped(what: sys.UnraisableHookArgs) -> None:
        nonlocal comes_again
        if issubclass(what.exc_type, KeyboardInterrupt):
            comes_again = True
            threading.Thread(target=again, daemon=True).start()
        else:
            otherwise(what)

    if threading.current_thread() is not threading.main_thread():  # which alone handles signals
        yield
        return
    otherwise, sys.unraisablehook = sys.unraisablehook, dropped
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        comes_again = False
        if previous is not None:  # None: set by something that is not Python
            signal.signal(signal.SIGTERM, previous)
        sys.unraisablehook = otherwise


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _note(text: str) -> None:
    sys.stderr.write(f"samreg: note: {text}\n")


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"samreg: {_line(message)}\n")
    return status


def _line(message: str) -> str:
    """A message in one line; spaces within a line may be those of a path and stay."""
    return re.sub(r"\s*\n\s*", " ", message.strip())
