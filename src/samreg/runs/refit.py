"""A run once more, from its pairs as a person left them: no segmentation, the same images and settings."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samreg.config import RegisterConfig
from samreg.errors import InputError
from samreg.files import sha256_of
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, Roi
from samreg.io.images import read_image
from samreg.notes import collected, note
from samreg.result import RegistrationResult
from samreg.runs.guides import GUIDES, Guides
from samreg.runs.initial import read_initial
from samreg.runs.run_folder import Run, read_run, write_run
from samreg.types import Progress

__all__ = ["as_before", "config_of", "fit_run", "inputs_of", "other_inputs_of", "refit_run"]


def fit_run(
    folder: str | Path,
    *,
    fixed: str | Path | None = None,
    moving: str | Path | None = None,
    progress: Progress | None = None,
) -> RegistrationResult:
    """Register the images of a run again, from the pairs that its files hold now.

    Pairs that are not kept, changed, added and removed segments count (`samreg.runs.pair_files`). All pairs are given
    ones: they and the grey values drive the fit, as with `samreg register --labels-only`. Embeddings, which a run
    folder does not hold, do not.

    Args:
        folder: the run folder.
        fixed: the fixed image, where it is no longer at the place that the manifest names.
        moving: the same of the moving image.
        progress: called along the way.

    Raises:
        InputError: if an image is missing or is not the one that was registered (sha256), or no pair is left of a run
            whose transform is fitted to pairs alone.
    """
    with collected() as notes:
        run = read_run(folder)
        places = inputs_of(run, fixed, moving)
        images = [_image(run, side, places[side]) for side in ("fixed", "moving")]
        config = config_of(run.manifest["config"])
        initial = _initial(run, images[0].grid)
        marks = run.manifest.get("provenance", {}).get("landmarks") or {"weight": 1.0}
        guides = Guides.read(other_inputs_of(run), images[0].grid, images[1].grid, marks["weight"])
    # The pipeline, and torch with it, is loaded after the input was found to be good.
    from samreg.pipeline import register

    pairs = run.pairs if len(run.pairs) else None
    result = register(
        images[0],
        images[1],
        config,
        extra_pairs=pairs,
        find=False,
        initial=initial,
        **guides.arguments,
        progress=progress,
    )
    before = run.manifest["counts"]["pairs"]
    text = f"fitted again from {run.folder}, with {len(run.pairs)} pairs; that run was fitted with {before}"
    return as_before(dataclasses.replace(result, notes=(text, *notes, *result.notes)), run)


def as_before(result: RegistrationResult, run: Run) -> RegistrationResult:
    """The same, in which the pairs of an earlier run keep their numbers and colours."""
    colours = {int(row["id"]): _colour(row["colour"]) for row in run.rows if "colour" in row}
    return dataclasses.replace(result, numbers=_kept_numbers(run, result.pairs), colours=colours)


def _colour(values: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in values)
    return red, green, blue


def _kept_numbers(run: Run, pairs: PairedRois) -> tuple[int, ...]:
    """Numbers of pairs of which some are pairs of a run: those keep theirs, the others get those after all of the run.

    Args:
        run: the earlier run.
        pairs: k pairs.
    """
    known = {
        _regions(a, b): int(row["id"])
        for a, b, row in zip(run.pairs.fixed.rois, run.pairs.moving.rois, run.rows, strict=True)
    }
    # A number that a rejected pair had is not given to another one.
    every = json.loads((run.folder / "pairs.json").read_text(encoding="utf-8"))
    last = max((int(row["id"]) for row in (*every, *run.rows)), default=0)
    numbers: list[int] = []
    for a, b in zip(pairs.fixed.rois, pairs.moving.rois, strict=True):
        number = known.pop(_regions(a, b), None)
        if number is None:
            number = last = last + 1
        numbers.append(number)
    return tuple(numbers)


def _regions(fixed: Roi, moving: Roi) -> tuple[tuple[int, ...] | bytes, ...]:
    return tuple(part for roi in (fixed, moving) for part in (roi.start, roi.mask.shape, roi.mask.tobytes()))


def refit_run(
    folder: str | Path,
    out: str | Path,
    *,
    fixed: str | Path | None = None,
    moving: str | Path | None = None,
    inverse: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RegistrationResult:
    """`fit_run`, and the result in a new run folder: what `samreg fit` and the viewer do.

    Args:
        folder: the run folder.
        out: folder of the new run; must not exist or be empty.
        fixed: as in `fit_run`.
        moving: as in `fit_run`.
        inverse: write the inverse on the moving grid as well.
        overwrite: replace an older run in that place.
        progress: called along the way.

    Raises:
        InputError: as in `fit_run`, or if the new folder cannot be used.
    """
    result = fit_run(folder, fixed=fixed, moving=moving, progress=progress)
    run = read_run(folder)
    inputs = inputs_of(run, fixed, moving)
    chosen = {side: {k: run.manifest["images"][side].get(k) for k in ("frame", "series")} for side in inputs}
    inputs |= other_inputs_of(run)
    write_run(result, out, inputs=inputs, overwrite=overwrite, chosen=chosen, inverse=inverse)
    return result


def inputs_of(run: Run, fixed: str | Path | None = None, moving: str | Path | None = None) -> dict[str, Path]:
    """Where the images of a run are, by side: as given, or else as the manifest says.

    Raises:
        InputError: if one is not there or not the one that was registered.
    """
    found = {}
    for side, given in (("fixed", fixed), ("moving", moving)):
        entry = run.manifest["images"][side]
        place = entry["path"] if given is None else given
        if place is None:
            raise InputError(f"{run.folder}: does not say where its {side} image is; give it by --{side} FILE")
        if not Path(place).exists():
            raise InputError(f"{place}: the {side} image of {run.folder} is not there; give it by --{side} FILE")
        if entry["sha256"] is not None and sha256_of(place) != entry["sha256"]:
            raise InputError(
                f"{place}: is not the {side} image of {run.folder} (another sha256); give that file by --{side} FILE"
            )
        found[side] = Path(place)
    return found


def other_inputs_of(run: Run) -> dict[str, Path]:
    """What else a run was given and its repetition uses again, by role: `initial`, masks.

    Raises:
        InputError: if a file is gone, or another one.
    """
    return {role: path for role in ("initial", *GUIDES) if (path := _other(run, role)) is not None}


def _image(run: Run, side: str, path: Path) -> Image:
    entry = run.manifest["images"][side]
    return read_image(path, frame=entry.get("frame"), series=entry.get("series"))


def _initial(run: Run, grid: Grid) -> DisplacementField | None:
    """The transform that the run started from, where it was given one."""
    path = _other(run, "initial")
    return None if path is None else read_initial(path, grid)


def _other(run: Run, role: str) -> Path | None:
    """The file that a run used in a role, such as `initial` or `fixed_mask`; None if it used none.

    Raises:
        InputError: if it is gone, or another one.
    """
    entry = run.manifest.get("other_inputs", {}).get(role)
    if entry is None:
        return None
    path = Path(entry["path"])
    if not path.exists() or sha256_of(path) != entry["sha256"]:
        raise InputError(f"{path}: {run.folder} used this file ({role}), and it is gone or another; put it back")
    return path


def config_of(entry: Mapping[str, Any]) -> RegisterConfig:
    """The settings that a manifest holds.

    Warns:
        InputWarning: naming settings of another version, which are left out.

    Raises:
        ConfigError: if a value is none that the setting may have.
    """
    unknown: list[str] = []
    config: RegisterConfig = _built(RegisterConfig(), entry, "", unknown)
    if unknown:
        note(f"settings of another version of samreg are left out: {', '.join(unknown)}")
    return config


def _built(default: Any, entry: Mapping[str, Any], prefix: str, unknown: list[str]) -> Any:
    """A dataclass like `default`, with the values of an entry of the manifest; keys it does not know are listed."""
    values: dict[str, Any] = {}
    for name, value in entry.items():
        here = getattr(default, name, None)
        if name not in {f.name for f in dataclasses.fields(default)}:
            unknown.append(prefix + name)
        elif dataclasses.is_dataclass(here):
            values[name] = _built(here, value, f"{prefix}{name}.", unknown)
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(default, **values)
