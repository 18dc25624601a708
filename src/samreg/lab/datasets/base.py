"""What the readers of several layouts share: cases, pairs of neighbours, and their order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from samreg.errors import DatasetError
from samreg.io.tables import PairRecord

__all__ = ["Case", "by_number", "neighbour_pairs"]


@dataclass(frozen=True)
class Case:
    """One image of a dataset with what belongs to it.

    Args:
        id: name of the case.
        image: its image.
        labels: its label map, or None.
        points: its landmarks, or None.
        mask: its mask, or None.
    """

    id: str
    image: Path
    labels: Path | None = None
    points: Path | None = None
    mask: Path | None = None

    def pair_with(self, moving: Case, *, label_names: Mapping[int, str], intra_subject: bool = False) -> PairRecord:
        """The pair with this case as the fixed and `moving` as the moving image."""
        return PairRecord(
            id=f"{self.id}<-{moving.id}",
            fixed=self.image,
            moving=moving.image,
            fixed_labels=self.labels,
            moving_labels=moving.labels,
            fixed_points=self.points,
            moving_points=moving.points,
            fixed_mask=self.mask,
            moving_mask=moving.mask,
            points="index",
            label_names=label_names,
            intra_subject=intra_subject,
        )


def neighbour_pairs(cases: Sequence[Case], label_names: Mapping[int, str]) -> list[PairRecord]:
    """The standard pairs between subjects: in the given order, case i is fixed and case i + 1 is moving.

    Raises:
        DatasetError: if there are fewer than two cases.
    """
    if len(cases) < 2:
        raise DatasetError(f"pairs between subjects need at least two cases, found {len(cases)}: add cases")
    return [a.pair_with(b, label_names=label_names) for a, b in pairwise(cases)]


def by_number(text: str) -> list[tuple[int, int, str]]:
    """A sort key under which case 2 comes before case 10."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
