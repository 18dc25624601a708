"""Rules of the house that no type checker knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import samreg

PACKAGE = Path(samreg.__file__).parent
REPOSITORY = PACKAGE.parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"torch", "SimpleITK", "matplotlib", "transformers", "monai", "openvino", "h5py"}
COMPUTES = ("fitting/", "networks/", "ops/", "prompting/", "proposals/", "segmenters/", "training/")
COMPUTES += ("alignment.py", "evaluation/score.py", "pairing.py", "prototypes.py", "start.py")
"""Modules that are imported when the computing starts, and so may import torch at once; nothing else may."""


def imported_at_once(path: Path) -> set[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    roots = {a.name.partition(".")[0] for n in body if isinstance(n, ast.Import) for a in n.names}
    return roots | {(n.module or "").partition(".")[0] for n in body if isinstance(n, ast.ImportFrom)}


def test_normalised_coordinates_live_in_one_module() -> None:
    users = {
        str(p.relative_to(PACKAGE)) for p in MODULES if re.search(r"\bgrid_sample\(", p.read_text(encoding="utf-8"))
    }
    assert users == {"ops/resample.py"}


@pytest.mark.parametrize("part", COMPUTES)
def test_what_may_import_torch_at_once_does(part: str) -> None:
    users = [p for p in MODULES if str(p.relative_to(PACKAGE)).startswith(part)]
    assert any("torch" in imported_at_once(p) for p in users)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
class TestEveryModule:
    def test_it_is_at_most_500_lines(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500

    def test_it_says_what_it_is_and_what_it_offers(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree)
        if path.name == "__main__.py" or not any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in tree.body):
            return
        names = {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        assert "__all__" in names

    def test_it_never_validates_by_assert(self, path: Path) -> None:
        assert not [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Assert)
        ]

    def test_it_imports_nothing_heavy_at_once(self, path: Path) -> None:
        allowed = {"torch"} if str(path.relative_to(PACKAGE)).startswith(COMPUTES) else set()
        assert imported_at_once(path) & HEAVY <= allowed


def test_every_test_named_in_the_conventions_exists() -> None:
    page = REPOSITORY / "docs" / "conventions.md"
    if not page.is_file():
        pytest.skip("installed without the repository")
    last = ""
    for name in re.findall(r"`((?:test_\w+\.py)?(?:::\w+)*)`", page.read_text(encoding="utf-8")):
        if not name:
            continue
        file, *parts = name.split("::")
        last = file or last
        text = (REPOSITORY / "tests" / last).read_text(encoding="utf-8")
        for part in parts:
            assert re.search(rf"(def|class) {part}\b", text), name


def test_every_link_between_pages_leads_somewhere() -> None:
    if not (REPOSITORY / "README.md").is_file():
        pytest.skip("installed without the repository")
    pages = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    dead = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                dead.append(f"{page.relative_to(REPOSITORY)}: {target}")
    assert dead == []


def test_the_readme_lists_every_command() -> None:
    if not (REPOSITORY / "README.md").is_file():
        pytest.skip("installed without the repository")
    from samreg.cli import COMMANDS

    listed = set(
        re.findall(r"^\| `samreg ([\w-]+)", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert listed == set(COMMANDS)
