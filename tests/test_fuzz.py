"""Damaged inputs end with a result or one clear line. `python -m benchmarks.fuzz` reads ten thousand of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from benchmarks.fuzz import Fault, _Watch, faults_of, inputs
from benchmarks.fuzz_inputs import TARGETS, Target

from refusals import refused
from samreg.errors import ImageReadError, InputError
from samreg.io.segmentation import read_segmentation
from samreg.io.transforms import read_transform
from samreg.runs.run_folder import read_run


@pytest.fixture(scope="module")
def watch() -> _Watch:
    """One for all tests: an audit hook stays, and is asked, until the process ends."""
    hook = _Watch()
    sys.addaudithook(hook)
    return hook


def test_three_hundred_damaged_inputs_end_with_a_result_or_one_line(tmp_path: Path) -> None:
    faults = [fault for fault in faults_of(inputs(300), tmp_path) if fault is not None]
    assert not faults, "\n".join(f"{f.target} {f.number}: {f.kind}: {f.text}" for f in faults)


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda _: 1 / 0, "traceback"),
        (lambda _: (_ for _ in ()).throw(InputError("two\nlines")), "traceback"),
        (lambda _: Path("/dev/null").open("wb").close(), "outside"),
        (lambda _: None, "memory"),
    ],
)
def test_each_kind_of_fault_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch: _Watch, read, kind: str
) -> None:
    import benchmarks.fuzz as fuzz

    monkeypatch.setitem(TARGETS, "own", Target(TARGETS["points"].make, read, text=True))
    valid = fuzz._valid("own", tmp_path)
    if kind == "memory":  # the peak of this process may be higher already
        peaks = iter((0, 400 << 20))
        monkeypatch.setattr(fuzz, "_peak", lambda: next(peaks))
    assert fuzz._outcome("own", 1, valid, tmp_path, watch)[0] == kind


def test_an_input_is_made_again_by_its_number(tmp_path: Path) -> None:
    import benchmarks.fuzz as fuzz

    valid = fuzz._valid("points", tmp_path)
    first = fuzz.make_input("points", 7, valid, tmp_path / "a").read_bytes()
    assert fuzz.make_input("points", 7, valid, tmp_path / "b").read_bytes() == first
    assert Fault("points", 7, "hang", "").number == 7


def _metaimage(path: Path, **changes: str) -> Path:
    fields = {
        "NDims": "3", "BinaryData": "True", "CompressedData": "False", "ElementSpacing": "1 1 2", "DimSize": "3 4 2",
        "ElementType": "MET_UCHAR", "ElementDataFile": "LOCAL",
    }  # fmt: skip
    header = "".join(f"{key} = {value}\n" for key, value in {**fields, **changes}.items())
    path.write_bytes(header.encode() + bytes(range(24)))
    return path


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("NDims", "2147483648", "NDims = 2147483648"),
        ("NDims", "x", "NDims = x"),
        ("DimSize", "3 4", "DimSize = 3 4"),
        ("DimSize", "3 4 -2", "DimSize = 3 4 -2"),
        ("DimSize", "3000 4000 2000", "is damaged or cut off"),
        ("ElementSpacing", "1", "elementspacing = 1"),
        ("ElementType", "MET_OTHER", "ElementType = MET_OTHER"),
    ],
)
def test_a_metaimage_header_that_cannot_be_is_refused(tmp_path: Path, field: str, value: str, said: str) -> None:
    refused(_metaimage(tmp_path / "good.mha", NDims="0"))
    assert said in refused(_metaimage(tmp_path / "a.mha", **{field: value}))


def test_a_small_nrrd_that_promises_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    sitk.WriteImage(
        sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4)), str(path), useCompression=True
    )
    path.write_bytes(path.read_bytes().replace(b"sizes: 4 3 2", b"sizes: 4000 3000 2000"))
    assert "promises 4000 x 3000 x 2000 values" in refused(path)


def test_a_transform_whose_damage_is_no_text_is_refused(tmp_path: Path) -> None:
    from samreg.geometry.grid import Grid

    path = tmp_path / "a.tfm"
    path.write_bytes(b"#Insight Transform File V1.0\nTransform: Affine\xff\xfeTransform_double_3_3\nParameters: 1\n")
    with pytest.raises(ImageReadError, match="is not an ITK transform"):
        read_transform(path, Grid((4, 6, 5), (1.0, 1.0, 1.0)))


def test_a_segmentation_with_a_label_of_two_billion_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    labels = np.zeros((2, 3, 4), np.int32)
    labels[0, 0, 0] = 2_000_000_000
    image = sitk.GetImageFromArray(labels)
    for key, value in (("ID", "Segment_1"), ("LabelValue", "2000000000"), ("Layer", "0")):
        image.SetMetaData(f"Segment0_{key}", value)
    sitk.WriteImage(image, str(path))
    refused(path, read_segmentation)


def test_pairs_of_a_run_that_are_no_text_are_refused(tmp_path: Path) -> None:
    [run] = TARGETS["run-folder"].make(tmp_path)
    (run / "pairs.json").write_bytes(b'[{"id": \xff}]')
    with pytest.raises(InputError, match="damaged"):
        read_run(run)
