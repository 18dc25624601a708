"""From two sets of regions to pairs and a transform: start, pair, refine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from dataclasses import field as default
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.config import DENSE, RegisterConfig, idle_settings
from samreg.field import DisplacementField
from samreg.fitting.affine import fit_affine, fit_rigid
from samreg.fitting.dense import DenseProblem, fit_dense, rough_fit
from samreg.fitting.flow import FIELD_SMOOTHING, SMOOTHING_WITHOUT_EMBEDDINGS
from samreg.fitting.frames import Frame, to_field
from samreg.grid import Grid
from samreg.lifting import lift
from samreg.pairing import affine_of_pairs, pair_overlaps, pair_regions
from samreg.preprocess import is_thick, plan_slices, window
from samreg.regions import Regions
from samreg.rois import PairedRois
from samreg.start import Descriptors, affine_start, both_ways, on_grid, one_way, tissue_cells
from samreg.types import Matrix

__all__ = ["LOW_CONFIDENCE", "Alignment", "align", "slices_correspond"]

LOW_CONFIDENCE = 0.4
"""Confidence below which a run warns."""
_MAX_FOLDED = 1e-3
_LEAST_WEIGHT = 0.05
"""Weight of a doubtful pair in an affine fit, which needs some however doubtful they are."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """What `align` found; the fields are those of `RegistrationResult`."""

    pairs: PairedRois
    affine: Matrix | None
    field: DisplacementField | None
    confidence: float
    losses: dict[str, float]
    seconds: dict[str, float]
    warnings: tuple[str, ...]
    notes: dict[str, Any] = default(default_factory=dict)


def slices_correspond(fixed: Regions, moving: Regions) -> bool:
    """Whether both images are the same stack of thick slices, so that slice i shows the same place in both."""
    grid, axis = fixed.image.grid, fixed.slice_axis
    return axis is not None and moving.slice_axis == axis and is_thick(grid, axis) and grid.same_as(moving.image.grid)


def align(
    fixed: Regions,
    moving: Regions,
    config: RegisterConfig,
    *,
    extra_pairs: PairedRois | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Alignment:
    """Pair regions and fit a transform; see `samreg.registration.register_regions`."""
    work = _Work(fixed, moving, config)
    with work.stage("start"):
        work.find_start(extra_pairs)
    with work.stage("pair"):
        pairs = work.pair(extra_pairs)
    with work.stage("fit"):
        return work.fit(pairs, progress)


def _with_axis(regions: Regions, slice_axis: Literal["auto", "0", "1", "2"]) -> Regions:
    return replace(regions, slice_axis=plan_slices(regions.image.grid, slice_axis).axis)


@dataclass
class _Stage:
    work: _Work
    name: str
    began: float = 0.0

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.work.seconds[self.name] = time.perf_counter() - self.began


class _Work:
    """One alignment on its way."""

    def __init__(self, fixed: Regions, moving: Regions, config: RegisterConfig) -> None:
        self.segmented = fixed.features is not None
        if not self.segmented:
            fixed, moving = (_with_axis(r, config.segment.slice_axis) for r in (fixed, moving))
        self.fixed, self.moving, self.config = fixed, moving, config
        self.grid = fixed.image.grid
        self.same_slices = slices_correspond(fixed, moving)
        # Regions that were given are whole: none of them is cut into slices.
        slices = self.segmented and (
            config.match.lift == "slices" or (config.match.lift == "auto" and self.same_slices)
        )
        self.lifts = not slices
        # Slice ROIs alone say nothing about displacement across slices.
        self.in_plane = self.same_slices and not self.lifts and config.fit.regions_alone
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.notes: dict[str, Any] = {
            "slices_correspond": self.same_slices,
            "rois": "as given"
            if not self.segmented
            else "3D, linked through the slices"
            if self.lifts and fixed.slice_axis is not None
            else "slice by slice",
            "refined_in_plane_only": self.in_plane and fixed.slice_axis is not None,
        }
        self.affine: Matrix = np.eye(self.grid.ndim + 1)
        self.start = torch.zeros(self.grid.ndim, *self.grid.shape)
        self.guide = self.start  # where the embeddings put things: pairs are checked against it
        self.values = [window(r.image, config.segment.hounsfield) for r in (fixed, moving)]
        self.grey = [
            v if not r.image.is_colour else v.mean(-1) for v, r in zip(self.values, (fixed, moving), strict=True)
        ]
        self.descriptors: tuple[Tensor, Grid, Tensor, Grid] | None = None
        self.rough = False  # whether a rough fit came before the pairs

    def stage(self, name: str) -> _Stage:
        """Time a stage."""
        return _Stage(self, name)

    def find_start(self, given: PairedRois | None) -> None:
        """Affine map and large displacements from the embeddings; between people the images refine them roughly.

        Images that were not segmented start from the affine map of the given pairs.
        """
        settings = self.config.fit
        if not self.segmented:
            if given is not None:
                choice = affine_of_pairs(given)
                self.affine = choice.matrix
                self.notes["affine"] = {"chosen": choice.name, "costs": choice.costs}
            return
        search = not settings.regions_alone
        if not search and not self.config.match.verify:
            return
        found = Descriptors.of(self.fixed, self.moving, self.fixed.slice_axis if self.same_slices else None)
        self.descriptors = found.both
        if not self.same_slices:
            grids = self.grid, self.moving.image.grid
            choice, matches = affine_start(found, grids, self.grey, self.config.seed)
            self.affine = choice.matrix
            self.notes["affine"] = {"chosen": choice.name, "costs": choice.costs}
            self.notes["matches"] = matches
        if settings.transform not in DENSE:
            return
        cells = one_way(found, self.affine)
        if not self.same_slices:
            cells = both_ways(found, self.affine, cells)
        self.guide = on_grid(cells, found.fixed_grid, self.grid)
        self.rough = search and not self.same_slices and settings.elastic.similarity_weight > 0
        if self.rough:
            # Pairs between people are checked against the images brought near each other, not against the search alone.
            self.guide = rough_fit(self._problem(None, self.guide), self.config.fit)
        if search:
            self.start = self.guide

    def pair(self, extra: PairedRois | None) -> PairedRois:
        """Pairs of regions, checked against the start."""
        f, m = self.fixed, self.moving
        if self.lifts and f.slice_axis is not None:
            f, m = lift(f), lift(m)
        pairs = pair_regions(f, m, self.affine, self.guide, self.config.match, by_slice=self.same_slices)
        if extra is not None:
            pairs = replace(extra, given=np.ones(len(extra), dtype=bool)).concatenate(pairs)
        if len(pairs) == 0:
            self.warnings.append(f"no two regions correspond: {self._what_is_left()}")
        return pairs

    def _what_is_left(self) -> str:
        """What a transform rests on without pairs."""
        settings = self.config.fit
        if settings.transform not in DENSE:
            return "the transform is where the search started"
        flows = settings.transform == "ddf"
        weight = settings.flow.flow_feature_weight if flows else settings.elastic.feature_weight
        terms = {"grey values": flows or settings.elastic.similarity_weight > 0}
        terms["embeddings"] = self.segmented and (weight > 0 or not settings.regions_alone)
        left = " and ".join(name for name, counts in terms.items() if counts)
        return (
            f"the transform rests on {left} alone" if left else "nothing drives the fit, and the images stay in place"
        )

    def fit(self, pairs: PairedRois, progress: Callable[[str, int, int], None] | None) -> Alignment:
        """The transform that the settings ask for."""
        kind = self.config.fit.transform
        losses: dict[str, float] = {}
        affine: Matrix | None = self.affine
        moved: DisplacementField | None = None
        displacement: Tensor | None = None
        if kind in ("affine", "rigid"):
            affine = self._global_map(pairs, kind)
            moved = DisplacementField.from_matrix(affine, self.grid)
        elif kind != "none":
            dense = fit_dense(
                self._problem(pairs, self.start),
                self.config.fit,
                None if progress is None else (lambda i, n: progress("fit", i, n)),
            )
            losses = dense.losses
            self.notes["iterations"] = list(dense.iterations)
            displacement = dense.displacement
            moved = to_field(displacement, self.grid, self.affine)
            folded = moved.folding_fraction()
            if folded > _MAX_FOLDED:
                self.warnings.append(f"{100 * folded:.2g} % of the field is folded: do not trust it there")
        else:
            affine = None
        idle = idle_settings(self.config, rough_fit=self.rough)
        if idle:
            self.warnings.append(idle)
        overlaps = self._overlaps(pairs, affine, displacement)
        agreement = self._agreement(pairs, overlaps, displacement)
        self.notes["agreement"] = agreement
        confidence = self._confidence(overlaps, agreement)
        return Alignment(pairs, affine, moved, confidence, losses, self.seconds, tuple(self.warnings), self.notes)

    def _problem(self, pairs: PairedRois | None, start: Tensor) -> DenseProblem:
        nothing = PairedRois.none(self.grid, self.moving.image.grid)
        return DenseProblem(
            self.grey[0],
            self.grey[1],
            self.grid,
            self.moving.image.grid,
            self.affine,
            nothing if pairs is None else pairs,
            self.descriptors,
            start,
            self.fixed.slice_axis if self.in_plane else None,
            None if self.lifts else self.fixed.slice_axis,
            FIELD_SMOOTHING if self.segmented else SMOOTHING_WITHOUT_EMBEDDINGS,
        )

    def _agreement(self, pairs: PairedRois, overlaps: np.ndarray, displacement: Tensor | None) -> dict[str, float]:
        """How well the images agree after the fit, by what they agree in.

        `regions` is the mean overlap of the pairs, weighted by their confidence; `embedding` the mean cosine of the
        descriptors in the tissue of the fixed image.
        """
        found: dict[str, float] = {}
        if pairs.weights.sum() > 0:
            found["regions"] = float((overlaps * pairs.weights).sum() / pairs.weights.sum())
        if self.descriptors is None or displacement is None:
            return found
        f, f_grid, m, m_grid = self.descriptors
        tissue = tissue_cells(self.grey[0], self.grid, f_grid)
        if tissue.any():
            frame, moved = Frame(f_grid, m_grid, self.affine), on_grid(displacement, self.grid, f_grid)
            cosine = (f * functional.normalize(frame.warp(m, frame.identity() + moved), dim=0)).sum(0)
            found["embedding"] = float(cosine[tissue].mean())
        return found

    def _overlaps(self, pairs: PairedRois, affine: Matrix | None, displacement: Tensor | None) -> np.ndarray:
        """Soft IoU of each pair under the final transform, (k,)."""
        if len(pairs) == 0:
            return np.zeros(0)
        nothing = torch.zeros(self.grid.ndim, *self.grid.shape)
        return pair_overlaps(
            pairs, self.affine if affine is None else affine, nothing if displacement is None else displacement
        )

    def _confidence(self, overlaps: np.ndarray, agreement: dict[str, float]) -> float:
        """How alike the embeddings are after a dense fit; where that is not known, the median overlap of the pairs.

        Likeness ranks good and bad registrations of different tasks better than overlap does. 0 if nothing is paired.
        """
        if len(overlaps) == 0:
            return 0.0
        likeness = agreement.get("embedding")
        confidence = float(np.median(overlaps)) if likeness is None else max(0.0, likeness)
        if confidence < LOW_CONFIDENCE and self.config.fit.transform in DENSE:
            why = "paired regions hardly overlap" if likeness is None else "the images hardly resemble each other"
            self.warnings.append(f"low confidence ({confidence:.2f}): {why} after registration; look at the result")
        return confidence

    def _global_map(self, pairs: PairedRois, kind: str) -> Matrix:
        if len(pairs) < self.grid.ndim + 1:
            self.warnings.append(f"{len(pairs)} pairs are too few for a {kind} fit: the start is kept")
            return self.affine
        fit = fit_affine if kind == "affine" else fit_rigid
        weights = np.maximum(pairs.weights, _LEAST_WEIGHT) * np.sqrt(pairs.fixed.volumes)
        return fit(pairs.fixed.centroids, pairs.moving.centroids, weights)
