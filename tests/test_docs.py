"""Every code block of the documentation runs, or says on the page why not.

A page runs in a folder of its own, in which `samreg demo --data data` has written the phantom, with the
blocks in the order of the page. A shell block stops at the first command that fails. Python blocks share one namespace
a page. Regions that another block found come from the tests' cache, in Python blocks as well: that they are found is
for other tests. A block that cannot run here has a comment with the reason in the line before it:
`<!-- not run: needs a Slurm cluster -->`.
Tables of commands that made a number (docs/results.md, docs/performance.md) name data that is not shipped.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import forked

_ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"(?:<!-- (?P<why>not run: [^\n]+?) -->\n+)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_PAGES = sorted(
    [*_ROOT.glob("docs/*.md"), *_ROOT.glob("docs/decisions/*.md"), _ROOT / "README.md", _ROOT / "CONTRIBUTING.md"]
)
_MEASUREMENTS = ("results.md", "results-history.md", "performance.md", "reliability.md")
"""Pages whose blocks are the commands that made their numbers."""
_OWN_TESTS = {
    "extending.md": "test_plugins.py",
    "interoperability.md": "test_interoperability_page.py",
    "own-labels.md": "test_own_labels_page.py",
}
"""Pages whose blocks another test runs."""


@dataclass(frozen=True)
class Block:
    page: Path
    kind: str
    text: str
    why: str | None


def blocks(page: Path) -> list[Block]:
    return [
        Block(page, found["kind"], found["text"], found["why"]) for found in _BLOCK.finditer(page.read_text("utf-8"))
    ]


def _runnable(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.kind in ("sh", "python") and block.why is None]


_RUN = [page for page in _PAGES if page.name not in (*_MEASUREMENTS, *_OWN_TESTS) and page.exists() and _runnable(page)]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where `samreg` and `samreg-python` are: a process that has loaded samreg answers, where processes can fork."""
    if hasattr(os, "fork"):
        with forked.commands(tmp_path_factory.mktemp("programs")) as folder:
            yield folder
    else:
        yield Path(sys.executable).parent


@pytest.fixture(scope="module")
def phantom_folder(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "data"
    _run([str(programs / "samreg"), "demo", "--data", str(folder)], folder.parent, programs)
    return folder


_FIRST = """
import contextlib, io, samreg.pipeline
from samreg.regions.cache import RegionsCache
_find = samreg.pipeline.find_regions
def _found(image, finder, settings, cache=None, progress=None):
    return _find(image, finder, settings, cache or RegionsCache(), progress)
samreg.pipeline.find_regions = _found
"""
"""What runs before the Python of a page. Without it, each call would segment the same images again."""


def _run(command: list[str], folder: Path, programs: Path) -> None:
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "COLUMNS": "120"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("page", _RUN, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_order(page: Path, programs: Path, phantom_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(phantom_folder, tmp_path / "data")
    python = [str(programs / "samreg-python")] if hasattr(os, "fork") else [sys.executable, "-c"]
    earlier = ""
    for block in _runnable(page):
        if block.kind == "sh":
            _run(["bash", "-euo", "pipefail", "-c", block.text], tmp_path, programs)
        else:
            # The earlier Python of the page, without what it prints.
            code = f"{_FIRST}with contextlib.redirect_stdout(io.StringIO()):\n    exec({earlier!r})\n"
            _run([*python, code + block.text], tmp_path, programs)
            earlier += block.text


@pytest.mark.parametrize("page", [p for p in _PAGES if p.exists()], ids=lambda page: str(page.relative_to(_ROOT)))
def test_a_block_has_a_language(page: Path) -> None:
    bare = [block.text for block in blocks(page) if not block.kind]
    assert not bare, f"{page.name}: blocks without a language; `text` is for what nobody runs: {bare}"


def test_pages_with_tests_of_their_own_have_them() -> None:
    for page, test in _OWN_TESTS.items():
        if (_ROOT / "docs" / page).exists():
            assert page in (_ROOT / "tests" / test).read_text("utf-8")


def test_a_page_that_is_not_in_the_site_is_a_mistake() -> None:
    listed = (_ROOT / "mkdocs.yml").read_text("utf-8")
    for page in (p for p in _PAGES if p.parent.name == "docs"):
        assert page.name in listed, f"{page.name} is not in the navigation of mkdocs.yml"


def test_links_between_pages_lead_somewhere() -> None:
    for page in (p for p in _PAGES if p.exists()):
        text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_files_that_pages_name_are_there() -> None:
    there = [
        path.relative_to(_ROOT).as_posix()
        for folder in ("src", "tests", "benchmarks", "docs")
        for path in (_ROOT / folder).rglob("*.py")
    ]
    lost = [
        f"{page.name}: {name}"
        for page in (p for p in _PAGES if p.exists())
        for name in re.findall(r"`([\w./]+/\w+\.py)`", page.read_text("utf-8"))
        if not name.startswith("toy_parts/") and not any(f"/{path}".endswith(f"/{name}") for path in there)
    ]
    assert not lost


_PASSED_ON = {"cli/parse.py", "viewer/worker.py", "io/nifti_forms.py", "io/pictures.py"}
"""Where another error's text is passed on: tyro's, another process's, that of the other form, that of a copy."""


def _hooks():
    import importlib.util

    spec = importlib.util.spec_from_file_location("docs_hooks", _ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_message_has_its_entry_on_the_page_of_troubles(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = _hooks()
    trees = hooks._trees()  # parsed once
    monkeypatch.setattr(hooks, "_trees", lambda: trees)
    listed = {text for texts in hooks.messages().values() for text in texts}
    without = []
    for path, tree in trees:
        for node, text in hooks.raised(tree):
            if text not in listed and path.relative_to(hooks._SOURCE).as_posix() not in _PASSED_ON:
                without.append(f"{path.name}:{node.lineno}")
    assert without == []
    assert len(listed) > 400
    page = hooks.on_page_markdown((_ROOT / "docs" / "troubleshooting.md").read_text("utf-8"))
    assert all(text.replace("<", "&lt;") in page for text in listed)


def test_every_exception_has_its_entry_on_the_page_of_troubles() -> None:
    import samreg.errors

    page = (_ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    names = [name for name in samreg.errors.__all__ if isinstance(getattr(samreg.errors, name), type)]
    assert len(names) > 8
    assert [name for name in names if f"| `{name}` |" not in page] == []


_FAMILIES = ("MIT", "BSD", "Apache", "MPL", "Mozilla", "ISC", "PSF", "Python Software Foundation", "GPL", "Unlicense")


def _licence(name: str) -> set[str]:
    """The families of licences that an installed package names; none where it is not installed or names none."""
    try:
        data = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return set()
    classifiers = [text for text in data.get_all("Classifier") or [] if text.startswith("License")]
    own = data.get("License-Expression") or " ".join([(data.get("License") or "").strip()[:60], *classifiers])
    return {family for family in _FAMILIES if family in own}


def test_every_dependency_has_its_licence_on_the_page() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11

    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for rows in project["optional-dependencies"].values() for r in rows)]
    names = {re.split(r"[\[<>=; ]", requirement, maxsplit=1)[0] for requirement in wanted} - {"samreg"}
    page = (_ROOT / "docs" / "licences.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| ([\w-]+)[^|]*\| ([^|]+) \|", page, re.M))
    assert sorted(names - set(rows)) == []
    named = {name: _licence(name) for name in names}
    assert sum(map(bool, named.values())) > 10
    other = {n: (rows[n], own) for n, own in named.items() if own and not any(f in rows[n] for f in own)}
    assert other == {}, "the page says another licence than the package"


def test_the_lowest_releases_are_those_that_the_project_allows() -> None:
    """tests/lowest.txt installs what pyproject.toml promises to work with, or the lowest that goes with the rest."""
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]

    def bounds(requirements: list[str]) -> dict[str, str]:
        found = {}
        for text in requirements:
            name, several, rest = re.fullmatch(r"([\w.-]+)(?:\[([^]]+)\])?([^;]*).*", text).groups()
            if name == "samreg":
                for extra in several.split(","):
                    found |= bounds(extras[extra])
            elif "python_version <" not in text:
                found[name] = rest.lstrip(">=")
        return found

    wanted = bounds([*project["dependencies"], *extras["test"]])
    lines = (_ROOT / "tests" / "lowest.txt").read_text("utf-8").splitlines()
    lowest = dict(line.split("==") for line in lines if not line.startswith("#"))

    def number(version: str) -> tuple[int, ...]:
        parts = [int(part) for part in version.split(".")]
        return tuple(parts + [0] * (4 - len(parts)))

    assert lowest.keys() == wanted.keys()
    # Some packages ask for more than samreg does; what no other package needs stands at its bound.
    higher = {name for name in wanted if number(lowest[name]) > number(wanted[name])}
    assert all(number(lowest[name]) >= number(wanted[name]) for name in wanted)
    assert higher == {"h5py", "nibabel", "nitransforms", "numpy", "scipy", "torch", "torchvision"}
