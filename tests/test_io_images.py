"""Images through every door: the same voxel at the same world point, or one clear line."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.errors import ImageReadError, InputError, InputWarning
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.io.images import read_image, read_labels, write_image, write_labels
from worlds import GRIDS, grids, noise

VOLUMES = [".nii", ".nii.gz", ".nrrd", ".mha"]
PHOTOGRAPHS = [".png", ".tif", ".jpg"]


def as_itk(data: np.ndarray, grid: Grid) -> sitk.Image:
    image = sitk.GetImageFromArray(data, isVector=data.ndim == grid.ndim + 1)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection([v for row in grid.direction for v in row])
    return image


def write_dicom(folder: Path, data: np.ndarray, grid: Grid, *, skip: int | None = None, slope: float = 1.0) -> None:
    """A series as a scanner writes it: one file a slice, geometry in the patient tags."""
    folder.mkdir()
    direction = np.asarray(grid.direction)
    for z, plane in enumerate(data):
        if z == skip:
            continue
        image = sitk.GetImageFromArray(plane.astype(np.int16))
        image.SetSpacing(grid.spacing[:2])
        position = grid.index_to_world(np.array([[0.0, 0.0, z]]))[0]
        tags = {
            "0008|0060": "MR",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.2",
            "0020|0013": str(z),
            "0020|0032": "\\".join(f"{v:.10g}" for v in position),
            "0020|0037": "\\".join(f"{v:.10g}" for v in (*direction[:, 0], *direction[:, 1])),
            "0028|1053": f"{slope:g}",
            "0028|1052": "0",
        }
        for key, value in tags.items():
            image.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        # Names in an order that is not the order in space.
        writer.SetFileName(str(folder / f"{(z * 7) % 11:03d}.dcm"))
        writer.Execute(image)


class TestSameVoxelSameWorldPoint:
    """The contract of every reader."""

    @pytest.mark.parametrize("suffix", VOLUMES)
    @pytest.mark.parametrize("name", sorted(GRIDS))
    def test_file(self, tmp_path: Path, name: str, suffix: str) -> None:
        grid = GRIDS[name]
        data = noise(grid.shape)
        sitk.WriteImage(as_itk(data, grid), str(tmp_path / f"a{suffix}"))
        image = read_image(tmp_path / f"a{suffix}")
        assert image.grid.shape == grid.shape
        assert image.grid.unit == "mm"
        assert image.name == f"a{suffix}"
        np.testing.assert_array_equal(image.data, data)
        np.testing.assert_allclose(image.grid.voxel_centres(), grid.voxel_centres(), atol=2e-4)

    @pytest.mark.parametrize("name", ["identity-3d", "anisotropic-3d", "oblique-3d", "one-slice-3d"])
    def test_dicom_series(self, tmp_path: Path, name: str) -> None:
        grid = GRIDS[name]
        data = np.rint(noise(grid.shape))
        write_dicom(tmp_path / "series", data, grid)
        image = read_image(tmp_path / "series")
        np.testing.assert_array_equal(image.data, data)
        np.testing.assert_allclose(image.grid.voxel_centres(), grid.voxel_centres(), atol=2e-4)

    def test_one_dicom_file_without_an_ending_is_a_volume_of_one_slice(self, tmp_path: Path) -> None:
        grid = GRIDS["one-slice-3d"]
        data = np.rint(noise(grid.shape))
        write_dicom(tmp_path / "series", data, grid)
        shutil.copy(tmp_path / "series" / "000.dcm", tmp_path / "IM00001")
        image = read_image(tmp_path / "IM00001")
        assert image.data.shape == (1, 9, 11)
        np.testing.assert_array_equal(image.data, data)

    @pytest.mark.parametrize("suffix", VOLUMES)
    @settings(max_examples=15, deadline=None)
    @given(grid=grids(), seed=st.integers(0, 99))
    def test_written_and_read_back(
        self, tmp_path_factory: pytest.TempPathFactory, suffix: str, grid: Grid, seed: int
    ) -> None:
        path = tmp_path_factory.mktemp("any") / f"a{suffix}"
        image = Image(noise(grid.shape, seed, -1000, 3000), grid)
        write_image(image, path)
        back = read_image(path)
        np.testing.assert_array_equal(back.data, image.data)
        np.testing.assert_allclose(back.grid.voxel_centres(), grid.voxel_centres(), atol=1e-3)

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    @pytest.mark.parametrize("colour", [False, True])
    def test_photograph(self, tmp_path: Path, suffix: str, colour: bool) -> None:
        data = np.rint(noise((13, 17, 3) if colour else (13, 17))).astype(np.uint8)
        image = sitk.GetImageFromArray(data, isVector=colour)
        image.SetSpacing((0.26, 0.26))  # a resolution tag, which says nothing about the patient
        sitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
        photograph = read_image(tmp_path / f"a{suffix}")
        assert photograph.grid == Grid((13, 17), (1.0, 1.0), unit="px")
        assert photograph.is_colour is colour
        np.testing.assert_array_equal(photograph.data, data)

    def test_jpeg(self, tmp_path: Path) -> None:
        ramp = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (30, 1))
        sitk.WriteImage(sitk.GetImageFromArray(np.stack([ramp] * 3, -1), isVector=True), str(tmp_path / "a.jpg"))
        photograph = read_image(tmp_path / "a.jpg")
        assert photograph.data.shape == (30, 40, 3)
        assert np.abs(photograph.data[..., 1] - ramp).max() < 8

    def test_transparency_is_dropped(self, tmp_path: Path) -> None:
        data = np.rint(noise((5, 6, 4))).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(data, isVector=True), str(tmp_path / "a.png"))
        with pytest.warns(InputWarning, match="transparent"):
            image = read_image(tmp_path / "a.png")
        np.testing.assert_array_equal(image.data, data[..., :3])

    def test_photographs_written_and_read_back(self, tmp_path: Path) -> None:
        grid = Grid((7, 8), (1.0, 1.0), unit="px")
        for data in (np.rint(noise((7, 8))), np.rint(noise((7, 8, 3))), np.rint(noise((7, 8), high=4000.0))):
            write_image(Image(data, grid), tmp_path / "b.png")
            np.testing.assert_array_equal(read_image(tmp_path / "b.png").data, data)

    def test_colour_volume_stays_colour(self, tmp_path: Path) -> None:
        grid = GRIDS["oblique-3d"]
        image = Image(np.rint(noise((*grid.shape, 3))), grid)
        for suffix in VOLUMES:
            back = read_image(write_image(image, tmp_path / f"c{suffix}"))
            np.testing.assert_array_equal(back.data, image.data)


class TestValues:
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
    def test_every_type_becomes_float32(self, tmp_path: Path, dtype: type) -> None:
        data = np.arange(24, dtype=dtype).reshape(2, 3, 4)
        sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / "a.nii.gz"))
        image = read_image(tmp_path / "a.nii.gz")
        assert image.data.dtype == np.float32
        np.testing.assert_array_equal(image.data, data)

    def test_slope_and_intercept_of_nifti(self, tmp_path: Path) -> None:
        nib = pytest.importorskip("nibabel")
        header = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(4, 3, 2), np.diag([-1.0, -1.0, 1.0, 1.0]))
        header.header.set_slope_inter(0.5, -100.0)
        nib.save(header, tmp_path / "a.nii.gz")
        back = nib.load(tmp_path / "a.nii.gz")
        raw = bytearray(gzip.decompress((tmp_path / "a.nii.gz").read_bytes()))
        raw[112:120] = np.array([0.5, -100.0], dtype="<f4").tobytes()
        (tmp_path / "b.nii").write_bytes(bytes(raw))
        stored = np.asarray(back.dataobj.get_unscaled() if hasattr(back.dataobj, "get_unscaled") else back.dataobj)
        np.testing.assert_allclose(read_image(tmp_path / "b.nii").data, stored.T * 0.5 - 100.0, atol=1e-4)

    def test_slope_of_dicom(self, tmp_path: Path) -> None:
        pydicom = pytest.importorskip("pydicom")
        grid = GRIDS["anisotropic-3d"]
        data = np.rint(noise(grid.shape))
        write_dicom(tmp_path / "series", data, grid)
        for file in (tmp_path / "series").iterdir():
            dataset = pydicom.dcmread(file)
            dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1024"
            dataset.save_as(file)
        np.testing.assert_array_equal(read_image(tmp_path / "series").data, data * 2 - 1024)

    def test_micrometres_become_millimetres(self, tmp_path: Path) -> None:
        raw = bytearray(348 + 4 + 4 * 24)
        sitk.WriteImage(sitk.GetImageFromArray(noise((2, 3, 4))), str(tmp_path / "a.nii"))
        raw = bytearray((tmp_path / "a.nii").read_bytes())
        raw[123] = 3  # xyzt_units: micrometre
        (tmp_path / "a.nii").write_bytes(bytes(raw))
        assert read_image(tmp_path / "a.nii").grid.spacing == pytest.approx((1e-3, 1e-3, 1e-3))

    def test_a_time_axis_of_length_one_is_no_time_axis(self, tmp_path: Path) -> None:
        data = noise((1, 3, 4, 5))
        sitk.WriteImage(sitk.GetImageFromArray(data, isVector=False), str(tmp_path / "a.nrrd"))
        np.testing.assert_array_equal(read_image(tmp_path / "a.nrrd").data, data[0])


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are no image, and a word that the message must hold."""
    good = noise((4, 20, 20))
    sitk.WriteImage(sitk.GetImageFromArray(good), str(folder / "good.nii"))
    sitk.WriteImage(sitk.GetImageFromArray(good), str(folder / "good.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(good), str(folder / "good.mha"), True)
    sitk.WriteImage(sitk.GetImageFromArray(good), str(folder / "good.nrrd"), True)
    picture = sitk.GetImageFromArray(np.rint(noise((40, 40, 3))).astype(np.uint8), isVector=True)
    for suffix in PHOTOGRAPHS:
        sitk.WriteImage(picture, str(folder / f"good{suffix}"))
    cases: dict[str, tuple[Path, str]] = {}

    def case(name: str, file: str, word: str) -> Path:
        cases[name] = (folder / file, word)
        return folder / file

    case("missing", "nowhere.nii.gz", "no such file")
    case("empty", "empty.nii.gz", "empty").write_bytes(b"")
    case("text as nifti", "text.nii.gz", "named as NIfTI").write_text("not found")
    shutil.copy(folder / "good.png", case("png as nifti", "png.nii", "PNG"))
    shutil.copy(folder / "good.nii.gz", case("gzipped nifti as nii", "packed.nii", "gzip"))
    shutil.copy(folder / "good.nii", case("plain nifti as nii.gz", "plain.nii.gz", "not compressed"))
    shutil.copy(folder / "good.nii", case("unknown ending", "image.xyz", "unknown kind"))
    for file, word in (
        ("good.nii", "is cut off: its header promises"),
        ("good.nii.gz", "is cut off: its gzip stream"),
        ("good.mha", "cannot be read as MetaImage, it is damaged or incomplete"),
        ("good.nrrd", "cannot be read as NRRD, it is damaged or incomplete"),
        ("good.png", "is damaged or incomplete"),
        ("good.jpg", "is cut off: its JPEG data"),
        ("good.tif", "cannot be read as TIFF, it is damaged"),
    ):
        raw = (folder / file).read_bytes()
        case(f"half of {file}", f"half-{file}", word).write_bytes(raw[: len(raw) // 2])
    raw = bytearray((folder / "good.nii.gz").read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    case("damaged gzip", "damaged.nii.gz", "damaged").write_bytes(bytes(raw))
    sitk.WriteImage(sitk.GetImageFromArray(noise((3, 4, 5, 6)), isVector=False), str(case("4D", "cine.nii.gz", "4D")))
    sitk.WriteImage(
        sitk.GetImageFromArray(np.full((4, 5, 6), 7, np.int16)),
        str(case("constant", "flat.nii.gz", "every voxel is 7")),
    )
    holes = good.copy()
    holes[1, 2, 3:5] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(holes), str(case("NaN", "nan.nii.gz", "2 NaN")))
    field = sitk.GetImageFromArray(noise((4, 5, 6, 3)), isVector=True)
    sitk.WriteImage(field, str(case("displacement field", "field.nii.gz", "displacement field")))
    case("folder without DICOM", "folder", "without DICOM").mkdir()
    write_dicom(
        case("missing slice", "hole", "missing or unevenly"), noise((6, 9, 9)), Grid((6, 9, 9), (1, 1, 5)), skip=3
    )
    write_dicom(folder / "one", noise((2, 9, 9)), Grid((2, 9, 9), (1, 1, 5)))
    return cases


class TestOneClearLine:
    @pytest.fixture(scope="class")
    def cases(self, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
        return bad_files(tmp_path_factory.mktemp("bad"))

    @pytest.mark.parametrize(
        "name",
        [
            "missing", "empty", "text as nifti", "png as nifti", "gzipped nifti as nii", "plain nifti as nii.gz",
            "unknown ending", "half of good.nii", "half of good.nii.gz", "half of good.mha", "half of good.nrrd",
            "half of good.png", "half of good.jpg", "half of good.tif", "damaged gzip", "4D", "constant", "NaN",
            "displacement field", "folder without DICOM", "missing slice",
        ],
    )  # fmt: skip
    def test_bad_file(self, cases: dict[str, tuple[Path, str]], name: str, capfd: pytest.CaptureFixture[str]) -> None:
        path, word = cases[name]
        assert word
        with pytest.raises(ImageReadError) as caught:
            read_image(path)
        message = str(caught.value)
        assert word in message
        assert message.startswith(str(path))
        assert "\n" not in message
        assert len(message) - len(str(path)) < 250
        assert capfd.readouterr().err == ""

    def test_several_series_in_one_folder(self, tmp_path: Path) -> None:
        pydicom = pytest.importorskip("pydicom")
        write_dicom(tmp_path / "two", noise((4, 9, 9)), Grid((4, 9, 9), (1, 1, 5)))
        first = min((tmp_path / "two").iterdir())
        dataset = pydicom.dcmread(first)
        dataset.SeriesInstanceUID = "1.2.3.4"
        dataset.save_as(first)
        with pytest.raises(ImageReadError, match="holds 2 DICOM series"):
            read_image(tmp_path / "two")

    def test_several_pages(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(np.rint(noise((3, 8, 9))).astype(np.uint8)), str(tmp_path / "a.tif"))
        with pytest.raises(ImageReadError, match="TIFF with 3 pages"):
            read_image(tmp_path / "a.tif")

    def test_a_folder_is_named_after_itself(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_dicom(tmp_path / "series", noise((3, 8, 9)), Grid((3, 8, 9), (1, 1, 5)))
        monkeypatch.chdir(tmp_path / "series")
        assert read_image(".").name == "series"

    def test_sheared_affine(self, tmp_path: Path) -> None:
        nib = pytest.importorskip("nibabel")
        affine = np.eye(4)
        affine[0, 1] = 0.4
        image = nib.Nifti1Image(noise((4, 5, 6)), affine)
        image.set_sform(affine, 1)
        image.set_qform(None, 0)
        nib.save(image, tmp_path / "sheared.nii.gz")
        with pytest.raises(ImageReadError, match="not perpendicular"):
            read_image(tmp_path / "sheared.nii.gz")


class TestLabels:
    @pytest.mark.parametrize("suffix", VOLUMES)
    def test_written_and_read_back(self, tmp_path: Path, suffix: str) -> None:
        grid = GRIDS["oblique-flipped-3d"]
        for top in (3, 400, 70_000):
            labels = np.random.default_rng(top).integers(0, top + 1, grid.shape).astype(np.int32)
            write_labels(labels, grid, tmp_path / f"l{suffix}")
            back, back_grid = read_labels(tmp_path / f"l{suffix}")
            assert back.dtype == np.int32
            np.testing.assert_array_equal(back, labels)
            assert back_grid.same_as(grid)

    def test_whole_numbers_in_a_float_file(self, tmp_path: Path) -> None:
        labels = np.array([[0.0, 1.0], [2.0, 2.0]], dtype=np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(tmp_path / "l.nii.gz"))
        np.testing.assert_array_equal(read_labels(tmp_path / "l.nii.gz")[0], labels)

    def test_an_empty_label_map_is_a_label_map(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4), np.uint8)), str(tmp_path / "l.nii.gz"))
        assert not read_labels(tmp_path / "l.nii.gz")[0].any()

    def test_probabilities_are_no_labels(self, tmp_path: Path) -> None:
        sitk.WriteImage(sitk.GetImageFromArray(np.full((3, 4), 0.25, np.float32)), str(tmp_path / "l.nii.gz"))
        with pytest.raises(ImageReadError, match=r"holds 0\.25"):
            read_labels(tmp_path / "l.nii.gz")


class TestWriting:
    def test_a_picture_cannot_hold_millimetres(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="pixels only"):
            write_image(Image(noise((4, 5)), Grid((4, 5), (1.0, 1.0))), tmp_path / "a.png")
        assert list(tmp_path.iterdir()) == []

    def test_unknown_format(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot write"):
            write_image(Image(noise((4, 5)), Grid((4, 5), (1.0, 1.0))), tmp_path / "a.bmp")

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            write_image(Image(noise((4, 5)), Grid((4, 5), (1.0, 1.0))), tmp_path / "no" / "a.nii.gz")

    def test_the_same_image_gives_the_same_bytes(self, tmp_path: Path) -> None:
        image = Image(noise((4, 5, 6)), GRIDS["identity-3d"].with_shape((4, 5, 6)))
        for suffix in VOLUMES:
            a = write_image(image, tmp_path / f"a{suffix}").read_bytes()
            assert write_image(image, tmp_path / f"b{suffix}").read_bytes() == a
        assert len(list(tmp_path.iterdir())) == 2 * len(VOLUMES)


class TestRealFiles:
    def test_acdc_spacing_is_in_pixdim_and_nothing_is_printed(
        self, data_root: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        image = read_image(data_root / "acdc/training/patient067/patient067_frame01.nii.gz")
        assert image.grid.spacing == pytest.approx((1.3671875, 1.3671875, 10.0))
        assert capfd.readouterr() == ("", "")

    def test_left_handed_axes_are_kept(self, data_root: Path) -> None:
        image = read_image(data_root / "abdomen_ct_btcv/img0003.nii.gz")
        assert np.linalg.det(np.asarray(image.grid.direction)) == pytest.approx(-1.0)

    def test_label_maps_match_their_images(self, data_root: Path) -> None:
        image = read_image(data_root / "abdomen_mr_chaos/img01.nii.gz")
        labels, grid = read_labels(data_root / "abdomen_mr_chaos/label01.nii.gz")
        assert grid.same_as(image.grid)
        assert set(np.unique(labels)) == {0, 1, 2, 3, 4}

    def test_retina_is_a_colour_photograph(self, data_root: Path) -> None:
        image = read_image(data_root / "retina_fire/A01_1.jpg")
        assert image.is_colour
        assert image.grid.unit == "px"
