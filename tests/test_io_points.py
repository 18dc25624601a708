"""Points in every format mean the same world points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samreg.errors import ImageReadError, InputError
from samreg.io.points import read_points, write_points

POINTS_3D = np.array([[1.5, -2.25, 3.0], [0.1, 1e-7, -400.0]])
POINTS_2D = np.array([[10.0, 20.5], [0.0, 3.0]])


@pytest.mark.parametrize("name", ["p.csv", "p.txt", "p.fcsv", "p.mrk.json"])
def test_written_and_read_back(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read_points(write_points(POINTS_3D, tmp_path / name)), POINTS_3D)


@pytest.mark.parametrize("name", ["p.csv", "p.txt"])
def test_2d(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read_points(write_points(POINTS_2D, tmp_path / name)), POINTS_2D)


@pytest.mark.parametrize(
    "text",
    [
        "X,Y\n10,20.5\n0,3\n",
        ",X,Y\n1,10,20.5\n2,0,3\n",
        "y;x\n20.5;10\n3;0\n",
        "10 20.5\n0 3\n",
        "# pixels\n10\t20.5\n\n0\t3\n",
        "10,20.5\n0,3",
    ],
)
def test_tables_as_people_write_them(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    np.testing.assert_array_equal(read_points(tmp_path / "p.csv"), POINTS_2D)


@pytest.mark.parametrize(("system", "sign"), [("RAS", -1), ("0", -1), ("LPS", 1), ("1", 1)])
def test_slicer_fiducials_are_converted(tmp_path: Path, system: str, sign: int) -> None:
    text = f"# Markups fiducial file version = 4.10\n# CoordinateSystem = {system}\n# columns = id,x,y,z,ow,ox\n"
    (tmp_path / "p.fcsv").write_text(text + "F_1,5,6,7,0,0\n")
    np.testing.assert_array_equal(read_points(tmp_path / "p.fcsv"), [[5 * sign, 6 * sign, 7]])


def test_slicer_markups_are_converted_and_undefined_points_left_out(tmp_path: Path) -> None:
    points = [
        {"position": [1, 2, 3], "positionStatus": "defined"},
        {"position": [0, 0, 0], "positionStatus": "undefined"},
    ]
    markups = {"markups": [{"coordinateSystem": "RAS", "controlPoints": points}]}
    (tmp_path / "p.mrk.json").write_text(json.dumps(markups))
    np.testing.assert_array_equal(read_points(tmp_path / "p.mrk.json"), [[-1, -2, 3]])


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("p.csv", b"", "no points"),
        ("p.csv", b"a,b\n1,2\n", "columns named x, y"),
        ("p.csv", b"1,2\n3,four\n", "point 2"),
        ("p.csv", b"1,2,3,4\n", "2 or 3"),
        ("p.csv", b"1,2\n1,2,3\n", "2 and 3"),
        ("p.csv", b"1,nan\n", "NaN"),
        ("p.csv", b"\x89PNG\r\n\x1a\n\xff", "not a text file"),
        ("p.json", b"{}", "markups"),
        ("p.fcsv", b"# CoordinateSystem = MNI\n1,2,3,4\n", "MNI"),
    ],
)
def test_bad_file(tmp_path: Path, name: str, content: bytes, word: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageReadError, match=word) as caught:
        read_points(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="no such file"):
        read_points(tmp_path / "p.csv")


def test_formats_that_cannot_hold_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are 2D"):
        write_points(POINTS_2D, tmp_path / "p.fcsv")
    with pytest.raises(InputError, match="are written as"):
        write_points(POINTS_2D, tmp_path / "p.xyz")


def test_retina_landmarks_have_four_columns_and_say_so(data_root: Path) -> None:
    with pytest.raises(ImageReadError, match="4 numbers"):
        read_points(data_root / "retina_fire/control_points_A01_1_2.txt")


def test_histology_landmarks(data_root: Path) -> None:
    points = read_points(data_root / "histology_landmarks/lesions__Izd2-29-041-w35_HE.csv")
    assert points[0].tolist() == [59.0, 72.0]
