"""Regions as people have them: names beside label maps, folders of masks, DICOM segmentations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dicom_files import straight, write_series
from samreg import Grid, RoiSet
from samreg.cli.common import pairs_from_labels
from samreg.errors import GeometryError, ImageReadError, InputError
from samreg.io.coco import write_coco
from samreg.io.dicom_seg import is_dicom_seg, read_dicom_seg, write_dicom_seg
from samreg.io.images import read_image, write_labels
from samreg.io.known_regions import read_known_regions
from samreg.io.label_names import find_label_names, read_label_names, write_label_names
from samreg.io.rois import write_segmentation
from samreg.runs.guides import read_mask
from worlds import GRIDS

GRID = GRIDS["oblique-flipped-3d"]
NAMES = {2: "liver", 7: "left kidney"}


def labels(grid: Grid = GRID) -> np.ndarray:
    out = np.zeros(grid.shape, np.int32)
    out[1:3, 1:5, 1:5] = 2
    out[2:4, 6:8, 6:9] = 7
    return out


def snap(path: Path) -> Path:
    return write_label_names(NAMES, path, {2: (255, 0, 0), 7: (0, 20, 255)})


class TestNames:
    def test_itk_snap_there_and_back(self, tmp_path: Path) -> None:
        assert read_label_names(snap(tmp_path / "a.label")) == NAMES

    def test_a_file_of_itk_snap(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text(
            "################################################\n# ITK-SnAP Label Description File\n"
            '    0     0    0    0        0  0  0    "Clear Label"\n'
            '    1   255    0    0        1  1  1    "Label 1"\n    3 0 0  255      0.5  1  0    "Tumour, core"\n'
        )
        assert read_label_names(tmp_path / "a.txt") == {1: "Label 1", 3: "Tumour, core"}

    @pytest.mark.parametrize(
        "entries",
        [
            {"background": 0, "liver": 2, "left kidney": 7, "both": [2, 7]},
            {"0": "background", "2": "liver", "7": "left kidney"},
        ],
    )
    def test_both_versions_of_nnunet(self, entries: dict, tmp_path: Path) -> None:
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": entries, "numTraining": 3}))
        assert read_label_names(tmp_path / "dataset.json") == NAMES

    def test_what_is_no_list_of_names(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("1 2 3\n")
        with pytest.raises(ImageReadError, match="line 1"):
            read_label_names(tmp_path / "a.txt")
        (tmp_path / "b.json").write_text('{"a": 1}')
        with pytest.raises(ImageReadError, match="labels"):
            read_label_names(tmp_path / "b.json")
        (tmp_path / "c.json").write_text('{"labels": {"1": "a", "2": "a"}}')
        with pytest.raises(ImageReadError, match="several labels are named 'a'"):
            read_label_names(tmp_path / "c.json")
        with pytest.raises(ImageReadError, match="no such file"):
            read_label_names(tmp_path / "d.json")

    def test_they_are_found_beside_the_label_map(self, tmp_path: Path) -> None:
        folder = tmp_path / "labelsTr"
        folder.mkdir()
        path = write_labels(labels(), GRID, folder / "case.nii.gz")
        assert find_label_names(path) is None
        assert not read_known_regions(path).named
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"liver": 2}}))
        known = read_known_regions(path)
        assert [roi.name for roi in known.rois.rois] == ["liver", "7"]
        (folder / "case.txt").write_text("a note about the case\n")  # no names: nobody is misled
        assert find_label_names(path) == tmp_path / "dataset.json"
        snap(folder / "case.label")
        assert [roi.name for roi in read_known_regions(path).rois.rois] == list(NAMES.values())


def masks(folder: Path, grid: Grid = GRID) -> Path:
    folder.mkdir()
    for value, name in NAMES.items():
        write_labels((labels(grid) == value).astype(np.int32), grid, folder / f"{name.replace(' ', '_')}.nii.gz")
    write_labels(np.zeros(grid.shape, np.int32), grid, folder / "spleen.nii.gz")
    return folder


class TestFolderOfMasks:
    def test_each_file_is_a_region(self, tmp_path: Path) -> None:
        known = read_known_regions(masks(tmp_path / "segmentations"))
        assert [roi.name for roi in known.rois.rois] == ["left_kidney", "liver"]
        np.testing.assert_array_equal(known.rois.masks(), np.stack([labels() == 7, labels() == 2]))

    def test_of_one_grid(self, tmp_path: Path) -> None:
        folder = masks(tmp_path / "segmentations")
        other = GRIDS["oblique-3d"]
        write_labels(labels(other), other, folder / "z.nii.gz")
        with pytest.raises(GeometryError, match="another grid"):
            read_known_regions(folder)

    def test_as_a_mask(self, tmp_path: Path) -> None:
        mask = read_mask(masks(tmp_path / "segmentations"))
        np.testing.assert_array_equal(mask.data > 0, labels() > 0)


class TestPairing:
    def test_names_of_different_formats(self, tmp_path: Path) -> None:
        other = np.where(labels() == 2, 5, np.where(labels() == 7, 2, 0)).astype(np.int32)  # other values
        path = write_labels(other, GRID, tmp_path / "snap.nii.gz")
        write_label_names({5: "liver", 2: "left_kidney"}, tmp_path / "snap.label", {5: (1, 2, 3), 2: (4, 5, 6)})
        pairs = pairs_from_labels(path, masks(tmp_path / "segmentations"), GRID, GRID)
        assert sorted(roi.name for roi in pairs.fixed.rois) == ["left_kidney", "liver"]
        np.testing.assert_array_equal(pairs.fixed.masks(), pairs.moving.masks())

    def test_values_where_one_side_has_no_names(self, tmp_path: Path) -> None:
        plain = write_labels(labels(), GRID, tmp_path / "plain.nii.gz")
        (tmp_path / "named").mkdir()
        named = write_labels(labels(), GRID, tmp_path / "named" / "x.nii.gz")
        snap(tmp_path / "named" / "x.label")
        assert [roi.name for roi in pairs_from_labels(plain, named, GRID, GRID).fixed.rois] == ["2", "7"]
        given = pairs_from_labels(plain, named, GRID, GRID, tmp_path / "named" / "x.label")
        assert [roi.name for roi in given.fixed.rois] == list(NAMES.values())
        with pytest.raises(InputError, match="--label-names"):
            pairs_from_labels(plain, masks(tmp_path / "segmentations"), GRID, GRID)


class TestDicomSegmentation:
    """Written by highdicom over a series of slices, and read again at the same place."""

    @pytest.fixture
    def series(self, tmp_path: Path) -> tuple[Path, Grid]:
        pytest.importorskip("highdicom")
        tags = {
            "FrameOfReferenceUID": "1.2.9",
            "PatientID": "a",
            "PatientName": "A^B",
            "PatientBirthDate": "",
            "Modality": "CT",
        }
        tags |= {"PatientSex": "", "StudyDate": "", "StudyTime": "", "AccessionNumber": "", "StudyID": ""}
        tags |= {"ReferringPhysicianName": "", "SeriesNumber": 1}
        folder = write_series(tmp_path / "series", straight(), **tags)
        return folder, read_image(folder).grid

    def test_there_and_back(self, series: tuple[Path, Grid], tmp_path: Path) -> None:
        folder, grid = series
        both = np.zeros((2, *grid.shape), dtype=bool)
        both[0, 0:2, 1:4, 1:4] = True
        both[1, 1:3, 2:5, 2:5] = True  # they overlap
        rois = RoiSet.from_masks(both, grid, names=["liver", "lesion"])
        path = write_dicom_seg(rois, sorted(folder.iterdir()), tmp_path / "seg.dcm")
        assert is_dicom_seg(path)
        assert not is_dicom_seg(next(folder.iterdir()))
        found, numbers = read_dicom_seg(path)
        assert numbers == [1, 2]
        assert [roi.name for roi in found.rois] == ["liver", "lesion"]
        # The file may leave out empty slices: compare by world point.
        for mask, roi in zip(both, found.masks(), strict=True):
            here = grid.index_to_world(np.argwhere(mask)[:, ::-1].astype(float))
            there = found.grid.index_to_world(np.argwhere(roi)[:, ::-1].astype(float))
            np.testing.assert_allclose(
                here[np.lexsort(here.round(2).T)], there[np.lexsort(there.round(2).T)], atol=1e-3
            )
        assert read_known_regions(path).named

    def test_of_another_series(self, series: tuple[Path, Grid], tmp_path: Path) -> None:
        folder, _ = series
        rois = RoiSet.from_masks([labels() > 0], GRID, names=["liver"])
        with pytest.raises(InputError, match="give the regions of that series"):
            write_dicom_seg(rois, sorted(folder.iterdir()), tmp_path / "seg.dcm")


def test_a_seg_nrrd_has_names(tmp_path: Path) -> None:
    rois = RoiSet.from_labels(labels(), GRID, NAMES)
    known = read_known_regions(write_segmentation(rois, tmp_path / "a.seg.nrrd"))
    assert known.named
    assert [roi.name for roi in known.rois.rois] == list(NAMES.values())


def test_coco_masks_of_a_picture_have_names(tmp_path: Path) -> None:
    grid = Grid((9, 11), (1.0, 1.0), unit="px")
    masks = np.zeros((2, 9, 11), dtype=bool)
    masks[0, 2:5, 1:4] = masks[1, 4:8, 3:9] = True
    path = write_coco([("a.png", RoiSet.from_masks(masks, grid, names=["cell", "nucleus"]))], tmp_path / "a.json")
    known = read_known_regions(path)
    assert known.named
    assert [roi.name for roi in known.rois.rois] == ["cell", "nucleus"]
    np.testing.assert_array_equal(known.rois.masks(), masks)
