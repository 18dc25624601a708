"""Multi-frame DICOM: each frame where its functional groups put it, or a refusal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_files import VOXELS, straight, write_enhanced, write_series, write_slice
from refusals import refused
from samreg.io.images import read_image

SLICES = VOXELS.T.astype(np.float32)  # z, y, x
AT = [{"position": p} for p in straight()]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 1, 3], [3, 2, 1, 0]])
@pytest.mark.parametrize("in_folder", [False, True])
def test_frames_are_in_the_order_of_their_positions(tmp_path: Path, order: list[int], in_folder: bool) -> None:
    write_enhanced(tmp_path / "a.dcm", VOXELS[:, :, order], [AT[k] for k in order])
    image = read_image(tmp_path if in_folder else tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.data, SLICES)
    assert image.grid.spacing == (1.5, 1.5, 3.0)


def test_slope_of_each_frame(tmp_path: Path) -> None:
    groups = [{**AT[k], "slope": k + 0.5, "intercept": -k} for k in range(4)]
    write_enhanced(tmp_path / "a.dcm", VOXELS, groups)
    k = np.arange(4)[:, None, None]
    np.testing.assert_allclose(read_image(tmp_path / "a.dcm").data, SLICES * (k + 0.5) - k)


def test_phases(tmp_path: Path) -> None:
    both = np.concatenate([VOXELS, VOXELS + 500], axis=2).astype(np.int16)
    groups = [{**AT[k], "time": 2} for k in range(4)] + [{**AT[k], "time": 1} for k in range(4)]
    write_enhanced(tmp_path / "a.dcm", both, groups)
    assert "choose one with --frame, 1 to 2" in refused(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm", frame=1).data, SLICES + 500)
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm", frame=2).data, SLICES)


def test_two_frames_of_a_cine_may_look_alike(tmp_path: Path) -> None:
    both = np.concatenate([VOXELS, VOXELS], axis=2)
    write_enhanced(tmp_path / "a.dcm", both, [{**AT[k], "time": t} for t in (1, 2) for k in range(4)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm", frame=2).data, SLICES)


def test_gap(tmp_path: Path) -> None:
    groups = [*AT[:3], {"position": (0, 0, 12)}]
    assert "unevenly spaced" in refused(write_enhanced(tmp_path / "a.dcm", VOXELS, groups))


def test_spacing_and_orientation_of_one_frame(tmp_path: Path) -> None:
    groups = [*AT[:3], {**AT[3], "spacing": (2, 2)}]
    assert "2 x 2 mm" in refused(write_enhanced(tmp_path / "a.dcm", VOXELS, groups))
    groups = [*AT[:3], {**AT[3], "orientation": (0, 1, 0, 0, 0, 1)}]
    assert "different orientations" in refused(write_enhanced(tmp_path / "b.dcm", VOXELS, groups))


def test_a_frame_without_a_position(tmp_path: Path) -> None:
    assert "frame 4 has no recorded position" in refused(write_enhanced(tmp_path / "a.dcm", VOXELS, [*AT[:3], {}]))


def test_a_volume_in_two_files(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "b.dcm", VOXELS[:, :, :2], AT[:2])
    write_enhanced(tmp_path / "a.dcm", VOXELS[:, :, 2:], AT[2:])
    np.testing.assert_array_equal(read_image(tmp_path).data, SLICES)


def test_dose_grid_has_offsets(tmp_path: Path) -> None:
    for name, offsets in (("relative", [0, 3, 6, 9]), ("absolute", [20, 23, 26, 29])):
        write_slice(
            tmp_path / f"{name}.dcm", VOXELS, (1, 2, 20), 1, sop="1.2.840.10008.5.1.4.1.1.481.2", NumberOfFrames=4,
            GridFrameOffsetVector=offsets, DoseGridScaling="0.5",
        )  # fmt: skip
        image = read_image(tmp_path / f"{name}.dcm")
        np.testing.assert_array_equal(image.data, SLICES * 0.5)
        assert image.grid.origin == (1.0, 2.0, 20.0)
        assert image.grid.spacing == (1.0, 1.0, 3.0)


def test_frames_of_which_only_the_first_has_a_position(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", VOXELS, (0, 0, 0), 1, NumberOfFrames=4)
    assert "no recorded position" in refused(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm", frame=4).data, SLICES[3:])


def test_groups_that_do_not_fit_the_frames(tmp_path: Path) -> None:
    assert "describes 3" in refused(write_enhanced(tmp_path / "a.dcm", VOXELS, AT[:3]))


def test_a_segmentation(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", VOXELS[:, :, 0], (0, 0, 0), 1, sop="1.2.840.10008.5.1.4.1.1.66.4")
    assert "segmentation" in refused(tmp_path / "a.dcm")


def test_a_damaged_number(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", straight())
    path = folder / "2.dcm"
    path.write_bytes(path.read_bytes().replace(b"6.000000", b"6.00x000"))
    assert "ImagePositionPatient" in refused(folder)
