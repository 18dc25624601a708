"""The start: an affine map, and where the embeddings put everything, before any pair is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from samreg.config import RegisterConfig
from samreg.geometry.field import DisplacementField
from samreg.geometry.frame import Frame, from_field, halfway, thinned
from samreg.geometry.grid import apply_affine
from samreg.geometry.landmarks import Landmarks
from samreg.geometry.ops.devices import on_device
from samreg.geometry.rois import PairedRois
from samreg.initial.affine import WORTH, Candidate, fit_affine, fit_rigid
from samreg.initial.agreement import best_agreement
from samreg.initial.descriptors import Descriptors
from samreg.initial.edges import agreement_behind
from samreg.initial.hypotheses import best_start, moment_candidate
from samreg.initial.overlaps import affine_of_pairs
from samreg.initial.problem import ImagePair
from samreg.initial.pyramid import GreyPyramid
from samreg.initial.search import (
    Searched,
    affine_start,
    behind_search,
    both_ways,
    compared,
    embedding_cost,
    on_grid,
    one_way,
)
from samreg.result import StartRecord
from samreg.types import Matrix

__all__ = ["RoughFit", "Start", "find_start"]

_REFINED_VOXELS = 200_000
"""Working voxels of the finest level at which grey values refine the start."""
_FAR = 0.05
"""Distance of landmarks under a start, as a share of the fixed image's diagonal, from which the start is doubted."""
_JUDGED_AT = (1, 2)
"""Levels at which edges judge where the embeddings put things: 1/48 and 1/96 of the image."""
_UNSURE = 0.7
"""Cost of the first candidate from which it is not taken for the best one. Matches between people have .64 to .66 in
abdomens of one modality and .26 to .5 in brains, lungs and hippocampi; CT and MR have .73 to .93, prostates .7 to
.8."""


@dataclass(frozen=True, eq=False)
class Start:
    """Where a registration starts.

    Args:
        affine: (d + 1, d + 1) fixed world to moving world.
        guide: (d, *any) displacement over the fixed image, in its own voxels, array order: where the embeddings put
            things. Pairs are checked against it.
        displacement: (d, *any) in the same way, what the dense fit starts from: the guide, or what led to it, or zero
            where none is wanted.
        descriptors: the embeddings of both images as comparable vectors; None where no setting asks for them.
        record: how the affine map was chosen; None where it was not searched for.
        rough: whether a rough fit brought the images near each other.
        refined: whether grey values refined the affine map, so that a rigid or affine registration ends with it.
        pyramid: both images, as the refinement saw them; None where there was none.
        alike: whether both images show one anatomy behind the affine map: edges and grey values agree.
        given: whether it is a transform that the user gave, which the dense fit keeps in all its detail.
        back: (d, *any) displacement over the moving image, in its own voxels, array order, beside the inverse affine
            map: what the fit of the swapped images starts from; None where the images are registered one way.
        notes: what the user should know, one sentence each.
    """

    affine: Matrix
    guide: Tensor
    displacement: Tensor
    descriptors: Descriptors | None = None
    record: StartRecord | None = None
    rough: bool = False
    refined: bool = False
    pyramid: GreyPyramid | None = None
    alike: bool = False
    given: bool = False
    back: Tensor | None = None
    notes: tuple[str, ...] = ()

    def on_host(self) -> Start:
        """The same with its tensors on the CPU, where whoever looks at it works."""
        found = None if self.descriptors is None else self.descriptors.to(torch.device("cpu"))
        back = None if self.back is None else self.back.cpu()
        return replace(self, guide=self.guide.cpu(), displacement=self.displacement.cpu(), back=back, descriptors=found)


RoughFit = Callable[[ImagePair, Start, RegisterConfig], Tensor]
"""(images, start, settings) -> (d, *any) displacement over the fixed image, in its own voxels, by the images alone."""


def find_start(
    images: ImagePair,
    config: RegisterConfig,
    refine: RoughFit,
    given: PairedRois | None = None,
    initial: DisplacementField | None = None,
) -> Start:
    """An affine map and large displacements from the embeddings, refined by grey values.

    Where both images show one anatomy, grey values give the affine map, and edges say whether the displacement stays.
    Between people the map is that of the embeddings. Stacks whose slices correspond keep their grid.

    Images that were not segmented start from the affine map of the pairs that are given. Where a transform is given,
    nothing is searched for.

    Args:
        images: both, segmented.
        config: what drives the fit, and whether pairs are verified, decide what is needed.
        refine: the rough fit; it belongs to a later step and is therefore passed in.
        given: pairs that are known.
        initial: a transform that is known, fixed world to moving world.
    """
    with on_device(images.device):
        return _searched(images, config, refine, given, initial).on_host()


def _searched(
    images: ImagePair,
    config: RegisterConfig,
    refine: RoughFit,
    given: PairedRois | None,
    initial: DisplacementField | None,
) -> Start:
    """`find_start` on the device of the block around it."""
    if initial is not None:
        return _from_initial(images, config, initial)
    held = thinned(images.fixed_grid)
    zero = torch.zeros(held.ndim, *held.shape)
    start = Start(np.eye(images.fixed_grid.ndim + 1), zero, zero)
    fixed, moving = images.fixed.features, images.moving.features
    if fixed is None or moving is None:
        if given is not None:
            affine, record = affine_of_pairs(given)
            start = replace(start, affine=affine, record=record)
        return with_landmarks(start, images)
    search = not config.fit.regions_alone
    if not search and not config.match.verify:
        return start
    found = Descriptors.of(fixed, moving)
    start = replace(start, descriptors=found)
    candidates = looked_at = [Candidate("headers", start.affine)]
    if not images.same_slices:
        affine, record, candidates = affine_start(found, images, config.seed)
        start = with_landmarks(replace(start, affine=affine, record=record), images)
        candidates = [Candidate("start", start.affine), *candidates] if start.notes else candidates
        # Grey values look at the centres of tissue only where the embeddings do not say where the images lie.
        unsure = record.costs[record.chosen] > _UNSURE
        looked_at = [c for c in candidates if unsure or c.name != "tissue"]
    if not images.same_slices or not config.fit.is_dense:
        start = _refined(images, start, found, looked_at, config)
    if not config.fit.is_dense:
        return start
    searched = None
    if not images.same_slices and not start.alike and not start.notes:
        start, searched = _agreed(images, start, found, candidates)
    cells = one_way(found, start.affine, images.stack_axis, None if searched is None else searched.there)
    cells_back = None
    if not images.same_slices:
        cells, cells_back = both_ways(found, start.affine, cells, None if searched is None else searched.back)
    guide = on_grid(cells, found.fixed_grid, held)
    start = replace(start, guide=guide, displacement=guide if search else zero)
    if search and cells_back is not None and config.fit.elastic.similarity_weight > 0:
        # Pairs between people are checked against the images brought near each other, not against the search alone.
        guide = refine(images, start, config)
        start = replace(start, guide=guide, displacement=guide, rough=True)
        told = given is not None or images.landmarks is not None
        if config.fit.transform == "ddf" and not start.alike and not told:
            back = on_grid(cells_back, found.moving_grid, thinned(images.moving_grid))
            start = _met(images, start, back, config, refine)
    return _judged(start) if search else start


def _agreed(images: ImagePair, start: Start, found: Descriptors, candidates: list[Candidate]) -> tuple[Start, Searched]:
    """The start between people, chosen by what a search makes of it, and what the search made of it.

    The map under which the embeddings agree best takes the place of the first candidate if it is better by 3 % behind a
    search. Where embeddings agree little under the first candidate, the others may take its place in the same way.
    """
    record = start.record or StartRecord("headers", {}, 0, 0.0)
    first = candidates[0]
    tried = candidates if record.costs.get(first.name, 0.0) > _UNSURE else [first]
    led = Candidate("agreement", best_agreement(found, compared(found, images), candidates))
    searched = behind_search(found, images, [*tried, led])
    costs = {name: one.cost for name, one in searched.items()}
    for others in (tried[1:], [led]):
        best = min(others, key=lambda c: costs[c.name], default=first)
        first = best if costs[best.name] < costs[first.name] * (1 - WORTH) else first
    chosen = replace(start, affine=first.matrix, record=replace(record, chosen=first.name, costs=costs))
    return chosen, searched[first.name]


def _met(images: ImagePair, start: Start, back: Tensor, config: RegisterConfig, refine: RoughFit) -> Start:
    """The start with the rough fit of the swapped images; pairs are checked against the mean of both.

    Args:
        images: both.
        start: behind the rough fit.
        back: (d, *any) displacement over the moving image, in its own voxels, that the embeddings give the other way.
        config: of the registration.
        refine: the rough fit.
    """
    frame = Frame(images.fixed_grid, images.moving_grid, start.affine)
    found = None if start.descriptors is None else start.descriptors.swapped
    back = refine(images.swapped, Start(frame.back.affine, back, back, found), config)
    record = None if start.record is None else replace(start.record, both_ways=True)
    return replace(start, guide=halfway(start.displacement, back, frame.thinned()), back=back, record=record)


def _judged(start: Start) -> Start:
    """The start without its displacement where edges agree better so."""
    if start.pyramid is None or not start.alike:
        return start
    nothing = torch.zeros_like(start.guide)
    without, with_it = (agreement_behind(start.pyramid, start.affine, u, _JUDGED_AT) for u in (nothing, start.guide))
    return start if with_it >= without else replace(start, guide=nothing, displacement=nothing)


def with_landmarks(start: Start, images: ImagePair) -> Start:
    """The start, or the map of the landmarks where these lie far from where the start puts them.

    Few points shift; more than dimensions + 1 also turn, and twice as many map as an affine map does.
    """
    marks = images.landmarks
    if marks is None:
        return start
    d, n = images.fixed_grid.ndim, len(marks)
    shift = np.eye(d + 1)
    shift[:d, d] = (marks.moving - marks.fixed).mean(axis=0)
    found = shift if n <= d + 1 else (fit_rigid if n < 2 * (d + 1) else fit_affine)(marks.fixed, marks.moving)
    far = _FAR * float(np.linalg.norm(images.fixed_grid.extent))
    before, after = (_apart(marks, m) for m in (start.affine, found))
    if before < far or after > 0.5 * before:
        return start
    unit = images.fixed_grid.unit
    text = f"the start is that of the landmarks ({after:.1f} {unit} apart with it, {before:.1f} without)"
    return replace(start, affine=found, record=StartRecord("landmarks", {}, 0, 0.0), notes=(*start.notes, text))


def _apart(marks: Landmarks, matrix: Matrix) -> float:
    """Mean distance of landmarks under a map."""
    return float(np.linalg.norm(apply_affine(matrix, marks.fixed) - marks.moving, axis=1).mean())


def _refined(
    images: ImagePair, start: Start, found: Descriptors, candidates: list[Candidate], config: RegisterConfig
) -> Start:
    """The start at the rigid or affine map that the edges of both images agree on best, to a part of a voxel.

    Where regions alone count, grey values have no say, and the pairs give the map.
    """
    kind = config.fit.transform
    if config.fit.elastic.similarity_weight == 0 or kind == "none":
        return start
    greys = images.fixed_grey, images.fixed_grid, images.moving_grey, images.moving_grid
    pyramid = GreyPyramid(*greys, _REFINED_VOXELS, images.inside)
    matrix, tried = best_start(
        pyramid,
        [*candidates, moment_candidate(pyramid)],
        "rigid" if kind == "rigid" else "affine",
        None if kind == "rigid" else lambda m: embedding_cost(found, images, m),
    )
    record = start.record or StartRecord("headers", {}, 0, 0.0)
    record = replace(record, tried={t.name: t.record() for t in tried})
    start = replace(start, record=record, pyramid=pyramid, alike=tried[0].alike)
    if config.fit.is_dense and not start.alike:
        return start
    return replace(start, affine=matrix, record=replace(record, chosen=tried[0].name), refined=True)


def _from_initial(images: ImagePair, config: RegisterConfig, initial: DisplacementField) -> Start:
    """A start that is the given transform, as its nearest affine map and the displacement that is left."""
    affine, displacement = from_field(initial, images.fixed_grid)
    fixed, moving = images.fixed.features, images.moving.features
    found = None
    if fixed is not None and moving is not None and (config.match.verify or not config.fit.regions_alone):
        found = Descriptors.of(fixed, moving)
    length = float(np.linalg.norm(initial.u, axis=-1).mean())
    text = f"starts from the given initial transform (mean displacement {length:.1f} {images.fixed_grid.unit})"
    kind = config.fit.transform
    if config.fit.is_dense:
        text += " and composes with it: the result holds both"
    elif kind == "none":
        text += ", against which the pairs were checked"
    else:
        text += f", against which the pairs were checked; the {kind} map is fitted to the pairs alone"
    record = StartRecord("initial transform", {}, 0, 0.0)
    return Start(affine, displacement, displacement, found, record, given=True, notes=(text,))
