"""From files to a run folder by the command line: complete, repeatable, and nothing left when it is stopped."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import samreg
from samreg.cli import main
from samreg.cli.demo import write_phantom
from samreg.geometry.phantom import phantom
from samreg.runs.run_folder import read_run

QUICK = ["--labels-only", "--flow-iterations", "3", "3", "3", "--work-size", "64"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "phantom"
    write_phantom(phantom(2), folder)
    return folder


def command(images: Path, out: Path, *options: str) -> list[str]:
    labels = [f"--{side}-labels={images / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    files = [str(images / "fixed.nii.gz"), str(images / "moving.nii.gz")]
    return ["register", *files, "--out", str(out), *labels, *options]


@pytest.fixture(scope="module")
def run(images: Path) -> Path:
    assert main(command(images, images.parent / "run", *QUICK)) == 0
    return images.parent / "run"


def test_it_registers(run: Path, images: Path) -> None:
    found = read_run(run)
    assert len(found.pairs) == 8
    assert found.manifest["images"]["fixed"]["path"] == str(images / "fixed.nii.gz")
    assert set(found.manifest["other_inputs"]) == {"fixed_labels", "moving_labels"}
    assert found.manifest["config"]["fit"]["flow"]["flow_iterations"] == [3, 3, 3]
    assert found.manifest["preset"] == {
        "nearest": "default",
        "changed": {"fit.work_size": 64, "fit.flow.flow_iterations": [3, 3, 3]},
    }
    truth = phantom(2)
    body = truth.fixed_labels > 0
    error = np.linalg.norm(found.transform().u - truth.field.u, axis=-1)[body].mean()
    assert error < 0.6 * np.linalg.norm(truth.field.u, axis=-1)[body].mean()


@pytest.mark.parametrize("how", ["transform.h5", "displacement.nii.gz"])
def test_itk_reproduces_warped(run: Path, images: Path, how: str) -> None:
    if how == "transform.h5":
        transform = sitk.ReadTransform(str(run / how))
    else:
        transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(run / how), sitk.sitkVectorFloat64))
    fixed, moving = (sitk.ReadImage(str(images / f"{side}.nii.gz")) for side in ("fixed", "moving"))
    fill = samreg.read_image(images / "moving.nii.gz").background[0]
    again = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, fill))
    warped = sitk.GetArrayFromImage(sitk.ReadImage(str(run / "warped.nii.gz")))
    assert np.abs(again - warped).max() < 0.01 * np.ptp(warped)


def test_the_same_seed_gives_the_same_bytes(run: Path, images: Path) -> None:
    again = images.parent / "again"
    assert main(command(images, again, *QUICK)) == 0
    for path in run.iterdir():
        if path.name not in ("manifest.json", "report.html"):  # these hold the seconds of work
            assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_settings_without_effect_are_named(images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    idle = ["--labels-only", "--transform", "rigid", "--stiffness", "3", "--smoothness", "1"]
    assert main(command(images, tmp_path / "run", *idle)) == 0
    note = "without effect in this registration (transform rigid): --stiffness, --smoothness"
    assert f"note: {note}\n" in capfd.readouterr().out
    assert note in read_run(tmp_path / "run").manifest["warnings"]


def test_runs_with_settings_of_other_days_are_read(run: Path, tmp_path: Path) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    manifest = json.loads((old / "manifest.json").read_text("utf-8"))
    del manifest["preset"]
    manifest["config"] = {
        "preset": "paper",
        "fit": {"transform": "ddf", "flow_guidance": 15.0},
        "match": {"centre": False},
    }
    (old / "manifest.json").write_text(json.dumps(manifest))
    assert len(read_run(old).pairs) == len(read_run(run).pairs)


@pytest.mark.parametrize("transform", ["affine", "rigid", "none"])
def test_other_transforms(images: Path, tmp_path: Path, transform: str) -> None:
    assert main(command(images, tmp_path / "run", *QUICK, "--transform", transform)) == 0
    found = read_run(tmp_path / "run")
    if transform == "none":
        assert found.field is None
        return
    jacobian = found.transform().jacobian_determinant()
    assert np.ptp(jacobian) < 1e-3
    if transform == "rigid":
        assert jacobian.mean() == pytest.approx(1, abs=1e-3)


# A command that says when the fit has begun: how long that takes is the machine's business.
SAYS_WHEN_IT_FITS = """
import sys
import samreg.fit.transform as transform
import samreg.fit.objective as objective
from samreg.cli import main

objective._TOLERANCE = 0.0  # the fit goes on until it is stopped

fit = transform.fit_dense

def announced(*args, **kwargs):
    print("fitting", flush=True)
    return fit(*args, **kwargs)

transform.fit_dense = announced
sys.exit(main(sys.argv[1:]))
"""


def test_a_kill_leaves_nothing(images: Path, tmp_path: Path) -> None:
    arguments = command(images, tmp_path / "out" / "run", "--labels-only", "--flow-iterations", "1000000")
    process = subprocess.Popen(
        [sys.executable, "-c", SAYS_WHEN_IT_FITS, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    assert "fitting\n" in iter(process.stdout.readline, "")
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.strip() == "samreg: interrupted; nothing was written"
    assert list(tmp_path.iterdir()) == []


def test_given_regions_far_apart_stay_pairs(images: Path, tmp_path: Path) -> None:
    """Two people, or a table that was moved: what has the same name is the same structure, wherever it is."""
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("moving", "moving_labels"):
        image = sitk.ReadImage(str(images / f"{name}.nii.gz"))
        image.SetOrigin([v + 90 for v in image.GetOrigin()])
        sitk.WriteImage(image, str(moved / f"{name}.nii.gz"))
    for name in ("fixed", "fixed_labels"):
        sitk.WriteImage(sitk.ReadImage(str(images / f"{name}.nii.gz")), str(moved / f"{name}.nii.gz"))
    assert main(command(moved, tmp_path / "run", "--labels-only", "--transform", "affine")) == 0
    found = read_run(tmp_path / "run")
    assert len(found.pairs) == 8
    middle = found.transform().transform_points(np.zeros((1, 2)))
    np.testing.assert_allclose(middle, [[94, 87]], atol=5)


def test_labels_alone_want_labels(images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = [str(images / "fixed.nii.gz"), str(images / "moving.nii.gz")]
    assert main(["register", *files, "--out", str(tmp_path / "run"), "--labels-only"]) == 2
    assert "--labels-only wants" in capfd.readouterr().err


def test_a_segmenter_that_is_not_there(images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = [str(images / "fixed.nii.gz"), str(images / "moving.nii.gz")]
    assert main(["register", *files, "--out", str(tmp_path / "run"), "--segmenter", "/nowhere/sam.pth"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "/nowhere/sam.pth" in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("dimension", ["2", "3"])
def test_the_demo_finds_the_true_field(tmp_path: Path, dimension: str) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--dimension", dimension]) == 0
    truth = phantom(2 if dimension == "2" else 3)
    body = truth.fixed_labels > 0
    error = np.linalg.norm(read_run(tmp_path / "demo" / "run").transform().u - truth.field.u, axis=-1)[body]
    assert error.mean() < 2.5  # mm; 7.1 before
    assert json.loads((tmp_path / "demo" / "images" / "manifest.json").read_text("utf-8"))["labels"]["1"] == "liver"
