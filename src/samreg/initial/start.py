"""The start: an affine map, and where the embeddings put everything, before any pair is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from samreg.config import RegisterConfig
from samreg.initial.descriptors import Descriptors
from samreg.initial.problem import ImagePair
from samreg.initial.search import affine_start, both_ways, on_grid, one_way
from samreg.result import StartRecord
from samreg.types import Matrix

__all__ = ["RoughFit", "Start", "find_start"]


@dataclass(frozen=True, eq=False)
class Start:
    """Where a registration starts.

    Args:
        affine: (d + 1, d + 1) fixed world to moving world.
        guide: (d, *fixed shape) displacement in fixed voxels, array order: where the embeddings put things. Pairs are
            checked against it.
        displacement: (d, *fixed shape) what the dense fit starts from: the guide, or zero where none is wanted.
        descriptors: the embeddings of both images as comparable vectors; None where no setting asks for them.
        record: how the affine map was chosen; None where it was not searched for.
    """

    affine: Matrix
    guide: Tensor
    displacement: Tensor
    descriptors: Descriptors | None = None
    record: StartRecord | None = None


RoughFit = Callable[[ImagePair, Start, RegisterConfig], Tensor]
"""(images, start, settings) -> (d, *fixed shape) displacement in fixed voxels, by the images alone."""


def find_start(images: ImagePair, config: RegisterConfig, refine: RoughFit) -> Start:
    """An affine map and large displacements from the embeddings; between people grey values refine them roughly.

    Args:
        images: both, segmented.
        config: `search` and `verify` decide what is needed.
        refine: the rough fit; it belongs to a later step and is therefore passed in.
    """
    zero = torch.zeros(images.fixed_grid.ndim, *images.fixed_grid.shape)
    start = Start(np.eye(images.fixed_grid.ndim + 1), zero, zero)
    settings, verify = config.fit, config.match.verify
    if not settings.search and not verify and settings.feature_weight == 0:
        return start
    found = Descriptors.of(images.fixed.features, images.moving.features)
    start = replace(start, descriptors=found)
    if not settings.search and not verify:
        return start
    if not images.same_slices:
        affine, record = affine_start(found, images, config.seed)
        start = replace(start, affine=affine, record=record)
    if not settings.is_dense:
        return start
    cells = one_way(found, start.affine, images.stack_axis)
    if not images.same_slices:
        cells = both_ways(found, start.affine, cells)
    guide = on_grid(cells, found.fixed_grid, images.fixed_grid)
    start = replace(start, guide=guide, displacement=guide if settings.search else zero)
    if settings.search and not images.same_slices and settings.similarity_weight > 0:
        # Pairs between people are checked against the images brought near each other, not against the search alone.
        guide = refine(images, start, config)
        start = replace(start, guide=guide, displacement=guide)
    return start
