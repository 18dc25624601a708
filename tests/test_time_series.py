"""Files of several frames: written and read, carried along one run, and registered frame by frame."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

import samreg
import samreg.pipeline
from results import true_result
from samreg import DisplacementField, Grid, Image
from samreg.cli import main
from samreg.errors import DatasetError, ImageReadError, InputError
from samreg.io.images import read_image, read_labels, read_values, write_image, write_labels
from samreg.io.series import frame_count, frame_step, write_frames
from samreg.runs.batch import BatchOptions, run_batch
from samreg.runs.motion import displacements
from samreg.runs.run_folder import read_run, write_run
from test_masks import quick
from worlds import GRIDS, noise

VOLUMES = [name for name in GRIDS if name.endswith("3d")]


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
@pytest.mark.parametrize("name", VOLUMES)
def test_frames_are_read_as_they_were_written(name: str, suffix: str, tmp_path: Path) -> None:
    grid = GRIDS[name]
    frames = [noise(grid.shape, i) for i in range(3)]
    path = write_frames(frames, grid, tmp_path / f"cine{suffix}", 0.04)
    assert frame_count(path) == 3
    if suffix != ".nrrd":
        assert frame_step(path) == pytest.approx(0.04)
    for number, frame in enumerate(frames, start=1):
        image = read_image(path, frame=number)
        np.testing.assert_array_equal(image.data, frame)
        assert image.grid.same_as(grid)


def test_one_frame_is_one(tmp_path: Path) -> None:
    grid = GRIDS["oblique-3d"]
    write_image(Image(noise(grid.shape), grid), tmp_path / "one.nii.gz")
    assert frame_count(tmp_path / "one.nii.gz") == 1
    with pytest.raises(InputError, match="several frames of a volume"):
        write_frames([noise(grid.shape)] * 2, grid, tmp_path / "cine.png")
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    with pytest.raises(ImageReadError, match=r"bad\.nii"):
        frame_count(tmp_path / "bad.nii.gz")


class TestWarp:
    """Every frame as if it were alone, in one file."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Path:
        return write_run(true_result(3), tmp_path / "run", inverse=False)

    def test_grey_frames(self, run: Path, tmp_path: Path) -> None:
        moving = true_result(3).moving
        frames = [np.rint(moving.data * k).astype(np.int16) for k in (1.0, 0.5, 2.0)]
        cine = write_frames(frames, moving.grid, tmp_path / "cine.nii.gz", 0.03)
        assert main(["warp", str(cine), "--run", str(run), "--out", str(tmp_path / "all.nii.gz")]) == 0
        assert frame_step(tmp_path / "all.nii.gz") == pytest.approx(0.03)
        for frame in (1, 2, 3):
            one = tmp_path / f"{frame}.nii.gz"
            assert main(["warp", str(cine), "--run", str(run), "--frame", str(frame), "--out", str(one)]) == 0
            (alone, grid), (together, own) = read_values(one), read_values(tmp_path / "all.nii.gz", frame=frame)
            np.testing.assert_array_equal(alone, together)
            assert together.dtype == np.int16
            assert own.same_as(grid)

    def test_label_frames_stay_labels(self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        result = true_result(3)
        labels = result.pairs.moving.label_map().astype(np.uint8)
        cine = write_frames([labels, labels * 2], result.moving.grid, tmp_path / "cine.nii.gz")
        assert main(["warp", str(cine), "--run", str(run), "--out", str(tmp_path / "all.nii.gz")]) == 0
        assert "interpolation: label; 2 frames" in capsys.readouterr().out
        first, second = (read_labels(tmp_path / "all.nii.gz", frame=i)[0] for i in (1, 2))
        np.testing.assert_array_equal(first, result.field.warp_labels(labels, result.moving.grid))
        np.testing.assert_array_equal(second, 2 * first)

    def test_a_picture_cannot_hold_them(self, run: Path, tmp_path: Path) -> None:
        grid = true_result(3).moving.grid
        cine = write_frames([noise(grid.shape)] * 2, grid, tmp_path / "cine.nii.gz")
        assert main(["warp", str(cine), "--run", str(run), "--out", str(tmp_path / "all.png")]) == 2


GRID = Grid((4, 40, 44), (2.0, 2.0, 6.0))


def beating(shift: float) -> Image:
    """A ball with texture, moved along x."""
    x = GRID.voxel_centres()
    at = x - np.asarray(GRID.centre) - [shift, 0, 0]
    radius = np.linalg.norm(at * [1, 1, 0.5], axis=-1)
    texture = np.cos(at[..., 0] / 5) * np.cos(at[..., 1] / 4)
    return Image(((150 + 60 * texture) / (1 + np.exp(radius - 26))).astype(np.float32), GRID)


@pytest.fixture
def cine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    register = samreg.pipeline.register
    monkeypatch.setattr(samreg.pipeline, "register", lambda *a, **k: register(*a, **{**k, "find": False}))
    frames = [beating(shift).data for shift in (0.0, 3.0, 6.0, 1.0)]
    labels = (beating(0.0).data > 100).astype(np.int32) * 5
    write_labels(labels, GRID, tmp_path / "labels.nii.gz")
    return write_frames(frames, GRID, tmp_path / "cine.nii.gz")


class TestBatch:
    def test_every_frame_and_a_summary_of_the_motion(self, cine: Path, tmp_path: Path) -> None:
        options = BatchOptions(
            cine, tmp_path / "out", jobs=0, config=quick("ddf", 25, 25), fixed_labels=tmp_path / "labels.nii.gz"
        )
        done = run_batch(options)
        assert done.n_done == 3, done.failures.read_text("utf-8")
        with done.motion.open() as stream:
            rows = [row for row in csv.DictReader(stream) if row["region"] == "5"]
        assert [row["frame"] for row in rows] == ["1", "2", "3", "4"]
        np.testing.assert_allclose([float(row["dx"]) for row in rows], [0.0, 3.0, 6.0, 1.0], atol=0.7)
        np.testing.assert_allclose([float(row["mean_displacement"]) for row in rows], [0, 3, 6, 1], atol=0.8)
        np.testing.assert_allclose([float(row["volume"]) for row in rows], 1.0, atol=0.1)
        manifest = read_run(tmp_path / "out" / "runs" / "cine_frame_3").manifest
        assert [manifest["images"][side]["frame"] for side in ("fixed", "moving")] == [1, 3]
        again = run_batch(options)
        assert (again.n_done, again.n_kept) == (0, 3)

    def test_on_the_command_line_any_frame_may_stay(
        self, cine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        quickly = ["--work-size", "16", "--flow-iterations", "2", "--jobs", "0"]
        assert main(["batch", str(cine), "--out", str(tmp_path / "out"), "--fixed-frame", "2", *quickly]) == 0
        assert "motion.csv" in capsys.readouterr().out
        with (tmp_path / "out" / "motion.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert {row["region"] for row in rows} == {"whole image"}
        assert float(next(row for row in rows if row["frame"] == "2")["mean_displacement"]) == 0
        assert main(["batch", str(cine), "--out", str(tmp_path / "b"), "--fixed-frame", "9", *quickly]) == 2

    def test_frames_are_columns_of_a_table_too(self, cine: Path, tmp_path: Path) -> None:
        table = tmp_path / "pairs.csv"
        table.write_text("fixed,moving,fixed_frame,moving_frame\ncine.nii.gz,cine.nii.gz,2,4\n")
        options = BatchOptions(table, tmp_path / "out", jobs=0, config=quick("ddf", 1))
        done = run_batch(options)
        assert done.n_done == 1, done.failures.read_text("utf-8")
        assert done.motion is None
        (run,) = (tmp_path / "out" / "runs").iterdir()
        assert read_run(run).manifest["images"]["moving"]["frame"] == 4
        table.write_text("fixed,moving,fixed_frame,moving_frame\ncine.nii.gz,cine.nii.gz,2,last\n")
        with pytest.raises(DatasetError, match="moving_frame is the number"):
            run_batch(options)
        with pytest.raises(DatasetError, match="is a table"):
            run_batch(dataclasses.replace(options, fixed_labels=cine))
        with pytest.raises(DatasetError, match="holds one frame"):
            run_batch(dataclasses.replace(options, pairs=tmp_path / "labels.nii.gz"))


def test_displacement_of_a_region() -> None:
    grid = GRIDS["anisotropic-3d"]
    u = np.zeros((*grid.shape, 3), np.float32)
    u[..., 0], u[..., 2] = 3.0, -4.0
    mask = np.zeros(grid.shape, dtype=bool)
    mask[1:3, 2:5, 2:5] = True
    found = displacements(DisplacementField(u, grid), mask)
    assert found["mean_displacement"] == pytest.approx(5.0)
    assert (found["dx"], found["dy"], found["dz"]) == (3.0, 0.0, -4.0)
    assert found["volume"] == pytest.approx(1.0)
