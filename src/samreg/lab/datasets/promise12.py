"""PROMISE12: T2 prostate MR, MetaImage headers with raw data beside them.

Layout: `CaseNN.mhd`, `CaseNN.raw`, `CaseNN_segmentation.mhd`, `CaseNN_segmentation.raw`, in one folder or in the parts
in which the challenge publishes them (Litjens et al., Medical Image Analysis 2014).
"""

from __future__ import annotations

from pathlib import Path

from samreg.errors import DatasetError
from samreg.io.tables import PairRecord, check_files
from samreg.lab.datasets.base import Case, by_number, neighbour_pairs

__all__ = ["LABEL_NAMES", "read_pairs"]

LABEL_NAMES = {1: "prostate"}
_WANTED = "CaseNN.mhd and CaseNN_segmentation.mhd, each with the raw file its header names"


def read_pairs(root: Path) -> list[PairRecord]:
    """Neighbouring cases in sorted order.

    Args:
        root: a folder that holds the cases, at any depth.

    Raises:
        DatasetError: if there is no case, or a segmentation or a raw file is missing.
    """
    headers = [p for p in root.rglob("Case*.mhd") if not p.stem.endswith("_segmentation")]
    if not headers:
        raise DatasetError(f"promise12 in {root} has no CaseNN.mhd; wanted is {_WANTED}")
    cases, missing = [], []
    for image in sorted(headers, key=lambda path: by_number(path.stem)):
        labels = image.with_name(f"{image.stem}_segmentation.mhd")
        absent = [p for p in (labels, _raw_of(image), _raw_of(labels)) if p is not None and not p.is_file()]
        missing += absent
        if not absent:
            cases.append(Case(image.stem, image, labels))
    check_files("promise12", root, missing, _WANTED)
    return neighbour_pairs(cases, LABEL_NAMES)


def _raw_of(header: Path) -> Path | None:
    """The data file that a MetaImage header names; None if the header is absent or holds the data itself."""
    if not header.is_file():
        return None
    for line in header.read_text(encoding="latin-1").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "ElementDataFile":
            return None if value.strip().upper() in ("LOCAL", "LIST") else header.parent / value.strip()
    raise DatasetError(f"{header} names no ElementDataFile; download it again")
