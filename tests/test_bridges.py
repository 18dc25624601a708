"""Images and fields of SimpleITK, nibabel and numpy in memory; short texts; wrong types are named."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from results import photograph_result, true_result
from samreg import bridges
from samreg.errors import GeometryError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image, check_image
from samreg.io.images import read_image, write_image
from samreg.io.transforms import read_displacement
from worlds import GRIDS, noise

FLAT = [name for name in GRIDS if name.endswith("2d")]
SOLID = [name for name in GRIDS if name.endswith("3d") and "one-slice" not in name]


def image(name: str) -> Image:
    return Image(noise(GRIDS[name].shape), GRIDS[name], name)


@pytest.mark.parametrize("name", GRIDS)
class TestSimpleITK:
    def test_there_and_back(self, name: str) -> None:
        back = bridges.from_sitk(bridges.to_sitk(image(name)), name)
        assert back.grid.same_as(GRIDS[name])
        np.testing.assert_array_equal(back.data, image(name).data)

    def test_a_field_is_a_transform_of_itk(self, name: str) -> None:
        grid = GRIDS[name]
        shift = np.float32([6, -4, 3][: grid.ndim])
        field = DisplacementField(np.broadcast_to(shift, (*grid.shape, grid.ndim)).copy(), grid)
        transform = sitk.DisplacementFieldTransform(bridges.to_sitk(field))
        np.testing.assert_allclose(np.subtract(transform.TransformPoint(grid.centre), grid.centre), shift, atol=1e-4)
        np.testing.assert_array_equal(bridges.field_from_sitk(bridges.to_sitk(field)).u, field.u)


class TestSimpleITKRefused:
    def test_vectors_are_no_image_and_images_no_field(self) -> None:
        two = sitk.Image([4, 4], sitk.sitkVectorFloat32, 2)
        with pytest.raises(InputError, match="has 2 values a voxel"):
            bridges.from_sitk(two)
        with pytest.raises(InputError, match="this image has 1"):
            bridges.field_from_sitk(sitk.Image([4, 4], sitk.sitkFloat32))

    def test_whole_numbers(self) -> None:
        counts = sitk.GetImageFromArray(np.arange(20, dtype=np.int16).reshape(4, 5))
        assert bridges.from_sitk(counts).data.tolist() == np.arange(20).reshape(4, 5).tolist()

    def test_colour(self) -> None:
        picture = photograph_result().fixed
        back = bridges.from_sitk(bridges.to_sitk(picture), unit="px")
        assert back.is_colour
        assert back.grid == picture.grid
        np.testing.assert_array_equal(back.data, picture.data)


@pytest.mark.parametrize("name", [*SOLID, *FLAT[:3]])
class TestNibabel:
    def test_it_is_what_read_image_reads(self, name: str, tmp_path: Path) -> None:
        path = write_image(image(name), tmp_path / "a.nii.gz")
        read = read_image(path)
        taken = bridges.from_nibabel(nib.load(path))
        assert taken.grid.same_as(read.grid)
        np.testing.assert_array_equal(taken.data.reshape(read.data.shape), read.data)

    def test_itk_reads_what_nibabel_saves(self, name: str, tmp_path: Path) -> None:
        nib.save(bridges.to_nibabel(image(name)), tmp_path / "a.nii.gz")
        read = read_image(tmp_path / "a.nii.gz")
        assert read.grid.same_as(GRIDS[name])
        np.testing.assert_array_equal(read.data, image(name).data)

    def test_a_field(self, name: str, tmp_path: Path) -> None:
        grid = GRIDS[name]
        u = np.random.default_rng(0).normal(size=(*grid.shape, grid.ndim)).astype(np.float32)
        nib.save(bridges.to_nibabel(DisplacementField(u, grid)), tmp_path / "u.nii.gz")
        back = read_displacement(tmp_path / "u.nii.gz")
        assert back.grid.same_as(grid)
        np.testing.assert_array_equal(back.u, u)


class TestNibabelRefused:
    def test_several_frames(self) -> None:
        with pytest.raises(InputError, match="take one frame"):
            bridges.from_nibabel(nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4)))

    def test_a_sheared_affine(self) -> None:
        sheared = np.eye(4)
        sheared[0, 1] = 0.5
        with pytest.raises(GeometryError, match="orthonormal"):
            bridges.from_nibabel(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), sheared))

    def test_pictures(self) -> None:
        with pytest.raises(InputError, match="write_image"):
            bridges.to_nibabel(photograph_result().fixed)

    def test_slope_and_intercept_count(self) -> None:
        stored = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
        stored.header.set_slope_inter(2, -5)
        again = nib.Nifti1Image.from_bytes(stored.to_bytes())
        np.testing.assert_allclose(bridges.from_nibabel(again).data, np.asarray(again.get_fdata()).T)


class TestNumpy:
    def test_geometry(self) -> None:
        made = image("oblique-3d")
        grid = made.grid
        again = bridges.from_numpy(made.data, grid.spacing, grid.origin, grid.direction, name="a")
        assert again.grid == grid
        np.testing.assert_array_equal(again.data, made.data)

    def test_axes_must_fit(self) -> None:
        with pytest.raises(GeometryError, match="a spacing for each of its axes, got 2 values"):
            bridges.from_numpy(np.zeros((4, 5, 6)), (1, 1))
        assert bridges.from_numpy(np.zeros((4, 5, 3)), (1, 1), colour=True).is_colour


class TestTexts:
    @pytest.mark.parametrize("result", [true_result(2), true_result(3), true_result(2, with_field=False)])
    def test_a_result_is_at_most_ten_lines(self, result: object) -> None:
        text = repr(replace(result, notes=tuple(f"warning {i}, " + "which is long " * 40 for i in range(9))))
        lines = text.splitlines()
        assert len(lines) <= 10
        assert max(map(len, lines)) < 140
        assert "pairs: 8" in text
        assert "confidence: 0.83" in text
        assert "and 7 more warnings" in text

    def test_an_image_is_one_line(self) -> None:
        assert repr(image("oblique-3d")).count("\n") == 0
        assert len(repr(image("oblique-3d"))) < 600


def test_nan_is_no_value_of_an_image() -> None:
    data = noise(GRIDS["identity-2d"].shape)
    data[2, 3] = np.nan
    with pytest.raises(InputError, match="1 of 99 values of scan are NaN"):
        Image(data, GRIDS["identity-2d"], "scan")


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (sitk.Image([4, 4], sitk.sitkFloat32), "fixed is a SimpleITK.Image .*from_sitk"),
        (nib.Nifti1Image(np.zeros((2, 2, 2), np.float32), np.eye(4)), "from_nibabel"),
        (np.zeros((4, 4)), "from_numpy"),
        (torch.zeros(1, 4, 4), r"fixed is a torch\.Tensor .*from_torch"),
        (bridges.to_monai(image("identity-2d")), "from_monai"),
        ("scan.nii.gz", "read_image"),
        (Path("scan.nii.gz"), "read_image"),
    ],
)
def test_what_is_no_image_is_named_with_the_way_to_make_one(value: object, word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        check_image(value, "fixed")
    assert "\n" not in str(caught.value)


def test_register_says_what_it_wants() -> None:
    """In a process of its own: here the run-time type checks of the tests would complain first."""
    code = (
        "import samreg, SimpleITK as sitk\n"
        "image = sitk.Image([4, 4], sitk.sitkFloat32)\n"
        "for call in (lambda: samreg.register(image, image), lambda: samreg.segment(image)):\n"
        "    try:\n"
        "        call()\n"
        "    except samreg.InputError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("samreg.bridges.from_sitk(image)" in line for line in lines)


def test_importing_the_bridges_loads_none_of_the_packages() -> None:
    packages = {"SimpleITK", "nibabel", "torch", "itk", "monai", "nipype"}
    code = f"import sys; from samreg import bridges; print({packages} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "set()"
