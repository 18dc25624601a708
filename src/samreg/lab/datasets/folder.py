"""Plain folders: `imgNN` with `labelNN`, and photographs with landmarks (FIRE retina, histology).

- `img01.nii.gz` and `label01.nii.gz`: neighbouring cases in sorted order are pairs.
- FIRE: `A01_1.jpg`, `A01_2.jpg` and `control_points_A01_1_2.txt` with rows `x1 y1 x2 y2`
  (Hernandez-Matas et al., 2017).
- ProstateX: `PATIENT_t2w.nii.gz` and `PATIENT_gland_SOURCE.nii.gz`.
- Histology (CIMA): `TISSUE__STAIN.jpg` and `TISSUE__STAIN.csv` with columns X, Y (Borovec et al., ICIP 2018).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from samreg.errors import DatasetError
from samreg.io.tables import PairRecord, check_files, split_image_name
from samreg.lab.datasets.base import Case, by_number, neighbour_pairs

__all__ = [
    "read_btcv",
    "read_chaos",
    "read_fire",
    "read_folder",
    "read_histology",
    "read_prostate",
    "read_prostatex",
]

_PROSTATE = {1: "prostate"}
_BTCV = {
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    4: "gallbladder",
    5: "oesophagus",
    6: "liver",
    7: "stomach",
    8: "aorta",
    9: "vena cava",
    10: "portal vein",
    11: "pancreas",
    12: "right adrenal",
    13: "left adrenal",
}
_CHAOS = {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
_WANTED = "imgNN and labelNN files of the same numbers, for example img01.nii.gz and label01.nii.gz"


def read_folder(root: Path) -> list[PairRecord]:
    """Neighbouring cases of a folder of `imgNN` and `labelNN`.

    Raises:
        DatasetError: if there is no image, or a label map is missing.
    """
    return _numbered(root, "folder", {})


def read_prostate(root: Path) -> list[PairRecord]:
    """Prostates of PROMISE12 as such a folder; errors as for `read_folder`."""
    return _numbered(root, "prostate_mr_promise12", _PROSTATE)


def read_btcv(root: Path) -> list[PairRecord]:
    """Abdominal CT of BTCV as such a folder; errors as for `read_folder`."""
    return _numbered(root, "abdomen_ct_btcv", _BTCV)


def read_chaos(root: Path) -> list[PairRecord]:
    """Abdominal MR of CHAOS as such a folder; errors as for `read_folder`."""
    return _numbered(root, "abdomen_mr_chaos", _CHAOS)


def _numbered(root: Path, name: str, label_names: Mapping[int, str]) -> list[PairRecord]:
    images = {split_image_name(p)[0]: p for p in root.glob("img*") if p.is_file()}
    labels = {split_image_name(p)[0]: p for p in root.glob("label*") if p.is_file()}
    if not images:
        raise DatasetError(f"{name} in {root} has no img* file; wanted is {_WANTED}")
    cases, missing = [], []
    for stem in sorted(images, key=by_number):
        number = stem.removeprefix("img")
        if f"label{number}" not in labels:
            missing.append(f"label{number}")
            continue
        cases.append(Case(number, images[stem], labels[f"label{number}"]))
    check_files(name, root, missing, _WANTED)
    return neighbour_pairs(cases, label_names)


def read_prostatex(root: Path) -> list[PairRecord]:
    """Neighbouring patients of ProstateX: `PATIENT_t2w` with `PATIENT_gland_SOURCE`.

    Raises:
        DatasetError: if there is no T2 image, or a gland mask is missing.
    """
    cases, missing = [], []
    for image in sorted(root.glob("*_t2w.*")):
        patient = split_image_name(image)[0].removesuffix("_t2w")
        masks = sorted(root.glob(f"{patient}_gland*"))
        if masks:
            cases.append(Case(patient, image, masks[0]))
        else:
            missing.append(f"{patient}_gland_SOURCE.nii.gz")
    check_files("prostate_mr_prostatex", root, missing, "a gland mask for each PATIENT_t2w image")
    return neighbour_pairs(cases, _PROSTATE)


def read_fire(root: Path) -> list[PairRecord]:
    """The pairs of the FIRE retina dataset, or of part of it; the first image is fixed.

    Raises:
        DatasetError: if there is no table of control points, or an image is missing.
    """
    pattern = re.compile(r"control_points_(.+)_(\d)_(\d)\.txt")
    pairs, missing = [], []
    for table in sorted(root.rglob("control_points_*.txt")):
        match = pattern.fullmatch(table.name)
        if match is None:
            continue
        case, first, second = match.groups()
        found = []
        for index in (first, second):
            image = next(iter(sorted(root.rglob(f"{case}_{index}.jpg"))), None)
            if image is None:
                missing.append(f"{case}_{index}.jpg")
            else:
                found.append(image)
        if len(found) == 2:
            fixed, moving = found
            pairs.append(
                PairRecord(
                    case,
                    fixed,
                    moving,
                    fixed_points=table,
                    moving_points=table,
                    points="index",
                    intra_subject=True,
                )
            )
    check_files("retina_fire", root, missing, "two images for each table of control points")
    if not pairs:
        raise DatasetError(f"retina_fire in {root} has no control_points_CASE_1_2.txt; download FIRE again")
    return pairs


def read_histology(root: Path) -> list[PairRecord]:
    """Neighbouring stains of each tissue, in sorted order.

    Raises:
        DatasetError: if no tissue has two stains, or an image has no landmarks.
    """
    stains: dict[str, list[Case]] = defaultdict(list)
    missing = []
    for image in sorted(p for p in root.iterdir() if p.suffix.lower() in (".jpg", ".png", ".tif")):
        table = image.with_suffix(".csv")
        tissue, _, stain = image.stem.partition("__")
        if not table.is_file():
            missing.append(table)
        elif stain:
            stains[tissue].append(Case(image.stem, image, points=table))
    check_files("histology_landmarks", root, missing, "TISSUE__STAIN.jpg with TISSUE__STAIN.csv")
    pairs = [a.pair_with(b, label_names={}, intra_subject=True) for c in stains.values() for a, b in pairwise(c)]
    if not pairs:
        raise DatasetError(f"histology_landmarks in {root} has no tissue with two stains named TISSUE__STAIN.jpg")
    return pairs
