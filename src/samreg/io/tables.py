"""Tables of pairs: PairRecord, one pair of images as files, and the CSV file that lists any pairs at all.

Columns of the file: `fixed` and `moving`, and where there are any `id`, `fixed_labels`, `moving_labels`,
`fixed_points`, `moving_points`, `initial`, `fixed_mask`, `moving_mask`, `fixed_exclude`, `moving_exclude`,
`fixed_guides`, `moving_guides` (landmarks that pull the transform), `fixed_frame`, `moving_frame` (from 1) and
`intra_subject` (yes or no). Paths are relative to the table. Labels and points of a table only score the result;
landmarks are world coordinates.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from samreg.errors import DatasetError
from samreg.io.point_tables import read_text

__all__ = ["PairRecord", "check_files", "one_image", "read_pairs", "split_image_name", "unique_ids"]

IMAGE_SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
_MOST_LISTED = 8
_PATHS = (
    *("fixed_labels", "moving_labels", "fixed_points", "moving_points", "initial"),
    *("fixed_mask", "moving_mask", "fixed_exclude", "moving_exclude", "fixed_guides", "moving_guides"),
)
_NUMBERS = ("fixed_frame", "moving_frame")
_COLUMNS = ("fixed", "moving", "id", *_PATHS, *_NUMBERS, "intra_subject")
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")


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
        fixed_exclude: where the fixed image does not count, or None.
        moving_exclude: where the moving image does not count, or None.
        fixed_guides: landmarks of the fixed image that pull the transform, or None.
        moving_guides: landmarks of the moving image that do, or None.
        initial: transform to start from (a run folder or a file), or None.
        fixed_frame: frame of the fixed file, from 1, or None.
        moving_frame: frame of the moving file, from 1, or None.
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
    fixed_exclude: Path | None = None
    moving_exclude: Path | None = None
    fixed_guides: Path | None = None
    moving_guides: Path | None = None
    initial: Path | None = None
    fixed_frame: int | None = None
    moving_frame: int | None = None
    points: Literal["world", "index"] = "world"
    label_names: Mapping[int, str] = field(default_factory=dict)
    intra_subject: bool = False

    def files(self) -> list[Path]:
        """Every file the pair needs."""
        optional = (self.fixed_labels, self.moving_labels, self.fixed_points, self.moving_points, self.initial)
        masks = (self.fixed_mask, self.moving_mask, self.fixed_exclude, self.moving_exclude)
        rows = (self.fixed, self.moving, *optional, *masks, self.fixed_guides, self.moving_guides)
        return [path for path in rows if path is not None]


def read_pairs(table: Path, *, must_exist: bool = True) -> list[PairRecord]:
    """The pairs of a table.

    Args:
        table: the table, or a folder that holds it as `pairs.csv`.
        must_exist: raise for files that do not exist. Batch work turns this off, because there a missing file is
            the failure of one pair.

    Raises:
        DatasetError: if the table is absent, has no pair, an unknown column or a doubtful value, or names files
            that do not exist.
    """
    table = table / "pairs.csv" if table.is_dir() else table
    if not table.is_file():
        raise DatasetError(f"{table} does not exist; wanted is a table with the columns fixed, moving")
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""))
    columns = [c.strip() for c in reader.fieldnames or []]
    unknown = [c for c in columns if c not in _COLUMNS]
    if unknown or not {"fixed", "moving"} <= set(columns) or len(set(columns)) < len(columns):
        raise DatasetError(
            f"{table} has the columns {', '.join(columns) or 'none'}; wanted are fixed, moving and optionally "
            f"{', '.join(_COLUMNS[2:])}, each once; nothing reads others: remove {', '.join(unknown) or 'the second'}"
        )
    reader.fieldnames = columns
    pairs = [_pair(table, number, row) for number, row in enumerate(reader, start=2)]
    if not pairs:
        raise DatasetError(f"{table} lists no pair; wanted is at least one row below the header")
    if must_exist:
        check_files(
            "pairs", table, [f for p in pairs for f in p.files() if not f.exists()], "every file the table names"
        )
    return unique_ids(pairs, str(table))


def _pair(table: Path, number: int, row: dict[str, str]) -> PairRecord:
    extra = row.pop(None, None)  # type: ignore[call-overload]  # what csv calls the cells beyond the last column
    cells = {key: (value or "").strip() for key, value in row.items()}
    if extra or not cells["fixed"] or not cells["moving"]:
        raise DatasetError(f"{table} line {number} needs a fixed and a moving image and no more cells than columns")
    answer = cells.get("intra_subject", "").lower()
    if answer not in _YES + _NO:
        raise DatasetError(f"{table} line {number}: intra_subject is yes or no, got {answer!r}")
    fixed, moving = table.parent / cells["fixed"], table.parent / cells["moving"]
    name = cells.get("id") or f"{split_image_name(fixed)[0]}<-{split_image_name(moving)[0]}"
    paths = {key: table.parent / cells[key] if cells.get(key) else None for key in _PATHS}
    for key in _NUMBERS:
        if cells.get(key) and not cells[key].isdigit():
            raise DatasetError(f"{table} line {number}: {key} is the number of a frame, from 1, got {cells[key]!r}")
    frames = {key: int(cells[key]) if cells.get(key) else None for key in _NUMBERS}
    return PairRecord(
        id=name,
        fixed=fixed,
        moving=moving,
        intra_subject=answer in _YES,
        **frames,  # type: ignore[arg-type]
        **paths,  # type: ignore[arg-type]  # all of them are files
    )


def check_files(name: str, root: Path, missing: Iterable[object], wanted: str) -> None:
    """Raise with a list of what is missing, if anything is missing.

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
