"""Who may ask the viewer's server: the page that this user opened on this machine, and nobody else.

The address holds a random token. The page that it opens gets the token as a cookie, which scripts cannot read and other
sites cannot send. Every request must come to the server's own name (a page of another site that points its name at
127.0.0.1 has another one), and, where the browser says which page asks, from the server's own page.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

__all__ = ["LARGEST_BODY", "Guard"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_BODY = 16 * 1024 * 1024
"""Bytes of a request: a region that was mended by hand is far smaller."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """An ASGI application around another one, which lets only the user's own page through.

    Args:
        app: what answers.
        token: the secret of this run of the server.
        port: where the server listens.
    """

    def __init__(self, app: App, token: str, port: int) -> None:
        self._app, self._token = app, token
        self.cookie = f"samreg_{port}"  # cookies do not know ports: two viewers must not take each other's
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse: 400 for another host, 403 for another page or user, 413 for a body that is too large."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            elif scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        refusal, fresh = self._check(scope, headers)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(k, v) for k, v in message["headers"] if k.lower() not in dict(_HEADERS)]
                if fresh:
                    text = f"{self.cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                    kept.append((b"set-cookie", text.encode()))
                message = {**message, "headers": [*kept, *_HEADERS]}
            await send(message)

        if refusal is not None:
            await _refuse(answer, *refusal)
            return
        body = b""
        if scope["method"] not in ("GET", "HEAD"):
            whole = await _body(receive)
            if whole is None:
                await _refuse(answer, 413, "the request is too large")
                return
            body = whole
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return waiting.pop() if waiting else await receive()

        try:
            await self._app(scope, again, answer)
        except OSError:
            return  # the browser went away: nobody is left to answer

    def _check(self, scope: Scope, headers: dict[str, list[str]]) -> tuple[tuple[int, str] | None, bool]:
        """Status and text of a refusal, or None; and whether the token came in the address, so that a cookie is due."""
        if len(headers.get("host", [])) != 1 or headers["host"][0].lower() not in self._hosts:
            return (400, "this server answers to its own name only"), False
        origins = headers.get("origin", [])
        if scope["method"] not in ("GET", "HEAD") and not origins:
            return (403, "a change must come from the viewer's own page"), False
        if any(origin not in self._origins for origin in origins):
            return (403, "another page asks"), False
        size = headers.get("content-length", ["0"])[0]
        if not size.isdigit() or int(size) > LARGEST_BODY:
            return (413, "the request is too large"), False
        query = parse_qs(scope["query_string"].decode("latin-1"))
        entry = scope["path"] == "/" and scope["method"] == "GET"
        if entry and self._right(query.get("token", [""])[0]):
            return None, True
        # The address is opened from outside, by the terminal; everything else is asked for by the page.
        site = headers.get("sec-fetch-site", ["same-origin"])[0]
        if site not in ("same-origin", "none"):
            return (403, "another page asks"), False
        if not self._right(self._cookie(headers)):
            return (403, "open the address that samreg view printed: it holds the key to this run"), False
        return None, False

    def _cookie(self, headers: dict[str, list[str]]) -> str:
        jar = SimpleCookie()
        try:
            for line in headers.get("cookie", []):
                jar.load(line)
        except CookieError:
            return ""
        return jar[self.cookie].value if self.cookie in jar else ""

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode())


async def _body(receive: Receive) -> bytes | None:
    """The whole body of a request; None where it is too large, or the browser went away."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > LARGEST_BODY:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(send: Send, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
