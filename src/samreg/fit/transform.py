"""Step 4 as one function: pairs, grey values and embeddings to the transform that the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as default

import numpy as np
import torch
from torch import Tensor

from samreg.config import FitConfig, RegisterConfig
from samreg.fit.levels import fit_dense, rough_fit
from samreg.fit.problem import DenseProblem
from samreg.fit.solvers.flow import FIELD_SMOOTHING, SMOOTHING_WITHOUT_EMBEDDINGS
from samreg.geometry.field import DisplacementField
from samreg.geometry.frame import to_field
from samreg.geometry.rois import PairedRois
from samreg.initial.affine import fit_affine, fit_rigid
from samreg.initial.problem import ImagePair
from samreg.initial.start import Start
from samreg.types import Matrix, Progress

__all__ = ["FittedTransform", "bring_near", "fit_transform"]

_LEAST_WEIGHT = 0.05
"""Weight of a doubtful pair in an affine fit, which needs some however doubtful they are."""


@dataclass(frozen=True, eq=False)
class FittedTransform:
    """What a fit gave.

    Args:
        affine: (d + 1, d + 1) the affine part, fixed world to moving world; None where no transform was asked for.
        field: the whole transform on the fixed grid; None where no transform was asked for.
        displacement: (d, *fixed shape) the part beside the affine one, in fixed voxels, array order; zero without it.
        losses: each weighted term at the end.
        iterations: steps at each level.
        notes: what the user should know, one sentence each.
    """

    affine: Matrix | None
    field: DisplacementField | None
    displacement: Tensor
    losses: Mapping[str, float] = default(default_factory=dict)
    iterations: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def fit_transform(
    images: ImagePair, pairs: PairedRois, start: Start, config: FitConfig, progress: Progress | None = None
) -> FittedTransform:
    """The transform that the settings ask for.

    Args:
        images: both.
        pairs: the correspondence.
        start: where the fit starts.
        config: kind of transform, weights, levels.
        progress: called along the way.
    """
    zero = torch.zeros_like(start.displacement)
    if config.transform == "none":
        return FittedTransform(None, None, zero)
    if not config.is_dense:
        affine, notes = _global_map(pairs, start.affine, config.transform)
        return FittedTransform(affine, DisplacementField.from_matrix(affine, images.fixed_grid), zero, notes=notes)
    problem = _problem(images, pairs, start, config)
    dense = fit_dense(problem, config, None if progress is None else (lambda done, n: progress("fit", done, n)))
    moved = to_field(dense.displacement, images.fixed_grid, start.affine)
    return FittedTransform(start.affine, moved, dense.displacement, dense.losses, dense.iterations)


def bring_near(images: ImagePair, start: Start, config: RegisterConfig) -> Tensor:
    """The rough fit of `find_start`: one elastic level by the images alone, (d, *fixed shape) in fixed voxels."""
    nothing = PairedRois.none(images.fixed_grid, images.moving_grid)
    return rough_fit(_problem(images, nothing, start, config.fit), config.fit)


def _problem(images: ImagePair, pairs: PairedRois, start: Start, config: FitConfig) -> DenseProblem:
    return DenseProblem(
        images.fixed_grey,
        images.moving_grey,
        images.fixed_grid,
        images.moving_grid,
        start.affine,
        pairs,
        start.descriptors,
        start.displacement,
        images.frozen_axis,
        images.roi_axis,
        FIELD_SMOOTHING if images.segmented else SMOOTHING_WITHOUT_EMBEDDINGS,
        config.similarity,
        start.given,
    )


def _global_map(pairs: PairedRois, start: Matrix, kind: str) -> tuple[Matrix, tuple[str, ...]]:
    """The affine or rigid map of the centroids of the pairs, and what the user should know."""
    if len(pairs) < pairs.fixed.grid.ndim + 1:
        return start, (f"{len(pairs)} pairs are too few for a {kind} fit: the start is kept",)
    weights = np.maximum(pairs.weights, _LEAST_WEIGHT) * np.sqrt(pairs.fixed.volumes)
    fit = fit_affine if kind == "affine" else fit_rigid
    return fit(pairs.fixed.centroids, pairs.moving.centroids, weights), ()
