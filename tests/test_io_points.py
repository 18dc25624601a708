"""Points in every format mean the same world points."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samreg.errors import GeometryError, ImageReadError, InputError, InputWarning
from samreg.geometry.grid import Grid
from samreg.io.points import read_point_pairs, read_points, write_points

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


def markups(path: Path, *placed: bool, system: str = "RAS", **more: object) -> Path:
    """A markups file of points (i, 10 i, 100 i), i from 1; those that are not placed have no position."""
    points = [
        {
            "label": f"F-{i}",
            "position": [i, 10 * i, 100 * i] if done else [0, 0, 0],
            "positionStatus": "defined" if done else "undefined",
        }
        for i, done in enumerate(placed, start=1)
    ]
    markups = [{"coordinateSystem": system, "controlPoints": points, **more}]
    path.write_text(json.dumps({"markups": markups}), encoding="utf-8")
    return path


def test_slicer_markups_are_converted(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_points(markups(tmp_path / "p.mrk.json", True)), [[-1, -10, 100]])
    path = markups(tmp_path / "p.mrk.json", True, coordinateUnits="cm")
    np.testing.assert_array_equal(read_points(path), [[-10, -100, 1000]])
    with pytest.raises(ImageReadError, match="parsec"):
        read_points(markups(tmp_path / "p.mrk.json", True, coordinateUnits="parsec"))


class TestUndefinedPoints:
    def test_one_list_with_a_gap_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ImageReadError, match="point 2 is not defined"):
            read_points(markups(tmp_path / "p.mrk.json", True, False, True))

    def test_a_gap_shifts_no_row(self, tmp_path: Path) -> None:
        fixed = markups(tmp_path / "f.mrk.json", True, False, True, True, system="LPS")
        moving = markups(tmp_path / "m.mrk.json", True, True, True, False, system="LPS")
        with pytest.warns(InputWarning, match=r"left out \(rows 2, 4\)"):
            a, b = read_point_pairs(fixed, moving)
        np.testing.assert_array_equal(a, [[1, 10, 100], [3, 30, 300]])
        np.testing.assert_array_equal(b, a)

    def test_the_column_of_a_table_of_slicer(self, tmp_path: Path) -> None:
        (tmp_path / "f.csv").write_text("label,r,a,s,defined,selected\nA,1,2,3,1,1\nB,0,0,0,0,1\nC,7,8,9,1,1\n")
        (tmp_path / "m.csv").write_text("label,l,p,s\nA,1,2,3\nB,4,5,6\nC,7,8,9\n")
        with pytest.warns(InputWarning, match="rows 2"):
            a, b = read_point_pairs(tmp_path / "f.csv", tmp_path / "m.csv")
        np.testing.assert_array_equal(a, [[-1, -2, 3], [-7, -8, 9]])
        np.testing.assert_array_equal(b, [[1, 2, 3], [7, 8, 9]])

    def test_empty_cells_between_others(self, tmp_path: Path) -> None:
        (tmp_path / "f.csv").write_text("x,y\n1,2\n,\n5,6\n,\n,\n")
        (tmp_path / "m.csv").write_text("x,y\n10,20\n30,40\n50,60\n")
        with pytest.warns(InputWarning, match="rows 2"):
            a, b = read_point_pairs(tmp_path / "f.csv", tmp_path / "m.csv")
        np.testing.assert_array_equal(a, [[1, 2], [5, 6]])
        np.testing.assert_array_equal(b, [[10, 20], [50, 60]])

    def test_another_order_of_the_same_labels(self, tmp_path: Path) -> None:
        (tmp_path / "f.csv").write_text("label,x,y\nA,1,2\nB,3,4\n")
        (tmp_path / "m.csv").write_text("label,x,y\nB,30,40\nA,10,20\n")
        with pytest.warns(InputWarning, match="another order"):
            _, b = read_point_pairs(tmp_path / "f.csv", tmp_path / "m.csv")
        np.testing.assert_array_equal(b, [[10, 20], [30, 40]])

    def test_lists_of_different_length(self, tmp_path: Path) -> None:
        (tmp_path / "f.csv").write_text("x,y\n1,2\n3,4\n")
        (tmp_path / "m.csv").write_text("x,y\n1,2\n")
        with pytest.raises(GeometryError, match="holds 2 points"):
            read_point_pairs(tmp_path / "f.csv", tmp_path / "m.csv")

    def test_no_pair_is_defined(self, tmp_path: Path) -> None:
        a = markups(tmp_path / "f.mrk.json", True, False)
        b = markups(tmp_path / "m.mrk.json", False, True)
        with pytest.raises(ImageReadError, match="no point is defined in both"):
            read_point_pairs(a, b)


class TestColumns:
    @pytest.mark.parametrize(
        ("head", "expected"),
        [
            ("x,y,z", (1, 2, 3)), ("l,p,s", (1, 2, 3)), ("r,a,s", (-1, -2, 3)), ("R,A,S", (-1, -2, 3)),
            ("X [mm],Y [mm],Z [mm]", (1, 2, 3)), ("x_mm,y_mm,z_mm", (1, 2, 3)), ("l (mm),p (mm),s (mm)", (1, 2, 3)),
        ],
    )  # fmt: skip
    def test_names_say_the_system(self, tmp_path: Path, head: str, expected: tuple[float, ...]) -> None:
        (tmp_path / "p.csv").write_text(f"{head}\n1,2,3\n")
        np.testing.assert_array_equal(read_points(tmp_path / "p.csv"), [expected])

    @pytest.mark.parametrize("head", ["a,b,c", "l,p,z", "x,z,w", "x_cm,y_cm,z_cm", "x,y,x"])
    def test_names_without_a_meaning(self, tmp_path: Path, head: str) -> None:
        (tmp_path / "p.csv").write_text(f"{head}\n1,2,3\n")
        with pytest.raises(ImageReadError, match="columns"):
            read_points(tmp_path / "p.csv")

    @pytest.mark.parametrize("text", ["x,y,z\n", "l,p,s", "label;x;y\n\n", "# x y z\n"])
    def test_a_heading_alone(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "p.csv").write_text(text)
        with pytest.raises(ImageReadError, match="holds no points"):
            read_points(tmp_path / "p.csv")

    def test_columns_of_a_fcsv(self, tmp_path: Path) -> None:
        (tmp_path / "p.fcsv").write_text("# columns = label,l,p,s\nF,1,2,3\n")
        with pytest.raises(ImageReadError, match=r"name it \.csv"):
            read_points(tmp_path / "p.fcsv")

    def test_a_label_with_a_comma(self, tmp_path: Path) -> None:
        (tmp_path / "p.fcsv").write_text('# CoordinateSystem = LPS\n# columns = label,x,y,z\n"left, upper",1,2,3\n')
        np.testing.assert_array_equal(read_points(tmp_path / "p.fcsv"), [[1, 2, 3]])

    def test_a_decimal_comma(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("x;y;z\n1,5;2;-3,25\n")
        np.testing.assert_array_equal(read_points(tmp_path / "p.csv"), [[1.5, 2, -3.25]])


class TestVoxels:
    GRID = Grid((40, 50, 60), (1.0, 1.0, 2.0), (-30.0, -25.0, -40.0))

    @pytest.mark.parametrize("name", ["p.csv", "p.txt"])
    def test_numbers_that_may_be_voxels_are_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_text("10,20,30\n11,21,31.5\n" if name == "p.csv" else "10 20 30\n")
        with pytest.raises(ImageReadError, match=r"millimetres or voxels \(Learn2Reg\); name the columns"):
            read_points(tmp_path / name)
        with pytest.raises(ImageReadError, match="millimetres or voxels"):
            read_points(tmp_path / name, Grid((40, 50, 60), (1.0, 1.0, 2.0)))

    def test_numbers_that_lie_in_the_image_as_voxels_only_are_voxels(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("50,40,35\n")
        with pytest.warns(InputWarning, match="taken as voxels"):
            np.testing.assert_array_equal(read_points(tmp_path / "p.csv", self.GRID), [[20, 15, 30]])

    def test_numbers_that_lie_in_the_image_as_millimetres_only_are_millimetres(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("5,6,39\n")
        grid = Grid((40, 50, 60), (1.0, 1.0, 2.0), (0.0, 0.0, -35.0))
        (tmp_path / "p.csv").write_text("5,6,42\n")
        np.testing.assert_array_equal(read_points(tmp_path / "p.csv", grid), [[5, 6, 42]])

    def test_negative_numbers_are_no_voxels(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("-5,6,42\n")
        np.testing.assert_array_equal(read_points(tmp_path / "p.csv"), [[-5, 6, 42]])

    def test_columns_of_voxels_need_their_image(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("i,j,k\n1,2,3\n")
        np.testing.assert_array_equal(read_points(tmp_path / "p.csv", self.GRID), [[-29, -23, -34]])
        with pytest.raises(ImageReadError, match="need their image"):
            read_points(tmp_path / "p.csv")
        with pytest.raises(ImageReadError, match="3D voxels"):
            read_points(tmp_path / "p.csv", Grid((4, 5), (1.0, 1.0)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "p.csv").write_bytes("label;x;y;z\nräumlich é;1;2;-3\n".encode(encoding))
    np.testing.assert_array_equal(read_points(tmp_path / "p.csv"), [[1, 2, -3]])


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
