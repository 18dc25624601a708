"""The pairs of a run folder: pairs.json, the segmentations and the label maps; and what a person changes in them.

`pairs.json` has a row a pair. In both `*_rois.seg.nrrd` the segment of pair 3 has the ID `pair_3`. Reading takes the
files as they are now:

- a row with `"keep": false`, or a pair whose segment was removed or emptied in one of the files, is left out;
- a segment that was changed has its new outline;
- segments that were added to both files under one name are a new pair, given and of confidence 1.

The label maps are for looking at: they are written, never read.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import InputError
from samreg.files import write_json
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid, check_pair
from samreg.geometry.rois import PairedRois, Roi, RoiSet
from samreg.io.rois import read_segmentation, write_label_map, write_segmentation
from samreg.io.segments import entries_of, segment_entries
from samreg.notes import note
from samreg.report.structures import Structure, structures_of

__all__ = [
    "edit_pairs",
    "kept_of",
    "pair_rows",
    "put_segments",
    "read_every_pair",
    "segment_id",
    "side_row",
    "why_unused",
    "write_pair_files",
]

_SIDES = ("fixed", "moving")


def write_pair_files(
    pairs: PairedRois,
    folder: Path,
    structures: Sequence[Structure] | None = None,
    numbers: Sequence[int] | None = None,
) -> None:
    """Write pairs.json, both segmentations and both label maps.

    Args:
        pairs: the pairs.
        folder: where.
        structures: what they make up; found here otherwise.
        numbers: of the pairs; 1 to K by default.
    """
    numbers = list(range(1, len(pairs) + 1)) if numbers is None else list(numbers)
    known = structures_of(pairs, numbers=numbers) if structures is None else structures
    owner = {row: structure for structure in known for row in structure.rows}
    colours = [{"Color": " ".join(f"{c / 255:.6g}" for c in owner[i].colour)} for i in range(len(pairs))]
    ids = [segment_id(number) for number in numbers]
    names = [_segment_name(number, roi.name) for number, roi in zip(numbers, pairs.fixed.rois, strict=True)]
    for side, rois in zip(_SIDES, (pairs.fixed, pairs.moving), strict=True):
        write_segmentation(rois, folder / f"{side}_rois.seg.nrrd", ids, names, colours)
        write_label_map(rois, folder / f"{side}_rois.nii.gz", numbers)
    rows = pair_rows(pairs)
    for i, row in enumerate(rows):
        row |= {
            "id": numbers[i],
            "structure": owner[i].number,
            "background": owner[i].background,
            "colour": list(owner[i].colour),
        }
    write_json(folder / "pairs.json", rows)


def segment_id(number: int) -> str:
    """ID of the segments of a pair in both files."""
    return f"pair_{number}"


def _segment_name(number: int, name: str) -> str:
    return f"pair {number}" + (f": {name}" if name else "")


def pair_rows(pairs: PairedRois) -> list[dict[str, Any]]:
    """The rows of pairs.json: id from 1, name, whether it was given, how it came about, similarity,
    confidence, each side's numbers.
    """
    centres = pairs.fixed.centroids, pairs.moving.centroids
    return [
        {
            "id": i + 1,
            "name": pairs.fixed[i].name,
            "keep": True,
            "given": bool(pairs.is_given[i]),
            "kind": str(pairs.kinds[i]),
            "similarity": float(pairs.similarity[i]),
            "confidence": float(pairs.weights[i]),
            "fixed": side_row(pairs.fixed, i, centres[0][i]),
            "moving": side_row(pairs.moving, i, centres[1][i]),
        }
        for i in range(len(pairs))
    ]


def side_row(rois: RoiSet, i: int, centroid: np.ndarray) -> dict[str, Any]:
    """Centroid, size, bounding box and quality of one region."""
    roi, grid = rois[i], rois.grid
    size = f"{'volume' if grid.ndim == 3 else 'area'}_{grid.unit}{grid.ndim}"
    return {
        f"centroid_{grid.unit}": [float(c) for c in centroid],
        size: float(roi.n_voxels * grid.voxel_volume),
        "n_voxels": roi.n_voxels,
        # Voxel indices (x, y, z): the first voxel and the last.
        "box_first_vox": [int(a) for a in roi.start[::-1]],
        "box_last_vox": [int(b) - 1 for b in roi.stop[::-1]],
        "quality": float(roi.quality),
    }


def why_unused(row: Mapping[str, Any]) -> str:
    """Why a row of pairs.json is no pair that is used, in the words of the report; empty where it is one."""
    if not row.get("keep", True):
        return "rejected"
    if row.get("background", False):
        return "background"
    return "" if row["confidence"] > 0 else "weight 0"


def kept_of(pairs: PairedRois, rows: list[dict[str, Any]]) -> tuple[PairedRois, list[dict[str, Any]]]:
    """Those of `read_every_pair` that a person has not left out."""
    kept = [i for i, row in enumerate(rows) if row["keep"]]
    return pairs.select(kept), [rows[i] for i in kept]


def read_every_pair(folder: Path, fixed: Grid, moving: Grid) -> tuple[PairedRois, list[dict[str, Any]]]:
    """The pairs of a run folder as its files are now, also those that are not kept, and the row of each.

    Args:
        folder: the run folder.
        fixed: grid of the fixed image.
        moving: grid of the moving image.

    Raises:
        InputError: if a file is damaged or makes no sense; KeyError and TypeError where a row lacks what it needs.

    Warns:
        InputWarning: naming pairs of which a segment is missing, and added segments without a partner.
    """
    rows = _rows(folder)
    grids = fixed, moving
    segments = [
        _segments(folder / f"{side}_rois.seg.nrrd", grid, bool(rows)) for side, grid in zip(_SIDES, grids, strict=True)
    ]
    names = [segment_id(row["id"]) for row in rows]
    kept: list[dict[str, Any]] = []
    rois: list[tuple[Roi, Roi]] = []
    for row, name in zip(rows, names, strict=True):
        missing = [side for side, found in zip(_SIDES, segments, strict=True) if name not in found]
        if missing and not row["keep"]:
            continue
        if missing:
            note(f"{folder}: pair {row['id']} is left out, its segment is missing in the {' and '.join(missing)} file")
            continue
        kept.append(row)
        here, there = (dataclasses.replace(found[name], name=row["name"]) for found in segments)
        rois.append((here, there))
    # Runs of before this key gave a name to the pairs that were given, and to no others.
    given = [bool(row.get("given", row["name"] != "")) for row in kept]
    numbers = ([float(row[key]) for row in kept] for key in ("similarity", "confidence"))
    similarity, confidence = (np.asarray(values, dtype=float) for values in numbers)
    pairs = PairedRois(
        RoiSet(tuple(a for a, _ in rois), fixed),
        RoiSet(tuple(b for _, b in rois), moving),
        similarity,
        confidence,
        np.asarray(given, dtype=bool),
        # Runs of before this key do not say.
        np.asarray(
            [str(row.get("kind", "given" if g else "found")) for row, g in zip(kept, given, strict=True)], dtype=str
        ),
    )
    added = _added(folder, [{k: v for k, v in found.items() if k not in names} for found in segments], grids)
    if len(added):
        first = max((row["id"] for row in rows), default=0)
        kept += [row | {"id": first + row["id"]} for row in pair_rows(added)]
        pairs = pairs.concatenate(added)
    return pairs, kept


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / "pairs.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    for row in rows:
        row.setdefault("keep", True)
        if not isinstance(row["keep"], bool):
            raise InputError(f"{path}: keep of pair {row['id']} is {row['keep']!r}; write true or false")
    repeated = [number for number, count in Counter(row["id"] for row in rows).items() if count > 1]
    if repeated:
        raise InputError(f"{path}: the id {repeated[0]} occurs twice; give every pair a number of its own")
    return rows


def _segments(path: Path, grid: Grid, expected: bool) -> dict[str, Roi]:
    """Segment ID -> region on a grid; empty segments have none.

    Args:
        path: the segmentation.
        grid: the grid of its image.
        expected: whether a file without segments is an error.
    """
    if not expected and not any("ID" in entry for entry in segment_entries(path)):
        return {}
    rois, found = _read(path)
    if rois.grid.shape == grid.shape:
        rois = RoiSet(rois.rois, grid)
    else:  # 3D Slicer may save the part that has segments
        check_pair(rois.grid, grid, str(path), "its image")
        rois, kept = DisplacementField.identity(grid).warp_rois(rois)
        found = [found[i] for i in kept]
    return {entry["ID"].strip(): roi for entry, roi in zip(found, rois.rois, strict=True)}


def _read(path: Path) -> tuple[RoiSet, list[Mapping[str, str]]]:
    rois, values = read_segmentation(path)
    entries = entries_of(rois, values, segment_entries(path))
    if entries is None:
        raise InputError(f"{path}: its segments cannot be told apart; give each a name of its own and save it again")
    return rois, entries


def _added(folder: Path, segments: list[dict[str, Roi]], grids: tuple[Grid, Grid]) -> PairedRois:
    """Pairs of the segments that a person added to both files under one name."""
    by_name: list[dict[str, Roi]] = []
    for side, found in zip(_SIDES, segments, strict=True):
        repeated = [name for name, n in Counter(roi.name for roi in found.values()).items() if n > 1]
        if repeated:
            text = f"two segments named {repeated[0]!r} were added to the {side} file"
            raise InputError(f"{folder}: {text}; give each a name of its own")
        by_name.append({roi.name: roi for roi in found.values()})
    common = [name for name in by_name[0] if name in by_name[1]]
    for side, other, found in zip(_SIDES, _SIDES[::-1], by_name, strict=True):
        alone = [name for name in found if name not in common]
        if alone:
            text = f"no segment was added to the {other} file under the name {', '.join(alone)}"
            note(f"{folder}: {text}; what was added to the {side} file is left out")
    here, there = (
        RoiSet(tuple(found[name] for name in common), grid) for found, grid in zip(by_name, grids, strict=True)
    )
    return PairedRois(here, there, np.ones(len(common)), np.ones(len(common)), np.ones(len(common), dtype=bool))


def edit_pairs(
    folder: str | Path,
    *,
    drop: Iterable[int] = (),
    keep_only: Iterable[int] | None = None,
    rename: Mapping[int, str] | None = None,
) -> None:
    """Mark pairs as kept or not, or name them, in the files of a run folder.

    Nothing is deleted: `keep_only` with other numbers takes pairs back. Names are written into pairs.json and both
    segmentations.

    Args:
        folder: the run folder.
        drop: numbers of pairs that are to be left out.
        keep_only: numbers of all pairs that are to be kept.
        rename: number -> name.

    Raises:
        InputError: if there is no such pair, a name is empty, or the folder is no run folder.
    """
    source = Path(folder)
    try:
        rows = _rows(source)
        known = {int(row["id"]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{source}: has no pairs.json that can be read; give the --out of samreg register") from None
    drop, names = set(drop), {number: " ".join(name.split()) for number, name in (rename or {}).items()}
    only = None if keep_only is None else set(keep_only)
    unknown = sorted((drop | (only or set()) | set(names)) - known)
    if unknown:
        raise InputError(f"{source}: has no pair {unknown[0]}; its pairs are {_listed(sorted(known))}")
    if "" in names.values():
        raise InputError("a name of a pair is empty: give some letters")
    for row in rows:
        if only is not None:
            row["keep"] = row["id"] in only
        if row["id"] in drop:
            row["keep"] = False
        row["name"] = names.get(row["id"], row["name"])
    if names:
        for side in _SIDES:
            path = source / f"{side}_rois.seg.nrrd"
            rois, entries = _read(path)
            changed = {segment_id(number): _segment_name(number, name) for number, name in names.items()}
            write_segmentation(
                rois, path, entries=[{**e, "Name": changed.get(e["ID"].strip(), e.get("Name", ""))} for e in entries]
            )
    write_json(source / "pairs.json", rows)


def put_segments(folder: Path, side: str, grid: Grid, regions: Mapping[int, Roi | None]) -> None:
    """Change, add or remove the segments of pairs in one file; all others stay, with what Slicer says of them.

    Args:
        folder: the run folder.
        side: `fixed` or `moving`.
        grid: of the image of that side.
        regions: number of a pair -> its region, named as the pair; None removes its segment.
    """
    path = folder / f"{side}_rois.seg.nrrd"
    rois: list[Roi] = []
    entries: list[dict[str, str]] = []
    if any("ID" in entry for entry in segment_entries(path)):
        found, old = _read(path)
        if found.grid.shape != grid.shape:
            found, kept = DisplacementField.identity(grid).warp_rois(found)
            old = [old[i] for i in kept]
        rois, entries = list(found.rois), [dict(entry) for entry in old]
    for number, roi in regions.items():
        where = [i for i, entry in enumerate(entries) if entry["ID"].strip() == segment_id(number)]
        if roi is None:
            for i in where:
                del rois[i], entries[i]
        elif where:
            rois[where[0]] = roi
            entries[where[0]]["Name"] = _segment_name(number, roi.name)
        else:
            rois.append(roi)
            entries.append({"ID": segment_id(number), "Name": _segment_name(number, roi.name)})
    for entry in entries:
        # A region that changed may overlap its neighbours now: layers are found anew.
        entry.pop("LabelValue", None)
        entry.pop("Layer", None)
    ids, names = [entry["ID"] for entry in entries], [entry.get("Name", "") for entry in entries]
    write_segmentation(RoiSet(tuple(rois), grid), path, ids, names, entries)


def _listed(numbers: list[int]) -> str:
    runs = f"{numbers[0]} to {numbers[-1]}" if numbers else "none"
    return runs if not numbers or len(numbers) == numbers[-1] - numbers[0] + 1 else ", ".join(map(str, numbers))
