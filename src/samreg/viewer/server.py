"""The viewer's server: this machine only, one run, and only the user who started it."""

from __future__ import annotations

import contextlib
import secrets
import socket
import tempfile
import threading
import webbrowser
from pathlib import Path
from types import TracebackType
from typing import Any

from samreg.errors import InputError
from samreg.viewer.page import Page
from samreg.viewer.security import Guard
from samreg.viewer.session import Session

__all__ = ["Server", "serve"]

_LAST_PORT = 65535


def serve(folder: str | Path, port: int = 0, page: Page | None = None) -> Server:
    """Open a run folder and make a server for it; call its `run` to answer.

    Args:
        folder: the run folder.
        port: port to listen on at 127.0.0.1; 0 takes a free one.
        page: the built page; that of the installation by default.

    Raises:
        InputError: if the folder cannot be shown, the page is not there, or the port does not exist or is taken.
    """
    if not 0 <= port <= _LAST_PORT:
        raise InputError(f"port (--port) is {port}: give a number from 1 to {_LAST_PORT}, or 0 for a free one")
    return Server(folder, port, Page.load(str(folder)) if page is None else page)


class Server:
    """A server for one run folder; as a context it closes what it opened.

    Args:
        folder: the run folder.
        port: as in `serve`.
        page: the built page.
    """

    def __init__(self, folder: str | Path, port: int, page: Page) -> None:
        self._socket = _listening(port)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        try:
            import uvicorn

            from samreg.viewer.app import make_app

            self.session = Session(folder)
        except BaseException:
            self._socket.close()
            raise
        self.port = int(self._socket.getsockname()[1])
        self.token = secrets.token_urlsafe(32)
        app: Any = Guard(make_app(self.session, page), self.token, self.port)
        config = uvicorn.Config(
            app,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            loop="asyncio",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=64,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)

    @property
    def address(self) -> str:
        """The address of the page, with the token: whoever has it may see and change the run."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    def open_browser(self) -> None:
        """Open the page in the user's browser.

        The browser is given a file of this user's that leads to the page: the arguments of a program can be read by
        every user of the machine, and the address holds the token.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="samreg-view-")
        path = Path(self._folder.name) / "open.html"
        path.touch(mode=0o600)
        path.write_text(
            f'<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={self.address}">'
            f'<title>samreg</title><a href="{self.address}">samreg</a>',
            encoding="utf-8",
        )
        webbrowser.open(path.as_uri())

    def run(self) -> None:
        """Answer until interrupted, or until `stop`."""
        threading.Thread(target=self.session.prepare, daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._server.should_exit = True

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.close()
        self._socket.close()
        if self._folder is not None:
            self._folder.cleanup()


def _listening(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(64)
    except OSError as error:
        listening.close()
        raise InputError(f"cannot listen on port {port}: {error.strerror}; choose another --port") from None
    return listening
