"""Folders with a dataset.json: the Medical Segmentation Decathlon, AMOS22 and nnU-Net raw data.

Layout: `imagesTr`, `labelsTr` and `dataset.json`. MSD and AMOS list every case under `training`; nnU-Net v2 only states
`file_ending`, and an image is `CASE_0000.ext` (first channel). Without a dataset.json the folders are matched by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samreg.errors import DatasetError
from samreg.io.tables import PairRecord, check_files, one_image, split_image_name
from samreg.lab.datasets.base import Case, by_number, neighbour_pairs

__all__ = ["read_amos22", "read_hippocampus", "read_msd", "read_nnunet"]

_WANTED = "imagesTr and labelsTr with a label map for every image, and the challenge's dataset.json"
_HIPPOCAMPUS = {1: "anterior", 2: "posterior"}
_AMOS_CT_LAST = 500  # AMOS22 numbers its CT cases up to 500 and its MR cases from there on.


def read_nnunet(root: Path) -> list[PairRecord]:
    """Neighbouring cases in the order of their numbers.

    Args:
        root: the folder that holds `imagesTr`.

    Raises:
        DatasetError: if a folder, an image or a label map is missing.
    """
    return neighbour_pairs(*_read_cases(root, "nnunet"))


def read_msd(root: Path) -> list[PairRecord]:
    """A task of the Medical Segmentation Decathlon; as `read_nnunet`."""
    return neighbour_pairs(*_read_cases(root, "msd"))


def read_hippocampus(root: Path) -> list[PairRecord]:
    """The hippocampus task of the Decathlon, or a part of it without its dataset.json; as `read_nnunet`."""
    cases, names = _read_cases(root, "hippocampus_mr_msd")
    return neighbour_pairs(cases, names or _HIPPOCAMPUS)


def read_amos22(root: Path) -> list[PairRecord]:
    """AMOS22: neighbouring CT cases, then neighbouring MR cases.

    Args:
        root: the folder that holds `imagesTr`.

    Raises:
        DatasetError: if a folder, an image or a label map is missing, or no modality has two cases.
    """
    cases, names = _read_cases(root, "amos22")
    pairs: list[PairRecord] = []
    for is_ct in (True, False):
        group = [c for c in cases if (_number(c.id) <= _AMOS_CT_LAST) == is_ct]
        if len(group) > 1:
            pairs += neighbour_pairs(group, names)
    if not pairs:
        raise DatasetError(f"amos22 in {root} has no two cases of one modality; wanted is {_WANTED}")
    return pairs


def _read_cases(root: Path, name: str) -> tuple[list[Case], dict[int, str]]:
    """The training cases in the order of their numbers, and the names of the labels."""
    images, labels = root / "imagesTr", root / "labelsTr"
    check_files(name, root, [f for f in (images, labels) if not f.is_dir()], _WANTED)
    meta = _read_json(root / "dataset.json")
    listed = meta.get("training")
    if isinstance(listed, list) and listed:
        cases, missing = _listed_cases(root, listed)
    else:
        cases, missing = _found_cases(images, labels)
    check_files(name, root, missing, _WANTED)
    if not cases:
        raise DatasetError(f"{name} in {root} has no image in imagesTr; wanted is {_WANTED}")
    return sorted(cases, key=lambda case: by_number(case.id)), _label_names(meta)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path} is not readable JSON ({error}); download it again") from None
    if not isinstance(meta, dict):
        raise DatasetError(f"{path} must hold one JSON object, found a {type(meta).__name__}")
    return meta


def _listed_cases(root: Path, listed: list[Any]) -> tuple[list[Case], list[Path]]:
    cases, missing = [], []
    for row in listed:
        if not isinstance(row, Mapping) or "image" not in row or "label" not in row:
            raise DatasetError(f"{root / 'dataset.json'}: an entry of `training` lacks image or label: {row!r}")
        wanted = [root / str(row["image"]), root / str(row["label"])]
        found = [path if path.is_file() else _first_channel(path) for path in wanted]
        if found[0] is None or found[1] is None:
            missing += [w for w, f in zip(wanted, found, strict=True) if f is None]
        else:
            cases.append(Case(split_image_name(wanted[0])[0], found[0], found[1]))
    return cases, missing


def _first_channel(path: Path) -> Path | None:
    stem, suffix = split_image_name(path)
    channel = path.with_name(f"{stem}_0000{suffix}")
    return channel if channel.is_file() else None


def _found_cases(images: Path, labels: Path) -> tuple[list[Case], list[Path]]:
    cases, missing = [], []
    for image in sorted(images.iterdir()):
        stem, suffix = split_image_name(image)
        # `._name` is what macOS leaves in archives; raw data belong to a header that is listed itself.
        if not image.is_file() or image.name.startswith(".") or suffix in (".raw", ".zraw", ".json", ".txt"):
            continue
        label = one_image(labels, stem)
        if label is None and stem[-5:-4] == "_" and stem[-4:].isdigit():
            if stem[-4:] != "0000":
                continue  # a further channel of a case that is listed by its first
            stem = stem[:-5]
            label = one_image(labels, stem)
        if label is None:
            missing.append(labels / f"{stem}{suffix}")
        else:
            cases.append(Case(stem, image, label))
    return cases, missing


def _label_names(meta: Mapping[str, Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    labels = meta.get("labels")
    for key, value in labels.items() if isinstance(labels, Mapping) else ():
        # MSD writes {"1": "liver"}, nnU-Net v2 {"liver": 1}; regions of several labels have no single value.
        text, number = (value, key) if str(key).isdigit() else (key, value)
        if str(number).isdigit() and int(number) != 0:
            names[int(number)] = str(text)
    return names


def _number(case_id: str) -> int:
    digits = "".join(ch for ch in case_id.rsplit("_", 1)[-1] if ch.isdigit())
    return int(digits) if digits else 0
