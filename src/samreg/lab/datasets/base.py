"""PairRecord: one pair of a dataset, and what the readers of all layouts share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from samreg.errors import DatasetError

__all__ = ["Case", "PairRecord", "complain", "neighbour_pairs", "one_image", "split_image_name", "unique_ids"]

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
_MOST_LISTED = 8


@dataclass(frozen=True)
class PairRecord:
    """One pair to register, as files; nothing is read before it is needed.

    Args:
        id: name of the pair, unique in its dataset.
        fixed: the fixed image.
        moving: the moving image.
        fixed_labels: label map of the fixed image, or None.
        moving_labels: label map of the moving image, or None.
        fixed_points: landmarks of the fixed image, or None.
        moving_points: landmarks of the moving image, or None; the same file as `fixed_points` where one table
            holds both.
        fixed_mask: where the fixed image is valid, or None.
        moving_mask: where the moving image is valid, or None.
        points: what the landmark files hold: world coordinates, or continuous voxel indices, (x, y, z).
        label_names: label value -> name.
        intra_subject: whether both images show the same subject.
    """

    id: str
    fixed: Path
    moving: Path
    fixed_labels: Path | None = None
    moving_labels: Path | None = None
    fixed_points: Path | None = None
    moving_points: Path | None = None
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    points: Literal["world", "index"] = "world"
    label_names: Mapping[int, str] = field(default_factory=dict)
    intra_subject: bool = False

    def files(self) -> list[Path]:
        """Every file the pair needs."""
        optional = (self.fixed_labels, self.moving_labels, self.fixed_points, self.moving_points)
        rows = (self.fixed, self.moving, *optional, self.fixed_mask, self.moving_mask)
        return [path for path in rows if path is not None]


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


def complain(name: str, root: Path, missing: Iterable[object], wanted: str) -> None:
    """Raise with a list of what is missing, if anything is.

    Args:
        name: the dataset, as the user calls it.
        root: its folder.
        missing: files or folders that are absent.
        wanted: the layout that is expected, in one sentence.

    Raises:
        DatasetError: if `missing` is not empty.
    """
    rows = [str(item) for item in missing]
    if not rows:
        return
    shown = ", ".join(rows[:_MOST_LISTED])
    more = f" and {len(rows) - _MOST_LISTED} more" if len(rows) > _MOST_LISTED else ""
    raise DatasetError(f"{name} in {root} is incomplete, missing: {shown}{more}; wanted is {wanted}")


def split_image_name(path: Path) -> tuple[str, str]:
    """File name without its image suffix, and the suffix (`.nii.gz` counts as one)."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)], path.name[-len(suffix) :]
    return path.stem, path.suffix


def one_image(folder: Path, stem: str) -> Path | None:
    """The image `folder/stem` with whichever known suffix exists, or None."""
    for suffix in IMAGE_SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    return None


def unique_ids(pairs: Sequence[PairRecord], name: str) -> list[PairRecord]:
    """The pairs, after checking that each id occurs once: records are kept by id.

    Raises:
        DatasetError: if an id occurs twice.
    """
    seen: set[str] = set()
    for pair in pairs:
        if pair.id in seen:
            raise DatasetError(f"{name}: the pair id {pair.id!r} occurs twice; every pair needs an id of its own")
        seen.add(pair.id)
    return list(pairs)


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key under which case 2 comes before case 10."""
    parts = re.split(r"(\d+)", text)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]
