"""From two sets of regions to pairs and a transform: start, pair, refine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg.config import RegisterConfig
from samreg.field import DisplacementField
from samreg.fitting.affine import AffineChoice, Candidate, choose, fit_affine, fit_rigid, mutual_matches, ransac_affine
from samreg.fitting.dense import DenseProblem, fit_dense
from samreg.fitting.discrete import Search, coupled_convex, descriptor_cost
from samreg.fitting.features import joint_descriptors
from samreg.fitting.frames import Frame, to_field
from samreg.grid import Grid
from samreg.lifting import lift
from samreg.ops.displacement import per_axis, rescale
from samreg.ops.resample import resize
from samreg.pairing import pair_overlaps, pair_regions
from samreg.preprocess import is_thick, window
from samreg.regions import Regions
from samreg.rois import PairedRois
from samreg.types import Matrix

__all__ = ["Alignment", "align", "slices_correspond"]

_CHANNELS = 32
_TISSUE = 0.03
_MATCH_TOLERANCE = 0.06
"""Distance up to which a match agrees with an affine map, as a share of the fixed image's diagonal."""
_MIN_INLIERS = 0.08
_LOW_CONFIDENCE = 0.4
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
        work.find_start()
    with work.stage("pair"):
        pairs = work.pair(extra_pairs)
    with work.stage("fit"):
        return work.fit(pairs, progress)


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
        self.fixed, self.moving, self.config = fixed, moving, config
        self.grid = fixed.image.grid
        self.same_slices = slices_correspond(fixed, moving)
        self.lifts = config.segment.lift == "link" or (config.segment.lift == "auto" and not self.same_slices)
        regions_only = config.fit.similarity_weight == 0 and config.fit.feature_weight == 0
        auto = self.same_slices and not self.lifts and regions_only
        self.in_plane = config.fit.in_plane == "yes" or (config.fit.in_plane == "auto" and auto)
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.notes: dict[str, Any] = {
            "slices_correspond": self.same_slices,
            "rois": "3D, linked through the slices"
            if self.lifts and fixed.slice_axis is not None
            else "slice by slice",
            "refined_in_plane_only": self.in_plane and fixed.slice_axis is not None,
        }
        self.affine: Matrix = np.eye(self.grid.ndim + 1)
        self.start = torch.zeros(self.grid.ndim, *self.grid.shape)
        self.guide = self.start  # where the embeddings put things: pairs are checked against it
        settings = config.segment
        self.values = [window(r.image, settings.window, settings.hounsfield) for r in (fixed, moving)]
        self.grey = [
            v if not r.image.is_colour else v.mean(-1) for v, r in zip(self.values, (fixed, moving), strict=True)
        ]
        self.descriptors: tuple[Tensor, Grid, Tensor, Grid] | None = None

    def stage(self, name: str) -> _Stage:
        """Time a stage."""
        return _Stage(self, name)

    def find_start(self) -> None:
        """Affine map and large displacements from the embeddings alone."""
        settings = self.config.fit
        guides = self.config.match.verify
        if not settings.search and not guides and settings.feature_weight == 0:
            return
        f, m = joint_descriptors(self.fixed.features, self.moving.features, _CHANNELS)
        f_grid, m_grid = self.fixed.features.grid, self.moving.features.grid
        self.descriptors = (f, f_grid, m, m_grid)
        if not settings.search and not guides:
            return
        if not self.same_slices:
            choice = self._choose_affine(f, f_grid, m, m_grid)
            self.affine = choice.matrix
            self.notes["affine"] = {"chosen": choice.name, "costs": choice.costs}
        if settings.transform in ("ddf", "ffd", "svf"):
            cells = self._search(f, f_grid, m, m_grid)
            self.guide = _on_grid(cells, f_grid, self.grid)
            if settings.search:
                self.start = self.guide

    def _choose_affine(self, f: Tensor, f_grid: Grid, m: Tensor, m_grid: Grid) -> AffineChoice:
        masks = [
            _tissue(grey, image.grid, grid)
            for grey, image, grid in zip(
                self.grey, (self.fixed.image, self.moving.image), (f_grid, m_grid), strict=True
            )
        ]
        middle = np.eye(self.grid.ndim + 1)
        middle[:-1, -1] = np.asarray(self.moving.image.grid.centre) - np.asarray(self.grid.centre)
        candidates = [Candidate("headers", np.eye(self.grid.ndim + 1)), Candidate("centres", middle)]
        p, q, _ = mutual_matches(f, f_grid, masks[0], m, m_grid, masks[1])
        tolerance = _MATCH_TOLERANCE * float(np.linalg.norm(self.grid.extent))
        matrix, share = ransac_affine(p, q, tolerance, self.config.seed)
        self.notes["matches"] = {"n": len(p), "agreeing": share}
        if share >= _MIN_INLIERS:
            candidates.append(Candidate("matches", matrix))
        return choose(candidates, f, f_grid, masks[0], m, m_grid)

    def _search(self, f: Tensor, f_grid: Grid, m: Tensor, m_grid: Grid) -> Tensor:
        """Displacement in cells of the fixed feature grid, (d, *shape)."""
        u: Tensor | None = None
        for level in _levels(f_grid, self.same_slices, self.fixed.slice_axis):
            grid, other = f_grid.with_shape(level.shape), m_grid
            fixed = functional.normalize(resize(f, level.shape), dim=0)
            coarse = [
                max(1, round(n * a / b))
                for n, a, b in zip(m_grid.shape, m_grid.array_spacing, grid.array_spacing, strict=True)
            ]
            coarse = [min(n, c) for n, c in zip(m_grid.shape, coarse, strict=True)]
            moving = functional.normalize(resize(m, coarse), dim=0)
            other = m_grid.with_shape(coarse)
            frame = Frame(grid, other, self.affine)
            before = None if u is None else rescale(u, level.shape)
            cost = descriptor_cost(fixed, moving, frame, before, level.search)
            step = coupled_convex(cost, level.search)
            u = step if before is None else before + step
        if u is None:
            return torch.zeros(f_grid.ndim, *f_grid.shape)
        return rescale(u, f_grid.shape)

    def pair(self, extra: PairedRois | None) -> PairedRois:
        """Pairs of regions, checked against the start."""
        f, m = self.fixed, self.moving
        if self.lifts and f.slice_axis is not None:
            f, m = lift(f), lift(m)
        pairs = pair_regions(f, m, self.affine, self.guide, self.config.match, by_slice=self.same_slices)
        if extra is not None:
            pairs = PairedRois(
                type(pairs.fixed)((*extra.fixed.rois, *pairs.fixed.rois), pairs.fixed.grid),
                type(pairs.moving)((*extra.moving.rois, *pairs.moving.rois), pairs.moving.grid),
                np.concatenate([extra.similarity, pairs.similarity]),
                np.concatenate([extra.weights, pairs.weights]),
            )
        if len(pairs) == 0:
            self.warnings.append("no two regions correspond: the transform rests on grey values and embeddings alone")
        return pairs

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
            problem = DenseProblem(
                self.grey[0],
                self.grey[1],
                self.grid,
                self.moving.image.grid,
                self.affine,
                pairs,
                self.descriptors,
                self.start,
                self.fixed.slice_axis if self.in_plane else None,
                None if self.lifts else self.fixed.slice_axis,
            )
            dense = fit_dense(
                problem,
                self.config.fit,
                None if progress is None else (lambda i, n: progress("fit", i, n)),
                close=self.same_slices,
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
        overlaps = self._overlaps(pairs, affine, displacement)
        self.notes["agreement"] = self._agreement(pairs, overlaps, displacement)
        confidence = self._confidence(overlaps, displacement)
        return Alignment(pairs, affine, moved, confidence, losses, self.seconds, tuple(self.warnings), self.notes)

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
        tissue = _tissue(self.grey[0], self.grid, f_grid)
        if tissue.any():
            frame, moved = Frame(f_grid, m_grid, self.affine), _on_grid(displacement, self.grid, f_grid)
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

    def _confidence(self, overlaps: np.ndarray, displacement: Tensor | None) -> float:
        """Median overlap of the paired regions under the final transform: 0 where nothing is paired."""
        if len(overlaps) == 0:
            return 0.0
        confidence = float(np.median(overlaps))
        if confidence < _LOW_CONFIDENCE and displacement is not None:
            self.warnings.append(
                f"low confidence ({confidence:.2f}): paired regions hardly overlap after registration; "
                "look at the result"
            )
        return confidence

    def _global_map(self, pairs: PairedRois, kind: str) -> Matrix:
        if len(pairs) < self.grid.ndim + 1:
            self.warnings.append(f"{len(pairs)} pairs are too few for a {kind} fit: the start is kept")
            return self.affine
        fit = fit_affine if kind == "affine" else fit_rigid
        weights = np.maximum(pairs.weights, _LEAST_WEIGHT) * np.sqrt(pairs.fixed.volumes)
        return fit(pairs.fixed.centroids, pairs.moving.centroids, weights)


@dataclass(frozen=True)
class _SearchLevel:
    shape: tuple[int, ...]
    search: Search


def _levels(grid: Grid, same_slices: bool, axis: int | None) -> list[_SearchLevel]:
    """Coarse to fine searches: about 4 x 12 mm, then 2 x 6 mm for a body-sized image; one level for a cine stack."""
    d = grid.ndim
    if same_slices and axis is not None:
        plane = min(s for a, s in enumerate(grid.array_spacing) if a != axis)
        across = [a == axis for a in range(d)]
        stretch = [0.3 * grid.array_spacing[a] / plane if z else 1.0 for a, z in enumerate(across)]
        search = Search(
            radius=[2 if z else 3 for z in across],
            step=[1] * d,
            sigma=[0.5 if z else 1.0 for z in across],
            cost_sigma=[0.5 if z else 1.0 for z in across],
            theta=(0.01, 0.1),
            stretch=stretch,
        )
        return [_SearchLevel(grid.shape, search)]
    cell = min(grid.array_spacing)
    levels = []
    for size, radius in ((2.0, 4), (1.0, 2)):
        shape = tuple(
            max(1, round(n * s / max(s, size * cell))) for n, s in zip(grid.shape, grid.array_spacing, strict=True)
        )
        spacing = grid.with_shape(shape).array_spacing
        reach = size * cell
        search = Search(
            radius=[0 if n == 1 else max(1, round(radius * reach / s)) for n, s in zip(shape, spacing, strict=True)],
            step=[1] * d,
            sigma=[reach / s for s in spacing],
            cost_sigma=[0.7 * reach / s for s in spacing],
            theta=(0.003, 0.01, 0.03, 0.1, 0.3),
            stretch=[s / reach for s in spacing],
        )
        levels.append(_SearchLevel(shape, search))
    return levels


def _on_grid(u: Tensor, grid: Grid, other: Grid) -> Tensor:
    """A displacement in voxels of one grid, sampled on another grid of the same world, in voxels of that one."""
    at = Frame(other, grid, np.eye(other.ndim + 1))
    ratio = [a / b for a, b in zip(grid.array_spacing, other.array_spacing, strict=True)]
    return at.warp(u, at.identity()) * per_axis(ratio)


def _tissue(grey: np.ndarray, image: Grid, cells: Grid) -> Tensor:
    frame = Frame(cells, image, np.eye(image.ndim + 1))
    return frame.warp(torch.from_numpy(np.ascontiguousarray(grey))[None], frame.identity())[0] > _TISSUE
