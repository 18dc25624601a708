"""Learn2Reg: the pairs of a task's dataset JSON, with labels, masks and keypoints where the task has them.

Layout: `TASK_dataset.json`, `imagesTr`, and optionally `labelsTr`, `masksTr`, `keypointsTr` (`keypoints01Tr`, ... where
a case has several partners). Keypoints are rows `x,y,z` of voxel indices without a header. The JSON lists keypoints
with the suffix of an image; the files are CSV (Hering et al., IEEE TMI 2023).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samreg.errors import DatasetError
from samreg.io.tables import PairRecord, check_files, split_image_name

__all__ = ["read_pairs"]

_WANTED = "TASK_dataset.json with registration_val or training_paired_images, and the files it lists"


def read_pairs(root: Path) -> list[PairRecord]:
    """The validation pairs of the task, or its paired training images where it has no validation pairs.

    Args:
        root: the folder that holds the dataset JSON.

    Raises:
        DatasetError: if the JSON is absent or lists no pairs, or an image is missing.
    """
    tables = sorted(root.glob("*dataset.json"))
    if not tables:
        raise DatasetError(f"learn2reg in {root} has no *_dataset.json; wanted is {_WANTED}")
    meta = _read_json(tables[0])
    rows = [*_listed(meta, "registration_val")] or [*_listed(meta, "training_paired_images")]
    if not rows:
        raise DatasetError(f"{tables[0]} lists no pairs; wanted is {_WANTED}")
    names = _label_names(meta)
    paired = str(meta.get("pairings", "")) == "paired"
    pairs, missing = [], []
    for fixed, moving in rows:
        images = root / fixed, root / moving
        absent = [path for path in images if not path.is_file()]
        missing += absent
        if not absent:
            pairs.append(_pair(root, *images, names, paired))
    check_files("learn2reg", root, missing, _WANTED)
    return pairs


def _read_json(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is not readable JSON ({error}); download it again") from None
    if not isinstance(meta, dict):
        raise DatasetError(f"{path} must hold one JSON object, found a {type(meta).__name__}")
    return meta


def _listed(meta: dict[str, Any], key: str) -> list[tuple[str, str]]:
    direction = meta.get("registration_direction") or {"fixed": 0, "moving": 1}
    rows = []
    for row in meta.get(key) or []:
        if "fixed" in row and "moving" in row:
            rows.append((str(row["fixed"]), str(row["moving"])))
        else:  # {"0": image of modality 0, "1": image of modality 1}
            rows.append((str(row[str(direction["fixed"])]), str(row[str(direction["moving"])])))
    return rows


def _label_names(meta: dict[str, Any]) -> dict[int, str]:
    labels = meta.get("labels") or {}
    table = next(iter(labels.values()), {}) if all(isinstance(v, dict) for v in labels.values()) else labels
    return {int(k): str(v) for k, v in table.items() if str(k).isdigit() and int(k) != 0}


def _pair(root: Path, fixed: Path, moving: Path, names: dict[int, str], paired: bool) -> PairRecord:
    fixed_points, moving_points = _keypoints(root, fixed, moving)
    stems = split_image_name(fixed)[0], split_image_name(moving)[0]
    return PairRecord(
        id=f"{stems[0]}<-{stems[1]}",
        fixed=fixed,
        moving=moving,
        fixed_labels=_beside(fixed, "labels"),
        moving_labels=_beside(moving, "labels"),
        fixed_points=fixed_points,
        moving_points=moving_points,
        fixed_mask=_beside(fixed, "masks"),
        moving_mask=_beside(moving, "masks"),
        points="index",
        label_names=names,
        # TASK_CASE_MODALITY: two images of one case show one subject.
        intra_subject=paired or stems[0].rsplit("_", 1)[0] == stems[1].rsplit("_", 1)[0],
    )


def _beside(image: Path, kind: str) -> Path | None:
    path = image.parent.with_name(image.parent.name.replace("images", kind)) / image.name
    return path if path.is_file() and path != image else None


def _keypoints(root: Path, fixed: Path, moving: Path) -> tuple[Path | None, Path | None]:
    part = fixed.parent.name.removeprefix("images")  # Tr or Ts
    for folder in sorted(root.glob(f"keypoints*{part}")):
        files = [folder / f"{split_image_name(image)[0]}.csv" for image in (fixed, moving)]
        if all(path.is_file() for path in files):
            return files[0], files[1]
    return None, None
