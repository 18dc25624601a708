"""ACDC: cardiac cine MR, end-diastole (fixed) and end-systole (moving) of the same patient.

Layout: `training/patientXXX` with Info.cfg, patientXXX_frameNN.nii.gz and patientXXX_frameNN_gt.nii.gz; Info.cfg names
the two frames (Bernard et al., IEEE TMI 2018).
"""

from __future__ import annotations

from pathlib import Path

from samreg.errors import DatasetError
from samreg.io.tables import PairRecord, check_files, one_image

__all__ = ["LABEL_NAMES", "read_pairs"]

LABEL_NAMES = {1: "RV", 2: "myocardium", 3: "LV"}
_WANTED = "training/patientXXX with Info.cfg and, for its ED and ES frames, patientXXX_frameNN.nii.gz and ..._gt.nii.gz"


def read_pairs(root: Path) -> list[PairRecord]:
    """All patients, fixed = end-diastole, moving = end-systole.

    Args:
        root: the folder that holds `training` (or `database/training`), or that folder itself.

    Raises:
        DatasetError: if there is no patient, or a frame or its label map is missing.
    """
    folders = [f for f in (root / "training", root / "database" / "training", root) if any(f.glob("patient*/"))]
    if not folders:
        raise DatasetError(f"acdc in {root} has no patient folder; wanted is {_WANTED}")
    pairs, missing = [], []
    for patient in sorted(p for p in folders[0].glob("patient*") if p.is_dir()):
        info = patient / "Info.cfg"
        if not info.is_file():
            missing.append(info)
            continue
        frames = _frames(info)
        found: list[Path] = []
        for phase in ("ED", "ES"):
            for ending in ("", "_gt"):
                stem = f"{patient.name}_frame{frames[phase]:02d}{ending}"
                path = one_image(patient, stem)
                if path is None:
                    missing.append(patient / f"{stem}.nii.gz")
                else:
                    found.append(path)
        if len(found) == 4:
            fixed, fixed_labels, moving, moving_labels = found
            pairs.append(
                PairRecord(
                    patient.name,
                    fixed,
                    moving,
                    fixed_labels,
                    moving_labels,
                    label_names=LABEL_NAMES,
                    intra_subject=True,
                )
            )
    check_files("acdc", root, missing, _WANTED)
    return pairs


def _frames(info: Path) -> dict[str, int]:
    frames = {}
    for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("ED", "ES") and value.strip().isdigit():
            frames[key.strip()] = int(value)
    if set(frames) != {"ED", "ES"}:
        raise DatasetError(f"{info} must name both frames as lines 'ED: 1' and 'ES: 12', found {frames or 'neither'}")
    return frames
