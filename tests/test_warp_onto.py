"""`samreg warp` onto another grid and by other interpolations; the files of a transform just outside its grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from results import true_result
from samreg import DisplacementField, Image
from samreg.cli import main
from samreg.errors import ConfigError
from samreg.io.images import read_image, read_labels, write_image, write_labels
from samreg.io.resample import warp_smoothly
from samreg.io.transforms import read_displacement, write_displacement, write_transform
from samreg.runs.run_folder import write_run
from worlds import GRIDS, noise


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(true_result(3), tmp_path_factory.mktemp("onto") / "run", inverse=False)


class TestReference:
    def test_a_finer_grid(self, run: Path, tmp_path: Path) -> None:
        result = true_result(3)
        fine = result.fixed.grid.with_shape((6, 200, 240))
        write_image(Image(noise(fine.shape), fine), tmp_path / "fine.nii.gz")
        write_image(result.moving, tmp_path / "moving.nii.gz")
        write_labels(result.pairs.moving.label_map(), result.moving.grid, tmp_path / "labels.nii.gz")
        options = ["--run", str(run), "--reference", str(tmp_path / "fine.nii.gz")]
        assert main(["warp", str(tmp_path / "moving.nii.gz"), *options, "--out", str(tmp_path / "out.nii.gz")]) == 0
        assert main(["warp", str(tmp_path / "labels.nii.gz"), *options, "--out", str(tmp_path / "l.nii.gz")]) == 0
        found = read_image(tmp_path / "out.nii.gz")
        assert found.grid.same_as(fine)
        # The same world points by ITK, with the run's own transform.
        transform = sitk.ReadTransform(str(run / "transform.h5"))
        moving, reference = (sitk.ReadImage(str(tmp_path / f"{n}.nii.gz")) for n in ("moving", "fine"))
        expected = sitk.GetArrayFromImage(sitk.Resample(moving, reference, transform, sitk.sitkLinear, 0.0))
        inner = (slice(1, -1), slice(4, -4), slice(4, -4))
        assert np.abs(found.data[inner] - expected[inner]).max() < 0.01 * np.ptp(result.moving.data)
        labels, grid = read_labels(tmp_path / "l.nii.gz")
        assert grid.same_as(fine)
        assert set(np.unique(labels)) == set(np.unique(result.pairs.moving.label_map()))

    def test_elsewhere_is_refused(self, run: Path, tmp_path: Path) -> None:
        result = true_result(3)
        write_image(result.moving, tmp_path / "moving.nii.gz")
        far = GRIDS["identity-3d"]
        far = type(far)(far.shape, far.spacing, (5000.0, 0.0, 0.0))
        write_image(Image(noise(far.shape), far), tmp_path / "far.nii.gz")
        command = ["warp", str(tmp_path / "moving.nii.gz"), "--run", str(run), "--out", str(tmp_path / "o.nii.gz")]
        assert main([*command, "--reference", str(tmp_path / "far.nii.gz")]) == 2


SMOOTH = ["bspline", "sinc"]


@pytest.mark.parametrize("kind", SMOOTH)
class TestSmooth:
    @pytest.mark.parametrize("name", ["anisotropic-2d", "oblique-3d", "flipped-3d"])
    def test_at_voxel_centres_it_is_the_image(self, kind: str, name: str) -> None:
        image = Image(noise(GRIDS[name].shape), GRIDS[name])
        found = warp_smoothly(DisplacementField.identity(image.grid), image, kind)
        np.testing.assert_allclose(found.data, image.data, atol=0.05)

    def test_between_them_it_is_nearer_to_a_smooth_function_than_linear(self, kind: str) -> None:
        grid = GRIDS["identity-2d"].with_shape((60, 70))
        x = grid.voxel_centres()

        def wave(points: np.ndarray) -> np.ndarray:
            return (50 * np.sin(points[..., 0] * 1.1) * np.cos(points[..., 1] * 0.9)).astype(np.float32)

        image = Image(wave(x), grid)
        shift = DisplacementField(np.full((60, 70, 2), 0.4, np.float32) * np.float32(grid.spacing[0]), grid)
        inner = (slice(8, -8), slice(8, -8))
        truth = wave(x + shift.u)[inner]
        smooth, linear = (
            np.abs(f.data[inner] - truth).max() for f in (warp_smoothly(shift, image, kind), shift.warp(image))
        )
        assert smooth < 0.5 * linear

    def test_too_few_slices(self, kind: str) -> None:
        grid = GRIDS["one-slice-3d"]
        with pytest.raises(ConfigError, match="choose linear"):
            warp_smoothly(DisplacementField.identity(grid), Image(noise(grid.shape), grid), kind)

    def test_on_the_command_line(self, kind: str, run: Path, tmp_path: Path) -> None:
        moving = true_result(3).moving
        write_image(moving, tmp_path / "moving.nii.gz")
        command = ["warp", str(tmp_path / "moving.nii.gz"), "--run", str(run), "--interpolation", kind]
        assert main([*command, "--out", str(tmp_path / "out.nii.gz")]) == 0
        expected = warp_smoothly(true_result(3).field, moving, kind)
        np.testing.assert_allclose(read_image(tmp_path / "out.nii.gz").data, expected.data, atol=0.01)


@pytest.mark.parametrize("name", GRIDS)
class TestJustOutside:
    def test_itk_and_samreg_agree_there(self, name: str, tmp_path: Path) -> None:
        """0.7 voxels beyond the outermost centres, where the file held nothing before."""
        grid = GRIDS[name]
        d = grid.ndim
        rng = np.random.default_rng(0)
        field = DisplacementField((8 + rng.uniform(0, 3, (*grid.shape, d))).astype(np.float32), grid)
        matrix = np.eye(d + 1)
        matrix[:d, d] = 3.0
        matrix[0, 0] = 1.1
        path = write_transform(field, tmp_path / "t.h5", matrix)
        size = np.asarray(grid.shape[::-1])
        index = rng.uniform(0, 1, (60, d)) * (size - 1)
        index[np.arange(60), np.arange(60) % d] = np.where(np.arange(60) % 2, -0.7, size[np.arange(60) % d] - 0.3)
        points = grid.index_to_world(index)
        transform = sitk.ReadTransform(str(path))
        itk = np.asarray([transform.TransformPoint(p.tolist()) for p in points])
        np.testing.assert_allclose(field.transform_points(points), itk, atol=2e-3)

    def test_the_field_opens_as_one_of_the_right_dimension(self, name: str, tmp_path: Path) -> None:
        grid = GRIDS[name]
        u = noise((*grid.shape, grid.ndim), 1, -2, 2)
        write_displacement(DisplacementField(u, grid), tmp_path / "u.nii.gz")
        image = sitk.ReadImage(str(tmp_path / "u.nii.gz"), sitk.sitkVectorFloat64)
        transform = sitk.DisplacementFieldTransform(image)
        centre = grid.index_to_world((np.asarray(grid.shape[::-1]) // 2)[None].astype(float))[0]
        moved = np.asarray(transform.TransformPoint(centre.tolist())) - centre
        np.testing.assert_allclose(moved, u[tuple(n // 2 for n in grid.shape)], atol=1e-3)
        back = read_displacement(tmp_path / "u.nii.gz", grid)
        np.testing.assert_array_equal(back.u, u)
