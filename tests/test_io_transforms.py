"""ITK applies our displacement fields and transforms exactly as we do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from samreg.errors import ImageReadError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.io.images import read_image, write_image
from samreg.io.transforms import read_displacement, read_transform, write_displacement, write_transform
from worlds import GRIDS, rotation

CASES = [name for name in sorted(GRIDS) if not name.startswith("one")]


def smooth_image(grid: Grid) -> Image:
    x = grid.voxel_centres() - np.asarray(grid.centre)
    waves = sum(np.sin(x[..., i] / (0.15 * grid.extent[i] + 1e-9) + i) for i in range(grid.ndim))
    return Image(np.asarray(100 + 40 * waves, dtype=np.float32), grid)


def smooth_field(grid: Grid) -> tuple[DisplacementField, np.ndarray]:
    """A rotation with shift plus a wave: the affine part and the whole."""
    d = grid.ndim
    matrix = np.eye(d + 1)
    matrix[:d, :d] = rotation((0.08,) if d == 2 else (0.05, -0.04, 0.06)) * 1.03
    centre = np.asarray(grid.centre)
    matrix[:d, d] = centre - matrix[:d, :d] @ centre + 0.6 * min(grid.spacing)
    affine = DisplacementField.from_matrix(matrix, grid)
    x = grid.voxel_centres() - centre
    wave = np.stack([np.sin(x[..., (i + 1) % d] / (0.3 * max(grid.extent))) for i in range(d)], -1)
    return DisplacementField(affine.u + (0.8 * min(grid.spacing) * wave).astype(np.float32), grid), matrix


def moving_grid(grid: Grid) -> Grid:
    """Another size, spacing and origin in the same world."""
    return grid.with_shape([n + 3 for n in grid.shape])


def resample(moving: Path, fixed: Path, transform: sitk.Transform) -> np.ndarray:
    image, reference = sitk.ReadImage(str(moving)), sitk.ReadImage(str(fixed))
    outside = read_image(moving).background[0]
    return sitk.GetArrayFromImage(
        sitk.Resample(image, reference, transform, sitk.sitkLinear, outside, sitk.sitkFloat32)
    )


@pytest.mark.parametrize("name", CASES)
class TestItkReproducesWarped:
    """Within 1 % of the intensity range, everywhere."""

    @pytest.fixture
    def files(self, tmp_path: Path, name: str) -> dict[str, Path]:
        grid = GRIDS[name].with_shape([6 * n for n in GRIDS[name].shape])
        moving = smooth_image(moving_grid(grid))
        field, matrix = smooth_field(grid)
        write_image(moving, tmp_path / "moving.nii.gz")
        write_image(field.warp(moving), tmp_path / "warped.nii.gz")
        write_displacement(field, tmp_path / "displacement.nii.gz")
        write_transform(field, tmp_path / "transform.h5", matrix)
        write_transform(field, tmp_path / "no-affine.h5")
        return {path.name: path for path in tmp_path.iterdir()}

    def close(self, files: dict[str, Path], transform: sitk.Transform) -> None:
        warped = sitk.GetArrayFromImage(sitk.ReadImage(str(files["warped.nii.gz"])))
        again = resample(files["moving.nii.gz"], files["warped.nii.gz"], transform)
        assert (warped != 0).mean() > 0.5
        assert np.abs(again - warped).max() < 0.01 * (warped.max() - warped.min())

    def test_composite_transform(self, files: dict[str, Path]) -> None:
        self.close(files, sitk.ReadTransform(str(files["transform.h5"])))

    def test_composite_without_an_affine_part(self, files: dict[str, Path]) -> None:
        self.close(files, sitk.ReadTransform(str(files["no-affine.h5"])))

    def test_displacement_field_alone(self, files: dict[str, Path]) -> None:
        field = sitk.ReadImage(str(files["displacement.nii.gz"]), sitk.sitkVectorFloat64)
        self.close(files, sitk.DisplacementFieldTransform(field))


@pytest.mark.parametrize("name", sorted(GRIDS))
class TestRoundTrip:
    def test_displacement(self, tmp_path: Path, name: str) -> None:
        field, _ = smooth_field(GRIDS[name])
        path = write_displacement(field, tmp_path / "u.nii.gz")
        np.testing.assert_array_equal(read_displacement(path, field.grid).u, field.u)
        if name == "one-slice-3d":
            return  # without the grid, ITK takes it for 2D
        back = read_displacement(path)
        np.testing.assert_array_equal(back.u, field.u)
        np.testing.assert_allclose(back.grid.voxel_centres(), field.grid.voxel_centres(), atol=2e-4)

    def test_transform(self, tmp_path: Path, name: str) -> None:
        field, matrix = smooth_field(GRIDS[name])
        back = read_transform(write_transform(field, tmp_path / "t.h5", matrix), field.grid)
        np.testing.assert_allclose(back.u, field.u, atol=1e-4 * min(field.grid.spacing))

    def test_points_go_where_itk_sends_them(self, tmp_path: Path, name: str) -> None:
        field, matrix = smooth_field(GRIDS[name])
        write_transform(field, tmp_path / "t.h5", matrix)
        transform = sitk.ReadTransform(str(tmp_path / "t.h5"))
        rng = np.random.default_rng(0)
        index = rng.uniform(0, np.asarray(field.grid.shape[::-1]) - 1.0, (20, field.grid.ndim))
        points = field.grid.index_to_world(index)
        expected = [transform.TransformPoint(p) for p in points.tolist()]
        np.testing.assert_allclose(field.transform_points(points), expected, atol=1e-3 * min(field.grid.spacing))


def test_an_affine_field_is_written_as_an_affine_transform(tmp_path: Path) -> None:
    grid = GRIDS["oblique-3d"]
    _, matrix = smooth_field(grid)
    write_transform(DisplacementField.from_matrix(matrix, grid), tmp_path / "t.h5", matrix)
    transform = sitk.CompositeTransform(sitk.ReadTransform(str(tmp_path / "t.h5")))
    assert transform.GetNumberOfTransforms() == 1
    far = np.array([1000.0, -500.0, 300.0])  # beyond the grid an affine map still holds
    np.testing.assert_allclose(transform.TransformPoint(far.tolist()), matrix[:3, :3] @ far + matrix[:3, 3], rtol=1e-9)


def test_nifti_intent_is_vector(tmp_path: Path) -> None:
    nib = pytest.importorskip("nibabel")
    for name in ("oblique-2d", "oblique-3d"):
        field, _ = smooth_field(GRIDS[name])
        header = nib.load(write_displacement(field, tmp_path / f"{name}.nii.gz")).header
        assert int(header["intent_code"]) == 1007


def test_same_field_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    field, matrix = smooth_field(GRIDS["anisotropic-3d"])
    first = write_transform(field, tmp_path / "a.h5", matrix).read_bytes()
    packed = write_displacement(field, tmp_path / "a.nii.gz").read_bytes()
    time.sleep(1.1)  # HDF5 and gzip count whole seconds
    assert write_transform(field, tmp_path / "b.h5", matrix).read_bytes() == first
    assert write_displacement(field, tmp_path / "b.nii.gz").read_bytes() == packed


def test_other_files_are_refused(tmp_path: Path) -> None:
    image = write_image(smooth_image(GRIDS["identity-3d"]), tmp_path / "a.nii.gz")
    with pytest.raises(ImageReadError, match="1 values a voxel"):
        read_displacement(image)
    (tmp_path / "t.h5").write_bytes(b"no transform")
    with pytest.raises(ImageReadError, match="not an ITK transform"):
        read_transform(tmp_path / "t.h5", GRIDS["identity-3d"])
    with pytest.raises(ImageReadError, match="no such file"):
        read_transform(tmp_path / "none.h5", GRIDS["identity-3d"])
    field, _ = smooth_field(GRIDS["identity-2d"])
    with pytest.raises(ImageReadError, match="2D transform"):
        read_transform(write_transform(field, tmp_path / "f.h5"), GRIDS["identity-3d"])
    with pytest.raises(InputError, match=r"ends in \.h5"):
        write_transform(field, tmp_path / "f.mat")
