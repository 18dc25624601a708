"""NIfTI: one geometry out of pixdim, qform and sform, a note where they disagree."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from refusals import refused
from samreg.errors import ImageReadError, InputWarning
from samreg.io.images import read_image, read_labels
from worlds import rotation

nib = pytest.importorskip("nibabel")

DATA = ((np.arange(120).reshape(6, 5, 4) ** 2) % 251 + 10).astype(np.int16)
GOOD = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 2, -40], [0, 0, 0, 1]])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_AT = {
    "dim": (40, "<8h"), "pixdim": (76, "<8f"), "vox_offset": (108, "<f"), "scl": (112, "<2f"), "units": (123, "B"),
    "codes": (252, "<2h"), "quatern": (256, "<3f"), "qoffset": (268, "<3f"), "srow": (280, "<12f"),
    "magic": (344, "4s"),
}  # fmt: skip


def write(
    path: Path,
    sform: np.ndarray | None,
    qform: np.ndarray | None,
    data: np.ndarray = DATA,
    kind: Any = None,
    **edit: Any,
) -> Path:
    """A file with these forms (None: code 0), and with these header fields overwritten."""
    image = (kind or nib.Nifti1Image)(data, None)
    image.set_sform(sform, 0 if sform is None else 1)
    image.set_qform(qform, 0 if qform is None else 1)
    if qform is None and sform is not None:
        image.header["pixdim"][1:4] = np.linalg.norm(sform[:3, :3], axis=0)
    nib.save(image, path)
    raw = bytearray(path.read_bytes())
    for name, values in edit.items():
        at, layout = _AT[name]
        struct.pack_into(layout, raw, at, *values)
    path.write_bytes(bytes(raw))
    return path


def matrix_of(path: Path) -> np.ndarray:
    """Index to RAS, as nibabel gives it."""
    grid = read_image(path).grid
    return LPS @ grid.matrix


class TestOrientation:
    """Which way the patient lies is known where a form says more than the default."""

    @pytest.mark.parametrize(
        ("sform", "qform", "edit", "known"),
        [
            (GOOD, None, {}, True),
            (None, GOOD, {}, True),
            (None, None, {}, False),
            (np.diag([-1.0, -1, 1, 1]), None, {"pixdim": (1, 1.4, 1.4, 10, 0, 0, 0, 0)}, False),  # ACDC
            (np.eye(4), np.eye(4), {}, True),
        ],
        ids=["sform", "qform", "neither", "default", "default with a qform"],
    )
    def test_it_is_recorded(self, tmp_path: Path, sform: Any, qform: Any, edit: Any, known: bool) -> None:
        assert read_image(write(tmp_path / "i.nii", sform, qform, **edit)).oriented == known


class TestBothForms:
    @settings(max_examples=40, deadline=None)
    @example(
        angles=(0.0, 3.09375, 3.09765625), spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0), mirror=1.0, which="qform",
        second=False,
    )  # fmt: skip
    @given(
        angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
        spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
        origin=st.tuples(*[st.floats(-300, 300)] * 3),
        mirror=st.sampled_from([1.0, -1.0]),
        which=st.sampled_from(["sform", "qform", "both"]),
        second=st.booleans(),
    )
    def test_as_nibabel_reads_it(
        self, tmp_path_factory: pytest.TempPathFactory, angles: Any, spacing: Any, origin: Any, mirror: float,
        which: str, second: bool,
    ) -> None:  # fmt: skip
        form = np.eye(4)
        form[:3, :3] = rotation(angles) * [1, 1, mirror] * np.array(spacing)
        form[:3, 3] = origin
        path = tmp_path_factory.mktemp("n") / "a.nii.gz"
        kind = nib.Nifti2Image if second else nib.Nifti1Image
        write(path, form if which != "qform" else None, form if which != "sform" else None, kind=kind)
        # Near half a turn a qform leaves the root of float32's rounding open, of an entry of the rotation: 0.001.
        atol = 2e-3 * max(1.0, *spacing) if which == "qform" else 2e-3
        np.testing.assert_allclose(matrix_of(path), nib.load(path).affine, atol=atol)
        np.testing.assert_array_equal(read_image(path).data, DATA.T)

    @pytest.mark.parametrize("pixdim", [(-1, 1, 2), (1, -1, -2), (0, 1, 2), (1, 1, 0), (np.nan, 1, 2)])
    def test_bad_pixdim_beside_a_good_sform(self, tmp_path: Path, pixdim: tuple[float, ...]) -> None:
        path = write(tmp_path / "a.nii", GOOD, None, pixdim=(1, *pixdim, 0, 0, 0, 0))
        np.testing.assert_allclose(matrix_of(path), GOOD)

    @pytest.mark.parametrize("pixdim", [(-1, 1, 2), (1, -1, -2)])
    def test_negative_pixdim_beside_both(self, tmp_path: Path, pixdim: tuple[float, ...]) -> None:
        path = write(tmp_path / "a.nii", GOOD, GOOD, pixdim=(1, *pixdim, 0, 0, 0, 0))
        np.testing.assert_allclose(matrix_of(path), GOOD)

    def test_zero_pixdim_makes_the_qform_useless(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.nii", GOOD, GOOD, pixdim=(1, 0, 1, 2, 0, 0, 0, 0))
        with pytest.warns(InputWarning, match="the sform is used instead"):
            np.testing.assert_allclose(matrix_of(path), GOOD)

    def test_they_disagree(self, tmp_path: Path) -> None:
        other = GOOD.copy()
        other[:3, 3] += (30, 30, 110)
        path = write(tmp_path / "a.nii", other, GOOD)
        with pytest.warns(InputWarning, match=r"differ by up to 118 mm; the sform is used"):
            np.testing.assert_allclose(matrix_of(path), nib.load(path).affine)

    def test_a_rounded_sform_is_no_disagreement(self, tmp_path: Path) -> None:
        other = GOOD.copy()
        other[:3, 3] += 0.05
        path = write(tmp_path / "a.nii", other, GOOD)  # a note would be an error here
        np.testing.assert_allclose(matrix_of(path), other, atol=1e-3)

    def test_a_sheared_sform_beside_a_qform(self, tmp_path: Path) -> None:
        sheared = GOOD.copy()
        sheared[0, 1] = 0.4
        path = write(tmp_path / "a.nii", sheared, GOOD)
        with pytest.warns(InputWarning, match="not perpendicular.*the qform is used"):
            np.testing.assert_allclose(matrix_of(path), GOOD)

    def test_an_empty_sform_beside_a_qform(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.nii", GOOD, GOOD, srow=(0,) * 12)
        with pytest.warns(InputWarning, match="length zero.*the qform is used"):
            np.testing.assert_allclose(matrix_of(path), GOOD)

    def test_a_sform_of_ones_beside_a_qform_that_knows_the_spacing(self, tmp_path: Path) -> None:
        real, ones = np.diag([-1.4, -1.4, 8, 1.0]), np.diag([-1.0, -1, 1, 1])
        path = write(tmp_path / "a.nii", ones, real)
        with pytest.warns(InputWarning, match="the qform is used"):
            np.testing.assert_allclose(matrix_of(path), real, atol=1e-6)


class TestALoneSform:
    def test_of_ones_takes_its_spacing_from_pixdim(self, tmp_path: Path) -> None:
        ones = np.diag([-1.0, -1, 1, 1])
        ones[:3, 3] = (5, 6, 7)
        path = write(tmp_path / "a.nii", ones, None, pixdim=(1, 1.4, 1.4, 10, 0, 0, 0, 0))
        image = read_image(path)
        assert image.grid.spacing == pytest.approx((1.4, 1.4, 10))
        assert image.grid.origin == (-5, -6, 7)

    def test_beside_a_pixdim_of_ones_is_right(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.nii", np.diag([-0.5, -0.5, 3, 1]), None, pixdim=(1, 1, 1, 1, 0, 0, 0, 0))
        assert read_image(path).grid.spacing == (0.5, 0.5, 3.0)

    def test_where_both_speak_the_sform_counts_with_a_note(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.nii", GOOD, None, pixdim=(1, 0.8, 0.8, 5, 0, 0, 0, 0))
        with pytest.warns(InputWarning, match=r"scale of 1 x 1 x 2 mm and its pixdim 0\.8 x 0\.8 x 5 mm; the sform"):
            np.testing.assert_allclose(matrix_of(path), GOOD)

    @pytest.mark.parametrize("column", [(0, 0, 0), (1, 1, 0)])
    def test_that_is_no_grid_is_refused(self, tmp_path: Path, column: tuple[float, ...]) -> None:
        bad = GOOD.copy()
        bad[:3, 1] = column
        assert "its " in refused(write(tmp_path / "a.nii", bad, None, pixdim=(1, 1, 1, 2, 0, 0, 0, 0)))


class TestALoneQform:
    def test_negative_pixdim_loses_its_sign_with_a_note(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.nii", None, GOOD, pixdim=(1, -1, 1, 2, 0, 0, 0, 0))
        with pytest.warns(InputWarning, match="negative spacing"):
            np.testing.assert_allclose(matrix_of(path), GOOD, atol=1e-6)

    @pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
    def test_no_spacing(self, tmp_path: Path, bad: float) -> None:
        assert "zero or not a number" in refused(
            write(tmp_path / "a.nii", None, GOOD, pixdim=(1, bad, 1, 2, 0, 0, 0, 0))
        )

    def test_no_rotation(self, tmp_path: Path) -> None:
        assert "no rotation" in refused(write(tmp_path / "a.nii", None, GOOD, quatern=(1, 1, 1)))

    def test_one_slice_without_a_thickness(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.nii", None, GOOD, DATA[:, :, :1], pixdim=(1, 1, 1, 0, 0, 0, 0, 0))
        with pytest.warns(InputWarning, match="no thickness"):
            assert read_image(path).grid.spacing == (1, 1, 1)


class TestNoForm:
    def test_spacing_alone(self, tmp_path: Path) -> None:
        grid = read_image(write(tmp_path / "a.nii", None, None, pixdim=(1, 0.5, 0.6, 3, 0, 0, 0, 0))).grid
        assert grid.spacing == pytest.approx((0.5, 0.6, 3))
        assert grid.origin == (0, 0, 0)
        assert np.array_equal(grid.direction, np.eye(3))


class TestNumbersThatAreNone:
    @pytest.mark.parametrize("at", range(3))
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_offsets(self, tmp_path: Path, at: int, bad: float) -> None:
        offset = [1.0, 2.0, 3.0]
        offset[at] = bad
        assert "qform holds NaN" in refused(write(tmp_path / "q.nii", None, GOOD, qoffset=offset))
        rows = GOOD[:3].ravel().copy()
        rows[4 * at + 3] = bad
        assert "sform holds NaN" in refused(write(tmp_path / "s.nii", GOOD, None, srow=rows))

    @pytest.mark.parametrize("offset", [np.nan, np.inf, -1.0, 17.0, 1e9])
    def test_vox_offset(self, tmp_path: Path, offset: float) -> None:
        refused(write(tmp_path / "a.nii", GOOD, GOOD, vox_offset=(offset,)))

    @pytest.mark.parametrize("scale", [(np.inf, 0), (2, np.nan), (2, np.inf)])
    def test_scaling(self, tmp_path: Path, scale: tuple[float, float]) -> None:
        assert "scl_slope" in refused(write(tmp_path / "a.nii", GOOD, GOOD, scl=scale))

    @pytest.mark.parametrize("scale", [(np.nan, np.nan), (0, 5), (1, 0)])
    def test_no_scaling(self, tmp_path: Path, scale: tuple[float, float]) -> None:
        np.testing.assert_array_equal(read_image(write(tmp_path / "a.nii", GOOD, GOOD, scl=scale)).data, DATA.T)

    @pytest.mark.parametrize(
        "dim", [(0,) * 8, (3, 6, -5, 4, 1, 1, 1, 1), (9, 6, 5, 4, 1, 1, 1, 1), (1, 6, 1, 1, 1, 1, 1, 1)]
    )
    def test_dim(self, tmp_path: Path, dim: tuple[int, ...]) -> None:
        refused(write(tmp_path / "a.nii", GOOD, GOOD, dim=dim))


class TestFiles:
    @pytest.mark.parametrize("name", ["A.NII.GZ", "a.Nii.gz", "A.NII"])
    def test_endings_in_capitals(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / "a.nii", GOOD, GOOD)
        raw = (tmp_path / "a.nii").read_bytes()
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / name).write_bytes(gzip.compress(raw) if name.lower().endswith("gz") else raw)
        np.testing.assert_array_equal(read_image(tmp_path / "x" / name).data, DATA.T)

    @pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_types_and_byte_orders(self, tmp_path: Path, dtype: str, order: str) -> None:
        data = (DATA % 100).astype(order + dtype)
        image = nib.Nifti1Image(data, GOOD, nib.Nifti1Header(endianness=order), dtype=data.dtype)
        nib.save(image, tmp_path / "a.nii")
        np.testing.assert_array_equal(read_image(tmp_path / "a.nii").data, data.T)
        np.testing.assert_array_equal(read_labels(tmp_path / "a.nii")[0], data.T)

    def test_one_frame_of_a_cine(self, tmp_path: Path) -> None:
        cine = np.stack([DATA, DATA + 1, DATA + 2], axis=-1)
        path = write(tmp_path / "a.nii", GOOD, GOOD, cine)
        assert "choose one with --frame, 1 to 3" in refused(path)
        np.testing.assert_array_equal(read_image(path, frame=2).data, DATA.T + 1)
        with pytest.raises(ImageReadError, match="has no frame 0"):
            read_image(path, frame=0)

    def test_a_2d_image_that_stands_upright_is_one_slice_in_space(self, tmp_path: Path) -> None:
        form = np.array([[0, 0, 1.0, 5], [1, 0, 0, 6], [0, 2, 0, 7], [0, 0, 0, 1]])
        image = read_image(write(tmp_path / "a.nii", form, None, DATA[:, :, 0]))
        assert image.grid.shape == (1, 5, 6)
        np.testing.assert_allclose(LPS @ image.grid.matrix, form, atol=1e-6)

    def test_half_of_a_pair_of_files(self, tmp_path: Path) -> None:
        assert ".img" in refused(write(tmp_path / "a.nii", GOOD, GOOD, magic=(b"ni1\0",)))

    def test_an_unknown_unit(self, tmp_path: Path) -> None:
        assert "unknown unit" in refused(write(tmp_path / "a.nii", GOOD, GOOD, units=(5,)))

    def test_metres(self, tmp_path: Path) -> None:
        grid = read_image(write(tmp_path / "a.nii", GOOD, GOOD, units=(1,))).grid
        assert grid.spacing == (1000, 1000, 2000)
        assert grid.origin == (-20000, -30000, -40000)
