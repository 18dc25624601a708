"""Stacks of bright things, some of them found by everything mode, and a segmenter that answers with what is bright."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from samreg.config import SegmentConfig
from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import RoiSet
from samreg.pairs.counterparts import SlicePair
from samreg.pairs.planes import PlaneMaps, Planes
from samreg.regions.prototypes import slice_prototypes
from samreg.regions.regions import FeatureVolume, Regions
from samreg.regions.slices import plan_slices, window
from samreg.segmenters.base import Encoding, Masks, Prompts

CELLS, SIDE = 16, 64
STACK = Grid((2, SIDE, SIDE), (1.0, 1.0, 8.0), (0.0, 0.0, 0.0))


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE))
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


class Threshold:
    """A segmenter that answers a box with what is bright within it."""

    name, fingerprint, engine, input_size = "threshold", "0" * 64, "none", SIDE
    prompt_kind, supports_multimask, whole_cells = "boxes", False, CELLS

    def __init__(self) -> None:
        self.boxes: list[np.ndarray] = []
        self.encoded = 0

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        self.encoded += len(slices)
        return [encoded(pixels) for pixels in slices]

    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        assert prompts.boxes is not None
        self.boxes.append(prompts.boxes)
        grey = functional.interpolate(encoding.features[None, :1], (SIDE, SIDE), mode="bilinear")[0, 0]
        logits = torch.full((len(prompts), 1, SIDE, SIDE), -4.0)
        for row, (x0, y0, x1, y1) in enumerate(prompts.boxes.round().astype(int)):
            inside = grey[max(0, y0) : y1 + 1, max(0, x0) : x1 + 1]
            logits[row, 0, max(0, y0) : y1 + 1, max(0, x0) : x1 + 1] = torch.where(inside > 0.5, 4.0, -4.0)
        return Masks(logits, torch.full((len(prompts), 1), 0.9))


def encoded(pixels: np.ndarray) -> Encoding:
    grey = functional.adaptive_avg_pool2d(torch.from_numpy(np.float32(pixels))[None, None], CELLS)[0]
    return Encoding(torch.cat([grey, 1 - grey, torch.ones_like(grey)]), (SIDE, SIDE), SIDE)


def segmented(slices: list[np.ndarray], outlines: list[tuple[int, np.ndarray]], grid: Grid = STACK) -> Regions:
    """An image of bright things, of which everything mode has found some."""
    image = Image(np.stack(slices).astype(np.float32), grid, "image")
    codes = [encoded(s) for s in slices]
    volumes = []
    for number, mask in outlines:
        full = np.zeros(grid.shape, dtype=bool)
        full[number] = mask
        volumes.append(full)
    prototypes = [slice_prototypes(codes[number], mask[None])[0] for number, mask in outlines]
    plan = plan_slices(grid)
    data = np.stack([c.features.numpy() for c in codes], axis=1).astype(np.float16)
    return Regions(
        image,
        RoiSet.from_masks(volumes, grid, [0.9] * len(volumes)),
        np.asarray(prototypes, dtype=np.float32).reshape(len(outlines), 3),
        FeatureVolume(data, plan.feature_grid((CELLS, CELLS), SIDE / CELLS)),
        0,
        np.asarray([number for number, _ in outlines], dtype=np.int64),
    )


def parts(fixed: Regions, moving: Regions, segmenter: Threshold) -> tuple[Planes, Planes, PlaneMaps]:
    planes = [Planes(r, segmenter, SegmentConfig(), window(r.image)) for r in (fixed, moving)]
    still = torch.zeros(3, *fixed.image.grid.shape)
    frame = Frame(fixed.image.grid, moving.image.grid, np.eye(4))
    return planes[0], planes[1], PlaneMaps(planes[0], planes[1], frame, still)


LARGE, SMALL, AWAY = disc(20, 20, 8), disc(21, 21, 7), disc(46, 44, 9)
EMPTY = np.zeros((SIDE, SIDE))


def pair(
    fixed: np.ndarray,
    moving: np.ndarray,
    agreement: float = 0.9,
    similarity: float = 0.95,
    slices: tuple[int, int] = (0, 0),
) -> SlicePair:
    return SlicePair(fixed, moving, slices, (0.9, 0.9), similarity, agreement)
