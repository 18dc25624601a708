"""Damaged inputs end with a result or one clear line. `python -m benchmarks.fuzz` reads ten thousand of them."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from benchmarks.fuzz import Fault, _Watch, faults_of, inputs
from benchmarks.fuzz_inputs import TARGETS, Target
from PIL import Image as Picture

from refusals import refused
from samreg.errors import ImageReadError, InputError, ModelError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.io.segmentation import read_segmentation
from samreg.io.transforms import read_transform, write_affine, write_transform
from samreg.runs.run_folder import read_run
from samreg.segmenters.weights.checkpoints import read_tensors


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
    path = tmp_path / "a.tfm"
    path.write_bytes(b"#Insight Transform File V1.0\nTransform: Affine\xff\xfeTransform_double_3_3\nParameters: 1\n")
    with pytest.raises(ImageReadError, match="is not an ITK transform"):
        read_transform(path, Grid((4, 6, 5), (1.0, 1.0, 1.0)))


def _transform_file(folder: Path, name: str) -> tuple[Path, Grid]:
    grid = Grid((4, 6, 5), (1.5, 1.2, 3.0))
    field = DisplacementField(np.random.default_rng(0).normal(0, 0.2, (*grid.shape, 3)).astype(np.float32), grid)
    path = folder / name
    return (write_transform(field, path) if path.suffix == ".h5" else write_affine(np.eye(4), path)), grid


def test_texts_of_a_transform_without_an_end_are_refused(tmp_path: Path) -> None:
    """HDF5 stays at an object of length 0 in the heap, and ITK crashes on one that has moved."""
    path, grid = _transform_file(tmp_path, "a.h5")
    content = path.read_bytes()
    at = content.find(b"CompositeTransform")
    assert at > 0
    path.write_bytes(content[:at] + bytes(49) + content[at:])
    with pytest.raises(ImageReadError, match="is not an ITK transform"):
        read_transform(path, grid)


def test_a_transform_that_promises_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    import h5py

    path, grid = _transform_file(tmp_path, "a.h5")
    with h5py.File(path, "r+") as file:
        group = file["TransformGroup/1"]
        del group["TransformParameters"]
        group.create_dataset("TransformParameters", (10**12,), "<f8", chunks=(1024,))
    with pytest.raises(ImageReadError, match="promises 1000000000000 values"):
        read_transform(path, grid)


@pytest.mark.parametrize("place", [0, 4, 8, 12, 16])
def test_a_matlab_transform_whose_header_was_changed_is_refused(tmp_path: Path, place: int) -> None:
    """ITK makes room for the rows and reads rows times columns numbers into it."""
    path, grid = _transform_file(tmp_path, "a.mat")
    read_transform(path, grid)
    content = bytearray(path.read_bytes())
    content[place] += 7
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match="Matlab v4"):
        read_transform(path, grid)


def test_a_small_tiff_that_promises_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Picture.fromarray(np.arange(120, dtype=np.uint8).reshape(12, 10)).save(path)
    content = bytearray(path.read_bytes())
    directory = int.from_bytes(content[4:8], "little")
    for k in range(int.from_bytes(content[directory : directory + 2], "little")):
        at = directory + 2 + 12 * k
        if content[at : at + 2] == b"\0\1":  # tag 256 is the width
            content[at + 2 : at + 12] = b"\4\0\1\0\0\0" + (150_000_000).to_bytes(4, "little")
    path.write_bytes(content)
    assert "promises 12 x 150000000 values" in refused(path)


def test_a_checkpoint_whose_instructions_are_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}q\x00u.")  # takes from a stack on which nothing is
        archive.writestr("a/version", b"3\n")
        archive.writestr("a/byteorder", b"little")
    with pytest.raises(ModelError, match="cannot be read as a torch checkpoint"):
        read_tensors(path)


@pytest.mark.parametrize("damage", ["version", "compression", "password"])
def test_a_cache_entry_of_another_zip_is_computed_again(tmp_path: Path, damage: str) -> None:
    [path] = TARGETS["cache"].make(tmp_path)
    payload = bytearray(path.read_bytes()[32:])
    for mark, shift in ((b"PK\1\2", 2), (b"PK\3\4", 0)):  # each member, in the directory and before its bytes
        at = payload.find(mark)
        while at >= 0:
            field, value = {"version": (4, 255), "compression": (8, 99), "password": (6, 1)}[damage]
            payload[at + shift + field] = value
            at = payload.find(mark, at + 1)
    path.write_bytes(hashlib.sha256(payload).digest() + payload)
    assert TARGETS["cache"].read(path) is None


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
