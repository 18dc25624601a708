"""What the site adds while it is built: the messages of samreg, read from its code."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).parent.parent / "src" / "samreg"
_MARK = "<!-- messages -->"
_NOTES = "Notes: the input is used, in a way that you should know of"
_ROOMS = {
    "io": "Files", "segmenters": "Models", "regions": "Regions", "initial": "Start", "pairs": "Pairs", "fit": "Fit",
    "checks": "Checks", "runs": "Runs, batches, caches", "cli": "Command line", "lab": "Benchmarks and training",
    "geometry": "Grids and fields", "metrics": "Metrics", "prompt": "Prompts", "viewer": "Viewer", "bridges": "Bridges",
    "report": "Report",
}  # fmt: skip


def messages() -> dict[str, list[str]]:
    """Every message with which samreg refuses something, and every note, by room; `...` stands for what was given."""
    found: dict[str, set[str]] = {}
    for path, tree in _trees():
        room = _ROOMS.get(path.relative_to(_SOURCE).parts[0], "General")
        texts = [*(text for _, text in raised(tree)), *_texts_of_classes(tree)]
        for text in texts:
            if text.strip(". "):
                found.setdefault(room, set()).add(text)
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if getattr(call.func, "id", "") == "note" and call.args and _text(call.args[0]).strip(". "):
                found.setdefault(_NOTES, set()).add(_text(call.args[0]))
    return {room: sorted(found[room], key=str.lower) for room in sorted(found, key=lambda name: (name == _NOTES, name))}


def raised(tree: ast.Module) -> list[tuple[ast.Raise, str]]:
    """Every `raise` of an exception with a message, and its text, which is empty where it is not written there."""
    found = []
    for scope in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)] or [tree]:
        values = {
            target.id: node.value
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(scope):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
                continue
            name, first = getattr(node.exc.func, "id", ""), node.exc.args[0]
            if name == "_refused":  # the settings: which one, what it is, and what to give
                found.append((node, f"... is ...; {_text(node.exc.args[2])}"))
            elif name == "MissingDependencyError":
                package, purpose = (_text(part) or "..." for part in node.exc.args[:2])
                found.append((node, f"{package} is not installed and is needed for {purpose}: pip install ..."))
            elif name.endswith("Error"):
                found.append((node, _text(values.get(first.id, first) if isinstance(first, ast.Name) else first)))
    return found


def _trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(_SOURCE.rglob("*.py"))]


def _texts_of_classes(tree: ast.Module) -> list[str]:
    """Messages that an exception class makes itself."""
    return [
        _text(node.args[0])
        for kind in ast.walk(tree)
        if isinstance(kind, ast.ClassDef) and kind.name.endswith("Error")
        for node in ast.walk(kind)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__" and node.args
    ]


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "..." for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "replace":
        return _text(node.func.value)
    return ""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the messages where the page asks for them."""
    if _MARK not in markdown:
        return markdown
    parts = []
    for room, texts in messages().items():
        parts += [f"### {room}", "", *(f"- {text.replace('<', '&lt;')}" for text in texts), ""]
    return markdown.replace(_MARK, "\n".join(parts))
