"""NRRD and MetaImage: what their headers say beyond what ITK takes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from refusals import refused
from samreg.errors import InputWarning
from samreg.io.images import read_image, read_labels
from samreg.io.rois import read_segmentation

DATA = ((np.arange(120).reshape(6, 5, 4) ** 2) % 251 + 10).astype("<i2")  # x, y, z
FRAMES = [DATA + 10 * i for i in range(5)]
LPS = "left-posterior-superior"


def nrrd(path: Path, data: np.ndarray, kinds: str, *more: str, **fields: str) -> Path:
    """A raw NRRD; `fields` replace the usual ones, an empty one leaves its field out."""
    directions = iter(["(1,0,0)", "(0,1,0)", "(0,0,2)"])
    names = kinds.split()
    head = {
        "type": "short" if data.dtype.itemsize == 2 else "uchar",
        "dimension": str(data.ndim),
        "space": LPS,
        "sizes": " ".join(map(str, data.shape)),
        "space directions": " ".join(next(directions) if name == "domain" else "none" for name in names),
        "kinds": kinds,
        "endian": "little",
        "encoding": "raw",
        "space origin": "(1,2,3)",
    }
    head |= {key.replace("_", " "): value for key, value in fields.items()}
    lines = [f"{key}: {value}" for key, value in head.items() if value]
    path.write_bytes("\n".join(["NRRD0004", *lines, *more, "", ""]).encode() + data.tobytes("F"))
    return path


def meta(path: Path, **fields: str | None) -> Path:
    head: dict[str, str | None] = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "1 2 3", "ElementSpacing": "1 1 2", "DimSize": "6 5 4",
        "ElementType": "MET_SHORT",
    }  # fmt: skip
    head |= fields
    lines = [f"{key} = {value}" for key, value in head.items() if value is not None]
    path.write_bytes("\n".join([*lines, "ElementDataFile = LOCAL", ""]).encode() + DATA.tobytes("F"))
    return path


class TestSequences:
    @pytest.mark.parametrize("n", [2, 3, 4, 5])
    @pytest.mark.parametrize("kinds", ["list domain domain domain", "domain domain domain list"])
    @pytest.mark.parametrize("dtype", ["<i2", "u1"])
    def test_a_list_is_frames_and_not_colour(self, tmp_path: Path, n: int, kinds: str, dtype: str) -> None:
        data = np.stack(FRAMES[:n], axis=0 if kinds.startswith("list") else -1).astype(dtype)
        path = nrrd(tmp_path / "a.nrrd", data, kinds)
        assert f"choose one with --frame, 1 to {n}" in refused(path)
        np.testing.assert_array_equal(read_image(path, frame=2).data, FRAMES[1].astype(dtype).T)
        np.testing.assert_array_equal(read_labels(path, frame=n)[0], FRAMES[n - 1].astype(dtype).T)

    @pytest.mark.parametrize("kind", ["time", "point"])
    def test_axes_that_itk_does_not_know(self, tmp_path: Path, kind: str) -> None:
        path = nrrd(tmp_path / "a.nrrd", np.stack(FRAMES[:3], axis=-1), f"domain domain domain {kind}")
        assert "sequence of 3" in refused(path)

    @pytest.mark.parametrize("kind", ["RGB-color", "3-color", "vector"])
    def test_colour_stays_colour(self, tmp_path: Path, kind: str) -> None:
        data = np.stack(FRAMES[:3]).astype("u1")
        image = read_image(nrrd(tmp_path / "a.nrrd", data, f"{kind} domain domain domain"))
        np.testing.assert_array_equal(image.data, data.T)

    def test_colours_that_are_not_rgb(self, tmp_path: Path) -> None:
        data = np.stack(FRAMES[:3]).astype("u1")
        assert "HSV" in refused(nrrd(tmp_path / "a.nrrd", data, "HSV-color domain domain domain")).upper()

    def test_two_values_a_voxel_are_no_grey_value(self, tmp_path: Path) -> None:
        assert "2 int16 values" in refused(
            nrrd(tmp_path / "a.nrrd", np.stack(FRAMES[:2]), "2-vector domain domain domain")
        )

    def test_frames_of_a_metaimage(self, tmp_path: Path) -> None:
        stack = np.stack(FRAMES[:3], axis=-1).T.copy()
        sitk.WriteImage(sitk.GetImageFromArray(stack, isVector=False), str(tmp_path / "a.mha"))
        assert "--frame, 1 to 3" in refused(tmp_path / "a.mha")
        np.testing.assert_array_equal(read_image(tmp_path / "a.mha", frame=3).data, FRAMES[2].T)


class TestUnits:
    @pytest.mark.parametrize(
        ("unit", "mm"), [("mm", 1), ("cm", 10), ("m", 1000), ("um", 1e-3), ("Micron", 1e-3), ("", 1), ("???", 1)]
    )
    def test_space_units(self, tmp_path: Path, unit: str, mm: float) -> None:
        path = nrrd(tmp_path / "a.nrrd", DATA, "domain domain domain", space_units=" ".join([f'"{unit}"'] * 3))
        grid = read_image(path).grid
        assert grid.spacing == pytest.approx((mm, mm, 2 * mm))
        assert grid.origin == pytest.approx((mm, 2 * mm, 3 * mm))

    @pytest.mark.parametrize("units", ['"parsec" "parsec" "parsec"', '"mm" "mm" "cm"'])
    def test_units_without_a_meaning(self, tmp_path: Path, units: str) -> None:
        assert "save it in one known unit" in refused(
            nrrd(tmp_path / "a.nrrd", DATA, "domain domain domain", space_units=units)
        )

    @pytest.mark.parametrize(("unit", "mm"), [("mm", 1), ("cm", 10), ("um", 1e-3), ("?", 1)])
    def test_distance_units_of_a_metaimage(self, tmp_path: Path, unit: str, mm: float) -> None:
        grid = read_image(meta(tmp_path / "a.mha", DistanceUnits=unit)).grid
        assert grid.spacing == pytest.approx((mm, mm, 2 * mm))
        assert grid.origin == pytest.approx((mm, 2 * mm, 3 * mm))

    def test_units_of_a_segmentation(self, tmp_path: Path) -> None:
        keys = ["Segment0_ID:=s", "Segment0_LabelValue:=1", "Segment0_Layer:=0", "Segment0_Name:=liver"]
        data = (DATA % 3).astype("u1")
        path = nrrd(tmp_path / "a.seg.nrrd", data, "domain domain domain", *keys, space_units='"cm" "cm" "cm"')
        assert read_segmentation(path)[0].grid.spacing == (10, 10, 20)


class TestGeometry:
    @pytest.mark.parametrize(
        ("space", "signs"),
        [(LPS, (1, 1)), ("RAS", (-1, -1)), ("right-anterior-superior", (-1, -1)), ("left-anterior-superior", (1, -1))],
    )
    def test_spaces(self, tmp_path: Path, space: str, signs: tuple[int, int]) -> None:
        grid = read_image(nrrd(tmp_path / "a.nrrd", DATA, "domain domain domain", space=space)).grid
        assert grid.origin == (signs[0], 2 * signs[1], 3)
        assert np.diag(grid.direction).tolist() == [*signs, 1]

    def test_a_space_that_is_no_patient_is_said(self, tmp_path: Path) -> None:
        with pytest.warns(InputWarning, match="scanner-xyz"):
            read_image(nrrd(tmp_path / "a.nrrd", DATA, "domain domain domain", space="scanner-xyz"))

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("space_origin", "(nan,2,3)"),
            ("space_origin", "(1,inf,3)"),
            ("space_directions", "(nan,0,0) (0,1,0) (0,0,2)"),
        ],
    )
    def test_numbers_that_are_none(self, tmp_path: Path, field: str, value: str) -> None:
        refused(nrrd(tmp_path / "a.nrrd", DATA, "domain domain domain", **{field: value}))

    def test_spacings_that_are_none(self, tmp_path: Path) -> None:
        path = nrrd(tmp_path / "a.nrrd", DATA, "domain domain domain", space="", space_directions="", space_origin="",
                    spacings="nan 1 2")  # fmt: skip
        assert "spacings" in refused(path)

    def test_sheared(self, tmp_path: Path) -> None:
        path = nrrd(tmp_path / "a.nrrd", DATA, "domain domain domain", space_directions="(1,0,0) (.4,1,0) (0,0,2)")
        assert "not perpendicular" in refused(path)

    def test_no_spacing_is_said(self, tmp_path: Path) -> None:
        path = nrrd(tmp_path / "a.nrrd", DATA, "domain domain domain", space="", space_directions="", space_origin="")
        with pytest.warns(InputWarning, match="no spacing"):
            read_image(path)
        with pytest.warns(InputWarning, match="no spacing"):
            read_image(meta(tmp_path / "a.mha", ElementSpacing=None))

    @pytest.mark.parametrize(
        "fields",
        [
            {"Offset": "nan 2 3"}, {"ElementSpacing": "0 1 2"}, {"TransformMatrix": "1 .4 0 0 1 0 0 0 1"},
            {"TransformMatrix": "2 0 0 0 1 0 0 0 1"}, {"TransformMatrix": "0 0 0 0 0 0 0 0 0"},
            {"DistanceUnits": "ell"},
        ],
    )  # fmt: skip
    def test_metaimages_without_a_geometry(self, tmp_path: Path, fields: dict[str, str]) -> None:
        refused(meta(tmp_path / "a.mha", **fields))

    @pytest.mark.parametrize("name", ["A.NRRD", "A.MHA"])
    def test_endings_in_capitals(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        nrrd(path, DATA, "domain domain domain") if name.endswith("NRRD") else meta(path)
        np.testing.assert_array_equal(read_image(path).data, DATA.T)
