"""The command line: one dataclass a command, one module a dataclass, imported when it is called.

To add a command, write a module with a dataclass whose fields are the arguments, whose docstring and field docstrings
are the help, and whose `run` does the work and returns an exit status or None; then name it in `COMMANDS`. Where the
defaults depend on the arguments themselves, give the dataclass a class method `defaults(arguments)`.

Notes of the readers (`samreg.errors.InputWarning`) are printed to stderr as `samreg: note: ...`.

Exit status: 0 done; 2 the user's input is at fault (one line on stderr); 1 a fault of ours; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any

from samreg import __version__
from samreg.errors import InputError, SamregError
from samreg.io.notes import collected

__all__ = ["COMMANDS", "main"]

# Command -> module, dataclass, help in one line.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("samreg.cli.demo", "Demo", "the whole job on a built-in phantom with a known field; needs no data"),
    "register": ("samreg.cli.register", "Register", "register MOVING onto FIXED and write a run folder"),
    "segment": ("samreg.cli.segment", "SegmentImage", "find all regions of one image"),
    "prompt": ("samreg.cli.prompt", "Prompt", "one point, box or mask in FIXED gives its region in MOVING"),
    "warp": ("samreg.cli.warp", "Warp", "carry another image or label map along a finished run"),
    "warp-points": ("samreg.cli.warp_points", "WarpPoints", "carry points along a finished run"),
    "evaluate": ("samreg.cli.evaluate", "Evaluate", "Dice, distances and folding of a finished run"),
    "batch": ("samreg.cli.batch", "Batch", "many pairs from a table, resumable, on many machines"),
    "benchmark": ("samreg.cli.benchmark", "Benchmark", "methods against datasets: records, tables, figures"),
    "train": ("samreg.cli.train", "Train", "train one of the baselines"),
    "models": ("samreg.cli.models", "Models", "what can segment, where its weights are, how to get what is missing"),
    "view": ("samreg.cli.view", "View", "look at a finished run in the browser"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _say(_overview())
        return 0 if arguments else 2
    if arguments[0] in ("-V", "--version"):
        _say(f"samreg {__version__}")
        return 0
    # Before torch is loaded: threads that wait by spinning take the core from the one they wait for as soon as anything
    # else runs on the machine (a fit beside two other processes on two cores: 152 s instead of 11 s). A few
    # microseconds of spinning are enough on a machine that is free.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    previous = _on_terminate()
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:  # what a library deprecates is not the user's concern
                warnings.simplefilter("ignore")
            with collected(_note):
                return int(_command(arguments[0], arguments[1:]).run() or 0)
    except InputError as error:
        return _fail(str(error), 2)
    except SamregError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted; nothing was written", 130)
    except BrokenPipeError:
        # The reader of our output left (`samreg ... | head`): there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 1
    except Exception as error:
        if os.environ.get("SAMREG_TRACEBACK"):
            raise
        kind = type(error).__name__
        return _fail(f"a fault of samreg, {kind}: {error}; set SAMREG_TRACEBACK=1 to see where, and report it", 1)
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)


def _command(name: str, arguments: list[str]) -> Any:
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {close[0]}?" if close else f"commands: {' '.join(COMMANDS)}"
        raise InputError(f"there is no command {name!r}; {hint}")
    module, kind, _ = COMMANDS[name]
    from samreg.cli.parse import parse

    return parse(getattr(importlib.import_module(module), kind), f"samreg {name}", arguments)


def _overview() -> str:
    rows = "\n".join(f"  {name:<12} {text}" for name, (_, _, text) in COMMANDS.items())
    return (
        f"samreg {__version__}: medical image registration by paired regions\n\n"
        f"usage: samreg COMMAND ... (samreg COMMAND --help explains each)\n\n{rows}\n\n"
        "first steps:\n"
        "  samreg demo --out demo\n"
        "  samreg register FIXED MOVING --out run\n"
        "  samreg view run"
    )


def _on_terminate() -> Any:
    """Let a polite kill unwind like Ctrl-C, so that nothing half-written stays; returns the handler it replaces."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        return signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever started us handles signals
        return None


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _note(text: str) -> None:
    sys.stderr.write(f"samreg: note: {text}\n")


def _fail(message: str, status: int) -> int:
    sys.stderr.write(f"samreg: {' '.join(message.split())}\n")
    return status
