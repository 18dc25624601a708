"""Look and behaviour of the pages: no fonts, scripts or pictures from elsewhere."""

from __future__ import annotations

import functools
import importlib.resources
import json
from html import escape
from typing import Any

__all__ = ["as_json", "page", "text_of"]


@functools.cache
def text_of(name: str) -> str:
    """A file beside this module."""
    return importlib.resources.files("samreg.report").joinpath(name).read_text(encoding="utf-8")


def as_json(value: Any) -> str:
    """JSON that a script element can hold: nothing in it ends the element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def page(title: str, body: str, script: str = "", data: Any = None) -> str:
    """A whole page of the common look.

    Args:
        title: of the window, plain text.
        body: HTML.
        script: JavaScript that runs at the end.
        data: what the script finds in the element `slides`.
    """
    held = "" if data is None else f'<script type="application/json" id="slides">{as_json(data)}</script>'
    ran = f"<script>{script}</script>" if script else ""
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)} · samreg</title><style>{text_of('page.css')}</style></head>"
        f"<body><main>{body}</main>{held}{ran}</body></html>\n"
    )
