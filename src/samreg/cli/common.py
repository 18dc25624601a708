"""What several commands share: label files as pairs, and tables on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.config import RegisterConfig, preset
from samreg.errors import GeometryError, InputError
from samreg.geometry.grid import check_pair

if TYPE_CHECKING:
    from samreg.geometry.grid import Grid
    from samreg.geometry.rois import PairedRois, RoiSet
    from samreg.result import RegistrationResult

__all__ = [
    "asked_preset",
    "check_file",
    "pairs_from_labels",
    "rois_on",
    "show",
    "some",
    "summary",
    "table",
]

_NAMED = 10  # regions that a note names


def asked_preset(arguments: Sequence[str]) -> RegisterConfig:
    """The preset named in the arguments: its settings are the defaults of all other options."""
    for i, word in enumerate(arguments):
        if word.startswith("--preset="):
            return preset(word.partition("=")[2])
        if word == "--preset" and i + 1 < len(arguments):
            return preset(arguments[i + 1])
    return preset("default")


def check_file(path: Path, overwrite: bool) -> None:
    """Refuse to write over a file that is there, or into a folder that is not.

    Raises:
        InputError: if the file cannot be written.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; --out wants a file name")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; choose another name, or say --overwrite")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; make it first")


def rois_on(grid: Grid, rois: RoiSet, what: str) -> RoiSet:
    """Regions on the grid of their image; another grid of the same world is resampled, label by label.

    Raises:
        GeometryError: if no region lies within the image.
    """
    if rois.grid.same_as(grid):
        return rois
    check_pair(rois.grid, grid, what, "its image")
    from samreg.geometry.field import DisplacementField

    kept, _ = DisplacementField.identity(grid).warp_rois(rois)
    if not len(kept):
        raise GeometryError(f"{what} do not overlap with their image; are they of the same patient and scan?")
    return kept


def pairs_from_labels(
    fixed: Path, moving: Path, fixed_grid: Grid, moving_grid: Grid, names: Path | None = None
) -> PairedRois:
    """Pairs of the regions that two label files have in common, by name where both have names, else by label value.

    A note names those that one file alone has, and those that have no voxel on the grid of their image.

    Args:
        fixed: label map, segmentation (.seg.nrrd, DICOM SEG) or folder of masks of the fixed image.
        moving: the same of the moving image.
        fixed_grid: grid of the fixed image.
        moving_grid: grid of the moving image.
        names: of label values (ITK-SNAP, dataset.json of nnU-Net); those beside a label map are found without it.
    """
    from samreg.io.known_regions import read_known_regions
    from samreg.io.label_names import read_label_names
    from samreg.notes import note
    from samreg.regions.known import pair_by_name

    given = None if names is None else read_label_names(names)
    files = [(path, read_known_regions(path, given)) for path in (fixed, moving)]
    named = all(known.named for _, known in files)
    sides: list[RoiSet] = []
    for (path, known), grid in zip(files, (fixed_grid, moving_grid), strict=True):
        rois: RoiSet = known.rois if named else known.by_value(path)
        sides.append(rois_on(grid, rois, str(path)))
        if lost := _without(rois, sides[-1]):
            note(f"{path}: {len(lost)} of {len(rois)} regions have no voxel in their image: {some(lost)}")
    pairs = pair_by_name(*sides)
    for path, own, other in ((fixed, sides[0], sides[1]), (moving, sides[1], sides[0])):
        if alone := _without(own, other):
            note(f"{path}: {len(alone)} of {len(own)} regions have no partner and are left out: {some(alone)}")
    return pairs


def _without(rois: RoiSet, others: RoiSet) -> list[str]:
    """Names of regions that no other has."""
    known = {roi.name for roi in others.rois}
    return [roi.name for roi in rois.rois if roi.name not in known]


def some(names: Sequence[object]) -> str:
    """The first names of a list, for a note."""
    return ", ".join(map(str, names[:_NAMED])) + (", ..." if len(names) > _NAMED else "")


def show(*things: object) -> None:
    """Print text or rich tables for people; nothing with `--quiet`."""
    from rich.console import Console

    from samreg.cli.output import current

    if current().quiet:
        return
    # Square brackets and colons in paths are no markup; long paths are not broken.
    console = Console(file=current().stream, highlight=False, soft_wrap=True, markup=False, emoji=False)
    for thing in things:
        console.print(thing)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> object:
    """A rich table: the first column is text, the others are numbers."""
    from rich.table import Table

    made = Table(title=title or None, title_justify="left")
    for i, name in enumerate(head):
        made.add_column(name, justify="left" if i == 0 else "right")
    for row in rows:
        made.add_row(*row)
    return made


def summary(result: RegistrationResult, folder: Path) -> list[str]:
    """What a registration came to, in lines for the screen."""
    n, used = len(result.pairs), len(result.pairs.used)
    counted = f"{n} pairs" if used == n else f"{used} of {n} pairs used"
    parts = [f"verdict {result.verdict}", counted, f"confidence {result.confidence:.2f}"]
    if result.field is not None:
        length = np.linalg.norm(result.field.u, axis=-1)
        parts.append(f"mean displacement {length.mean():.1f} {result.field.grid.unit}")
        parts.append(f"folding {100 * result.field.folding_fraction():.2g} %")
    parts.append(f"{sum(result.seconds.values()):.1f} s")
    notes = [] if result.landmarks is None else [f"{result.landmarks.text} ({result.fixed.grid.unit})"]
    notes += [f"note: {text}" for text in result.notes]
    for check in result.checks:
        if check.message:
            word = "note" if check.state == "pass" else f"{check.state.upper()} ({check.name})"
            notes.append(f"{word}: {check.sentence}")
    return [
        ", ".join(parts),
        *notes,
        f"written to {folder}; look at {folder / 'report.html'}, or: samreg view {folder}",
    ]
