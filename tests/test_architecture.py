"""Rules of the house that no type checker knows."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

import samreg

PACKAGE = Path(samreg.__file__).parent
REPOSITORY = PACKAGE.parents[1]
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = {"torch", "SimpleITK", "matplotlib", "transformers", "monai", "openvino", "h5py"}
COMPUTES = ("checks/", "fit/", "initial/", "lab/", "pairs/", "prompt/", "regions/")
COMPUTES += ("geometry/frame.py", "geometry/ops/", "segmenters/")
"""Modules that are imported when the computing starts, and so may import torch at once; nothing else may."""
ROOMS = sorted(p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file())


def imported_at_once(path: Path) -> set[str]:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    roots = {a.name.partition(".")[0] for n in body if isinstance(n, ast.Import) for a in n.names}
    return roots | {(n.module or "").partition(".")[0] for n in body if isinstance(n, ast.ImportFrom)}


def test_normalised_coordinates_live_in_one_module() -> None:
    users = {
        str(p.relative_to(PACKAGE)) for p in MODULES if re.search(r"\bgrid_sample\(", p.read_text(encoding="utf-8"))
    }
    assert users == {"geometry/ops/resample.py"}


def test_the_top_of_the_package_is_small() -> None:
    assert len(ROOMS) <= 16
    assert len(list(PACKAGE.glob("*.py"))) <= 10


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_goes_in_and_what_comes_out(room: str) -> None:
    told = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    first = " ".join(told.split("\n\n")[0].split())
    assert " in" in first
    assert " out" in first or " comes" in first


def test_the_import_contract_knows_every_room() -> None:
    if not (REPOSITORY / "pyproject.toml").is_file():
        pytest.skip("installed without the repository")
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.findall(r"[\w]+", text.split("layers = [", 1)[1].split("]", 1)[0])
    modules = {p.stem for p in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert set(layers) == set(ROOMS) | modules
    assert "exhaustive = true" in text


SCRIPTS = sorted((REPOSITORY / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_a_script_imports_what_samreg_has(path: Path) -> None:
    """No type checker reads the scripts, and a name that moved would be found when somebody runs them."""
    lost = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "samreg":
            module = importlib.import_module(str(node.module))
            lost += [
                f"{node.module}.{name.name}"
                for name in node.names
                if not hasattr(module, name.name) and importlib.util.find_spec(f"{node.module}.{name.name}") is None
            ]
    assert not lost


def test_no_imports_go_in_a_circle() -> None:
    grimp = pytest.importorskip("grimp")
    graph = grimp.build_graph("samreg")
    imports = {name: set(graph.find_modules_directly_imported_by(name)) for name in graph.modules}
    while True:  # what imports nothing that is left cannot be part of a circle
        ends = {name for name, found in imports.items() if not found & imports.keys()}
        if not ends:
            break
        imports = {name: found for name, found in imports.items() if name not in ends}
    assert imports == {}


@pytest.mark.usefixtures("litemedsam")  # compiled already
def test_the_page_names_the_modules_that_a_registration_enters_in_order() -> None:
    """docs/architecture.md against what `samreg.register` really enters; see benchmarks/follow.py."""
    page = REPOSITORY / "docs" / "architecture.md"
    if not page.is_file():
        pytest.skip("installed without the repository")
    from benchmarks.follow import entered_modules

    from test_masks import quick, small

    text = page.read_text(encoding="utf-8")
    named = re.findall(r"^\d+\. `([\w.]+)`", text, re.MULTILINE)
    # Fewer steps and prompts, on smaller images: through the same modules.
    pair, config = small(), dataclasses.replace(quick(), segment=samreg.preset("fast").segment)
    found = entered_modules(lambda: samreg.register(pair.fixed, pair.moving, config))
    entered = [name.removeprefix("samreg.") for name in found]
    assert len(named) == len(set(named)) <= 12
    assert [name for name in entered if name in named] == named
    rooms = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert rooms == set(ROOMS)
    tops = {p.stem for p in PACKAGE.glob("*.py")}
    assert {name.partition(".")[0] for name in entered} <= rooms | tops


@pytest.mark.parametrize("part", COMPUTES)
def test_what_may_import_torch_at_once_does(part: str) -> None:
    users = [p for p in MODULES if str(p.relative_to(PACKAGE)).startswith(part)]
    assert any("torch" in imported_at_once(p) for p in users)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
class TestEveryModule:
    def test_it_is_at_most_400_lines(self, path: Path) -> None:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400

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
    from samreg.cli import command_names

    listed = set(
        re.findall(r"^\| `samreg ([\w-]+)", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert listed == set(command_names())
