"""Datasets: the layouts in which people download them, whole, half and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from samreg import metrics, read_image
from samreg.errors import DatasetError
from samreg.io.landmarks import read_landmarks
from samreg.lab.datasets import dataset_names, open_dataset


def write(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.random.default_rng(seed).integers(0, 4, (3, 6, 8)).astype(np.uint8))
    image.SetSpacing([1.0, 1.0, 2.0])
    image.SetOrigin([10.0, -5.0, 3.0])
    sitk.WriteImage(image, str(path))
    return path


def make_acdc(root: Path) -> Path:
    for name, es in (("patient001", 12), ("patient002", 9)):
        folder = root / "training" / name
        for frame in (1, es):
            write(folder / f"{name}_frame{frame:02d}.nii.gz")
            write(folder / f"{name}_frame{frame:02d}_gt.nii.gz")
        (folder / "Info.cfg").write_text(f"ED: 1\nES: {es}\nGroup: DCM\nNbFrame: 30\n")
    return root


def test_acdc_pairs_end_diastole_with_end_systole(tmp_path: Path) -> None:
    pairs = open_dataset("acdc", make_acdc(tmp_path))
    assert [p.id for p in pairs] == ["patient001", "patient002"]
    assert pairs[0].fixed.name == "patient001_frame01.nii.gz"
    assert pairs[0].moving.name == "patient001_frame12.nii.gz"
    assert pairs[0].moving_labels is not None
    assert pairs[0].moving_labels.name == "patient001_frame12_gt.nii.gz"
    assert pairs[0].label_names == {1: "RV", 2: "myocardium", 3: "LV"}
    assert pairs[0].intra_subject
    assert len(open_dataset("acdc", tmp_path, limit=1)) == 1
    assert len(open_dataset("acdc", tmp_path / "training")) == 2


def test_a_half_downloaded_acdc_names_what_is_missing(tmp_path: Path) -> None:
    make_acdc(tmp_path)
    (tmp_path / "training/patient002/patient002_frame09_gt.nii.gz").unlink()
    (tmp_path / "training/patient001/Info.cfg").unlink()
    with pytest.raises(DatasetError, match=r"patient001/Info\.cfg, .*patient002_frame09_gt\.nii\.gz; wanted is"):
        open_dataset("acdc", tmp_path)
    (tmp_path / "training/patient001/Info.cfg").write_text("ED: 1\n")
    with pytest.raises(DatasetError, match="must name both frames"):
        open_dataset("acdc", tmp_path)


def make_msd(root: Path, names: tuple[str, ...], channel: str = "", meta: dict | None = None) -> Path:
    for seed, name in enumerate(names):
        write(root / "imagesTr" / f"{name}{channel}.nii.gz", seed)
        write(root / "labelsTr" / f"{name}.nii.gz", seed)
    if meta is not None:
        (root / "dataset.json").write_text(json.dumps(meta))
    return root


def test_msd_reads_its_list_and_its_label_names(tmp_path: Path) -> None:
    names = ("la_010", "la_002", "la_003")
    listed = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names]
    make_msd(tmp_path, names, meta={"labels": {"0": "background", "1": "left atrium"}, "training": listed})
    pairs = open_dataset("msd", tmp_path)
    assert [p.id for p in pairs] == ["la_002<-la_003", "la_003<-la_010"]
    assert pairs[0].label_names == {1: "left atrium"}
    assert not pairs[0].intra_subject


def test_nnunet_v2_has_channels_and_its_labels_the_other_way_round(tmp_path: Path) -> None:
    meta = {"labels": {"background": 0, "kidney": 1, "tumour": [2, 3]}, "file_ending": ".nii.gz", "numTraining": 2}
    make_msd(tmp_path, ("case_1", "case_2"), channel="_0000", meta=meta)
    write(tmp_path / "imagesTr" / "case_1_0001.nii.gz")  # a second channel
    pairs = open_dataset("nnunet", tmp_path)
    assert [p.id for p in pairs] == ["case_1<-case_2"]
    assert pairs[0].fixed.name == "case_1_0000.nii.gz"
    assert pairs[0].label_names == {1: "kidney"}


def test_amos_pairs_within_a_modality(tmp_path: Path) -> None:
    make_msd(
        tmp_path, ("amos_0001", "amos_0004", "amos_0507", "amos_0510", "amos_0011"), meta={"labels": {"1": "spleen"}}
    )
    pairs = open_dataset("amos22", tmp_path)
    assert [p.id for p in pairs] == ["amos_0001<-amos_0004", "amos_0004<-amos_0011", "amos_0507<-amos_0510"]


def test_a_half_downloaded_msd_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"imagesTr, .*labelsTr; wanted is"):
        open_dataset("msd", tmp_path)
    make_msd(tmp_path, ("a_1", "a_2", "a_3"))
    (tmp_path / "labelsTr" / "a_2.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"labelsTr/a_2\.nii\.gz"):
        open_dataset("msd", tmp_path)
    (tmp_path / "dataset.json").write_text("{ not json")
    with pytest.raises(DatasetError, match="not readable JSON"):
        open_dataset("msd", tmp_path)


def test_promise12_needs_the_raw_files_too(tmp_path: Path) -> None:
    for case in ("Case00", "Case01", "Case10"):
        write(tmp_path / f"{case}.mhd")
        write(tmp_path / f"{case}_segmentation.mhd")
    assert [p.id for p in open_dataset("promise12", tmp_path)] == ["Case00<-Case01", "Case01<-Case10"]
    (tmp_path / "Case01.raw").unlink()
    (tmp_path / "Case10_segmentation.mhd").unlink()
    with pytest.raises(DatasetError, match=r"Case01\.raw, .*Case10_segmentation\.mhd"):
        open_dataset("promise12", tmp_path)


def make_learn2reg(root: Path) -> Path:
    for name in ("LungCT_0001_0000", "LungCT_0001_0001", "LungCT_0002_0000", "LungCT_0002_0001"):
        write(root / "imagesTr" / f"{name}.nii.gz")
        write(root / "masksTr" / f"{name}.nii.gz")
        (root / "keypointsTr").mkdir(exist_ok=True)
        (root / "keypointsTr" / f"{name}.csv").write_text("1,2,1\n5.5,3,0\n")
    meta = {
        "pairings": "paired",
        "labels": {"0": {"0": "background", "1": "lung"}},
        "registration_direction": {"fixed": 0, "moving": 1},
        "training_paired_images": [
            {"0": f"./imagesTr/LungCT_{c}_0000.nii.gz", "1": f"./imagesTr/LungCT_{c}_0001.nii.gz"}
            for c in ("0001", "0002")
        ],
        "registration_val": [
            {"fixed": "./imagesTr/LungCT_0002_0000.nii.gz", "moving": "./imagesTr/LungCT_0002_0001.nii.gz"}
        ],
    }
    (root / "LungCT_dataset.json").write_text(json.dumps(meta))
    return root


def test_learn2reg_has_its_pairs_masks_and_keypoints(tmp_path: Path) -> None:
    (pair,) = open_dataset("learn2reg", make_learn2reg(tmp_path))
    assert pair.id == "LungCT_0002_0000<-LungCT_0002_0001"
    assert pair.intra_subject
    assert pair.fixed_mask is not None
    assert pair.fixed_mask.parent.name == "masksTr"
    assert pair.label_names == {1: "lung"}
    fixed, moving = read_image(pair.fixed), read_image(pair.moving)
    points = read_landmarks(pair, fixed.grid, moving.grid)
    assert points is not None
    # Voxel indices (x, y, z) of a grid at (10, -5, 3) with spacing (1, 1, 2).
    assert points[0] == pytest.approx(np.asarray([[11.0, -3.0, 5.0], [15.5, -2.0, 3.0]]))


def test_learn2reg_without_validation_pairs_has_its_training_pairs(tmp_path: Path) -> None:
    make_learn2reg(tmp_path)
    path = tmp_path / "LungCT_dataset.json"
    meta = json.loads(path.read_text("utf-8"))
    del meta["registration_val"]
    path.write_text(json.dumps(meta))
    assert len(open_dataset("learn2reg", tmp_path)) == 2
    (tmp_path / "imagesTr" / "LungCT_0001_0001.nii.gz").unlink()
    with pytest.raises(DatasetError, match=r"LungCT_0001_0001\.nii\.gz"):
        open_dataset("learn2reg", tmp_path)


def test_pairs_table(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz", "la.nii.gz"):
        write(tmp_path / name)
    (tmp_path / "p.csv").write_text("x,y,z\n1,2,3\n")
    table = tmp_path / "pairs.csv"
    table.write_text(
        "fixed,moving,id,fixed_labels,moving_labels,fixed_points,moving_points,intra_subject\n"
        "a.nii.gz,b.nii.gz,one,la.nii.gz,la.nii.gz,p.csv,p.csv,yes\nb.nii.gz,a.nii.gz,,,,,,\n"
    )
    for root in (table, tmp_path):
        pairs = open_dataset("pairs", root)
        assert [p.id for p in pairs] == ["one", "b<-a"]
        assert [p.intra_subject for p in pairs] == [True, False]
        assert pairs[0].fixed_labels == tmp_path / "la.nii.gz"
        assert pairs[1].fixed_labels is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fixed;moving\na;b\n", "has the columns"),
        ("fixed,moving,colour\na,b,c\n", "wanted are fixed, moving"),
        ("fixed,moving\n", "lists no pair"),
        ("fixed,moving\na,\n", "line 2 needs a fixed and a moving image"),
        ("fixed,moving,intra_subject\na,b,perhaps\n", "intra_subject is yes or no"),
        ("fixed,moving\na,b\n", "missing"),
        ("fixed,moving\na,b,c\n", "no more cells than columns"),
    ],
)
def test_a_wrong_pairs_table_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    with pytest.raises(DatasetError, match=complaint):
        open_dataset("pairs", table)


def test_two_pairs_of_one_id_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz")
    table = tmp_path / "pairs.csv"
    table.write_text("fixed,moving,id\na.nii.gz,a.nii.gz,x\na.nii.gz,a.nii.gz,x\n")
    with pytest.raises(DatasetError, match="occurs twice"):
        open_dataset("pairs", table)


def test_unknown_names_and_absent_folders(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no dataset 'brain'; choose one of"):
        open_dataset("brain", tmp_path)
    for name in dataset_names():
        with pytest.raises(DatasetError, match="does not exist"):
            open_dataset(name, tmp_path / "nowhere")
        with pytest.raises(DatasetError):
            open_dataset(name, tmp_path)


def test_folder_layout(tmp_path: Path) -> None:
    for number in ("01", "02", "10"):
        write(tmp_path / f"img{number}.nii.gz")
        write(tmp_path / f"label{number}.nii.gz")
    assert [p.id for p in open_dataset("folder", tmp_path)] == ["01<-02", "02<-10"]
    (tmp_path / "label02.nii.gz").unlink()
    with pytest.raises(DatasetError, match="label02"):
        open_dataset("folder", tmp_path)


STANDARD = {
    "acdc": (30, "patient007"),
    "prostate_mr_promise12": (24, "00<-01"),
    "abdomen_ct_btcv": (7, "0003<-0005"),
    "abdomen_mr_chaos": (4, "01<-05"),
    "hippocampus_mr_msd": (29, "hippocampus_007<-hippocampus_008"),
    "prostate_mr_prostatex": (1, "ProstateX-0000<-ProstateX-0001"),
    "retina_fire": (2, "A01"),
    "histology_landmarks": (6, "lesions__Izd2-29-041-w35_HE<-lesions__Izd2-29-041-w35_proSPC"),
}


@pytest.mark.parametrize("name", STANDARD)
def test_the_real_collections(data_root: Path, name: str) -> None:
    if not (data_root / name).is_dir():
        pytest.skip(f"{name} is not at {data_root}")
    pairs = open_dataset(name, data_root)
    assert (len(pairs), pairs[0].id) == STANDARD[name]
    assert all(path.is_file() for pair in pairs for path in pair.files())


@pytest.mark.parametrize("name", ["retina_fire", "histology_landmarks"])
def test_real_landmarks_lie_in_their_images(data_root: Path, name: str) -> None:
    if not (data_root / name).is_dir():
        pytest.skip(f"{name} is not at {data_root}")
    for pair in open_dataset(name, data_root):
        fixed, moving = read_image(pair.fixed), read_image(pair.moving)
        points = read_landmarks(pair, fixed.grid, moving.grid)
        assert points is not None
        assert fixed.grid.contains(points[0]).all()
        assert moving.grid.contains(points[1]).all()
        assert metrics.tre(*points).mean() > 1.0
