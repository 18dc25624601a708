"""The known shift of (6, -4, 3) mm as a DICOM registration between two series, read with pydicom alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_files import write_series
from samreg.errors import InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.io.dicom import series_files
from samreg.io.dicom_registration import write_dicom_registration
from samreg.io.images import read_image

SHIFT = np.array([6.0, -4.0, 3.0])


@pytest.fixture
def series(tmp_path: Path) -> tuple[tuple[Path, ...], tuple[Path, ...], Grid]:
    sides = []
    for side, frame in (("fixed", "1.2.10"), ("moving", "1.2.20")):
        folder = write_series(
            tmp_path / side, [(0, 0, 3.0 * k) for k in range(4)],
            FrameOfReferenceUID=frame, SeriesInstanceUID=f"{frame}.1", StudyInstanceUID="1.2.3.4",
        )  # fmt: skip
        sides.append(series_files(folder))
    return sides[0], sides[1], read_image(tmp_path / "fixed").grid


def test_a_matrix_leads_from_the_moving_series_to_the_fixed_one(series, tmp_path: Path) -> None:
    fixed, moving, _ = series
    affine = np.eye(4)
    affine[:3, 3] = SHIFT  # fixed world to moving world
    found = pydicom.dcmread(write_dicom_registration(affine, fixed, moving, tmp_path / "reg.dcm"))
    assert found.SOPClassUID == pydicom.uid.SpatialRegistrationStorage
    assert found.FrameOfReferenceUID == "1.2.10"
    own, other = found.RegistrationSequence
    assert (own.FrameOfReferenceUID, other.FrameOfReferenceUID) == ("1.2.10", "1.2.20")
    maps = [
        np.array(
            item.MatrixRegistrationSequence[0].MatrixSequence[0].FrameOfReferenceTransformationMatrix, float
        ).reshape(4, 4)
        for item in (own, other)
    ]
    np.testing.assert_array_equal(maps[0], np.eye(4))
    point = np.array([10.0, 20.0, 6.0])  # of the fixed world; in the moving one the same tissue lies SHIFT further
    np.testing.assert_allclose((maps[1] @ np.append(point + SHIFT, 1.0))[:3], point)


@pytest.mark.parametrize("flipped", [False, True])
def test_the_vectors_of_a_field_lead_from_the_fixed_frame_to_the_moving_one(series, tmp_path: Path, flipped) -> None:
    fixed, moving, grid = series
    if flipped:  # left-handed axes, the same voxels the other way round
        last = np.asarray(grid.origin) + np.asarray(grid.direction)[:, 2] * grid.spacing[2] * (grid.shape[0] - 1)
        grid = Grid(grid.shape, grid.spacing, tuple(last), ((1, 0, 0), (0, 1, 0), (0, 0, -1)))
    rng = np.random.default_rng(0)
    u = (SHIFT + rng.normal(size=(*grid.shape, 3))).astype(np.float32)
    field = DisplacementField(u, grid)
    found = pydicom.dcmread(write_dicom_registration(field, fixed, moving, tmp_path / "reg.dcm"))
    assert found.SOPClassUID == pydicom.uid.DeformableSpatialRegistrationStorage
    [item] = found.DeformableRegistrationSequence
    assert item.SourceFrameOfReferenceUID == "1.2.20"
    [cells] = item.DeformableRegistrationGridSequence
    row, column = np.array(cells.ImageOrientationPatient, float).reshape(2, 3)
    axes = np.stack([row, column, np.cross(row, column)])
    size = list(cells.GridDimensions)
    vectors = np.frombuffer(cells.VectorGridData, "<f4").reshape(*size[::-1], 3)
    for index in ((0, 0, 0), (1, 2, 3), (size[0] - 1, size[1] - 1, size[2] - 1)):
        point = np.array(cells.ImagePositionPatient, float) + (np.array(index) * cells.GridResolution) @ axes
        wanted = field.transform_points(point[None])[0] - point
        np.testing.assert_allclose(vectors[index[::-1]], wanted, atol=1e-4)


def test_a_field_of_a_picture_is_refused(series, tmp_path: Path) -> None:
    fixed, moving, _ = series
    flat = DisplacementField.identity(Grid((4, 5), (1.0, 1.0), unit="px"))
    with pytest.raises(InputError, match="volumes in mm"):
        write_dicom_registration(flat, fixed, moving, tmp_path / "reg.dcm")
    assert not (tmp_path / "reg.dcm").exists()
