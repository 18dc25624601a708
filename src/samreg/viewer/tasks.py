"""The heavy work of the viewer, as functions that run in a process of their own (`samreg.viewer.worker`)."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.errors import InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.rois import PairedRois
from samreg.io.images import read_image
from samreg.notes import collected, unsaid
from samreg.report.slices import body_in_slices
from samreg.runs.pair_files import read_every_pair, why_unused
from samreg.runs.refit import config_of, inputs_of, refit_run
from samreg.runs.run_folder import Run, read_run, write_run
from samreg.types import Points, Progress
from samreg.viewer.display import Display
from samreg.viewer.masks import shown_roi
from samreg.viewer.volumes import jacobian_volume, write_volume

if TYPE_CHECKING:
    from samreg.geometry.image import Image
    from samreg.segmenters.base import Encoding, Masks, Prompts, Segmenter

__all__ = ["TASKS", "Remembering"]

_KEPT = 64
"""Encoded slices that are kept: about 1 MB each with LiteMedSAM."""


class Remembering:
    """A segmenter that keeps the encodings of the slices it saw last, so that a second prompt is answered at once.

    Args:
        segmenter: the segmenter; it has no state, so that an encoding is the same whenever it is made.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._kept: OrderedDict[bytes, Encoding] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._segmenter, name)

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        """As the segmenter does, once for each slice."""
        keys = [hashlib.sha256(np.ascontiguousarray(s).data).digest() + str(s.shape).encode() for s in slices]
        missing = [i for i, key in enumerate(keys) if key not in self._kept]
        for i, encoding in zip(missing, self._segmenter.encode([slices[i] for i in missing]), strict=True):
            self._kept[keys[i]] = encoding
        found = [self._kept[key] for key in keys]
        for key in keys:
            self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        """As the segmenter does."""
        return self._segmenter.prompt(encoding, prompts, multimask=multimask, coarse=coarse)


class _Held:
    """What the process keeps between two calls: the images of one run and the open segmenter."""

    folder = ""
    run: Run | None = None
    images: tuple[Image, Image] | None = None
    finder: Any = None
    named: Any = None


def _images(folder: str) -> tuple[Run, tuple[Image, Image]]:
    if _Held.folder != folder or _Held.run is None or _Held.images is None:
        with collected(unsaid):
            run = read_run(folder)
            places = inputs_of(run)
            chosen = {side: {k: run.manifest["images"][side].get(k) for k in ("frame", "series")} for side in places}
            _Held.images = tuple(read_image(places[s], **chosen[s]) for s in ("fixed", "moving"))  # type: ignore[assignment]
        _Held.run, _Held.folder = run, folder
    if _Held.images is None:
        raise InputError(f"{folder}: its images cannot be read")
    return _Held.run, _Held.images


def prompt(progress: Progress, folder: str, side: str, where: dict[str, list[float]]) -> dict[str, Any]:
    """The region at a point or box, and its counterpart in the other image.

    Args:
        progress: called along the way.
        folder: the run folder.
        side: the image that is prompted.
        where: `point` (x, y, z) or `box` (x, y, z, x, y, z), shown indices of that image.

    Returns:
        Regions of both sides as the page takes them (None where there is no counterpart), similarity, way back,
        confidence, and the reason where there is no counterpart.
    """
    from samreg.prompt import prompt_pair
    from samreg.regions.find import as_finder, open_finder

    run, images = _images(folder)
    config = config_of(run.manifest["config"])
    if _Held.finder is None or _Held.named != config.segment:
        progress("loading the segmenter", 0, 1)
        finder = open_finder(config.segment)
        if finder.segmenter is not None:
            finder = as_finder(Remembering(finder.segmenter))
        _Held.finder, _Held.named = finder, config.segment
    given, other = images if side == "fixed" else images[::-1]
    shown, partner = Display(given.grid), Display(other.grid)
    ((kind, numbers),) = where.items()
    world = shown.world(np.asarray(numbers, dtype=float).reshape(-1, 3)).ravel().tolist()
    answer = prompt_pair(
        given,
        other,
        point=world if kind == "point" else None,
        box=world if kind == "box" else None,
        config=config,
        segmenter=_Held.finder,
        carry=_carry(run, side),
        progress=progress,
    )
    sides = {side: shown_roi(answer.region[0], shown), "moving" if side == "fixed" else "fixed": None}
    if answer.found:
        sides["moving" if side == "fixed" else "fixed"] = shown_roi(answer.pairs.moving[0], partner)
    return {
        **sides,
        "found": answer.found,
        "reason": answer.reason,
        "similarity": float(answer.similarity),
        "cycle": float(answer.cycle),
        "confidence": float(answer.confidence),
    }


def _carry(run: Run, side: str) -> Callable[[Points], Points] | None:
    """Where the run's transform puts points of one image in the other; None where it has none."""
    if run.field is None:
        return None
    return run.field.transform_points if side == "fixed" else run.field.invert_points


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
    """Dice of both regions of every pair, before and after registration, by the number of the pair."""
    from samreg.metrics.pair_overlap import pair_dice

    progress("overlap", 0, 1)
    run = read_run(folder)
    pairs, rows = read_every_pair(run.folder, run.fixed_grid, run.moving_grid)
    before = pair_dice(pairs)
    after = None if run.field is None else pair_dice(pairs, run.field)
    return {
        int(row["id"]): (float(before[i]), None if after is None else float(after[i])) for i, row in enumerate(rows)
    }


def fit(progress: Progress, folder: str, out: str) -> dict[str, Any]:
    """Register again from the pairs as they are now: what `samreg fit` does."""
    return _outcome(refit_run(folder, out, progress=progress), out)


def register(progress: Progress, folder: str, out: str) -> dict[str, Any]:
    """Find the regions of both images, pair them and register; pairs of the run that are kept join as given ones."""
    from samreg.pipeline import register as run_pipeline
    from samreg.regions.cache import RegionsCache

    run, (fixed, moving) = _images(folder)
    kept: PairedRois | None = read_run(folder).pairs
    with collected() as notes:
        result = run_pipeline(
            fixed,
            moving,
            config_of(run.manifest["config"]),
            cache=RegionsCache(),
            extra_pairs=kept if kept is not None and len(kept) else None,
            progress=progress,
        )
    result = dataclasses.replace(result, notes=(*notes, *result.notes))
    inputs = inputs_of(run)
    chosen = {side: {k: run.manifest["images"][side].get(k) for k in ("frame", "series")} for side in inputs}
    write_run(result, out, inputs=inputs, chosen=chosen)
    return _outcome(result, out)


def _outcome(result: Any, out: str) -> dict[str, Any]:
    """What the page says of a new result; pairs are counted as its table counts them."""
    rows = json.loads((Path(out) / "pairs.json").read_text(encoding="utf-8"))
    used = sum(not why_unused(row) for row in rows)
    return {"pairs": used, "verdict": result.verdict, "warnings": list(result.warnings)}


TASKS = {"overlaps": overlaps, "prompt": prompt, "volume": volume, "fit": fit, "register": register}
"""Name -> function; the first argument is the progress function."""
