"""Commands without the seconds in which a process loads PyTorch: one process loads samreg and forks for each command.

    python forked.py serve SOCKET                    loads samreg, then answers calls
    python forked.py call SOCKET samreg ARGUMENT...  the command, in this folder, with these variables and streams
    python forked.py call SOCKET samreg-python TEXT  Python text, as `python -c` would

The command runs in a process of its own, as a command that a shell starts does. Variables that are read when PyTorch is
loaded are those of the process that serves.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STARTS_WITHIN = 300  # seconds


@contextmanager
def commands(folder: Path) -> Iterator[Path]:
    """A folder for the front of PATH with `samreg` and `samreg-python TEXT`, from a process that has loaded samreg.

    Args:
        folder: empty; the socket and the two programs are put there.
    """
    sock = folder / "socket"
    here = str(Path(__file__).resolve())
    for name in ("samreg", "samreg-python"):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{here}" call "{sock}" {name} "$@"\n')
        program.chmod(0o755)
    process = subprocess.Popen([sys.executable, here, "serve", str(sock)])
    began = time.monotonic()
    try:
        while not sock.exists():
            assert process.poll() is None, "the process that serves ended"
            assert time.monotonic() - began < _STARTS_WITHIN
            time.sleep(0.05)
        yield folder
    finally:
        process.terminate()
        process.wait()


def _serve(path: str) -> None:
    import faults

    faults.load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that answer
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}.tmp")
        server.listen()
        os.rename(f"{path}.tmp", path)  # noqa: PTH104 - from here on calls are answered
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _answer(connection)
                os._exit(0)
            connection.close()


def _answer(connection: socket.socket) -> None:
    """Run the command of one call and send its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    request = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
    pid = os.fork()
    if pid == 0:
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _run(request["argv"], request["folder"], request["environment"])
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    connection.sendall(str(status).encode())


def _run(argv: list[str], folder: str, environment: dict[str, str]) -> None:
    """In the process of the command: run it and end."""
    import atexit
    import threading
    import traceback
    from types import ModuleType

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p and p not in sys.path]
    # Whoever starts further processes finds the module of a command, not this one.
    sys.modules["__main__"] = main = ModuleType("__main__")
    status: object = 0
    try:
        if argv[0] == "samreg":
            from samreg.cli import main as samreg

            sys.argv = argv
            status = samreg()
        else:
            sys.argv = ["-c"]
            exec(compile(argv[1], "<string>", "exec"), main.__dict__)  # noqa: S102 - the blocks of the documentation
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if isinstance(status, str):
        os.write(2, f"{status}\n".encode())
        status = 1
    os._exit(status if isinstance(status, int) else 0)


def _call(path: str, argv: list[str]) -> int:
    request = {"argv": argv, "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [b"s"], [0, 1, 2])
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        status = int(connection.recv(64) or b"1")
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2])
    else:
        sys.exit(_call(sys.argv[2], sys.argv[3:]))
