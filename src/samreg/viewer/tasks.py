"""The heavy work of the viewer, as functions that run in a process of their own (`samreg.viewer.worker`)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samreg.errors import InputError
from samreg.geometry.field import DisplacementField
from samreg.io.images import read_image
from samreg.notes import collected, unsaid
from samreg.report.slices import body_in_slices
from samreg.runs.pair_files import why_unused
from samreg.runs.refit import as_before, config_of, inputs_of, refit_run
from samreg.runs.run_folder import Run, read_run, write_run
from samreg.types import Progress
from samreg.viewer.display import Display
from samreg.viewer.volumes import jacobian_volume, write_volume

if TYPE_CHECKING:
    from samreg.geometry.image import Image
    from samreg.viewer.asking import Asking

__all__ = ["TASKS"]


class _Held:
    """What the process keeps between two calls: the images of one run, the open segmenter, and the prompts."""

    folder = ""
    run: Run | None = None
    images: tuple[Image, Image] | None = None
    finder: Any = None
    named: Any = None
    asking: Asking | None = None


def _images(folder: str) -> tuple[Run, tuple[Image, Image]]:
    if _Held.folder != folder or _Held.run is None or _Held.images is None:
        with collected(unsaid):
            run = read_run(folder)
            places = inputs_of(run)
            chosen = {side: {k: run.manifest["images"][side].get(k) for k in ("frame", "series")} for side in places}
            _Held.images = tuple(read_image(places[s], **chosen[s]) for s in ("fixed", "moving"))  # type: ignore[assignment]
        _Held.run, _Held.folder, _Held.asking = run, folder, None
    if _Held.images is None:
        raise InputError(f"{folder}: its images cannot be read")
    return _Held.run, _Held.images


def prompt(progress: Progress, folder: str, side: str, where: dict[str, list[float]]) -> dict[str, Any]:
    """The region at a point or box on one slice; see `Asking.begin`."""
    return _asking(progress, folder).begin(side, where)


def prompt_ready(progress: Progress, folder: str, fixed: list[float], moving: list[float]) -> None:
    """Load the segmenter and encode the slices that a prompt will ask for; see `Asking.ready`."""
    _asking(progress, folder).ready({"fixed": fixed, "moving": moving})


def prompt_more(progress: Progress, folder: str, number: int) -> dict[str, Any]:
    """The counterpart of a prompt, then both through further slices; see `Asking.go_on`."""
    return _asking(progress, folder).go_on(number)


def _asking(progress: Progress, folder: str) -> Asking:
    from samreg.prompt.pair import promptable
    from samreg.regions.find import open_finder
    from samreg.viewer.asking import Asking

    run, images = _images(folder)
    config = config_of(run.manifest["config"])
    if _Held.finder is None or _Held.named != config.segment:
        progress("loading the segmenter", 0, 1)
        _Held.finder, _Held.named, _Held.asking = open_finder(config.segment), config.segment, None
    if _Held.asking is None:
        _Held.asking = Asking(run, images, promptable(_Held.finder), config)
    return _Held.asking


def volume(progress: Progress, folder: str, name: str, path: str) -> None:
    """Write a volume that has to be computed: `before` (the moving image where it was) or `jacobian`."""
    progress(name, 0, 1)
    if name == "jacobian":
        run = read_run(folder)
        body = None
        with contextlib.suppress(InputError):  # without the fixed image the whole field is shown
            body = body_in_slices(_images(folder)[1][0])
        steps, scale = jacobian_volume(run.transform(), body)
        write_volume(steps, Display(run.fixed_grid), Path(path), scale=scale)
        return
    run, (_, moving) = _images(folder)
    warped = DisplacementField.identity(run.fixed_grid).warp(moving)
    write_volume(warped.data, Display(run.fixed_grid), Path(path))


def overlaps(progress: Progress, folder: str) -> dict[int, tuple[float, float | None]]:
    """Dice of the structure of every pair, before and after registration, by the number of the pair."""
    from samreg.metrics.pair_overlap import structure_dice

    progress("overlap", 0, 1)
    run = read_run(folder)
    pairs, rows = run.every
    groups: dict[tuple[int, bool], list[int]] = {}
    for i, row in enumerate(rows):  # a pair that was rejected stands for itself
        alone = int(row["id"]), False
        groups.setdefault((int(row.get("structure", row["id"])), True) if row["keep"] else alone, []).append(i)
    members = list(groups.values())
    before = structure_dice(pairs, members)
    after = None if run.field is None else structure_dice(pairs, members, run.field)
    return {
        int(rows[i]["id"]): (float(before[g]), None if after is None else float(after[g]))
        for g, member in enumerate(members)
        for i in member
    }


def fit(progress: Progress, folder: str, out: str) -> dict[str, Any]:
    """Register again from the pairs as they are now: what `samreg fit` does."""
    return _outcome(refit_run(folder, out, progress=progress), out)


def register(progress: Progress, folder: str, out: str) -> dict[str, Any]:
    """Find the regions of both images, pair them and register; pairs of the run that are kept join as given ones."""
    from samreg.pipeline import register as run_pipeline
    from samreg.regions.cache import RegionsCache

    run, (fixed, moving) = _images(folder)
    current = read_run(folder)
    kept = current.pairs
    with collected() as notes:
        result = run_pipeline(
            fixed,
            moving,
            config_of(run.manifest["config"]),
            cache=RegionsCache(),
            extra_pairs=kept if len(kept) else None,
            progress=progress,
        )
    result = as_before(dataclasses.replace(result, notes=(*notes, *result.notes)), current)
    inputs = inputs_of(run)
    chosen = {side: {k: run.manifest["images"][side].get(k) for k in ("frame", "series")} for side in inputs}
    write_run(result, out, inputs=inputs, chosen=chosen)
    return _outcome(result, out)


def _outcome(result: Any, out: str) -> dict[str, Any]:
    """What the page says of a new result; pairs are counted as its table counts them."""
    rows = json.loads((Path(out) / "pairs.json").read_text(encoding="utf-8"))
    used = sum(not why_unused(row) for row in rows)
    return {"pairs": used, "verdict": result.verdict, "warnings": list(result.warnings)}


TASKS = {
    "overlaps": overlaps,
    "prompt": prompt,
    "prompt_more": prompt_more,
    "prompt_ready": prompt_ready,
    "volume": volume,
    "fit": fit,
    "register": register,
}
"""Name -> function; the first argument is the progress function."""
