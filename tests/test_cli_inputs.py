"""What the command line says of its inputs: notes, frames, series, and paths as they are."""

from __future__ import annotations

import contextlib
import json
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dicom_files import VOXELS, straight, write_series, write_slice
from samreg.cli import main
from samreg.cli.common import show, table
from samreg.cli.register import Register
from samreg.errors import DatasetError, InputWarning
from samreg.io.images import read_image, read_values
from samreg.io.tables import read_pairs
from samreg.notes import collected, hushed, note
from samreg.viewer.scene import Scene
from worlds import noise

nib = pytest.importorskip("nibabel")
QUICK = ["--labels-only", "--max-iterations", "3", "--work-size", "64"]


class TestNotes:
    def test_they_are_warnings_of_their_own_class(self) -> None:
        with pytest.warns(InputWarning, match="one line"):
            note("one\nline")

    def test_collected_keeps_each_text_once_and_leaves_other_warnings_alone(self) -> None:
        shown: list[str] = []
        with collected(shown.append) as texts:
            for text in ("a", "b", "a"):
                note(text)
            with pytest.raises(UserWarning, match="another"):  # the tests make errors of them
                warnings.warn("another", UserWarning, stacklevel=1)
        assert texts == shown == ["a", "b"]

    def test_an_inner_block_passes_them_on(self) -> None:
        with collected(lambda _: None) as outer, collected() as inner:
            note("a")
        assert outer == inner == ["a"]

    def test_a_block_of_another_thread_keeps_nothing_back(self) -> None:
        """It ends in the middle of ours, as a job of the viewer does."""
        begun, end = threading.Event(), threading.Event()

        def elsewhere() -> None:
            with collected(lambda _: None), hushed():
                begun.set()
                end.wait(10)

        other = threading.Thread(target=elsewhere)
        other.start()
        begun.wait(10)
        with pytest.warns(InputWarning, match="said"), collected() as texts:  # noqa: PT031 - the order is the test
            end.set()
            other.join()
            note("said")
        assert texts == ["said"]

    def test_libraries_are_hushed_and_notes_are_not(self) -> None:
        before = list(warnings.filters)
        with pytest.warns(InputWarning, match="a note"), hushed():  # noqa: PT031 - both are said inside
            warnings.warn("of a library", UserWarning, stacklevel=1)  # the tests make errors of them
            note("a note")
        assert list(warnings.filters) == before


class FromAThread:
    """A command whose thread speaks, outside of every collector, and begins a hush that outlives the command."""

    def run(self) -> None:
        self.begun, self.end = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._work)
        self.thread.start()
        assert self.begun.wait(10)

    def _work(self) -> None:
        note("of a thread")
        with hushed():
            self.begun.set()
            self.end.wait(10)
            with contextlib.suppress(UserWarning):
                warnings.warn("of a library", UserWarning, stacklevel=1)
                self.quiet = True


def test_a_command_loses_no_note_of_a_thread_and_takes_no_filter_away(monkeypatch: pytest.MonkeyPatch) -> None:
    command = FromAThread()
    command.quiet = False
    monkeypatch.setattr("samreg.cli._command", lambda name, arguments: command)
    monkeypatch.setattr("sys.warnoptions", [])
    before = list(warnings.filters)
    with pytest.warns(InputWarning, match="of a thread"):  # noqa: PT031 - the order is the test
        assert main(["register"]) == 0
        command.end.set()
        command.thread.join()
    assert command.quiet
    assert list(warnings.filters) == before


def write_phases(folder: Path) -> np.ndarray:
    """Two phases of two blocks, (2, z, y, x): a cine, each phase on its own, and labels of each."""
    labels = np.zeros((8, 32, 36), np.uint8)
    labels[2:6, 6:16, 6:16], labels[3:7, 14:28, 20:32] = 1, 2
    phases = [np.roll(labels, shift, axis=2) for shift in (0, 2)]
    pair = np.stack(phases).astype(np.float32) * 40 + noise(labels.shape, high=10)
    sitk.WriteImage(sitk.JoinSeries([sitk.GetImageFromArray(part) for part in pair]), str(folder / "cine.nii.gz"))
    for side, part, known in zip(("fixed", "moving"), pair, phases, strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(part), str(folder / f"{side}.nii.gz"))
        sitk.WriteImage(sitk.GetImageFromArray(known), str(folder / f"{side}_labels.nii.gz"))
    return pair


def register(folder: Path, fixed: str, moving: str, *options: str) -> int:
    labels = [f"--{side}-labels={folder / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    files = [str(folder / fixed), str(folder / moving)]
    return main(["register", *files, "--out", str(folder / "run"), *labels, *QUICK, *options])


def test_register_prints_notes_and_keeps_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "[bold]phases[/bold] :warning:"
    folder.mkdir(parents=True)
    write_phases(folder)
    image = nib.load(folder / "fixed.nii.gz")
    form = image.affine.copy()
    form[0, 3] += 40
    other = nib.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    other.set_sform(image.affine, 2)
    other.set_qform(form, 1)
    nib.save(other, folder / "forms.nii.gz")
    assert register(folder, "forms.nii.gz", "moving.nii.gz") == 0
    said = capsys.readouterr()
    line = f"samreg: note: {folder / 'forms.nii.gz'}: its sform and its qform differ by up to 40 mm"
    assert said.err.count(line) == 1
    assert "differ by up to 40 mm" in json.loads((folder / "run" / "manifest.json").read_text("utf-8"))["warnings"][0]
    assert f"written to {folder / 'run'}" in said.out


def test_square_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show("/data/[red]x[/red]/a:warning:b.nii", table(["[b]head[/b]"], [["[i]cell[/i]"]], "[u]title[/u]"))
    out = capsys.readouterr().out
    for text in ("/data/[red]x[/red]/a:warning:b.nii", "[b]head[/b]", "[i]cell[/i]", "[u]title[/u]"):
        assert text in out


class TestFramesAndSeries:
    def test_each_side_may_have_its_own(self) -> None:
        both = Register(Path("a"), Path("b"), Path("c"), frame=3, series="7", moving_frame=5, fixed_series="9")
        assert both.chosen() == {"fixed": {"frame": 3, "series": "9"}, "moving": {"frame": 5, "series": "7"}}

    def test_two_phases_of_one_cine(self, tmp_path: Path) -> None:
        pair = write_phases(tmp_path)
        path, run = str(tmp_path / "cine.nii.gz"), tmp_path / "run"
        assert register(tmp_path, path, path, "--transform", "affine", "--frame", "1", "--moving-frame", "2") == 0
        described = json.loads((run / "manifest.json").read_text("utf-8"))["images"]
        assert [described[side]["frame"] for side in ("fixed", "moving")] == [1, 2]
        scene = Scene.load(run)
        assert scene.moving is not None
        np.testing.assert_array_equal(scene.moving.data, pair[1])
        warp = ["warp", path, "--run", str(run), "--out", str(tmp_path / "w.nii.gz")]
        assert main([*warp, "--frame", "2"]) == 0
        warped = [read_image(p).data for p in (tmp_path / "w.nii.gz", run / "warped.nii.gz")]
        np.testing.assert_allclose(*warped, atol=1e-4)
        # Without a frame all frames are carried along.
        assert main([*warp[:4], "--out", str(tmp_path / "v.nii.gz")]) == 0
        assert read_values(tmp_path / "v.nii.gz", frame=2)[0].shape == pair[1].shape

    def test_what_is_missing_is_said_in_one_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = write_series(tmp_path / "s", straight())
        write_slice(folder / "b.dcm", VOXELS[:, :, 0], (0, 0, 0), 1, SeriesInstanceUID="1.2.9")
        assert main(["segment", str(folder), "--out", str(tmp_path / "out")]) == 2
        assert "choose one with --series" in capsys.readouterr().err
        assert main(["segment", str(folder), "--out", str(tmp_path / "out"), "--series", "4"]) == 2
        assert "has no DICOM series 4" in capsys.readouterr().err


class TestBatchTable:
    @pytest.mark.parametrize("column", ["fixed_masks", "comment", "fixed"])
    def test_columns_that_nothing_reads_are_refused(self, tmp_path: Path, column: str) -> None:
        (tmp_path / "pairs.csv").write_text(f"fixed,moving,{column}\na.nii,b.nii,c.nii\n")
        with pytest.raises(DatasetError, match="nothing reads others"):
            read_pairs(tmp_path / "pairs.csv", must_exist=False)

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig"])
    def test_encodings(self, tmp_path: Path, encoding: str) -> None:
        (tmp_path / "pairs.csv").write_bytes("fixed,moving\nnäher.nii,b.nii\n".encode(encoding))
        assert read_pairs(tmp_path / "pairs.csv", must_exist=False)[0].fixed.name == "näher.nii"
