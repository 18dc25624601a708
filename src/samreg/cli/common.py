"""What several commands share: label files as pairs, and tables on the screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.config import RegisterConfig, preset
from samreg.errors import GeometryError, InputError

if TYPE_CHECKING:
    from samreg.grid import Grid
    from samreg.image import Image
    from samreg.regions import Regions
    from samreg.result import RegistrationResult
    from samreg.rois import PairedRois, RoiSet

__all__ = [
    "asked_preset",
    "check_file",
    "pairs_from_labels",
    "register_with_cache",
    "rois_on",
    "show",
    "summary",
    "table",
]


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
    if rois.grid.ndim != grid.ndim or rois.grid.unit != grid.unit:
        raise GeometryError(
            f"{what} are {rois.grid.ndim}D in {rois.grid.unit} and their image is {grid.ndim}D in {grid.unit}"
        )
    from samreg.field import DisplacementField

    kept, _ = DisplacementField.identity(grid).warp_rois(rois)
    if not len(kept):
        raise GeometryError(f"{what} do not overlap with their image; are they of the same patient and scan?")
    return kept


def pairs_from_labels(fixed: Path, moving: Path, fixed_grid: Grid, moving_grid: Grid) -> PairedRois:
    """Pairs of the regions that two label files have in common, by segment name, or by label value.

    Names count where both files are segmentations (.seg.nrrd); the value counts otherwise.
    """
    from samreg.segmenters.labels import pair_by_name

    sides = []
    named = all(path.name.lower().endswith(".seg.nrrd") for path in (fixed, moving))
    for path, grid in ((fixed, fixed_grid), (moving, moving_grid)):
        sides.append(rois_on(grid, _named_rois(path, named), str(path)))
    return pair_by_name(*sides)


def _named_rois(path: Path, by_name: bool) -> RoiSet:
    from samreg.io.rois import read_rois, read_segmentation

    if by_name or not path.name.lower().endswith(".seg.nrrd"):
        return read_rois(path)
    rois, values = read_segmentation(path)
    return replace(rois, rois=tuple(replace(roi, name=str(v)) for roi, v in zip(rois.rois, values, strict=True)))


def register_with_cache(
    fixed: Image,
    moving: Image,
    config: RegisterConfig,
    *,
    extra_pairs: PairedRois | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> RegistrationResult:
    """`samreg.register`, where the regions of an image that was segmented before come from the cache."""
    from samreg.registration import register_regions

    # The networks go with the call that used them: the fit can have their memory.
    fixed_regions, moving_regions, seconds = _segment_with_cache(fixed, moving, config, progress)
    result = register_regions(fixed_regions, moving_regions, config, extra_pairs=extra_pairs, progress=progress)
    return replace(result, seconds=seconds | result.seconds)


def _segment_with_cache(
    fixed: Image, moving: Image, config: RegisterConfig, progress: Callable[[str, int, int], None] | None
) -> tuple[Regions, Regions, dict[str, float]]:
    from samreg.io.cache import RegionsCache, cached_segment
    from samreg.segmenters.classes import deferred_segmenter

    started = time.perf_counter()
    segmenter = deferred_segmenter(config.segment)
    loaded = time.perf_counter()

    def regions(side: str, image: Image) -> Regions:
        def say(_: str, done: int, total: int) -> None:
            if progress is not None:
                progress(f"segment {side}", done, total)

        return cached_segment(image, config, segmenter, RegionsCache(), progress=say)

    found = regions("fixed", fixed), regions("moving", moving)
    return *found, {"load": loaded - started, "segment": time.perf_counter() - loaded}


def show(*things: object) -> None:
    """Print text or rich tables to stdout."""
    from rich.console import Console

    # Square brackets and colons in paths are no markup.
    console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
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
    parts = [f"{len(result.pairs)} pairs", f"confidence {result.confidence:.2f}"]
    if result.field is not None:
        length = np.linalg.norm(result.field.u, axis=-1)
        parts.append(f"mean displacement {length.mean():.1f} {result.field.grid.unit}")
        parts.append(f"folding {100 * result.field.folding_fraction():.2g} %")
    parts.append(f"{sum(result.seconds.values()):.1f} s")
    notes = [f"note: {text}" for text in result.warnings]
    return [
        ", ".join(parts),
        *notes,
        f"written to {folder}; look at {folder / 'report.html'}, or: samreg view {folder}",
    ]
