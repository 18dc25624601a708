"""pairs.csv: any images at all, one pair a row.

Columns: `fixed` and `moving`, and where there are any `id`, `fixed_labels`, `moving_labels`, `fixed_points`,
`moving_points` and `intra_subject` (yes or no). Paths are relative to the table. Landmarks are world coordinates. A
column that nothing would read is refused.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from samreg.errors import DatasetError
from samreg.evaluation.datasets.base import PairRecord, complain, split_image_name, unique_ids
from samreg.io.tables import read_text

__all__ = ["COLUMNS", "read_pairs"]

_PATHS = ("fixed_labels", "moving_labels", "fixed_points", "moving_points")
COLUMNS = ("fixed", "moving", "id", *_PATHS, "intra_subject")
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")


def read_pairs(root: Path, *, check_files: bool = True) -> list[PairRecord]:
    """The pairs of a table.

    Args:
        root: the table, or a folder that holds it as `pairs.csv`.
        check_files: raise for files that do not exist. Batch work turns this off, because there a missing file is
            the failure of one pair.

    Raises:
        DatasetError: if the table is absent, has no pair, an unknown column or a doubtful value, or names files
            that do not exist.
    """
    table = root / "pairs.csv" if root.is_dir() else root
    if not table.is_file():
        raise DatasetError(f"{table} does not exist; wanted is a table with the columns fixed, moving")
    reader = csv.DictReader(io.StringIO(read_text(table), newline=""))
    columns = [c.strip() for c in reader.fieldnames or []]
    unknown = [c for c in columns if c not in COLUMNS]
    if unknown or not {"fixed", "moving"} <= set(columns) or len(set(columns)) < len(columns):
        raise DatasetError(
            f"{table} has the columns {', '.join(columns) or 'none'}; wanted are fixed, moving and optionally "
            f"{', '.join(COLUMNS[2:])}, each once; nothing reads others: remove {', '.join(unknown) or 'the second'}"
        )
    reader.fieldnames = columns
    pairs = [_pair(table, number, row) for number, row in enumerate(reader, start=2)]
    if not pairs:
        raise DatasetError(f"{table} lists no pair; wanted is at least one row below the header")
    if check_files:
        complain("pairs", table, [f for p in pairs for f in p.files() if not f.exists()], "every file the table names")
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
    return PairRecord(
        id=name,
        fixed=fixed,
        moving=moving,
        fixed_labels=paths["fixed_labels"],
        moving_labels=paths["moving_labels"],
        fixed_points=paths["fixed_points"],
        moving_points=paths["moving_points"],
        intra_subject=answer in _YES,
    )
