"""`samreg pairs`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from samreg.cli.common import show, table
from samreg.errors import InputError

__all__ = ["Pairs"]


@dataclass(frozen=True)
class Pairs:
    """List the pairs of a run; leave some out, or name them, for samreg fit.

    Nothing is deleted: --keep-only with other numbers takes pairs back.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder that samreg register wrote."""
    drop: Annotated[tuple[str, ...], tyro.conf.arg(metavar="IDS")] = ()
    """Numbers of pairs to leave out, for example 3,7."""
    keep_only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="IDS")] = ()
    """Numbers of the pairs to keep, and no others."""
    rename: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID NAME")] = ()
    """A number and the new name of that pair; several of these after each other."""

    def run(self) -> None:
        """Edit, list."""
        import json

        from samreg.runs.pair_files import edit_pairs, why_unused

        if len(self.rename) % 2:
            raise InputError(f"--rename wants a number and a name, for example 3 liver; got {' '.join(self.rename)}")
        names = dict(zip(_numbers(self.rename[::2], "--rename"), self.rename[1::2], strict=True))
        only = _numbers(self.keep_only, "--keep-only") if self.keep_only else None
        edit_pairs(self.run_folder, drop=_numbers(self.drop, "--drop"), keep_only=only, rename=names)
        rows = json.loads((self.run_folder / "pairs.json").read_text(encoding="utf-8"))
        head = ("pair", "name", "used", "similarity", "weight", "fixed", "moving")
        unused = {row["id"]: why_unused(row) for row in rows}
        show(table(head, [_line(row, unused[row["id"]] or "yes") for row in _by_use(rows, unused)]))
        kept, used = sum(row.get("keep", True) for row in rows), sum(not why for why in unused.values())
        show(
            f"{kept} of {len(rows)} pairs are kept, {used} of them used: with a weight, and no background; "
            f"samreg fit {self.run_folder} --out RUN2 registers from what is kept"
        )


def _numbers(words: tuple[str, ...], option: str) -> list[int]:
    parts = [part for word in words for part in word.split(",") if part.strip()]
    try:
        return [int(part) for part in parts]
    except ValueError:
        raise InputError(f"{option} wants numbers of pairs, for example 3,7; got {' '.join(words)}") from None


def _by_use(rows: list[dict[str, Any]], unused: dict[int, str]) -> list[dict[str, Any]]:
    """In the order of the report: pairs that are used first, structures of many slices before others."""
    structure = {row["id"]: row.get("structure", row["id"]) for row in rows}
    use = dict.fromkeys(structure.values(), 0.0)
    for row in rows:
        use[structure[row["id"]]] += 0.0 if unused[row["id"]] else row["confidence"]

    def rank(row: dict[str, Any]) -> tuple[bool, float, float, int]:
        return bool(unused[row["id"]]), -round(use[structure[row["id"]]], 3), -row["confidence"], row["id"]

    return sorted(rows, key=rank)


def _line(row: dict[str, Any], used: str) -> list[str]:
    sizes = [_size(row[side]) for side in ("fixed", "moving")]
    numbers = [f"{row[key]:.2f}" for key in ("similarity", "confidence")]
    return [str(row["id"]), str(row["name"]), used, *numbers, *sizes]


def _size(side: dict[str, Any]) -> str:
    from samreg.report.structures import amount_text

    key = next(k for k in side if k.startswith(("volume_", "area_")))
    what, unit = key.split("_")
    return amount_text(side[key], unit.rstrip("23"), 3 if what == "volume" else 2)
