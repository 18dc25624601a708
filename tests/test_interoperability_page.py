"""Every block of docs/interoperability.md is run, in a folder that holds what the page says; images are compared."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samreg
from bodies import OBLIQUE
from samreg.cli import main
from samreg.io.images import read_image
from shifts import SHIFT, images, options, write

PAGE = Path(__file__).resolve().parents[1] / "docs" / "interoperability.md"
if not PAGE.is_file():
    pytest.skip("installed without the repository", allow_module_level=True)
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
PYTHON = {re.match(r"# (.*)\n", code)[1]: code for kind, code in BLOCKS if kind == "python"}  # type: ignore[index]
COMMANDS = [line for kind, code in BLOCKS if kind == "sh" for line in code.splitlines()]
NO_WARPED = {"3D Slicer", "slicerio", "nibabel and ACDC", "nipype", "torch"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    files = write(folder)
    labels = [f"--{side}-labels={files[f'{side}_labels']}" for side in ("fixed", "moving")]
    pair = [str(files["fixed"]), str(files["moving"])]
    assert main(["register", *pair, *labels, "--labels-only", "--transform=affine", "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = shutil.copytree(made, tmp_path / "work")
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def folder(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`samreg.register` finds the true shift within a second here: the pairs are given."""
    register: Callable[..., Any] = samreg.register

    def quick(fixed: Any, moving: Any, **_: Any) -> Any:
        return register(fixed, moving, **options())

    monkeypatch.setattr("samreg.pipeline.register", quick)
    monkeypatch.setitem(samreg.__dict__, "register", quick)
    return work


def write_acdc(path: Path) -> None:
    """A file as those of ACDC: an sform of ones, and the spacing in pixdim."""
    nib = pytest.importorskip("nibabel")
    image = nib.Nifti1Image(np.arange(120, dtype=np.float32).reshape(6, 5, 4), np.eye(4))
    image.header["pixdim"][1:4] = 1.5, 1.5, 10.0
    image.header["qform_code"], image.header["sform_code"] = 0, 1
    nib.save(image, path)


def in_array_order(image: Any) -> np.ndarray:
    """Any package's image as an array (z, y, x)."""
    module = type(image).__module__.partition(".")[0]
    if module == "SimpleITK":
        import SimpleITK as sitk

        return np.asarray(sitk.GetArrayFromImage(image))
    if module == "nibabel":
        return np.asarray(image.dataobj).T
    if module == "ants":
        return np.asarray(image.numpy()).T
    if module == "monai":
        return np.asarray(image.as_tensor())[0].T
    return np.asarray(image)


@pytest.mark.parametrize("name", PYTHON)
def test_python(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = PYTHON[name]
    for module in re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE):
        pytest.importorskip(module)
    if name == "nipype":
        pytest.importorskip("nipype")
        monkeypatch.setenv("NO_ET", "1")
    if name == "nibabel and ACDC":
        write_acdc(folder / "acdc.nii.gz")
    found: dict[str, Any] = {}
    exec(compile(code, f"{PAGE.name}: {name}", "exec"), found)  # noqa: S102
    assert ("warped" in found) == (name not in NO_WARPED)
    if "warped" in found:
        fixed, _ = images()
        theirs = in_array_order(found["warped"])
        inner = tuple(slice(6, -6) for _ in range(3))  # tools fill differently beyond the moving image
        assert np.abs(theirs - fixed.data)[inner].max() < 1e-3 * np.ptp(fixed.data)


def test_the_numbers_that_blocks_speak_of(folder: Path) -> None:
    pytest.importorskip("nibabel")
    write_acdc(folder / "acdc.nii.gz")
    found: dict[str, Any] = {}
    exec(PYTHON["nibabel and ACDC"], found)  # noqa: S102
    np.testing.assert_allclose(np.linalg.norm(found["wrong"][:3, :3], axis=0), 1)
    assert found["right"] == (1.5, 1.5, 10.0)
    again = found["nib"].load("acdc_for_all.nii.gz")
    np.testing.assert_allclose(np.linalg.norm(again.affine[:3, :3], axis=0), found["right"], rtol=1e-6)
    exec(PYTHON["SimpleITK"], found)  # noqa: S102
    here = OBLIQUE.index_to_world(np.asarray([[15.0, 12.5, 10.0]]))[0]
    np.testing.assert_allclose(found["point_in_moving"] - here, SHIFT, atol=1e-3)


@pytest.mark.parametrize("line", COMMANDS)
def test_command(line: str, work: Path) -> None:
    program, *words = shlex.split(line)
    if program == "samreg":
        if words[0] == "register":
            shutil.rmtree("run")
            words += ["--fixed-labels=fixed_labels.nii.gz", "--moving-labels=moving_labels.nii.gz", "--labels-only"]
            words += ["--transform=affine"]
        assert main(words) == 0
        return
    if program == "itksnap":
        pytest.skip("itksnap opens a window")
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    subprocess.run([program, *words], check=True)
    fixed, _ = images()
    inner = tuple(slice(6, -6) for _ in range(3))
    assert np.abs(read_image("warped.nii.gz").data - fixed.data)[inner].max() < 1e-3 * np.ptp(fixed.data)


def test_each_tool_has_a_recipe() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for tool in ("3D Slicer", "ITK-SNAP", "ANTs", "SimpleITK and ITK", "nibabel", "MONAI", "nitransforms"):
        assert re.search(rf"^## {tool}$", text, re.MULTILINE)
