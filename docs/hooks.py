"""What the site adds while it is built: the messages of samreg, read from its code."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).parent.parent / "src" / "samreg"
_MARK = "<!-- messages -->"
_ROOMS = {
    "io": "Files", "segmenters": "Models", "regions": "Regions", "initial": "Start", "pairs": "Pairs", "fit": "Fit",
    "checks": "Checks", "runs": "Runs, batches, caches", "cli": "Command line", "lab": "Benchmarks and training",
    "geometry": "Grids and fields", "metrics": "Metrics", "prompt": "Prompts", "viewer": "Viewer", "bridges": "Bridges",
    "report": "Report",
}  # fmt: skip


def messages() -> dict[str, list[str]]:
    """Every message with which samreg refuses something, by room; `...` stands for what was given."""
    found: dict[str, set[str]] = {}
    for path in sorted(_SOURCE.rglob("*.py")):
        room = path.relative_to(_SOURCE).parts[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
                name = getattr(node.exc.func, "id", "")
                text = _text(node.exc.args[0])
                if name.endswith("Error") and text.strip(". "):
                    found.setdefault(_ROOMS.get(room, "General"), set()).add(text)
    return {room: sorted(texts, key=str.lower) for room, texts in sorted(found.items())}


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "..." for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return ""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the messages where the page asks for them."""
    if _MARK not in markdown:
        return markdown
    parts = []
    for room, texts in messages().items():
        parts += [f"### {room}", "", *(f"- {text.replace('<', '&lt;')}" for text in texts), ""]
    return markdown.replace(_MARK, "\n".join(parts))
