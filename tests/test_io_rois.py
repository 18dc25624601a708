"""Regions through .seg.nrrd and label maps: overlaps, names and geometry survive."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.errors import ImageReadError, InputError
from samreg.geometry.grid import Grid
from samreg.geometry.rois import Roi, RoiSet
from samreg.io.images import read_labels
from samreg.io.rois import read_rois, read_segmentation, write_label_map, write_segmentation
from worlds import GRIDS, grids


def blobs(grid: Grid, n: int, seed: int = 0) -> RoiSet:
    """Random boxes; most of them overlap."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(n):
        mask = np.zeros(grid.shape, dtype=bool)
        start = [int(rng.integers(0, s)) for s in grid.shape]
        mask[tuple(slice(a, a + int(rng.integers(1, 5))) for a in start)] = True
        masks.append(mask)
    return RoiSet.from_masks(masks, grid, [0.5 + 0.01 * i for i in range(n)], [f"organ {i}" for i in range(n)])


@pytest.mark.parametrize("name", sorted(GRIDS))
@pytest.mark.parametrize("n", [1, 7])
def test_segmentation_written_and_read_back(tmp_path: Path, name: str, n: int) -> None:
    rois = blobs(GRIDS[name], n)
    write_segmentation(rois, tmp_path / "a.seg.nrrd")
    back, _ = read_segmentation(tmp_path / "a.seg.nrrd")
    assert back.grid.same_as(rois.grid)
    np.testing.assert_array_equal(back.masks(), rois.masks())
    assert [roi.name for roi in back.rois] == [roi.name for roi in rois.rois]
    np.testing.assert_allclose(back.quality, rois.quality, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(grid=grids(), n=st.integers(1, 12), seed=st.integers(0, 50))
def test_any_regions_survive(tmp_path_factory: pytest.TempPathFactory, grid: Grid, n: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("any") / "a.seg.nrrd"
    rois = blobs(grid, n, seed)
    back, values = read_segmentation(write_segmentation(rois, path))
    np.testing.assert_array_equal(back.masks(), rois.masks())
    np.testing.assert_allclose(back.grid.voxel_centres(), grid.voxel_centres(), atol=1e-6)
    assert len(set(values)) == n


def test_more_than_255_regions_in_a_layer(tmp_path: Path) -> None:
    grid = Grid((1, 20, 20), (1.0, 1.0, 1.0))
    rois = RoiSet(tuple(Roi(np.ones((1, 1, 1), bool), (0, i // 20, i % 20)) for i in range(300)), grid)
    back, values = read_segmentation(write_segmentation(rois, tmp_path / "a.seg.nrrd"))
    np.testing.assert_array_equal(back.masks(), rois.masks())
    assert values == list(range(1, 301))


def test_an_independent_reader_sees_slicers_layout(tmp_path: Path) -> None:
    grid = GRIDS["oblique-flipped-3d"]
    big, small = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    big[1:4, 2:8, 3:9] = small[2, 3:5, 4:6] = True
    other = np.zeros(grid.shape, bool)
    other[0, 0, 0] = True
    rois = RoiSet.from_masks([big, small, other], grid)
    write_segmentation(
        rois, tmp_path / "a.seg.nrrd", ids=["pair_1", "pair_2", "pair_3"], names=["pair 1", "pair 2", "pair 3"]
    )
    data, header = nrrd.read(str(tmp_path / "a.seg.nrrd"))
    assert header["kinds"] == ["list", "domain", "domain", "domain"]
    assert header["space"] == "left-posterior-superior"
    assert data.shape == (2, *grid.shape[::-1])  # two layers: the third region overlaps neither
    np.testing.assert_allclose(header["space directions"][1:].T, grid.matrix[:3, :3])
    np.testing.assert_allclose(header["space origin"], grid.origin)
    assert [header[f"Segment{i}_ID"] for i in range(3)] == ["pair_1", "pair_2", "pair_3"]
    assert header["Segment1_Layer"] == "1"
    assert header["Segment0_Extent"] == "3 8 2 7 1 3"
    for i, mask in enumerate((big, small, other)):
        value, layer = int(header[f"Segment{i}_LabelValue"]), int(header[f"Segment{i}_Layer"])
        np.testing.assert_array_equal(value == data[layer].T, mask)
    colour = [float(v) for v in header["Segment0_Color"].split()]
    assert len(colour) == 3
    assert all(0 <= v <= 1 for v in colour)


def test_a_slicer_file_without_layers(tmp_path: Path) -> None:
    data = np.zeros((4, 5, 6), np.uint8)
    data[1, 1, 1], data[2, 2, 2:4] = 1, 7
    keys = {"Segment0_ID": "S1", "Segment0_LabelValue": "7", "Segment0_Name": "liver", "Segment0_Layer": "0"}
    keys |= {"Segment1_ID": "S2", "Segment1_LabelValue": "1", "Segment1_Name": "spleen"}
    keys |= {"Segment2_ID": "S3", "Segment2_LabelValue": "9", "Segment2_Name": "empty"}
    header = {
        "space": "right-anterior-superior",
        "space directions": np.eye(3) * 2,
        "space origin": [1.0, 2, 3],
        **keys,
    }
    nrrd.write(str(tmp_path / "a.seg.nrrd"), data, header)
    rois, values = read_segmentation(tmp_path / "a.seg.nrrd")
    assert [roi.name for roi in rois.rois] == ["liver", "spleen"]
    assert values == [7, 1]
    assert rois.grid.origin == (-1.0, -2.0, 3.0)  # LPS
    labels, grid = read_labels(tmp_path / "a.seg.nrrd")
    np.testing.assert_array_equal(labels, data.T)  # (z, y, x); the independent writer counts (x, y, z)
    np.testing.assert_array_equal(rois.masks(), [data.T == 7, data.T == 1])
    assert grid.same_as(rois.grid)


def test_label_map_has_the_smaller_region_on_top(tmp_path: Path) -> None:
    grid = GRIDS["anisotropic-3d"]
    big, small = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    big[1:4], small[2, 3:5, 4:6] = True, True
    write_label_map(RoiSet.from_masks([small, big], grid), tmp_path / "l.nii.gz")
    labels, back = read_labels(tmp_path / "l.nii.gz")
    assert back.same_as(grid)
    assert labels[2, 3, 4] == 1
    assert labels[1, 0, 0] == 2
    assert labels[0].max() == 0


def test_read_rois_takes_both(tmp_path: Path) -> None:
    rois = blobs(GRIDS["identity-3d"], 1)
    assert [r.name for r in read_rois(write_segmentation(rois, tmp_path / "a.seg.nrrd")).rois] == ["organ 0"]
    assert [r.name for r in read_rois(write_label_map(rois, tmp_path / "a.nii.gz")).rois] == ["1"]


def test_same_regions_same_bytes(tmp_path: Path) -> None:
    rois = blobs(GRIDS["oblique-3d"], 5)
    a, b = (write_segmentation(rois, tmp_path / f"{n}.seg.nrrd").read_bytes() for n in "ab")
    assert a == b


def test_not_a_segmentation(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint8)), str(tmp_path / "a.nrrd"))
    (tmp_path / "a.nrrd").rename(tmp_path / "a.seg.nrrd")
    with pytest.raises(ImageReadError, match="describes no segments"):
        read_segmentation(tmp_path / "a.seg.nrrd")
    with pytest.raises(InputError, match=r"ends in \.seg\.nrrd"):
        write_segmentation(blobs(GRIDS["identity-3d"], 1), tmp_path / "a.nrrd")


def slicer_file(path: Path, **keys: str) -> Path:
    """Labels 1 and 2, described by these keys of segments."""
    data = np.zeros((4, 5, 6), np.uint8)
    data[1, 1, 1], data[2, 2, 2:4] = 1, 2
    nrrd.write(str(path), data, {"space": "LPS", "space directions": np.eye(3), "space origin": [0, 0, 0], **keys})
    return path


def test_numbers_of_segments_may_have_gaps(tmp_path: Path) -> None:
    keys = {}
    for number, value in ((3, 1), (12, 2)):
        keys |= {f"Segment{number}_ID": f"s{value}", f"Segment{number}_LabelValue": str(value)}
        keys |= {f"Segment{number}_Layer": "0", f"Segment{number}_Name": f"organ {value}"}
    rois, values = read_segmentation(slicer_file(tmp_path / "a.seg.nrrd", **keys))
    assert [roi.name for roi in rois.rois] == ["organ 1", "organ 2"]
    assert values == [1, 2]


def test_a_segment_without_a_name_is_called_by_its_id(tmp_path: Path) -> None:
    keys = {"Segment0_ID": "Segment_1", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    rois, _ = read_segmentation(slicer_file(tmp_path / "a.seg.nrrd", **keys))
    assert rois[0].name == "Segment_1"
    back, _ = read_segmentation(write_segmentation(rois, tmp_path / "b.seg.nrrd"))
    assert back[0].name == "Segment_1"


@pytest.mark.parametrize("tags", ["samreg.quality:good|", "samreg.quality:nan|", "samreg.quality:|", "a:b|c", "|", "x"])
def test_odd_tags(tmp_path: Path, tags: str) -> None:
    keys = {"Segment0_ID": "s", "Segment0_LabelValue": "1", "Segment0_Layer": "0", "Segment0_Tags": tags}
    assert read_segmentation(slicer_file(tmp_path / "a.seg.nrrd", **keys))[0][0].quality == 1.0


def test_segments_of_an_old_slicer_are_layers_of_ones(tmp_path: Path) -> None:
    data = np.zeros((2, 4, 5, 6), np.uint8)
    data[0, 1, 1, 1] = data[1, 2, 2, 2:4] = 1
    header = {
        "space": "LPS", "kinds": ["list", "domain", "domain", "domain"], "space origin": [0, 0, 0],
        "space directions": np.vstack([np.full(3, np.nan), np.eye(3)]),
        "Segment0_ID": "a", "Segment0_Name": "A", "Segment1_ID": "b", "Segment1_Name": "B",
    }  # fmt: skip
    nrrd.write(str(tmp_path / "a.seg.nrrd"), data, header)
    rois, values = read_segmentation(tmp_path / "a.seg.nrrd")
    assert [(roi.name, roi.n_voxels) for roi in rois.rois] == [("A", 1), ("B", 2)]
    assert values == [1, 2]


@pytest.mark.parametrize(("value", "layer"), [("x", "0"), ("1", "7"), ("1", "-1"), ("1", "x")])
def test_a_segment_that_is_nowhere(tmp_path: Path, value: str, layer: str) -> None:
    keys = {"Segment4_ID": "s", "Segment4_LabelValue": value, "Segment4_Layer": layer}
    with pytest.raises(ImageReadError, match="Segment4"):
        read_segmentation(slicer_file(tmp_path / "a.seg.nrrd", **keys))
