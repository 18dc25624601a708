"""The viewer's server: this machine only, one run, read only."""

from __future__ import annotations

import importlib.resources
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from samreg.errors import InputError
from samreg.viewer.scene import Scene

__all__ = ["serve"]

_LAST_PORT = 65535


def serve(folder: str | Path, port: int = 0) -> ThreadingHTTPServer:
    """Make a server for a run folder; call its `serve_forever` to run it.

    It listens on 127.0.0.1 only and answers GET for the page, slices as PNG and outlines as JSON.

    Args:
        folder: the run folder.
        port: port to listen on; 0 takes a free one (`server.server_address[1]` tells which).

    Raises:
        InputError: if the folder cannot be shown, or the port does not exist or is taken.
    """
    if not 0 <= port <= _LAST_PORT:
        raise InputError(f"port (--port) is {port}: give a number from 1 to {_LAST_PORT}, or 0 for a free one")
    scene, lock = Scene.load(folder), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                with lock:  # one slice at a time is fast enough, and the scene fills its caches in peace
                    kind, body = _answer(scene, self.path)
            except (InputError, ValueError, KeyError, IndexError) as error:
                self._send(404, "text/plain; charset=utf-8", str(error).encode())
            else:
                self._send(200, kind, body)

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
            """Say nothing: requests are no news."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise InputError(f"cannot listen on port {port}: {error.strerror}; choose another --port") from None


def _answer(scene: Scene, path: str) -> tuple[str, bytes]:
    url = urlparse(path)
    query = {key: values[0] for key, values in parse_qs(url.query).items()}
    if url.path == "/":
        page = importlib.resources.files("samreg.viewer").joinpath("page.html")
        return "text/html; charset=utf-8", page.read_bytes()
    if url.path == "/scene":
        return "application/json", json.dumps(scene.describe()).encode()
    if url.path == "/slice":
        return "image/png", scene.picture(query["view"], int(query["index"]))
    if url.path == "/outlines":
        return "application/json", json.dumps(scene.outlines(query["side"], int(query["index"]))).encode()
    raise InputError(f"there is no page {url.path}")
