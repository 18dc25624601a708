"""The inverse and the affine files of a run folder, `samreg warp --inverse`, and chains of runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from results import photograph_result, true_result
from samreg.cli import main
from samreg.config import preset
from samreg.errors import GeometryError, InputError, InputWarning
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois
from samreg.io.images import read_image, read_labels, write_image, write_labels
from samreg.io.transforms import read_transform, write_affine
from samreg.result import RegistrationResult
from samreg.runs.chain import passage
from samreg.runs.run_folder import read_run, write_run
from worlds import GRIDS, noise, rotation


def shifted(fixed: Grid, moving: Grid, shift: tuple[float, ...], seed: int = 0) -> RegistrationResult:
    """A result whose field is one shift everywhere."""
    u = np.broadcast_to(np.float32(shift), (*fixed.shape, fixed.ndim)).astype(np.float32)
    images = Image(noise(fixed.shape, seed), fixed, "fixed"), Image(noise(moving.shape, seed + 1), moving, "moving")
    return RegistrationResult(
        *images, PairedRois.none(fixed, moving), None, DisplacementField(u, fixed), preset("default")
    )


@pytest.fixture(scope="module", params=[2, 3])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = true_result(request.param)
    folder = tmp_path_factory.mktemp("inverse")
    for side in ("fixed", "moving"):
        write_image(getattr(result, side), folder / f"{side}.nii.gz")
    return write_run(result, folder / "run", inputs={s: folder / f"{s}.nii.gz" for s in ("fixed", "moving")})


class TestInverse:
    def test_there_and_back(self, run: Path) -> None:
        back = read_run(run)
        inverse = back.inverse()
        assert inverse.grid == back.moving_grid
        y = back.moving_grid.voxel_centres().reshape(-1, back.moving_grid.ndim)
        arrived = back.transform().transform_points(inverse.transform_points(y))
        np.testing.assert_allclose(arrived, y, atol=1e-3)

    @pytest.mark.parametrize("how", ["inverse_transform.h5", "inverse_displacement.nii.gz"])
    def test_itk_carries_the_fixed_image_onto_the_moving_grid(self, run: Path, how: str) -> None:
        if how.endswith(".h5"):
            transform = sitk.ReadTransform(str(run / how))
        else:
            transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(run / how), sitk.sitkVectorFloat64))
        fixed, moving = (sitk.ReadImage(str(run.parent / f"{side}.nii.gz")) for side in ("fixed", "moving"))
        image = read_image(run.parent / "fixed.nii.gz")
        theirs = sitk.GetArrayFromImage(
            sitk.Resample(fixed, moving, transform, sitk.sitkLinear, image.background[0], sitk.sitkFloat32)
        )
        inverse = read_run(run).inverse()
        ours = inverse.warp(image).data
        # On the outer edge itself rounding decides who is still inside.
        index, n = inverse.moving_index(image.grid), np.asarray(image.grid.shape[::-1])
        clear = (np.minimum(np.abs(index + 0.5), np.abs(index - n + 0.5)) > 1e-3).all(axis=-1)
        assert clear.mean() > 0.4
        assert np.abs(theirs - ours)[clear].max() < 1e-4 * np.ptp(ours)

    def test_the_manifest_says_how_well(self, run: Path) -> None:
        found = json.loads((run / "manifest.json").read_text("utf-8"))["inverse"]
        assert found["n_points"] == read_run(run).moving_grid.n_voxels
        assert found["share_converged"] == 1
        assert 0 <= found["residual_mean_vox"] <= found["residual_p99_vox"] <= found["residual_max_vox"] <= 1e-4

    def test_it_can_be_left_out_and_is_then_computed(self, run: Path, tmp_path: Path) -> None:
        without = write_run(true_result(read_run(run).fixed_grid.ndim), tmp_path / "run", inverse=False)
        assert not list(without.glob("inverse*"))
        assert json.loads((without / "manifest.json").read_text("utf-8"))["inverse"] is None
        np.testing.assert_array_equal(read_run(without).inverse().u, read_run(run).inverse().u)

    def test_no_inverse_on_the_command_line(self, run: Path, tmp_path: Path) -> None:
        images = [str(run.parent / f"{side}.nii.gz") for side in ("fixed", "moving")]
        labels = [f"--{side}-labels={run / f'{side}_rois.nii.gz'}" for side in ("fixed", "moving")]
        options = ["--labels-only", "--transform", "affine", "--no-inverse"]
        assert main(["register", *images, *labels, *options, "--out", str(tmp_path / "run")]) == 0
        assert not list((tmp_path / "run").glob("inverse*"))

    def test_where_it_does_not_converge_both_screen_and_manifest_say_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By Newton steps that are not allowed to come close: a real field for which the search fails is not known."""
        exact = DisplacementField.inverse_on
        monkeypatch.setattr(DisplacementField, "inverse_on", lambda field, on: exact(field, on, 1, -1.0))
        with pytest.warns(InputWarning, match="the inverse did not converge"):
            folder = write_run(true_result(2), tmp_path / "run")
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        assert manifest["inverse"]["share_converged"] < 1
        assert any("the inverse did not converge" in text for text in manifest["warnings"])

    @pytest.mark.parametrize("ndim", [2, 3])
    def test_an_affine_run_has_the_inverse_matrix_everywhere(self, ndim: int, tmp_path: Path) -> None:
        """Also where the moving grid reaches beyond the fixed one."""
        fixed = GRIDS[f"oblique-{ndim}d"]
        moving = replace(fixed, origin=tuple(np.add(fixed.origin, 4 * np.asarray(fixed.direction)[:, 0])))
        turn = np.eye(ndim + 1)
        turn[:ndim, :ndim] = 1.1 * rotation((0.3,) if ndim == 2 else (0.1, 0.2, 0.3))
        turn[:ndim, ndim] = np.arange(ndim) + 2
        config = preset("default")
        result = replace(
            shifted(fixed, moving, (0,) * ndim),
            affine=turn,
            field=DisplacementField.from_matrix(turn, fixed),
            config=replace(config, fit=replace(config.fit, transform="affine")),
        )
        folder = write_run(result, tmp_path / "run")
        y = moving.voxel_centres().reshape(-1, ndim)
        expected = (y - turn[:ndim, ndim]) @ np.linalg.inv(turn[:ndim, :ndim]).T
        np.testing.assert_allclose(read_run(folder).inverse().transform_points(y), expected, atol=1e-4)
        theirs = sitk.ReadTransform(str(folder / "inverse_transform.h5"))
        np.testing.assert_allclose(theirs.TransformPoint(y[-1].tolist()), expected[-1], atol=1e-4)

    def test_photographs_stay_in_pixels(self, tmp_path: Path) -> None:
        result = photograph_result()
        inverse = read_run(write_run(result, tmp_path / "run")).inverse()
        assert inverse.grid == result.moving.grid
        np.testing.assert_allclose(inverse.u, np.broadcast_to([-3, -2], inverse.u.shape), atol=1e-4)


class TestAffineFiles:
    @pytest.mark.parametrize("name", ["affine.mat", "affine.tfm"])
    def test_itk_reads_an_affine_transform(self, run: Path, name: str) -> None:
        back = read_run(run)
        d = back.fixed_grid.ndim
        theirs = sitk.ReadTransform(str(run / name))
        assert theirs.GetName() == "AffineTransform"
        points = np.random.default_rng(0).uniform(-100, 100, (20, d))
        expected = points @ back.affine[:d, :d].T + back.affine[:d, d]
        np.testing.assert_allclose([theirs.TransformPoint(p.tolist()) for p in points], expected, atol=1e-4)

    def test_the_matlab_file_is_what_scipy_reads(self, run: Path) -> None:
        from scipy.io import loadmat

        back = read_run(run)
        d = back.fixed_grid.ndim
        values = loadmat(run / "affine.mat")
        assert {f"AffineTransform_double_{d}_{d}", "fixed"} <= set(values)
        expected = np.concatenate([back.affine[:d, :d].ravel(), back.affine[:d, d]])
        np.testing.assert_allclose(values[f"AffineTransform_double_{d}_{d}"].ravel(), expected, atol=1e-12)

    @pytest.mark.parametrize("suffix", [".mat", ".tfm", ".txt"])
    def test_round_trip(self, suffix: str, tmp_path: Path) -> None:
        turn = np.eye(4)
        turn[:3, :3], turn[:3, 3] = rotation((0.3, -0.2, 0.8)) @ np.diag([1.1, 0.9, 1.3]), (6, -4, 3)
        path = write_affine(turn, tmp_path / f"a{suffix}")
        on = GRIDS["oblique-flipped-3d"]
        np.testing.assert_allclose(read_transform(path, on).u, DisplacementField.from_matrix(turn, on).u, atol=1e-4)

    @pytest.mark.parametrize("name", ["a.h5", "missing/a.mat"])
    def test_what_cannot_be_written(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"\.mat, \.tfm or \.txt|cannot be written"):
            write_affine(np.eye(4), tmp_path / name)
        assert list(tmp_path.iterdir()) == []


A, B, C = (
    Grid((6, 20, 24), (1.0, 1.0, 2.0), (5.0, -3.0, 10.0)),
    Grid((7, 22, 26), (1.0, 1.1, 2.0), (4.0, -4.0, 9.0)),
    Grid((8, 24, 20), (1.2, 1.0, 2.0), (6.0, -5.0, 9.0)),
)
SHIFTS = (1.5, -1.0, 2.0), (-3.0, 2.0, 1.0)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs A <- B and B <- C."""
    folder = tmp_path_factory.mktemp("chain")
    return [write_run(shifted(f, m, s), folder / n) for n, f, m, s in zip("ab", (A, B), (B, C), SHIFTS, strict=True)]


class TestWarp:
    def test_inverse_carries_what_lies_in_the_fixed_image(self, chain: list[Path], tmp_path: Path) -> None:
        source = write_image(Image(noise(A.shape, 5), A), tmp_path / "f.nii.gz")
        out = tmp_path / "m.nii.gz"
        assert main(["warp", str(source), "--run", str(chain[0]), "--inverse", "--out", str(out)]) == 0
        expected = DisplacementField.from_matrix(_shift(-np.array(SHIFTS[0])), B).warp(read_image(source))
        back = read_image(out)
        assert back.grid.same_as(B)
        np.testing.assert_allclose(back.data, expected.data, atol=0.05)

    def test_a_chain(self, chain: list[Path], tmp_path: Path) -> None:
        labels = np.zeros(C.shape, np.int32)
        labels[2:6, 5:18, 4:16] = 7
        source = write_labels(labels, C, tmp_path / "l.nii.gz")
        runs = [text for folder in chain for text in ("--run", str(folder))]
        assert main(["warp", str(source), *runs, "--out", str(tmp_path / "w.nii.gz")]) == 0
        found, on = read_labels(tmp_path / "w.nii.gz")
        assert on.same_as(A)
        truth = DisplacementField.from_matrix(_shift(np.sum(SHIFTS, axis=0)), A).warp_labels(labels, C)
        assert truth.any()
        np.testing.assert_array_equal(found, truth)

    def test_a_chain_backwards(self, chain: list[Path]) -> None:
        back = passage([read_run(folder) for folder in chain], inverse=True)
        assert back.field.grid.same_as(C)
        assert back.source.same_as(A)
        np.testing.assert_allclose(
            back.field.u, np.broadcast_to(-np.sum(SHIFTS, axis=0), back.field.u.shape), atol=1e-3
        )

    def test_runs_that_do_not_meet(self, chain: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(GeometryError, match="is not the moving image of"):
            passage([read_run(folder) for folder in reversed(chain)])
        source = write_image(Image(noise(C.shape), C), tmp_path / "c.nii.gz")
        runs = [text for folder in reversed(chain) for text in ("--run", str(folder))]
        assert main(["warp", str(source), *runs, "--out", str(tmp_path / "w.nii.gz")]) == 2
        assert "in the order" in capfd.readouterr().err

    def test_other_files_on_the_same_grid_are_named(self, tmp_path: Path) -> None:
        result = shifted(A, A, (1, 0, 0))
        files = [write_image(Image(noise(A.shape, seed), A), tmp_path / f"{seed}.nii.gz") for seed in range(4)]
        runs = [
            read_run(write_run(result, tmp_path / f"run{i}", inputs={"fixed": files[i], "moving": files[i + 1]}))
            for i in (0, 2)
        ]
        with pytest.warns(InputWarning, match="their files are not"):
            passage(runs)

    def test_the_wrong_side_hints_at_inverse(
        self, chain: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        source = write_image(Image(noise(A.shape), A), tmp_path / "a.nii.gz")
        arguments = ["warp", str(source), "--run", str(chain[0]), "--out", str(tmp_path / "w.nii.gz")]
        assert main(arguments) == 2
        assert "say --inverse" in capfd.readouterr().err
        moving = write_image(Image(noise(B.shape), B), tmp_path / "b.nii.gz")
        assert main(["warp", str(moving), *arguments[2:], "--inverse"]) == 2
        assert "leave out --inverse" in capfd.readouterr().err

    def test_no_run(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        source = write_image(Image(noise(A.shape), A), tmp_path / "a.nii.gz")
        assert main(["warp", str(source), "--out", str(tmp_path / "w.nii.gz")]) == 2
        assert "--run" in capfd.readouterr().err


def _shift(by: np.ndarray) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = by
    return matrix
