"""Images, label maps and fields of every package, both ways, on every grid; fields mean what the package says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from results import photograph_result
from samreg import bridges
from samreg.errors import GeometryError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.types import LabelArray
from worlds import GRIDS, noise


@dataclass(frozen=True)
class Package:
    """Both ways of a package, with what it leaves out (a geometry) given again."""

    image: Callable[[Image], Image]
    labels: Callable[[LabelArray, Grid], tuple[LabelArray, Grid]]
    field: Callable[[DisplacementField], DisplacementField]
    module: str


PACKAGES = {
    "SimpleITK": Package(
        lambda a: bridges.from_sitk(bridges.to_sitk(a)),
        lambda a, g: bridges.labels_from_sitk(bridges.labels_to_sitk(a, g)),
        lambda f: bridges.field_from_sitk(bridges.to_sitk(f)),
        "SimpleITK",
    ),
    "ITK": Package(
        lambda a: bridges.from_itk(bridges.to_itk(a)),
        lambda a, g: bridges.labels_from_itk(bridges.labels_to_itk(a, g)),
        lambda f: bridges.field_from_itk(bridges.to_itk(f)),
        "itk",
    ),
    "nibabel": Package(
        lambda a: bridges.from_nibabel(bridges.to_nibabel(a)),
        lambda a, g: bridges.labels_from_nibabel(bridges.labels_to_nibabel(a, g)),
        lambda f: bridges.field_from_nibabel(bridges.to_nibabel(f)),
        "nibabel",
    ),
    "numpy": Package(
        lambda a: bridges.from_numpy(*bridges.to_numpy(a)),
        lambda a, g: bridges.labels_from_numpy(a, *bridges.geometry_of(g)),
        lambda f: bridges.field_from_numpy(*bridges.to_numpy(f)),
        "numpy",
    ),
    "torch": Package(
        lambda a: bridges.from_torch(bridges.to_torch(a), *bridges.geometry_of(a.grid)),
        lambda a, g: bridges.labels_from_torch(bridges.labels_to_torch(a), *bridges.geometry_of(g)),
        lambda f: bridges.field_from_torch(bridges.to_torch(f), *bridges.geometry_of(f.grid)),
        "torch",
    ),
    "MONAI": Package(
        lambda a: bridges.from_monai(bridges.to_monai(a)),
        lambda a, g: bridges.labels_from_monai(bridges.labels_to_monai(a, g)),
        lambda f: bridges.field_from_monai(bridges.to_monai(f)),
        "monai",
    ),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))
@pytest.mark.parametrize("package", PACKAGES.values(), ids=list(PACKAGES))
class TestThereAndBack:
    @pytest.fixture(autouse=True)
    def _installed(self, package: Package) -> None:
        pytest.importorskip(package.module)

    def test_an_image(self, package: Package, grid: Grid) -> None:
        given = Image(noise(grid.shape), grid)
        back = package.image(given)
        assert back.grid.same_as(grid)
        np.testing.assert_array_equal(back.data, given.data)

    def test_labels(self, package: Package, grid: Grid) -> None:
        given = np.random.default_rng(0).integers(-3, 70_000, grid.shape).astype(np.int64)
        labels, where = package.labels(given, grid)
        assert where.same_as(grid)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(labels, given)

    def test_a_field(self, package: Package, grid: Grid) -> None:
        u = np.random.default_rng(1).normal(0, 5, (*grid.shape, grid.ndim)).astype(np.float32)
        back = package.field(DisplacementField(u, grid))
        assert back.grid.same_as(grid)
        np.testing.assert_allclose(back.u, u, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=list(GRIDS))
class TestAFieldMeansWhatThePackageSays:
    """A shift of (6, -4, 3) mm, LPS: x_moving = x_fixed + shift."""

    def shift(self, grid: Grid) -> tuple[np.ndarray, DisplacementField]:
        d = grid.ndim
        shift = np.asarray([6.0, -4.0, 3.0][:d])
        return shift, DisplacementField(np.broadcast_to(shift, (*grid.shape, d)).astype(np.float32), grid)

    def test_torch_channels_are_x_y_z(self, grid: Grid) -> None:
        shift, field = self.shift(grid)
        tensor = bridges.to_torch(field)
        assert tensor.shape == (grid.ndim, *grid.shape)
        np.testing.assert_allclose(np.asarray(tensor).reshape(grid.ndim, -1).mean(1), shift, rtol=1e-6)

    def test_monai_counts_voxels_of_its_own_affine(self, grid: Grid) -> None:
        monai = pytest.importorskip("monai.data")
        shift, field = self.shift(grid)
        ddf = bridges.to_monai(field)
        assert isinstance(ddf, monai.MetaTensor)
        d = grid.ndim
        assert ddf.shape == (d, *grid.shape[::-1])
        affine = np.asarray(ddf.affine)
        moved = affine[:d, :d] @ np.asarray(ddf.as_tensor()).reshape(d, -1)[:, 0]
        ras = np.asarray([-1.0, -1.0, 1.0])[:d] * shift
        np.testing.assert_allclose(moved, ras, atol=1e-4)

    def test_itk_transforms_points_by_it(self, grid: Grid) -> None:
        itk = pytest.importorskip("itk")
        shift, field = self.shift(grid)
        d = grid.ndim
        transform = itk.DisplacementFieldTransform[itk.D, d].New()
        transform.SetDisplacementField(bridges.to_itk(field))
        found = np.asarray(transform.TransformPoint(list(grid.centre))) - grid.centre
        np.testing.assert_allclose(found, shift, atol=1e-4)
        matrix = np.eye(d + 1)
        matrix[:d, d] = shift
        for made in (bridges.transform_to_itk(field), bridges.transform_to_itk(field, matrix)):
            np.testing.assert_allclose(
                np.asarray(made.TransformPoint(list(grid.centre))) - grid.centre, shift, atol=1e-4
            )


class TestMonaiMeta:
    def test_lps_tensors_are_not_turned(self) -> None:
        monai = pytest.importorskip("monai.data")
        grid = GRIDS["oblique-3d"]
        tensor = bridges.to_monai(Image(noise(grid.shape), grid))
        turn = np.diag([-1.0, -1.0, 1.0, 1.0])
        lps = monai.MetaTensor(tensor.as_tensor(), affine=turn @ np.asarray(tensor.affine), meta={"space": "LPS"})
        assert bridges.from_monai(lps).grid.same_as(grid)

    @pytest.mark.parametrize("name", [name for name in GRIDS if "one-slice" not in name])
    def test_it_is_what_its_reader_reads(self, name: str, tmp_path: Any) -> None:
        transforms = pytest.importorskip("monai.transforms")
        from samreg.io.images import write_image

        image = Image(noise(GRIDS[name].shape), GRIDS[name])
        path = write_image(image, tmp_path / "a.nii.gz")
        read = transforms.LoadImage(ensure_channel_first=True)(str(path))
        back = bridges.from_monai(read)
        assert back.name == "a.nii.gz"
        assert back.grid.same_as(image.grid)
        np.testing.assert_array_equal(back.data, image.data)
        np.testing.assert_allclose(bridges.to_monai(image).affine, read.affine, atol=1e-4)

    def test_colour(self) -> None:
        pytest.importorskip("monai")
        picture = photograph_result().fixed
        back = bridges.from_monai(bridges.to_monai(picture), unit="mm")
        assert back.is_colour
        np.testing.assert_array_equal(back.data, picture.data)
        tensor = bridges.to_torch(picture)
        assert tensor.shape == (3, *picture.grid.shape)
        again = bridges.from_torch(tensor, picture.grid.spacing, unit="px")
        assert again.grid == picture.grid
        np.testing.assert_array_equal(again.data, picture.data)


class TestRefused:
    def test_tensors(self) -> None:
        torch = pytest.importorskip("torch")
        pytest.importorskip("monai")
        with pytest.raises(GeometryError, match="one of a batch"):
            bridges.from_torch(torch.zeros(2, 1, 4, 5, 6), (1, 1, 1))
        with pytest.raises(InputError, match="no MetaTensor"):
            bridges.from_monai(torch.zeros(1, 4, 5, 6))
        four = bridges.to_monai(Image(noise((4, 5, 6)), Grid((4, 5, 6), (1, 1, 1)))).repeat(4, 1, 1, 1)
        with pytest.raises(InputError, match="has 4 channels; an image has 1"):
            bridges.from_monai(four)
        with pytest.raises(InputError, match="a DDF of 3 axes has 3 channels, this has 4"):
            bridges.field_from_monai(four)
        with pytest.raises(InputError, match="argmax"):
            bridges.labels_from_monai(four)

    @pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 2.0**40])
    def test_labels_are_whole_numbers(self, value: float) -> None:
        with pytest.raises(InputError, match="whole numbers"):
            bridges.labels_from_numpy(np.full((3, 4), value), (1, 1))

    def test_a_field_has_as_many_components_as_axes(self) -> None:
        with pytest.raises(GeometryError, match="last one of 3 values"):
            bridges.field_from_numpy(np.zeros((3, 4, 5, 2)), (1, 1, 1))
        nib = pytest.importorskip("nibabel")
        with pytest.raises(InputError, match=r"shape \(x, y, z, 1, 3\)"):
            bridges.field_from_nibabel(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)))


def test_everything_offered_is_there() -> None:
    for name in bridges.__all__:
        if name not in bridges._CLASSES:
            assert callable(getattr(bridges, name))
    with pytest.raises(AttributeError, match="no attribute 'from_nothing'"):
        bridges.from_nothing  # noqa: B018
