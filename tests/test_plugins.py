"""The package of docs/extending.md, installed as it stands there; each part is used through the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import forked
import samreg
from samreg import Grid, Image, write_image
from samreg.io.images import write_labels

PAGE = Path(__file__).resolve().parents[1] / "docs" / "extending.md"
GRID = Grid((48, 56), (1.0, 1.0))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the toy package: its modules, and the metadata that pip would write."""
    if not PAGE.is_file():
        pytest.skip("installed without the repository")
    folder = tmp_path_factory.mktemp("site")
    text = PAGE.read_text(encoding="utf-8")
    (folder / "toy_parts").mkdir()
    (folder / "toy_parts" / "__init__.py").touch()
    for name, code in re.findall(r"```python\n# toy_parts/(\w+\.py)\n(.*?)```", text, re.DOTALL):
        (folder / "toy_parts" / name).write_text(code, encoding="utf-8")
    (folder / "toy_parts-1.dist-info").mkdir()
    (folder / "toy_parts-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-parts\nVersion: 1\n")
    groups = re.findall(r'\[project\.entry-points\."(samreg\.\w+)"\]\n"?([\w.]+)"? = "([\w.:]+)"', text)
    lines = [f"[{group}]\n{name} = {target}\n" for group, name, target in groups]
    (folder / "toy_parts-1.dist-info" / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    assert len(groups) == 8
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bright blobs, and the same two pixels further along x; as NIfTI and as .npy, with labels."""
    folder = tmp_path_factory.mktemp("data")
    y, x = np.mgrid[:48, :56].astype(np.float32)
    for side, shift in (("fixed", 0), ("moving", 2)):
        blobs = [((y - a) ** 2 + (x - b - shift) ** 2) / s for a, b, s in ((15, 18, 60), (33, 36, 90))]
        grey = sum(np.exp(-b) for b in blobs).astype(np.float32)
        write_image(Image(grey, GRID), folder / f"{side}.nii.gz")
        np.save(folder / f"{side}.npy", grey)
        write_labels((grey > 0.5).astype(np.int32), GRID, folder / f"{side}_labels.nii.gz")
    return folder


@pytest.fixture(scope="module")
def samreg_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The command line; where processes can fork, without loading PyTorch each time."""
    if not hasattr(os, "fork"):
        yield "samreg"
        return
    with forked.commands(tmp_path_factory.mktemp("programs")) as folder:
        yield str(folder / "samreg")


def _call(command: str, packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(packages), str(Path(samreg.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [command, *arguments], env={**os.environ, "PYTHONPATH": path}, capture_output=True, encoding="utf-8"
    )


def _run(command: str, site: Path, *arguments: str) -> str:
    done = _call(command, site, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_segmenter_term_solver_check_format_and_metric(
    samreg_command: str, site: Path, data: Path, tmp_path: Path
) -> None:
    images = [str(data / f"{side}.npy") for side in ("fixed", "moving")]
    parts = ["--segmenter", "bright", "--similarity", "ssd", "--transform", "shift", "--work-size", "48"]
    out = _run(samreg_command, site, "register", *images, "--out", str(tmp_path / "run"), *parts)
    assert "something moved by 2" in out
    run = samreg.read_run(tmp_path / "run")
    assert run.manifest["provenance"]["fixed"]["segmenter"] == "bright"
    assert len(run.pairs) == 2
    assert run.field is not None
    np.testing.assert_allclose(run.field.u.reshape(-1, 2).mean(axis=0), [2, 0], atol=0.2)
    checks = {check["name"]: check["value"] for check in run.manifest["provenance"]["checks"]}
    assert checks["far"] == pytest.approx(2, abs=0.5)
    warped = str(tmp_path / "warped.npy")
    _run(samreg_command, site, "warp", images[1], "--run", str(tmp_path / "run"), "--out", warped)
    assert np.load(warped).shape == GRID.shape
    labels = [f"--{side}-labels={data / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    numbers = tmp_path / "numbers.json"
    _run(samreg_command, site, "evaluate", "--run", str(tmp_path / "run"), *labels, "--out", str(numbers))
    assert "volume_ratio" in json.dumps(json.loads(numbers.read_text(encoding="utf-8")))


def test_dataset_peer_and_metric(samreg_command: str, site: Path, data: Path, tmp_path: Path) -> None:
    methods = ["--methods", "identity,centres", "--jobs", "0"]
    where = ["--root", str(data), "--out", str(tmp_path / "bench")]
    out = _run(samreg_command, site, "benchmark", "two", *where, *methods)
    assert "centres" in out
    assert "volume ratio" in out


def test_a_part_that_cannot_be_imported_is_named(samreg_command: str, data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken_parts-1.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-parts\nVersion: 1\n")
    (broken / "entry_points.txt").write_text("[samreg.solvers]\nnowhere = broken_parts.solver:minimise\n")
    images = [str(data / f"{side}.nii.gz") for side in ("fixed", "moving")]
    labels = [f"--{side}-labels={data / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    options = ["--labels-only", "--transform", "nowhere", "--out", str(tmp_path / "run")]
    done = _call(samreg_command, tmp_path, "register", *images, *labels, *options)
    assert done.returncode == 2
    assert "broken-parts" in done.stderr
    assert not (tmp_path / "run").exists()
