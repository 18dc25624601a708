"""The addresses that the page asks, and what answers them."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from samreg.errors import InputError, SamregError
from samreg.files import to_json
from samreg.viewer.page import Page
from samreg.viewer.session import Session

__all__ = ["make_app"]

Answer = Callable[[Request], Awaitable[Response]]


def make_app(session: Session, page: Page) -> Starlette:
    """The application of one session.

    Args:
        session: the run that is open.
        page: the built page.
    """
    routes = [
        Route("/", _told(_file(page, "index.html"))),
        *(Route(f"/{name}", _told(_file(page, name))) for name in page.files if name != "index.html"),
        Route("/scene", _told(_json(session.describe))),
        Route("/pairs", _told(_json(session.pairs))),
        Route("/overlaps", _told(_json(session.overlaps))),
        Route("/job", _told(_json(session.job))),
        Route("/map/{which}", _told(functools.partial(_map, session))),
        Route("/volume/{which}/{name}", _told(functools.partial(_volume, session))),
        Route("/edit", _told(_posted(session.edit)), methods=["POST"]),
        Route("/prompt", _told(_posted(lambda body: session.prompt(*_named(body, "side", "where")))), methods=["POST"]),
        Route(
            "/prompt/more", _told(_posted(lambda body: session.prompt_more(*_named(body, "number")))), methods=["POST"]
        ),
        Route(
            "/prompt/ready",
            _told(_posted(lambda body: session.ready_prompt(*_named(body, "fixed", "moving")))),
            methods=["POST"],
        ),
        Route("/prompt/stop", _told(_posted(lambda _: session.stop_prompt())), methods=["POST"]),
        Route("/job/start", _told(_posted(lambda body: session.start(*_named(body, "kind")))), methods=["POST"]),
        Route("/job/stop", _told(_posted(lambda _: session.stop())), methods=["POST"]),
        Route("/job/discard", _told(_posted(lambda _: session.discard())), methods=["POST"]),
        Route("/save", _told(_posted(lambda body: session.save(*_named(body, "name")))), methods=["POST"]),
    ]
    return Starlette(routes=routes)


def _told(answer: Answer) -> Answer:
    """The same, with errors as one sentence: 422 for what cannot be done, 500 for an error inside samreg."""

    async def told(request: Request) -> Response:
        try:
            return await answer(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except HTTPException:
            raise
        except InputError as error:
            return JSONResponse({"error": str(error)}, 422)
        except SamregError as error:
            return JSONResponse({"error": str(error)}, 500)
        except (OSError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
            text = f"an error inside samreg: {type(error).__name__}: {error}"
            sys.stderr.write(f"samreg: {text}\n")
            return JSONResponse({"error": text}, 500)

    return told


def _file(page: Page, name: str) -> Answer:
    async def answer(_: Request) -> Response:
        content, kind = page.files[name]
        return Response(content, media_type=kind)

    return answer


def _json(function: Callable[[], Any]) -> Answer:
    async def answer(_: Request) -> Response:
        return JSONResponse(to_json(await run_in_threadpool(function)))

    return answer


def _posted(function: Callable[[dict[str, Any]], Any]) -> Answer:
    async def answer(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise InputError("a change is sent as application/json")
        try:
            body = json.loads(await request.body())
        except ValueError:
            raise InputError("a change is sent as JSON") from None
        if not isinstance(body, dict):
            raise InputError("a change is a JSON object")
        return JSONResponse(to_json(await run_in_threadpool(function, body)))

    return answer


def _named(body: dict[str, Any], *names: str) -> list[Any]:
    missing = [name for name in names if name not in body]
    if missing:
        raise InputError(f"the request lacks {missing[0]!r}")
    return [body[name] for name in names]


async def _map(session: Session, request: Request) -> Response:
    content = await run_in_threadpool(session.map, request.path_params["which"])
    return Response(content, media_type="application/octet-stream")


async def _volume(session: Session, request: Request) -> Response:
    path = await run_in_threadpool(session.volume, request.path_params["which"], request.path_params["name"])
    return FileResponse(path, media_type="application/octet-stream")
