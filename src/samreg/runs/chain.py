"""One run or several after each other as one map, forwards or backwards: what `samreg warp` carries images along."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from samreg.errors import GeometryError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.notes import note
from samreg.runs.run_folder import Run

__all__ = ["Passage", "passage"]


@dataclass(frozen=True, eq=False)
class Passage:
    """A map along which images are carried.

    Args:
        field: on the grid of the result; pulls back from the image that is carried.
        source: grid of the image that images are carried from.
        target: grid of the image that they are carried to.
        source_name: what that image is in its run, `moving` or `fixed`.
        target_name: the same of the other one.
    """

    field: DisplacementField
    source: Grid
    target: Grid
    source_name: str = "moving"
    target_name: str = "fixed"


def passage(runs: Sequence[Run], inverse: bool = False) -> Passage:
    """The map of runs A, B, ..., where the fixed image of B is the moving image of A, and so on.

    Forwards x_moving = T_n(... T_2(T_1(x_fixed))), from the moving image of the last run onto the fixed grid of the
    first; backwards the inverses in the other order, from the fixed image of the first onto the moving grid of the
    last.

    Args:
        runs: one at least.
        inverse: backwards.

    Raises:
        GeometryError: if the images of two runs do not meet.
        InputError: if a run has no transform.

    Warns:
        InputWarning: if the grids meet and the files are different ones.
    """
    for one, other in itertools.pairwise(runs):
        _check_link(one, other)
    fields = [run.inverse() for run in reversed(runs)] if inverse else [run.transform() for run in runs]
    field = fields[0]
    for after in fields[1:]:
        field = field.compose(after)
    first, last = runs[0].fixed_grid, runs[-1].moving_grid
    return Passage(field, first, last, "fixed", "moving") if inverse else Passage(field, last, first)


def _check_link(one: Run, other: Run) -> None:
    if not other.fixed_grid.same_as(one.moving_grid):
        raise GeometryError(
            f"{other.folder}: its fixed image is not the moving image of {one.folder} (their grids differ); give runs "
            "in the order in which each one's fixed image is the moving image of the one before"
        )
    here, there = one.manifest["images"]["moving"], other.manifest["images"]["fixed"]
    if None not in (here["sha256"], there["sha256"]) and here["sha256"] != there["sha256"]:
        note(
            f"the moving image of {one.folder} is {here['name']}, the fixed image of {other.folder} {there['name']}: "
            "their grids are the same, their files are not"
        )
