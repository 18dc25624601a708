"""What a person changes in the pairs of a run: written at once into the files that `samreg fit` reads, and undone.

Every change goes into `edits.json` of the run folder first, then into pairs.json and the segmentations
(`samreg.runs.pair_files`). A change that was cut off in between is finished when the run is opened again. The pairs are
what the files hold; `edits.json` is needed for undo alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import InputError
from samreg.files import write_json
from samreg.geometry.rois import PairedRois, Roi, RoiSet
from samreg.runs.pair_files import pair_rows, put_segments, side_row
from samreg.runs.run_folder import Run
from samreg.viewer.masks import pack_roi, unpack_roi

__all__ = ["Edits"]

_FORMAT = "samreg edits 1"
_SIDES = ("fixed", "moving")
_LONGEST_NAME = 80


class Edits:
    """The pairs of a run folder, with those that are not kept, and the changes made to them.

    Args:
        run: the run folder as it was read.
    """

    def __init__(self, run: Run) -> None:
        self.folder, self.grids = run.folder, {"fixed": run.fixed_grid, "moving": run.moving_grid}
        self.done: list[dict[str, Any]] = []
        self.undone: list[dict[str, Any]] = []
        pending = self._read()
        pairs, rows = run.every
        self.rows: dict[int, dict[str, Any]] = {int(row["id"]): row for row in rows}
        self.rois: dict[int, tuple[Roi, Roi]] = {
            int(row["id"]): (a, b) for row, a, b in zip(rows, pairs.fixed.rois, pairs.moving.rois, strict=True)
        }
        if pending:
            self._put(pending)
            self._save(None)

    @property
    def path(self) -> Path:
        """The file of the changes."""
        return self.folder / "edits.json"

    def _read(self) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            try:
                entry = json.loads(self.path.read_text(encoding="utf-8"))
                if entry["format"] != _FORMAT:
                    raise InputError(f"{self.path}: is of another version of samreg; move it away to start anew")
                self.done, self.undone = list(entry["done"]), list(entry["undone"])
                return list(entry["pending"] or [])
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{self.path}: is damaged; move it away, the pairs are in the other files") from None
        return []

    def keep(self, ids: Iterable[int], kept: bool) -> list[int]:
        """Reject pairs, or take them back.

        Returns:
            The numbers of the pairs that changed.
        """
        numbers = [self._known(i) for i in ids]
        changes = [self._change(i, {**self.rows[i], "keep": kept}) for i in numbers if self.rows[i]["keep"] != kept]
        return self._make("restore" if kept else "reject", changes)

    def keep_only(self, ids: Iterable[int]) -> list[int]:
        """Keep these pairs and reject all others, as one change."""
        only = {self._known(i) for i in ids}
        changes = [
            self._change(i, {**row, "keep": i in only}) for i, row in self.rows.items() if row["keep"] != (i in only)
        ]
        return self._make("keep only", changes)

    def rename(self, number: int, name: str) -> list[int]:
        """Name a pair; an empty name is refused."""
        row, text = self.rows[self._known(number)], " ".join(str(name).split())
        if not text or len(text) > _LONGEST_NAME:
            raise InputError(f"a name has 1 to {_LONGEST_NAME} letters")
        if text == row["name"]:
            return []
        named = tuple(dataclasses.replace(roi, name=text) for roi in self.rois[number])
        return self._make("rename", [self._change(number, {**row, "name": text}, (named[0], named[1]))])

    def outline(self, number: int, side: str, roi: Roi) -> list[int]:
        """Give one region of a pair another outline. The pair is then given, of weight 1: a person says so."""
        if side not in _SIDES:
            raise InputError(f"a side is fixed or moving, got {side!r}")
        row, old = self.rows[self._known(number)], self.rois[number]
        new = dataclasses.replace(roi, name=row["name"], quality=1.0)
        pair = (new, old[1]) if side == "fixed" else (old[0], new)
        rois = RoiSet((new,), self.grids[side])
        changed = {**row, "given": True, "confidence": 1.0, side: side_row(rois, 0, rois.centroids[0])}
        return self._make("outline", [self._change(number, changed, pair)])

    def add(self, fixed: Roi, moving: Roi, name: str, similarity: float, confidence: float) -> list[int]:
        """Add a pair; it is given, and has the next free number."""
        number = max(self.rows, default=0) + 1
        text = " ".join(str(name).split())[:_LONGEST_NAME]
        sides = [
            RoiSet((dataclasses.replace(roi, name=text),), self.grids[side])
            for roi, side in zip((fixed, moving), _SIDES, strict=True)
        ]
        likeness, weight = np.clip([similarity], -1, 1), np.clip([confidence], 0, 1)
        pairs = PairedRois(sides[0], sides[1], likeness, weight, np.ones(1, dtype=bool))
        row = {**pair_rows(pairs)[0], "id": number}
        return self._make("add", [self._change(number, row, (sides[0][0], sides[1][0]))])

    def undo(self) -> list[int]:
        """Take the last change back."""
        if not self.done:
            raise InputError("there is nothing to undo")
        edit = self.done.pop()
        self.undone.append(edit)
        return self._apply([{"id": c["id"], **c["before"]} for c in edit["changes"]])

    def redo(self) -> list[int]:
        """Make the change again that was taken back last."""
        if not self.undone:
            raise InputError("there is nothing to do again")
        edit = self.undone.pop()
        self.done.append(edit)
        return self._apply([{"id": c["id"], **c["after"]} for c in edit["changes"]])

    def _known(self, number: Any) -> int:
        if isinstance(number, bool) or not isinstance(number, int) or number not in self.rows:
            raise InputError(f"there is no pair {number}")
        return number

    def _change(self, number: int, row: dict[str, Any], rois: tuple[Roi, Roi] | None = None) -> dict[str, Any]:
        """One pair before and after; regions only where they changed, a row of None where there is no pair."""
        before: dict[str, Any] = {"row": self.rows.get(number), "rois": None}
        after: dict[str, Any] = {"row": row, "rois": None}
        if rois is not None:
            after["rois"] = [pack_roi(roi) for roi in rois]
            if number in self.rois:
                before["rois"] = [pack_roi(roi) for roi in self.rois[number]]
        return {"id": number, "before": before, "after": after}

    def _make(self, what: str, changes: list[dict[str, Any]]) -> list[int]:
        if not changes:
            return []
        when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self.done.append({"do": what, "at": when, "changes": changes})
        self.undone.clear()
        return self._apply([{"id": c["id"], **c["after"]} for c in changes])

    def _apply(self, states: list[dict[str, Any]]) -> list[int]:
        self._save(states)
        self._put(states)
        self._save(None)
        return [state["id"] for state in states]

    def _save(self, pending: list[dict[str, Any]] | None) -> None:
        write_json(self.path, {"format": _FORMAT, "pending": pending, "done": self.done, "undone": self.undone})

    def _put(self, states: list[dict[str, Any]]) -> None:
        """Bring pairs, and the files, into these states; again does no harm."""
        segments: list[dict[int, Roi | None]] = [{}, {}]
        for state in states:
            number = int(state["id"])
            if state["row"] is None:
                self.rows.pop(number, None)
                self.rois.pop(number, None)
                for side in segments:
                    side[number] = None
                continue
            self.rows[number] = state["row"]
            if state["rois"] is not None:
                a, b = (
                    unpack_roi(entry, self.grids[side].shape) for entry, side in zip(state["rois"], _SIDES, strict=True)
                )
                old = self.rois.get(number)
                self.rois[number] = (a, b)
                for side, new, i in zip(segments, (a, b), (0, 1), strict=True):
                    if old is None or not _same(old[i], new):
                        side[number] = new
        for name, changed in zip(_SIDES, segments, strict=True):
            if changed:
                put_segments(self.folder, name, self.grids[name], changed)
        write_json(self.folder / "pairs.json", [self.rows[number] for number in sorted(self.rows)])


def _same(a: Roi, b: Roi) -> bool:
    return a.name == b.name and a.start == b.start and np.array_equal(a.mask, b.mask)
