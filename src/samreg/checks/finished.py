"""What a check looks at: a registration whose transform is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch.nn import functional

from samreg.config import RegisterConfig
from samreg.fit.transform import FittedTransform
from samreg.geometry.frame import Frame
from samreg.geometry.rois import PairedRois
from samreg.initial.overlaps import pair_overlaps
from samreg.initial.problem import ImagePair
from samreg.initial.search import on_grid, tissue_cells
from samreg.initial.start import Start
from samreg.result import Agreement

__all__ = ["Finished"]


@dataclass(frozen=True, eq=False)
class Finished:
    """A registration before it is judged.

    Args:
        images: both, segmented.
        pairs: the correspondence.
        start: where the fit started.
        fitted: the transform.
        config: the settings.
    """

    images: ImagePair
    pairs: PairedRois
    start: Start
    fitted: FittedTransform
    config: RegisterConfig

    @cached_property
    def overlaps(self) -> np.ndarray:
        """Soft IoU of each pair under the transform, or under the start where there is no transform; (k,)."""
        if len(self.pairs) == 0:
            return np.zeros(0)
        affine = self.start.affine if self.fitted.affine is None else self.fitted.affine
        return pair_overlaps(self.pairs, affine, self.fitted.displacement)

    @cached_property
    def agreement(self) -> Agreement:
        """How well the images agree, by what they agree in."""
        weights = self.pairs.weights
        total = float(weights.sum())
        regions = float((self.overlaps * weights).sum() / total) if total > 0 else None
        return Agreement(regions, self._embedding())

    def _embedding(self) -> float | None:
        found = self.start.descriptors
        if found is None or not self.config.fit.is_dense:
            return None
        tissue = tissue_cells(self.images.fixed_grey, self.images.fixed_grid, found.fixed_grid)
        if not tissue.any():
            return None
        frame = Frame(found.fixed_grid, found.moving_grid, self.start.affine)
        moved = on_grid(self.fitted.displacement, self.images.fixed_grid, found.fixed_grid)
        warped = functional.normalize(frame.warp(found.moving, frame.identity() + moved), dim=0)
        return float((found.fixed * warped).sum(0)[tissue].mean())

    @property
    def confidence(self) -> float:
        """How alike the embeddings are after a dense fit; where that is not known, the median overlap of the pairs.

        Likeness ranks good and bad registrations of different tasks better than overlap does. 0 if nothing is paired.
        """
        if len(self.overlaps) == 0:
            return 0.0
        likeness = self.agreement.embedding
        return float(np.median(self.overlaps)) if likeness is None else max(0.0, likeness)
