"""The command line: status 0, 2 or 1; one line for what is wrong; nothing half-written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import samreg
from results import photograph_result, true_result
from samreg.cli import command_names, main
from samreg.errors import InputWarning
from samreg.io.images import read_image, read_labels, write_image, write_labels
from samreg.io.points import read_points, write_points
from samreg.io.rois import read_rois, write_segmentation
from samreg.runs.run_folder import write_run
from worlds import noise

GOOD = "good.nii.gz"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One good image and many bad ones."""
    folder = tmp_path_factory.mktemp("files")

    def put(name: str, data: np.ndarray, vector: bool = False) -> Path:
        sitk.WriteImage(sitk.GetImageFromArray(data, isVector=vector), str(folder / name))
        return folder / name

    raw = put(GOOD, noise((4, 20, 20))).read_bytes()
    (folder / "cut.nii.gz").write_bytes(raw[: len(raw) // 2])
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "text.nii.gz").write_text("<html>404 not found</html>")
    picture = put("picture.png", np.rint(noise((20, 20, 3))).astype(np.uint8), vector=True)
    shutil.copy(picture, folder / "picture.nii")
    (folder / "cut.jpg").write_bytes(
        put("whole.jpg", np.rint(noise((40, 40, 3))).astype(np.uint8), True).read_bytes()[:900]
    )
    put("cine.nii.gz", noise((3, 4, 5, 6)))
    put("flat.nii.gz", np.full((4, 5, 6), 3, np.int16))
    put("nan.nii.gz", np.where(noise((4, 5, 6)) < 20, np.nan, 1.0).astype(np.float32))
    put("vectors.nii.gz", noise((4, 5, 6, 3)), vector=True)
    put("plane.nii.gz", noise((20, 20)))
    put("labels_a.nii.gz", np.repeat(np.uint8([0, 1]), 800).reshape(4, 20, 20))
    put("labels_b.nii.gz", np.repeat(np.uint8([0, 7]), 800).reshape(4, 20, 20))
    put("probabilities.nii.gz", noise((4, 20, 20), high=1.0))
    (folder / "no-dicom").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").write_text("")
    return folder


def said(capfd: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    captured = capfd.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured.err
    assert lines[0].startswith("samreg: ")
    return lines[0]


BAD_INPUT = {
    "missing file": (["nowhere.nii.gz", GOOD], "no such file"),
    "empty file": (["empty.nii.gz", GOOD], "empty"),
    "text named .nii.gz": (["text.nii.gz", GOOD], "not an image"),
    "PNG named .nii": (["picture.nii", GOOD], "holds a PNG"),
    "cut off NIfTI": ([GOOD, "cut.nii.gz"], "cut off"),
    "cut off JPEG": (["picture.png", "cut.jpg"], "cut off"),
    "4D image": ([GOOD, "cine.nii.gz"], "4D"),
    "constant image": (["flat.nii.gz", GOOD], "every voxel is 3"),
    "NaN": ([GOOD, "nan.nii.gz"], "NaN"),
    "displacement field": (["vectors.nii.gz", GOOD], "displacement field"),
    "folder without DICOM": (["no-dicom", GOOD], "without DICOM"),
    "2D onto 3D": ([GOOD, "plane.nii.gz"], "2D in mm"),
    "photograph onto a volume": ([GOOD, "picture.png"], "2D in px"),
    "labels of one image only": ([GOOD, GOOD, "--fixed-labels", "labels_a.nii.gz"], "go together"),
    "labels in nothing alike": (
        [GOOD, GOOD, "--fixed-labels", "labels_a.nii.gz", "--moving-labels", "labels_b.nii.gz"],
        "no ROI name occurs in both",
    ),
    "labels that are probabilities": (
        [GOOD, GOOD, "--fixed-labels", "probabilities.nii.gz", "--moving-labels", "labels_b.nii.gz"],
        "whole numbers",
    ),
    "unknown option": ([GOOD, GOOD, "--epsilonn", "0.5"], "did you mean --epsilon"),
    "option without a meaning": ([GOOD, GOOD, "--transform", "warp"], "transform (--transform) is 'warp': choose ddf"),
    "number that is none": ([GOOD, GOOD, "--epsilon", "high"], "--epsilon"),
    "unknown preset": ([GOOD, GOOD, "--preset", "best"], "no preset 'best'"),
    "one image": ([GOOD], "missing: MOVING"),
}


@pytest.mark.parametrize("kind", sorted(BAD_INPUT))
def test_bad_input_ends_with_status_2_one_line_and_no_folder(
    kind: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, word = BAD_INPUT[kind]
    monkeypatch.chdir(files)
    before = sorted(files.rglob("*"))
    assert main(["register", *arguments, "--out", str(tmp_path / "deep" / "run")]) == 2
    assert word in said(capfd)
    assert list(tmp_path.iterdir()) == []
    assert sorted(files.rglob("*")) == before


@pytest.mark.parametrize("command", ["register", "segment"])
def test_a_full_folder_is_refused_before_any_work(
    command: str, files: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    images = [GOOD, GOOD] if command == "register" else [GOOD]
    for flags, word in (([], "is not empty"), (["--overwrite"], "not written by samreg")):
        assert main([command, *images, "--out", "full", *flags]) == 2
        assert word in said(capfd)
    assert [p.name for p in (files / "full").iterdir()] == ["thesis.txt"]


class TestFront:
    def test_help_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--help"]) == 0
        text = capsys.readouterr().out
        for name in command_names():
            assert f"\n  {name} " in text

    def test_nothing_at_all_shows_help_and_is_a_fault(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 2
        assert "usage" in capsys.readouterr().out

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out.strip() == f"samreg {samreg.__version__}"

    def test_unknown_command(self, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["regsiter"]) == 2
        assert "did you mean register?" in said(capfd)

    @pytest.mark.parametrize("name", sorted(command_names()))
    def test_every_command_explains_itself(self, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"usage: samreg {name}" in text
        assert "--help" in text

    def test_an_error_inside_samreg_is_status_1_and_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def break_down(*_: object) -> None:
            raise TypeError("unexpected\nand long")

        monkeypatch.setattr("samreg.cli._command", break_down)
        monkeypatch.delenv("SAMREG_TRACEBACK", raising=False)
        assert main(["models"]) == 1
        assert "an error inside samreg" in said(capfd)

    def test_an_interrupt_is_status_130(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("samreg.cli._command", interrupt)
        assert main(["models"]) == 130
        assert "interrupted" in said(capfd)

    @pytest.mark.parametrize("delay", [1e-3, 1e-5])  # the second comes while the first is still being dropped
    def test_an_interrupt_that_python_drops_is_raised_again(
        self, delay: float, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("samreg.cli._AGAIN", delay)

        class Freed:
            def __del__(self) -> None:
                raise KeyboardInterrupt

        def work(*_: object) -> None:
            Freed()
            for _ in range(3000):
                time.sleep(0.01)

        monkeypatch.setattr("samreg.cli._command", work)
        before = sys.unraisablehook
        assert main(["models"]) == 130
        assert said(capfd).strip() == "samreg: interrupted; nothing was written"
        assert sys.unraisablehook is before

    def test_models_names_every_family_in_full(self, capsys: pytest.CaptureFixture[str]) -> None:
        from samreg.segmenters.registry import families

        assert main(["models"]) == 0
        text = capsys.readouterr().out
        assert families()[0].state == "here"
        for family in families():
            assert f"--segmenter {family.use}\n    {family.state}: {family.get}" in text

    def test_python_dash_m(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "samreg", "--version"], capture_output=True, encoding="utf-8", check=True
        )
        assert done.stdout.strip() == f"samreg {samreg.__version__}"

    def test_the_preset_sets_the_defaults_of_other_options(self) -> None:
        from samreg.cli.parse import parse
        from samreg.cli.register import Register

        command = parse(Register, "samreg register", ["a", "b", "--out", "c", "--preset", "paper", "--epsilon", "0.6"])
        assert command.config.match.method == samreg.preset("paper").match.method
        assert command.config.segment == samreg.preset("paper").segment
        assert command.config.match.epsilon == 0.6
        assert command.preset == "paper"


class TestAfterARun:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("after")
        result = true_result(3)
        pairs = result.pairs
        write_image(result.moving, folder / "moving.nii.gz")
        write_labels(pairs.fixed.label_map(), pairs.fixed.grid, folder / "fixed_labels.nii.gz")
        write_labels(pairs.moving.label_map(), pairs.moving.grid, folder / "moving_labels.nii.gz")
        write_segmentation(pairs.moving, folder / "moving.seg.nrrd")
        write_points(pairs.fixed.centroids, folder / "fixed.csv")
        return write_run(result, folder / "run").parent

    def test_warp_an_image(self, run: Path) -> None:
        assert main(["warp", str(run / "moving.nii.gz"), "--run", str(run / "run"), "--out", str(run / "w.nrrd")]) == 0
        np.testing.assert_allclose(
            read_image(run / "w.nrrd").data, read_image(run / "run" / "warped.nii.gz").data, atol=1e-3
        )

    def test_warp_labels(self, run: Path) -> None:
        arguments = ["--run", str(run / "run"), "--interpolation", "label", "--out", str(run / "l.nii.gz")]
        assert main(["warp", str(run / "moving_labels.nii.gz"), *arguments]) == 0
        warped, fixed = read_labels(run / "l.nii.gz")[0], read_labels(run / "fixed_labels.nii.gz")[0]
        assert (warped == fixed)[fixed > 0].mean() > 0.9

    def test_warp_a_segmentation_keeps_names(self, run: Path) -> None:
        out = run / "w.seg.nrrd"
        assert main(["warp", str(run / "moving.seg.nrrd"), "--run", str(run / "run"), "--out", str(out)]) == 0
        names = [roi.name for roi in read_rois(out).rois]
        assert names == [roi.name for roi in read_rois(run / "moving.seg.nrrd").rois]

    def test_points_there_and_back(self, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
        there, back = run / "there.mrk.json", run / "back.csv"
        common = ["--run", str(run / "run")]
        assert main(["warp-points", str(run / "fixed.csv"), *common, "--to", "moving", "--out", str(there)]) == 0
        assert main(["warp-points", str(there), *common, "--to", "fixed", "--out", str(back)]) == 0
        np.testing.assert_allclose(read_points(back), read_points(run / "fixed.csv"), atol=0.01)
        assert "8 points written" in capfd.readouterr().out

    def test_evaluate(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        labels = [
            "--fixed-labels",
            str(run / "fixed_labels.nii.gz"),
            "--moving-labels",
            str(run / "moving_labels.nii.gz"),
        ]
        write_points(true_result(3).field.transform_points(read_points(run / "fixed.csv")), tmp_path / "m.csv")
        points = ["--fixed-points", str(run / "fixed.csv"), "--moving-points", str(tmp_path / "m.csv")]
        out = ["--out", str(tmp_path / "numbers.json")]
        assert main(["evaluate", "--run", str(run / "run"), *labels, *points, *out]) == 0
        numbers = json.loads((tmp_path / "numbers.json").read_text("utf-8"))
        before, after = (numbers["labels"][when]["dice"]["1"] for when in ("before", "after"))
        assert after > 0.95 > before
        assert numbers["landmark_tre"]["after"]["max"] < 1e-3 < numbers["landmark_tre"]["before"]["mean"]
        assert numbers["folding_fraction"] == 0
        assert "Dice" in capsys.readouterr().out
        page = (run / "run" / "report.html").read_text(encoding="utf-8")
        assert "Measured with fixed_labels.nii.gz, moving_labels.nii.gz, fixed.csv, m.csv." in page
        assert page.count("<h3>Evaluation</h3>") == 1

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            (["warp", "moving.nii.gz", "--run", "nowhere", "--out", "x.nii.gz"], "not a run folder"),
            (["warp", "moving.nii.gz", "--run", "run", "--out", "moving.nii.gz"], "exists already"),
            (["warp", "moving.nii.gz", "--run", "run", "--out", "no/x.nii.gz"], "does not exist"),
            (["warp", "moving.nii.gz", "--run", "run", "--out", "x.png"], "pixels only"),
            (["warp", "moving.nii.gz", "--run", "run", "--out", "x.xyz"], "cannot write"),
            (["warp-points", "plane.csv", "--run", "run", "--to", "moving", "--out", "x.csv"], "2D points"),
            (["evaluate", "--run", "run", "--fixed-labels", "fixed_labels.nii.gz"], "go together"),
            (["view", "nowhere"], "not a run folder"),
        ],
    )
    def test_faults_of_the_input(
        self,
        run: Path,
        arguments: list[str],
        word: str,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        write_points(np.array([[1.0, 2.0]]), run / "plane.csv")
        monkeypatch.chdir(run)
        before = sorted(run.rglob("*"))
        assert main(arguments) == 2
        assert word in said(capfd)
        assert sorted(run.rglob("*")) == before

    def test_photographs(self, tmp_path: Path) -> None:
        result = photograph_result()
        write_image(result.moving, tmp_path / "b.png")
        write_run(result, tmp_path / "run")
        assert (
            main(["warp", str(tmp_path / "b.png"), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "w.png")])
            == 0
        )
        np.testing.assert_allclose(read_image(tmp_path / "w.png").data, result.fixed.data, atol=1)


class TestLabelPairs:
    def test_by_name_by_value_and_on_another_grid(self, tmp_path: Path) -> None:
        from samreg.cli.common import pairs_from_labels

        pairs = true_result(3).pairs
        write_segmentation(pairs.fixed, tmp_path / "f.seg.nrrd")
        write_segmentation(pairs.moving.select([3, 0]), tmp_path / "m.seg.nrrd")
        files, grids = (tmp_path / "f.seg.nrrd", tmp_path / "m.seg.nrrd"), (pairs.fixed.grid, pairs.moving.grid)
        with pytest.warns(InputWarning, match="f.seg.nrrd: 6 of 8 regions have no partner and are left out"):
            named = pairs_from_labels(*files, *grids)
        assert (
            [roi.name for roi in named.fixed.rois]
            == [roi.name for roi in named.moving.rois]
            == ["liver", "right kidney"]
        )
        write_labels(pairs.moving.label_map(), pairs.moving.grid, tmp_path / "m.nii.gz")
        valued = pairs_from_labels(tmp_path / "f.seg.nrrd", tmp_path / "m.nii.gz", pairs.fixed.grid, pairs.moving.grid)
        assert len(valued) == 8
        coarse = pairs.fixed.grid.with_shape([3, 64, 80])
        resampled = pairs_from_labels(tmp_path / "f.seg.nrrd", tmp_path / "m.nii.gz", coarse, pairs.moving.grid)
        np.testing.assert_allclose(resampled.fixed.volumes, pairs.fixed.volumes, rtol=0.15)


class TestPrompt:
    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ([], "exactly one of"),
            (["--point", "1,2,3", "--box", "1,2,3,4,5,6"], "exactly one of"),
            (["--point=1,2"], "has 2 coordinates"),
            (["--point=1;2;3"], "commas"),
            (["--box=1,2,3"], "has 3 numbers"),
            (["--mask", "nowhere.nii.gz"], "no such file"),
            (["--point=-1000,2,3"], "outside"),
        ],
    )
    def test_a_prompt_without_a_meaning(
        self,
        options: list[str],
        word: str,
        files: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(files)
        assert main(["prompt", GOOD, GOOD, "--out", str(tmp_path / "run"), *options]) == 2
        assert word in said(capfd)
        assert list(tmp_path.iterdir()) == []
