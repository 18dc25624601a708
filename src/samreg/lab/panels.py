"""Panels in the manner of the paper's figure 3: paired regions in both images, and the images before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.config import RegisterConfig
from samreg.io.palette import pair_colour
from samreg.io.tables import PairRecord
from samreg.result import RegistrationResult
from samreg.types import Progress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from samreg.geometry.rois import Roi, RoiSet

__all__ = ["draw_panels", "write_panels"]

_MOST_PAIRS = 12


def draw_panels(result: RegistrationResult, title: str = "") -> Figure:
    """Four panels of one registration: fixed and moving with their paired regions, and both blended before and after.

    Of a volume the fixed slice with the most paired area is shown, and the moving slice where the regions that were
    paired with it have the most area. A pair has one colour in both.

    Args:
        result: a registration with a field.
        title: heading.
    """
    from matplotlib.figure import Figure

    fixed, moving = result.fixed, result.moving
    still = fixed if result.field is None else result.field.identity(fixed.grid).warp(moving)
    warped = still if result.field is None else result.field.warp(moving)
    order = np.argsort(-result.pairs.similarity, kind="stable")
    chosen = _fullest_slice(result.pairs.fixed, order)
    here = [int(i) for i in order if _reaches(result.pairs.fixed[int(i)], chosen)][:_MOST_PAIRS]
    partner = _fullest_slice(result.pairs.moving, np.asarray(here, dtype=int))
    figure = Figure(figsize=(12.6, 3.5), layout="constrained")
    axes = figure.subplots(1, 4)
    _show(axes[0], _slice(fixed.grey(), chosen), _ratio(result.pairs.fixed, chosen), "fixed, paired regions")
    _show(axes[1], _slice(moving.grey(), partner), _ratio(result.pairs.moving, partner), "moving, paired regions")
    for i in here:
        for ax, rois, at in ((axes[0], result.pairs.fixed, chosen), (axes[1], result.pairs.moving, partner)):
            mask = _slice(rois.mask(i), at)
            if mask.any() and not mask.all():
                colour = [tuple(c / 255 for c in pair_colour(i))]
                ax.contour(mask.astype(float), levels=[0.5], colors=colour, linewidths=1.3)
    ratio = _ratio(result.pairs.fixed, chosen)
    for ax, image, text in ((axes[2], still, "before"), (axes[3], warped, "after")):
        red, green = _window(_slice(fixed.grey(), chosen)), _window(_slice(image.grey(), chosen))
        ax.imshow(np.stack([red, green, (red + green) / 2], axis=-1), aspect=ratio, interpolation="nearest")
        ax.set_title(f"{text}: fixed red, moving green", fontsize=9)
        ax.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _fullest_slice(rois: RoiSet, indices: np.ndarray) -> tuple[int, int] | None:
    """Array axis and index of the slice in which these regions have the most voxels; None in 2D."""
    if rois.grid.ndim == 2:
        return None
    axis = rois.grid.coarsest_axis
    counts = np.zeros(rois.grid.shape[axis])
    for i in indices:
        roi = rois[int(i)]
        others = tuple(a for a in range(3) if a != axis)
        # Many regions make a better picture than one large one.
        counts[roi.box[axis]] += np.sqrt(roi.mask.sum(axis=others))
    return axis, int(np.argmax(counts)) if counts.any() else rois.grid.shape[axis] // 2


def _reaches(roi: Roi, at: tuple[int, int] | None) -> bool:
    return at is None or roi.start[at[0]] <= at[1] < roi.stop[at[0]]


def _slice(data: np.ndarray, at: tuple[int, int] | None) -> np.ndarray:
    return data if at is None else np.take(data, at[1], axis=at[0])


def _ratio(rois: RoiSet, at: tuple[int, int] | None) -> float:
    spacing = [s for a, s in enumerate(rois.grid.array_spacing) if at is None or a != at[0]]
    return spacing[0] / spacing[1]


def _window(data: np.ndarray) -> np.ndarray:
    low, high = np.percentile(data, [1.0, 99.0])
    result: np.ndarray = np.clip((data - low) / max(high - low, 1e-6), 0.0, 1.0)
    return result


def _show(ax: Axes, data: np.ndarray, ratio: float, text: str) -> None:
    ax.imshow(_window(data), cmap="gray", aspect=ratio, interpolation="nearest")
    ax.set_title(text, fontsize=9)
    ax.set_axis_off()


def write_panels(
    pairs: list[PairRecord],
    folder: Path,
    config: RegisterConfig,
    *,
    progress: Progress | None = None,
) -> list[Path]:
    """Register pairs, with regions from the cache where it has them, and draw the panels of each.

    Args:
        pairs: the pairs.
        folder: made if it does not exist; a PNG file a pair.
        config: settings of the registration.
        progress: called with (stage, done, total).
    """
    from samreg.io.images import read_image
    from samreg.pipeline import register
    from samreg.regions.cache import RegionsCache
    from samreg.runs.shared import shared_finder

    folder.mkdir(parents=True, exist_ok=True)
    finder, cache = shared_finder(config.segment), RegionsCache()
    paths = []
    for done, pair in enumerate(pairs, start=1):
        images = read_image(pair.fixed), read_image(pair.moving)
        figure = draw_panels(register(*images, config, segmenter=finder, cache=cache), pair.id)
        path = folder / f"panels-{done:02d}.png"
        figure.savefig(path, dpi=150)
        paths.append(path)
        if progress:
            progress("panels", done, len(pairs))
    return paths
