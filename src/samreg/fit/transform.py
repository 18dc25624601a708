"""Step 4 as one function: pairs, grey values and embeddings to the transform that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from dataclasses import field as default

import numpy as np
import torch
from torch import Tensor

from samreg.config import FitConfig
from samreg.fit.evidence import ONE_ANATOMY, has_earned_its_place, local_correlation
from samreg.fit.levels import DenseFit, fit_dense
from samreg.fit.problem import DenseProblem
from samreg.fit.resampled import RESAMPLED, apart_if_resampled
from samreg.geometry.field import DisplacementField
from samreg.geometry.frame import to_field
from samreg.geometry.grid import Grid, apply_affine
from samreg.geometry.landmarks import Landmarks
from samreg.geometry.ops.devices import on_device
from samreg.geometry.rois import PairedRois
from samreg.initial.affine import fit_affine, fit_rigid
from samreg.initial.problem import ImagePair
from samreg.initial.pyramid import GreyPyramid
from samreg.initial.start import Start
from samreg.types import Matrix, Progress

__all__ = ["FittedTransform", "fit_transform"]

_LEAST_WEIGHT = 0.05
"""Weight of a doubtful pair in an affine fit, which needs some however doubtful they are."""
_SPREAD = 5
"""Points along each axis that stand for a whole image."""
_NEARLY_ONE = 0.7
"""Local correlation behind the start from which the two images are tried as one body that has deformed. Bent copies
have .56 to .82, lungs of two people .67, others less."""
_MUCH = 0.7
"""Local correlation behind a fit from which grey values of two people say so much that embeddings need not lead as far.
Brains have .73 to .77, lungs .78; abdomens .52 (MR) and .67 (CT), prostates .24 to .48."""
_LESS = 0.2
"""What is left of the weight of the embeddings then."""

_SAME = "one image is the other one resampled behind the affine map: that alone is the result"
_UNEARNED = "edges agree no better behind a dense displacement than behind the affine map: that alone is the result"


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
    with on_device(images.device):
        fitted = _fitted(images, pairs, start, config, progress)
    return replace(fitted, displacement=fitted.displacement.cpu())


def _fitted(
    images: ImagePair, pairs: PairedRois, start: Start, config: FitConfig, progress: Progress | None
) -> FittedTransform:
    """`fit_transform` on the device of the block around it."""
    zero, notes = torch.zeros_like(start.displacement), tuple[str, ...]()
    if config.transform == "none":
        return FittedTransform(None, None, zero)
    if not config.is_dense:
        affine = start.affine
        if not start.refined:
            affine, notes = _global_map(pairs, start.affine, config.transform)
        if images.landmarks is not None:
            affine = pulled(affine, images.landmarks, images.fixed_grid, config.transform)
        return FittedTransform(affine, DisplacementField.from_matrix(affine, images.fixed_grid), zero, notes=notes)
    problem = DenseProblem.of(images, pairs, start, config)
    said = None if progress is None else (lambda done, n: progress("fit", done, n))
    if config.transform == "ddf" and start.pyramid is not None:
        dense, notes = _judged(problem, start, start.pyramid, config, said)
    else:
        dense = fit_dense(problem, config, said)
    moved = to_field(dense.displacement, images.fixed_grid, start.affine)
    return FittedTransform(start.affine, moved, dense.displacement, dense.losses, dense.iterations, notes)


def _judged(
    problem: DenseProblem,
    start: Start,
    pyramid: GreyPyramid,
    config: FitConfig,
    progress: Callable[[int, int], None] | None,
) -> tuple[DenseFit, tuple[str, ...]]:
    """The fit, and a look at edges: without guidance in one anatomy, and left out where it brought nothing."""
    # Embeddings and the regions found with them lead as near as their cells allow: in one anatomy grey values alone
    # go further, and guidance would lead away again.
    alone = _led(config, 0.0, 0.0)
    told = problem.landmarks is not None or (problem.pairs.given is not None and bool(problem.pairs.given.any()))
    if start.alike and not told and apart_if_resampled(pyramid, problem.affine) < RESAMPLED:
        return DenseFit(torch.zeros_like(problem.start)), (_SAME,)

    def correlation(u: Tensor) -> float:
        return local_correlation(pyramid, problem.affine, u)

    one_body = replace(problem, same_body=True)
    may_be_one = not told and (start.alike or correlation(problem.start) > _NEARLY_ONE)
    dense = fit_dense(one_body, alone, progress) if may_be_one else None
    if dense is None or correlation(dense.displacement) <= ONE_ANATOMY:
        # Regions and points that a user gives leave nothing to accident.
        bound = problem.slice_axis is not None or problem.frozen_axis is not None
        other_way = None if start.back is None or told or bound else problem.swapped(start.back)
        dense = fit_dense(problem, config, progress, other_way)
        found = correlation(dense.displacement)
        if found > ONE_ANATOMY:
            dense = fit_dense(replace(one_body, start=dense.displacement), alone)
        elif found > _MUCH and not start.alike and not told:
            dense = fit_dense(replace(problem, start=dense.displacement), _led(config, _LESS, 1.0))
    if told or not start.alike or has_earned_its_place(pyramid, problem.affine, dense.displacement):
        return dense, ()
    return replace(dense, displacement=torch.zeros_like(dense.displacement)), (_UNEARNED,)


def _led(config: FitConfig, features: float, regions: float) -> FitConfig:
    """The settings with so much of the weights that embeddings and regions have in the flow."""
    now = config.flow
    flow = replace(
        now, flow_feature_weight=features * now.flow_feature_weight, flow_roi_weight=regions * now.flow_roi_weight
    )
    return replace(config, flow=flow)


def pulled(affine: Matrix, landmarks: Landmarks, grid: Grid, kind: str) -> Matrix:
    """A rigid or affine map drawn towards landmarks: the least squares of both.

    Points spread evenly over the image stay where the map puts them with a weight of 1 together, landmarks go where
    they should with their weight together.

    Args:
        affine: (d + 1, d + 1) fixed world to moving world.
        landmarks: in world coordinates.
        grid: of the fixed image.
        kind: `rigid` or `affine`.
    """
    d = grid.ndim
    axes = np.meshgrid(*(np.linspace(0, n - 1, _SPREAD) for n in grid.shape[::-1]), indexing="ij")
    spread = grid.index_to_world(np.stack(axes, -1).reshape(-1, d))
    kept = apply_affine(affine, spread)
    weights = np.concatenate(
        [np.full(len(spread), 1 / len(spread)), np.full(len(landmarks), landmarks.weight / len(landmarks))]
    )
    fit = fit_affine if kind == "affine" else fit_rigid
    return fit(np.concatenate([spread, landmarks.fixed]), np.concatenate([kept, landmarks.moving]), weights)


def _global_map(pairs: PairedRois, start: Matrix, kind: str) -> tuple[Matrix, tuple[str, ...]]:
    """The affine or rigid map of the centroids of the pairs, and what the user should know."""
    if len(pairs) < pairs.fixed.grid.ndim + 1:
        return start, (f"{len(pairs)} pairs are too few for a {kind} fit: the start is kept",)
    weights = np.maximum(pairs.weights, _LEAST_WEIGHT) * np.sqrt(pairs.fixed.volumes)
    fit = fit_affine if kind == "affine" else fit_rigid
    return fit(pairs.fixed.centroids, pairs.moving.centroids, weights), ()
