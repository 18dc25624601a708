"""Landmarks pull a transform, softly, and what is left of their distance is reported."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

import samreg
import samreg.pipeline
from samreg import DisplacementField, Grid, Image, RegistrationResult
from samreg.cli import main
from samreg.errors import ConfigError, GeometryError, InputError
from samreg.fit.terms.landmarks import LandmarkTerm
from samreg.fit.transform import pulled
from samreg.geometry.landmarks import LandmarkRecord, Landmarks
from samreg.io.images import write_image, write_labels
from samreg.io.points import write_points
from samreg.runs.batch import BatchOptions, run_batch
from samreg.runs.run_folder import read_run
from test_masks import QUICK, quick, small
from worlds import GRIDS, rotation


def spread(grid: Grid, n: int = 8, seed: int = 0) -> np.ndarray:
    index = np.random.default_rng(seed).uniform(0.2, 0.8, (n, grid.ndim)) * (np.asarray(grid.shape[::-1]) - 1)
    return grid.index_to_world(index)


@pytest.mark.parametrize("name", GRIDS)
class TestTerm:
    """It is 0 for the transform that brings the points together, whatever the grid, and says which way they are."""

    def test_of_an_affine_map_and_a_displacement(self, name: str) -> None:
        grid = GRIDS[name]
        d = grid.ndim
        matrix = np.eye(d + 1)
        matrix[:d, :d] = 1.05 * rotation((0.2,) if d == 2 else (0.1, -0.1, 0.2))
        matrix[:d, d] = [6.0, -4.0, 3.0][:d]
        field = DisplacementField.from_matrix(matrix, grid)
        points = spread(grid)
        marks = Landmarks(points, points @ matrix[:d, :d].T + matrix[:d, d])
        assert marks.residuals(field).max() < 1e-3
        half = np.eye(d + 1)
        half[:d, d] = [3.0, -2.0, 1.5][:d]  # the affine part may be another one: the displacement makes up for it
        shift = np.einsum("ij,...j->...i", np.linalg.inv(half)[:d, :d], field.u - half[:d, d])
        u = DisplacementField(shift.astype(np.float32), grid)
        step = grid.world_to_index(grid.voxel_centres().reshape(-1, d) + u.u.reshape(-1, d)) - grid.world_to_index(
            grid.voxel_centres().reshape(-1, d)
        )
        displacement = torch.from_numpy(step.reshape(*grid.shape, d)[..., ::-1].copy()).float().movedim(-1, 0)
        if 1 not in grid.shape:
            assert float(LandmarkTerm(marks, grid, half)(displacement)) < 1e-6
        assert float(LandmarkTerm(marks, grid, half)(torch.zeros_like(displacement))) > 1e-4

    def test_downhill_is_towards_them(self, name: str) -> None:
        grid = GRIDS[name]
        d = grid.ndim
        points = spread(grid, 1)
        wanted = np.asarray(grid.direction)[:, 0] * 2.0 * grid.spacing[0]  # two voxels along the first axis
        u = torch.zeros(d, *grid.shape, requires_grad=True)
        LandmarkTerm(Landmarks(points, points + wanted), grid, np.eye(d + 1))(u).backward()
        pull = -u.grad.flatten(1).sum(1).flip(0)
        assert pull[0] > 0
        assert pull[1:].abs().max() < 1e-6


@pytest.fixture(scope="module")
def marks() -> Landmarks:
    pair = small()
    organs = np.argwhere(pair.fixed_labels > 0)
    chosen = organs[np.random.default_rng(1).choice(len(organs), 6, replace=False)]
    points = pair.fixed.grid.index_to_world(chosen[:, ::-1].astype(float))
    return Landmarks(points, pair.field.transform_points(points))


@pytest.fixture(scope="module")
def without() -> RegistrationResult:
    pair = small()
    return samreg.register(pair.fixed, pair.moving, quick(), find=False)


class TestPull:
    @pytest.mark.parametrize("transform", ["ddf", "ffd", "svf"])
    def test_points_come_closer_and_the_rest_stays_good(self, marks: Landmarks, transform: str) -> None:
        pair = small()
        body = pair.fixed.data > 20
        errors, apart = [], []
        for given in (None, marks):
            config = quick(transform, 10, 10)
            found = samreg.register(pair.fixed, pair.moving, config, find=False, landmarks=given)
            errors.append(np.linalg.norm(found.field.u - pair.field.u, axis=-1)[body].mean())
            apart.append(marks.residuals(found.field).mean())
        # Control points eight voxels apart cannot follow every point.
        assert apart[1] < (0.95 if transform == "ffd" else 0.8) * apart[0], apart
        assert errors[1] < 1.15 * errors[0], errors

    def test_the_weight_says_how_much(self, marks: Landmarks, without: RegistrationResult) -> None:
        """Points 9 mm from where the images put them: more weight, nearer to the points."""
        pair = small()
        moved = np.asarray([9.0, 0.0])
        left = [marks.residuals(without.field).mean() + 9.0]
        for weight in (0.2, 1.0, 10.0):
            wrong = Landmarks(marks.fixed[:1], marks.moving[:1] + moved, weight)
            found = samreg.register(pair.fixed, pair.moving, quick("ddf", 15, 15), find=False, landmarks=wrong)
            left.append(float(wrong.residuals(found.field)[0]))
            assert found.field.folding_fraction() == 0
        assert all(a > b for a, b in itertools.pairwise(left)), left

    def test_far_images_start_from_them(self, marks: Landmarks) -> None:
        pair = small()
        shift = np.asarray([60.0, -45.0])
        grid = pair.moving.grid
        far = Image(pair.moving.data, Grid(grid.shape, grid.spacing, tuple(np.add(grid.origin, shift))), "far")
        given = Landmarks(marks.fixed, marks.moving + shift)
        found = samreg.register(pair.fixed, far, quick(), find=False, landmarks=given)
        assert found.start.chosen == "landmarks"
        assert any("the start is that of the landmarks" in text for text in found.notes)
        body = pair.fixed.data > 20
        assert np.linalg.norm(found.field.u - pair.field.u - shift, axis=-1)[body].mean() < 3.0

    @pytest.mark.parametrize("kind", ["rigid", "affine"])
    def test_a_global_map_is_drawn_towards_them(self, kind: str) -> None:
        grid = GRIDS["oblique-3d"]
        points = spread(grid, 10)
        truth = np.eye(4)
        truth[:3, :3], truth[:3, 3] = rotation((0.1, 0.05, -0.1)), [3.0, -2.0, 1.0]
        apart = []
        for weight in (0.1, 1.0, 100.0):
            given = Landmarks(points, points @ truth[:3, :3].T + truth[:3, 3], weight)
            matrix = pulled(np.eye(4), given, grid, kind)
            apart.append(given.residuals(DisplacementField.from_matrix(matrix, grid)).mean())
        assert apart[0] > apart[1] > apart[2]
        assert apart[2] < 0.1
        if kind == "rigid":
            np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-9)


class TestRecord:
    def test_distances_before_and_after(self, marks: Landmarks) -> None:
        pair = small()
        found = samreg.register(pair.fixed, pair.moving, quick(), find=False, landmarks=marks)
        record = found.landmarks
        np.testing.assert_allclose(record.before, np.linalg.norm(marks.fixed - marks.moving, axis=1), atol=1e-3)
        np.testing.assert_allclose(record.after, marks.residuals(found.field), atol=1e-3)
        assert found.provenance()["landmarks"]["after"] == record.after
        assert "landmarks" in found.losses

    def test_in_words(self) -> None:
        assert LandmarkRecord(1.0, (3.0, 5.0), (0.5, 1.5)).text == (
            "2 landmarks: 4.0 (at most 5.0) apart before and 1.0 (at most 1.5) after"
        )


class TestFaults:
    def test_what_is_given(self) -> None:
        p = np.zeros((2, 3))
        with pytest.raises(GeometryError, match="give"):
            Landmarks(p, p[:1])
        with pytest.raises(InputError, match="finite"):
            Landmarks(p, p * np.nan)
        with pytest.raises(ConfigError, match="points-weight"):
            Landmarks(p, p, 0.0)

    def test_where_they_lie(self, marks: Landmarks) -> None:
        pair = small()
        grids = pair.fixed.grid, pair.moving.grid
        with pytest.raises(GeometryError, match="no landmark lies in both"):
            Landmarks(marks.fixed + 900, marks.moving).within(*grids)
        with pytest.raises(GeometryError, match="3D and the images 2D"):
            Landmarks(np.zeros((1, 3)), np.zeros((1, 3))).within(*grids)
        some = np.concatenate([marks.fixed[:-1], marks.fixed[-1:] + 900])
        kept, said = Landmarks(some, marks.moving).within(*grids)
        assert len(kept) == len(marks) - 1
        assert "1 of 6 landmarks" in said[0]


@pytest.fixture
def files(tmp_path: Path, marks: Landmarks) -> Path:
    pair = small()
    for side in ("fixed", "moving"):
        image = getattr(pair, side)
        write_image(image, tmp_path / f"{side}.nii.gz")
        write_labels(getattr(pair, f"{side}_labels"), image.grid, tmp_path / f"{side}_labels.nii.gz")
        write_points(getattr(marks, side), tmp_path / f"{side}.csv")
    return tmp_path


def test_the_command_line_and_fitting_again(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = ("fixed", "moving")
    command = ["register", *(str(files / f"{side}.nii.gz") for side in sides), "--labels-only"]
    command += [f"--{side}-labels={files / f'{side}_labels.nii.gz'}" for side in sides]
    command += [f"--{side}-points={files / f'{side}.csv'}" for side in sides]
    assert main([*command, "--points-weight", "3", "--out", str(files / "run"), *QUICK]) == 0
    assert "6 landmarks: " in capsys.readouterr().out
    manifest = read_run(files / "run").manifest
    record = manifest["provenance"]["landmarks"]
    assert record["weight"] == 3.0
    assert np.mean(record["after"]) < 0.2 * np.mean(record["before"])
    assert main(["fit", str(files / "run"), "--out", str(files / "again")]) == 0
    again = read_run(files / "again").manifest["provenance"]["landmarks"]
    assert again["weight"] == 3.0
    np.testing.assert_allclose(again["after"], record["after"], atol=0.05)
    capsys.readouterr()
    assert main([*command[:-1], "--out", str(files / "other"), *QUICK]) == 2


def test_a_batch_table_has_columns_for_them(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register = samreg.pipeline.register
    monkeypatch.setattr(samreg.pipeline, "register", lambda *a, **k: register(*a, **{**k, "find": False}))
    table = files / "pairs.csv"
    table.write_text(
        "id,fixed,moving,fixed_guides,moving_guides\na,fixed.nii.gz,moving.nii.gz,fixed.csv,moving.csv\n"
        "b,fixed.nii.gz,moving.nii.gz,fixed.csv,\n"
    )
    done = run_batch(BatchOptions(table, files / "out", jobs=0, config=quick()))
    assert (done.n_done, done.n_failed) == (1, 1)
    assert "landmarks of one image alone" in done.failures.read_text("utf-8")
    assert len(read_run(files / "out" / "runs" / "a").manifest["provenance"]["landmarks"]["after"]) == 6
