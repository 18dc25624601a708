"""`prompt_pair`: one prompt in the fixed image to one pair of regions, or to the reason why there is none."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from samreg.config import RegisterConfig, chosen
from samreg.errors import ConfigError
from samreg.geometry.grid import check_pair
from samreg.geometry.image import Image
from samreg.prompt.answer import PromptAnswer
from samreg.prompt.prompting import Prompting
from samreg.regions.find import RegionFinder, as_finder, open_finder
from samreg.regions.stack import Stack
from samreg.segmenters.base import Segmenter
from samreg.types import MaskArray, Points, Progress

__all__ = ["PromptAnswer", "prompt_pair", "promptable"]


def prompt_pair(
    fixed: Image,
    moving: Image,
    *,
    point: Sequence[float] | None = None,
    box: Sequence[float] | None = None,
    mask: MaskArray | None = None,
    config: RegisterConfig | None = None,
    preset: str | None = None,
    segmenter: RegionFinder | Segmenter | None = None,
    through: bool = True,
    carry: Callable[[Points], Points] | None = None,
    progress: Progress | None = None,
) -> PromptAnswer:
    """The region at a prompt in the fixed image, and its counterpart in the moving image.

    The region's prototype and place give prompts in the moving image; of the masks they give, the one wins that is
    most like the region, lies where the embeddings carry it, and leads back to the region when asked the same question
    the other way round. Nothing is registered: a few slices of each image are encoded.

    Args:
        fixed: 2D or 3D.
        moving: as many dimensions, same unit.
        point: world position x, y[, z]: LPS mm, or pixels for photographs.
        box: two opposite corners, x0, y0[, z0], x1, y1[, z1], in world coordinates.
        mask: booleans over the fixed grid.
        config: segmenter, slices and the threshold epsilon.
        preset: the name of a preset in place of settings; `default` where neither is given.
        segmenter: a loaded segmenter; otherwise `config.segment.segmenter` is loaded.
        through: follow the region through the slices of a volume; else it lies in one slice.
        carry: where a registration puts points, (n, d) fixed world to (n, d) moving world; the counterpart is looked
            for there first, and elsewhere only where it is not found there.
        progress: called with the stage, the steps done and the steps in all.

    Raises:
        ConfigError: if not exactly one prompt is given, the segmenter takes no prompts, there is no such preset, or
            settings are given as well.
        GeometryError: if the prompt lies outside the fixed image, or the images do not fit together.
        InputError: if no region answers to the prompt.
    """
    if sum(p is not None for p in (point, box, mask)) != 1:
        raise ConfigError("give exactly one prompt: a point, a box or a mask")
    check_pair(fixed.grid, moving.grid, fixed.name, moving.name)
    config = chosen(config, preset)
    say = progress or (lambda *_: None)
    begun = time.perf_counter()
    answering = promptable(open_finder(config.segment) if segmenter is None else as_finder(segmenter))
    stacks = [Stack(image, answering, config.segment) for image in (fixed, moving)]
    work = Prompting(stacks[0], stacks[1], config, through=through, carry=carry)
    loaded = time.perf_counter()
    say("region", 0, 3)
    work.find_region(point, box, mask)
    found = time.perf_counter()
    say("counterpart", 1, 3)
    work.find_counterpart()
    say("through slices", 2, 3)
    for _ in work.steps():
        pass
    answer = work.answer()
    say("done", 3, 3)
    seconds = {"load": loaded - begun, "region": found - loaded, "counterpart": time.perf_counter() - found}
    return dataclasses.replace(answer, seconds=seconds)


def promptable(finder: RegionFinder) -> Segmenter:
    """The segmenter of a finder that takes prompts.

    Raises:
        ConfigError: if it takes none.
    """
    if finder.segmenter is None:
        raise ConfigError(f"{finder.name} segments fixed classes and takes no prompts; name one of `samreg models`")
    return finder.segmenter
