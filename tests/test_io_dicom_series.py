"""DICOM series: one geometry out of every slice's header, or one line that says why there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_files import ULTRASOUND, VOXELS, straight, write_series, write_slice
from refusals import refused
from samreg.errors import InputWarning
from samreg.io.images import read_image, read_labels

SLICES = VOXELS.T.astype(np.float32)  # z, y, x


class TestPositions:
    def test_slices_are_ordered_by_position_and_not_by_number_or_name(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight()[::-1], InstanceNumber=[3, 1, 4, 2])
        image = read_image(folder)
        np.testing.assert_array_equal(image.data, SLICES[::-1])
        assert image.grid.spacing == (1.0, 1.0, 3.0)

    @settings(max_examples=25, deadline=None)
    @given(
        angle=st.floats(-25, 25),
        shift=st.tuples(st.floats(-1.8, 1.8), st.floats(-1.8, 1.8)),  # more, and the slices lie beside each other
        turn=st.floats(-3, 3),
    )
    def test_tilt_and_shift_leave_every_point_where_it_was(
        self, tmp_path_factory: pytest.TempPathFactory, angle: float, shift: tuple[float, float], turn: float
    ) -> None:
        """A plane of grey values in world space is read back as that plane, wherever a slice covers it."""
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turned = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        row, column = turned @ [1, 0, 0], turned @ [0, c, s]
        slope, folder = np.array([3.0, -2.0, 4.0]), tmp_path_factory.mktemp("s")
        for k in range(5):
            position = turned @ [shift[0] * k, shift[1] * k, 4.0 * k]
            x, y = np.meshgrid(np.arange(16), np.arange(14), indexing="ij")
            world = position + x[..., None] * row + y[..., None] * column
            write_slice(
                folder / f"{k}.dcm", np.rint(100 * (world @ slope)).astype(np.int16) // 2 * 2, tuple(position), k,
                tuple(row), tuple(column), RescaleSlope="0.01", RescaleIntercept="500",
            )  # fmt: skip
        with np.errstate(all="ignore"), pytest.warns() if _is_shifted(angle, shift) else _Quiet():
            image = read_image(folder)
        expected = image.grid.voxel_centres() @ slope + 500
        covered = image.data > image.data.min()
        assert covered.sum() > 5 * 12 * 10
        inner = covered.copy()
        for axis in (1, 2):  # at the edge of a slice the nearest value stands for the outer half of a voxel
            inner &= np.roll(covered, 1, axis) & np.roll(covered, -1, axis)
        inner[:, [0, -1]] = inner[:, :, [0, -1]] = False
        # Shifts below a tenth of a pixel are rounding of the header and stay; grey values change by 5.4 a millimetre.
        np.testing.assert_allclose(image.data[inner], expected[inner], atol=0.1 * 5.4 + 0.02)

    def test_tilt_is_said(self, tmp_path: Path) -> None:
        c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
        folder = write_series(tmp_path / "s", straight(), column=(0.0, c, s))
        with pytest.warns(InputWarning, match=r"tilt of 20\.0 degrees"):
            image = read_image(folder)
        assert image.grid.spacing == pytest.approx((1.0, 1.0, 3 * c))

    def test_labels_of_a_tilted_series_stay_labels(self, tmp_path: Path) -> None:
        c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
        folder = write_series(tmp_path / "s", straight(), column=(0.0, c, s))
        with pytest.warns(InputWarning, match="tilt"):
            labels, _ = read_labels(folder)
        assert set(np.unique(labels)) <= {0, *np.unique(VOXELS).tolist()}

    def test_one_slice_that_is_shifted_in_its_plane(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", [(0, 0, 0), (0, 0, 3), (2, 0, 6), (0, 0, 9)])
        with pytest.warns(InputWarning, match="shifted in their planes"):
            image = read_image(folder)
        np.testing.assert_array_equal(image.data[2, :, 2:8], SLICES[2])
        np.testing.assert_array_equal(image.data[1, :, :6], SLICES[1])

    @pytest.mark.parametrize("heights", [(0, 3, 6, 12), (0, 3, 6.8, 9), (0, 1, 3, 6)])
    def test_gaps(self, tmp_path: Path, heights: tuple[float, ...]) -> None:
        folder = write_series(tmp_path / "s", [(0.0, 0.0, z) for z in heights])
        assert "unevenly spaced" in refused(folder)

    def test_a_drift_of_the_spacing_adds_up(self, tmp_path: Path) -> None:
        heights = np.cumsum([0, *np.linspace(2.75, 3.25, 29)])
        folder = write_series(tmp_path / "s", [(0.0, 0.0, float(z)) for z in heights])
        assert "unevenly spaced" in refused(folder)

    def test_slices_side_by_side(self, tmp_path: Path) -> None:
        assert "side by side" in refused(write_series(tmp_path / "s", [(0, 0, 0), (6, 0, 0), (0, 5, 0), (6, 5, 0)]))

    def test_a_slice_without_a_position(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight(3))
        write_slice(folder / "lost.dcm", VOXELS[:, :, 3], None, 4)
        assert "lost.dcm has no recorded position" in refused(folder)


def _is_shifted(angle: float, shift: tuple[float, float]) -> bool:
    """Whether the slices of the property test are moved by more than rounding."""
    tilt = np.radians(angle)
    return max(abs(shift[0]), abs(shift[1] * np.cos(tilt) + 4 * np.sin(tilt))) * 4 > 0.1


class _Quiet:
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


class TestOneGrid:
    def test_pixel_spacing_changes(self, tmp_path: Path) -> None:
        spacing = [["1", "1"], ["1", "1"], ["2", "2"], ["2", "2"]]
        message = refused(write_series(tmp_path / "s", straight(), PixelSpacing=spacing))
        assert "2.dcm has pixels of 2 x 2 mm and 0.dcm of 1 x 1 mm" in message

    def test_rows_are_the_first_of_the_two_spacings(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight(), PixelSpacing=[["2", "0.5"]] * 4)
        assert read_image(folder).grid.spacing == (0.5, 2.0, 3.0)

    def test_orientation_changes(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight(3))
        write_slice(folder / "3.dcm", VOXELS[:, :, 3], (0, 0, 9), 4, row=(0, 1, 0), column=(0, 0, 1))
        assert "different orientations" in refused(folder)

    def test_size_changes(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight(3))
        write_slice(folder / "3.dcm", VOXELS[:5, :, 3], (0, 0, 9), 4)
        assert "3.dcm has 5 x 5 pixels" in refused(folder)

    def test_photometric_interpretation_changes(self, tmp_path: Path) -> None:
        kinds = ["MONOCHROME2", "MONOCHROME2", "MONOCHROME1", "MONOCHROME2"]
        folder = write_series(tmp_path / "s", straight(), PhotometricInterpretation=kinds)
        assert "2.dcm is MONOCHROME1" in refused(folder)

    @pytest.mark.parametrize("value", [["0", "0"], ["-1", "1"], ["1"]])
    def test_no_pixel_spacing(self, tmp_path: Path, value: list[str]) -> None:
        assert "PixelSpacing" in refused(write_series(tmp_path / "s", straight(), PixelSpacing=[value] * 4))

    def test_no_orientation(self, tmp_path: Path) -> None:
        bad = [["1", "0", "0", "1", "0", "0"]] * 4
        assert "ImageOrientationPatient" in refused(
            write_series(tmp_path / "s", straight(), ImageOrientationPatient=bad)
        )

    def test_a_mosaic(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight(2), ImageType=[["ORIGINAL", "PRIMARY", "MOSAIC"]] * 2)
        assert "mosaic" in refused(folder)


class TestSeveralAtOnePosition:
    def test_a_cine_is_refused_and_a_frame_can_be_chosen(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", [(0.0, 0.0, 0.0)] * 4)
        assert "choose one with --frame, 1 to 4" in refused(folder)
        image = read_image(folder, frame=3)
        np.testing.assert_array_equal(image.data, SLICES[2:3])
        assert image.grid.spacing == (1.0, 1.0, 3.0)
        assert "no frame 5" in refused(folder, frame=5)

    @pytest.mark.parametrize("tag", ["InstanceNumber", "TriggerTime", "TemporalPositionIdentifier"])
    def test_phases_of_a_stack_in_their_order_in_time(self, tmp_path: Path, tag: str) -> None:
        folder, order = tmp_path / "s", {}
        folder.mkdir()
        for phase, time in enumerate((30, 10, 20)):
            for z in range(4):
                tags = {tag: time + z if tag != "TemporalPositionIdentifier" else time // 10}
                pixels = VOXELS[:, :, z] + np.int16(300 * phase)
                order[time] = 300 * phase
                tags.setdefault("InstanceNumber", 1)
                write_slice(folder / f"{phase}{z}.dcm", pixels, (0, 0, 3 * z), 1, **tags)
        assert "each of 4 positions" in refused(folder)
        for frame, time in enumerate((10, 20, 30), start=1):
            np.testing.assert_array_equal(read_image(folder, frame=frame).data, SLICES + order[time])

    def test_nothing_says_which_comes_first(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", [(0.0, 0.0, 0.0)] * 3, InstanceNumber=[1, 1, 1])
        assert "nothing says which" in refused(folder, frame=1)

    def test_a_frame_of_a_series_that_has_none(self, tmp_path: Path) -> None:
        assert "leave --frame out" in refused(write_series(tmp_path / "s", straight()), frame=2)

    def test_duplicates_are_named(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight())
        shutil.copy(folder / "2.dcm", folder / "copy.dcm")
        assert "copy.dcm is a duplicate of 2.dcm" in refused(folder)

    def test_an_anonymised_duplicate_has_another_uid(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight())
        write_slice(folder / "again.dcm", VOXELS[:, :, 1], (0, 0, 3), 9)
        assert "again.dcm is a duplicate of 1.dcm" in refused(folder)

    def test_one_position_twice_and_the_others_once(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight())
        write_slice(folder / "other.dcm", VOXELS[:, :, 1] + np.int16(5), (0, 0, 3), 9)
        assert "2 files or frames at the position of" in refused(folder)


class TestDamage:
    @settings(max_examples=60, deadline=None)
    @given(share=st.floats(0.0, 0.999))
    def test_a_file_that_is_cut_anywhere_is_named(self, tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
        folder = write_series(tmp_path_factory.mktemp("s"), straight())
        whole = (folder / "3.dcm").read_bytes()
        (folder / "3.dcm").write_bytes(whole[: int(share * len(whole))])
        message = refused(folder)
        assert "3.dcm" in message
        assert "damaged" in message

    def test_a_cut_file_without_an_ending(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight())
        for path in list(folder.iterdir()):
            path.rename(folder / f"IM{path.stem}")
        assert read_image(folder).data.shape == (4, 5, 6)
        (folder / "IM2").write_bytes(b"")
        assert "IM2: is damaged" in refused(folder)

    def test_other_files_beside_the_slices_do_not_matter(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight())
        for name in ("notes.txt", "DICOMDIR", ".DS_Store", "README", "table.csv"):
            (folder / name).write_text("x")
        np.testing.assert_array_equal(read_image(folder).data, SLICES)

    def test_compressed_slices(self, tmp_path: Path) -> None:
        folder = tmp_path / "s"
        folder.mkdir()
        data = np.random.default_rng(0).integers(0, 2000, (3, 64, 48)).astype(np.int16)
        for k in range(3):
            write_packed(folder / f"{k}.dcm", data[k], (0, 0, 3 * k), tmp_path / "packed.dcm")
        np.testing.assert_array_equal(read_image(folder).data, data * 2.5 - 7)
        whole = (folder / "1.dcm").read_bytes()
        for cut in (20, len(whole) // 2):
            (folder / "1.dcm").write_bytes(whole[:-cut])
            assert "1.dcm" in refused(folder)


def write_packed(path: Path, data: np.ndarray, position: tuple[float, ...], helper: Path) -> None:
    """A slice (y, x) in JPEG 2000, as ITK packs it."""
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(helper))
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.Execute(sitk.GetImageFromArray(data))
    packed = pydicom.dcmread(helper)
    assert packed.file_meta.TransferSyntaxUID.is_encapsulated
    file = write_slice(path, data.T, position, 1, RescaleSlope="2.5", RescaleIntercept="-7")
    file.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
    for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(file, name, getattr(packed, name))
    file.PixelData = packed.PixelData
    file["PixelData"].VR = "OB"
    file.save_as(path, enforce_file_format=True)


class TestValues:
    def test_every_slice_has_its_own_slope(self, tmp_path: Path) -> None:
        slopes = ["1", "2.5", "2.5", "0.1"]
        folder = tmp_path / "s"
        folder.mkdir()
        for k in range(4):
            write_slice(folder / f"{k}.dcm", VOXELS[:, :, k] * np.int16(100), (0, 0, 3 * k), k, RescaleSlope=slopes[k],
                        RescaleIntercept=str(-k))  # fmt: skip
        expected = SLICES * 100 * np.array(list(map(float, slopes)))[:, None, None] - np.arange(4)[:, None, None]
        np.testing.assert_allclose(read_image(folder).data, expected, rtol=1e-6)

    def test_a_slope_of_zero(self, tmp_path: Path) -> None:
        assert "scales its values by 0" in refused(write_series(tmp_path / "s", straight(), RescaleSlope="0"))

    @pytest.mark.parametrize("bits", [12, 16])
    def test_monochrome1_is_turned_over(self, tmp_path: Path, bits: int) -> None:
        pixels = VOXELS.astype(np.uint16)
        folder = tmp_path / "s"
        folder.mkdir()
        for k in range(4):
            write_slice(folder / f"{k}.dcm", pixels[:, :, k], (0, 0, 3 * k), k, BitsStored=bits, HighBit=bits - 1,
                        PhotometricInterpretation="MONOCHROME1")  # fmt: skip
        with pytest.warns(InputWarning, match="MONOCHROME1"):
            image = read_image(folder)
        np.testing.assert_array_equal(image.data, 2**bits - 1 - SLICES)
        np.testing.assert_array_equal(read_labels(folder)[0], SLICES)


class TestOneSlice:
    @pytest.mark.parametrize("folder", [True, False])
    def test_thickness(self, tmp_path: Path, folder: bool) -> None:
        place = write_series(tmp_path / "s", straight(1), SliceThickness="7.5")
        assert read_image(place if folder else place / "0.dcm").grid.spacing == (1.0, 1.0, 7.5)

    def test_no_thickness_is_said(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight(1), SliceThickness=None)
        with pytest.warns(InputWarning, match="no thickness"):
            assert read_image(folder).grid.spacing == (1.0, 1.0, 1.0)

    def test_a_radiograph_has_its_own_spacing(self, tmp_path: Path) -> None:
        write_slice(tmp_path / "x.dcm", VOXELS[:, :, 0], None, 1, ImagerPixelSpacing=["0.2", "0.1"])
        with pytest.warns(InputWarning, match="no thickness"):
            assert read_image(tmp_path / "x.dcm").grid.spacing == (0.1, 0.2, 1.0)


class TestSeveralSeries:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = write_series(tmp_path / "s", straight(), SeriesNumber=7, SeriesDescription="T1 axial")
        for k in range(3):
            write_slice(folder / f"b{k}.dcm", VOXELS[:, :, k] + np.int16(500), (0, 0, 2 * k), k, SeriesNumber=301,
                        SeriesInstanceUID="1.2.4", SeriesDescription="T2")  # fmt: skip
        return folder

    def test_they_are_listed(self, folder: Path) -> None:
        message = refused(folder)
        assert "holds 2 DICOM series: 7 (4 files, T1 axial), 301 (3 files, T2)" in message
        assert "--series" in message

    @pytest.mark.parametrize("series", [301, "301", "1.2.4"])
    def test_one_is_chosen_by_number_or_uid(self, folder: Path, series: str | int) -> None:
        np.testing.assert_array_equal(read_image(folder, series=series).data, SLICES[:3] + 500)

    def test_one_that_is_not_there(self, folder: Path) -> None:
        assert "has no DICOM series 9; it holds 7" in refused(folder, series=9)

    def test_series_without_numbers_of_their_own_are_counted(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight())
        write_slice(folder / "b.dcm", VOXELS[:, :, 0], (0, 0, 0), 1, SeriesInstanceUID="1.2.9")
        assert read_image(folder, series=2).data.shape == (1, 5, 6)

    def test_a_file_has_no_series_to_choose(self, folder: Path) -> None:
        assert "leave it out" in refused(folder / "0.dcm", series=7)

    def test_reports_beside_the_images_are_no_series(self, tmp_path: Path) -> None:
        folder = write_series(tmp_path / "s", straight())
        report = pydicom.dcmread(folder / "0.dcm")
        for name in ("Rows", "Columns", "PixelData"):
            delattr(report, name)
        report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
        report.SeriesInstanceUID = "1.2.5"
        report.save_as(folder / "report.dcm")
        np.testing.assert_array_equal(read_image(folder).data, SLICES)


def test_ultrasound_in_time(tmp_path: Path) -> None:
    write_slice(tmp_path / "us.dcm", VOXELS, None, 1, sop=ULTRASOUND, NumberOfFrames=4, PixelSpacing=["0.5", "0.5"],
                SliceThickness="1")  # fmt: skip
    assert "no recorded position" in refused(tmp_path / "us.dcm")
    image = read_image(tmp_path / "us.dcm", frame=2)
    np.testing.assert_array_equal(image.data, SLICES[1:2])
    assert image.grid.spacing == (0.5, 0.5, 1.0)
