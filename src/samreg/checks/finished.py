"""What a check looks at: a registration whose transform is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from torch import Tensor
from torch.nn import functional

from samreg.config import RegisterConfig
from samreg.fit.transform import FittedTransform
from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois
from samreg.initial.overlaps import pair_overlaps
from samreg.initial.problem import ImagePair
from samreg.initial.search import compared_fixed, on_grid
from samreg.initial.start import Start
from samreg.regions.regions import Regions
from samreg.regions.slices import body_of
from samreg.result import Agreement
from samreg.types import MaskArray, Points, ScalarArray

__all__ = ["Embeddings", "Finished", "every"]

_BODY_SIZE = 128
"""Voxels along an axis with which a body is measured at most."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What the segmenter makes of both images, side by side after the registration.

    Args:
        fixed: (c, *grid.shape) unit vectors of the fixed image.
        warped: (c, *grid.shape) those of the moving image, where the transform puts them.
        tissue: (*grid.shape) where the fixed image shows the body.
        grid: their cells.
    """

    fixed: Tensor
    warped: Tensor
    tissue: Tensor
    grid: Grid


@dataclass(frozen=True, eq=False)
class Finished:
    """A registration before it is judged.

    Args:
        images: both, segmented.
        pairs: the correspondence.
        start: where the fit started.
        fitted: the transform.
        config: the settings.
        segment: finds regions in a further image, as they were found in both; None where nothing may be segmented.
        embed: the embedding of a further image, with the same network; None where there is none.
        maps: what checks measured at every voxel of the fixed image, by name; they put it here.
    """

    images: ImagePair
    pairs: PairedRois
    start: Start
    fitted: FittedTransform
    config: RegisterConfig
    segment: Callable[[Image], Regions] | None = None
    embed: Callable[[Image], Regions] | None = None
    maps: dict[str, ScalarArray] = field(default_factory=dict)

    @cached_property
    def overlaps(self) -> np.ndarray:
        """Soft IoU of each pair under the transform, or under the start where there is no transform; (k,)."""
        if len(self.pairs) == 0:
            return np.zeros(0)
        affine = self.start.affine if self.fitted.affine is None else self.fitted.affine
        return pair_overlaps(self.pairs, affine, self.fitted.displacement)

    @cached_property
    def fixed_step(self) -> tuple[slice, ...]:
        """Which voxels of the fixed image `fixed_body` speaks of: every n-th along each axis."""
        return every(self.images.fixed_grid.shape)

    @cached_property
    def fixed_body(self) -> MaskArray:
        """Where the fixed image shows the body, on the voxels of `fixed_step`."""
        return body_of(self.images.fixed_grey[self.fixed_step])

    def body_points(self, side: Literal["fixed", "moving"], n: int) -> Points:
        """World points of at most n voxels of one image's body, spread evenly over it, (n, d)."""
        grid = self.images.fixed_grid if side == "fixed" else self.images.moving_grid
        step = every(grid.shape)
        body = self.fixed_body if side == "fixed" else body_of(self.images.moving_grey[step])
        rows = np.argwhere(body)
        rows = rows[np.linspace(0, len(rows) - 1, min(n, len(rows))).astype(int)]
        strides = np.asarray([part.step for part in step])
        return grid.index_to_world((rows * strides)[:, ::-1].astype(float))

    @cached_property
    def agreement(self) -> Agreement:
        """How well the images agree, by what they agree in."""
        weights = self.pairs.weights
        total = float(weights.sum())
        regions = float((self.overlaps * weights).sum() / total) if total > 0 else None
        return Agreement(regions, self._embedding())

    def _embedding(self) -> float | None:
        found = self.embeddings
        return None if found is None else float((found.fixed * found.warped).sum(0)[found.tissue].mean())

    @cached_property
    def embeddings(self) -> Embeddings | None:
        """The embeddings of both images after a dense fit; None without one, and where there is no tissue."""
        found = self.start.descriptors
        if found is None or not self.config.fit.is_dense:
            return None
        tissue = compared_fixed(found, self.images)
        frame = Frame(found.fixed_grid, found.moving_grid, self.start.affine)
        moved = on_grid(self.fitted.displacement, self.images.fixed_grid, found.fixed_grid)
        warped = functional.normalize(frame.warp(found.moving, frame.identity() + moved), dim=0)
        # What a mask leaves out has no descriptor.
        tissue &= warped.any(0)
        return Embeddings(found.fixed, warped, tissue, found.fixed_grid) if tissue.any() else None

    @property
    def confidence(self) -> float:
        """How alike the embeddings are after a dense fit; where that is not known, the median overlap of the pairs.

        Likeness ranks good and bad registrations of different tasks better than overlap does. 0 if nothing is paired.
        """
        if len(self.overlaps) == 0:
            return 0.0
        likeness = self.agreement.embedding
        return float(np.median(self.overlaps)) if likeness is None else max(0.0, likeness)


def every(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The slices that leave at most 128 voxels along each axis."""
    return tuple(slice(None, None, -(-n // _BODY_SIZE)) for n in shape)
