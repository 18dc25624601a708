"""`prompt_pair`: one prompt in the fixed image to one pair of regions, or to the reason why there is none."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np

from samreg.config import RegisterConfig, chosen
from samreg.errors import ConfigError, GeometryError
from samreg.geometry.grid import check_pair
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.prompt.counterpart import Candidates, search
from samreg.regions.find import RegionFinder, as_finder, open_finder
from samreg.regions.outline import Outline, at_point, in_box, iou_with, through_slices
from samreg.regions.prototypes import cosine_similarity, slice_prototypes
from samreg.regions.stack import Stack
from samreg.result import Origin, PromptRecord, RegistrationResult
from samreg.segmenters.base import Segmenter
from samreg.types import MaskArray, Matrix, Points, Progress

__all__ = ["PromptAnswer", "prompt_pair"]

_TRIED = 3
"""Candidates whose way back is checked."""
_MIN_CYCLE = 0.4
"""IoU of the region with what its counterpart leads back to, below which there is no counterpart."""
_LENIENCE = 0.15
"""By how much a perfect way back lowers epsilon: a region that contracts looks different, and yet is the same."""
_REACH = 12.0
"""How far to either side the slices of another stack are searched, in world units."""
_SPREAD = 400
"""Pixels of the region that say where a transform carries it."""
_FLAT = 0.2
"""Area of a pixel seen in the other stack, below which the two slice each other crosswise."""


@dataclasses.dataclass(frozen=True, eq=False)
class PromptAnswer:
    """One region of the fixed image and its counterpart.

    Args:
        fixed: the fixed image.
        moving: the moving image.
        region: the region of the prompt, one ROI on the fixed grid.
        pairs: the pair, or no pair where there is no counterpart.
        candidate: the best candidate on its main slice, one ROI on the moving grid even where it was refused; or none.
        similarity: cosine similarity of the two prototypes, of the best candidate even where it was refused.
        cycle: IoU of the region with what its counterpart leads back to, in [0, 1].
        confidence: geometric mean of similarity, cycle and both predicted IoUs, in [0, 1]; 0 without counterpart.
        reason: why there is no counterpart; empty where there is one.
        config: the settings.
        origin: what segmented.
        record: where the prompt was answered.
        seconds: wall time of each stage.
    """

    fixed: Image
    moving: Image
    region: RoiSet
    pairs: PairedRois
    candidate: RoiSet
    similarity: float
    cycle: float
    confidence: float
    reason: str
    config: RegisterConfig
    origin: Origin
    record: PromptRecord
    seconds: dict[str, float]

    @property
    def found(self) -> bool:
        """Whether there is a counterpart."""
        return len(self.pairs) > 0

    def result(self) -> RegistrationResult:
        """The same as a registration without a transform: what a run folder is written from."""
        fit = dataclasses.replace(self.config.fit, transform="none")
        return RegistrationResult(
            fixed=self.fixed,
            moving=self.moving,
            pairs=self.pairs,
            affine=None,
            field=None,
            config=dataclasses.replace(self.config, fit=fit),
            confidence=self.confidence,
            origins=(self.origin, self.origin),
            prompt=self.record,
            seconds=self.seconds,
            notes=(f"no counterpart: {self.reason}",) if self.reason else (),
        )


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
    answering = _promptable(open_finder(config.segment) if segmenter is None else as_finder(segmenter))
    work = _Work(fixed, moving, config, answering, through, carry)
    loaded = time.perf_counter()
    say("region", 0, 3)
    work.find_region(point, box, mask)
    found = time.perf_counter()
    say("counterpart", 1, 3)
    work.find_counterpart()
    say("through slices", 2, 3)
    answer = work.answer()
    say("done", 3, 3)
    seconds = {"load": loaded - begun, "region": found - loaded, "counterpart": time.perf_counter() - found}
    given = [None if values is None else tuple(float(v) for v in values) for values in (point, box)]
    record = dataclasses.replace(answer.record, point=given[0], box=given[1])
    return dataclasses.replace(answer, seconds=seconds, record=record)


@dataclasses.dataclass(frozen=True, eq=False)
class _Match:
    number: int
    outline: Outline
    score: float
    similarity: float
    cycle: float


class _Work:
    """One prompt on its way."""

    def __init__(
        self,
        fixed: Image,
        moving: Image,
        config: RegisterConfig,
        segmenter: Segmenter,
        through: bool,
        carry: Callable[[Points], Points] | None,
    ) -> None:
        self.config, self.segmenter, self.through, self.carry = config, segmenter, through, carry
        self.fixed = Stack(fixed, segmenter, config.segment)
        self.moving = Stack(moving, segmenter, config.segment)
        self.number = 0
        self.outline: Outline
        self.given: dict[int, np.ndarray] | None = None
        self.span = (0, len(self.fixed) - 1)
        self.best: _Match | None = None

    def find_region(self, point: Sequence[float] | None, box: Sequence[float] | None, mask: MaskArray | None) -> None:
        """The region on its main slice: that of the point, the middle of the box, or the mask's largest."""
        if point is not None:
            at = _inside(np.asarray([point], dtype=float), self.fixed.image, "the point")
            numbers, pixels = self.fixed.locate(at)
            self.number = int(np.clip(np.round(numbers[0]), *self.span))
            self.outline = at_point(self.segmenter, self.fixed.view(self.number), pixels[0])
        elif box is not None:
            corners = np.asarray(box, dtype=float)
            if corners.shape != (2 * self.fixed.image.grid.ndim,):
                d = self.fixed.image.grid.ndim
                raise GeometryError(
                    f"the box has {corners.size} numbers; two opposite corners of a {d}D image are {2 * d}"
                )
            numbers, pixels = self.fixed.locate(_inside(corners.reshape(2, -1), self.fixed.image, "the box"))
            first, last = np.clip(np.round(np.sort(numbers)).astype(int), *self.span).tolist()
            self.span, self.number = (first, last), (first + last) // 2
            flat = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
            self.outline = in_box(self.segmenter, self.fixed.encoding(self.number), flat)
        elif mask is not None:
            self._given_mask(np.asarray(mask, dtype=bool))

    def _given_mask(self, mask: MaskArray) -> None:
        if mask.shape != self.fixed.image.grid.shape:
            raise GeometryError(f"the mask has shape {mask.shape}, the fixed image {self.fixed.image.grid.shape}")
        self.given = self.fixed.cut(mask)
        if not self.given:
            raise GeometryError("the mask is empty: mark at least one voxel")
        self.number = max(self.given, key=lambda n: np.count_nonzero(self.given[n]) if self.given else 0)
        flat = self.given[self.number][None]
        self.outline = Outline(
            flat, np.ones(1, dtype=np.float32), slice_prototypes(self.fixed.encoding(self.number), flat)
        )

    def find_counterpart(self) -> None:
        """The best match where the registration puts it, or else on the slices where it may lie."""
        place = self._carried()
        if place is not None:
            self.best = self._best_on([place])
        if self.best is None or self._reason():
            self.best = self._best_on(self._places()) or self.best

    def _best_on(self, places: Sequence[tuple[int, Matrix | None]]) -> _Match | None:
        """The best match on some slices of the moving image."""
        view = self.fixed.view(self.number)
        ratio = self.fixed.pixel_size / self.moving.pixel_size
        tried: list[tuple[float, int, Matrix | None, Candidates, int]] = []
        for number, start in places:
            found = search(self.segmenter, view, self.outline, self.moving.view(number), start, ratio)
            tried += [(float(found.score[i]), number, start, found, i) for i in range(min(_TRIED, len(found.score)))]
        tried.sort(key=lambda row: -row[0])
        matches = []
        for score, number, start, found, i in tried[:_TRIED]:
            outline = found.outline.select(np.asarray([i]))
            inverse = None if start is None else np.linalg.inv(start)
            other = self.moving.view(number)
            returned = search(self.segmenter, other, outline, view, inverse, 1 / ratio)
            cycle = float(iou_with(returned.outline.masks[:1], self.outline.masks[0]).max(initial=0.0))
            similarity = float(cosine_similarity(self.outline.prototypes, outline.prototypes)[0, 0])
            matches.append(_Match(number, outline, score + cycle, similarity, cycle))
        return max(matches, key=lambda match: match.score, default=None)

    def _carried(self) -> tuple[int, Matrix] | None:
        """The moving slice to which the registration carries the region, and the map of pixels there; or None."""
        if self.carry is None or self._share_slices():
            return None
        rows, columns = np.nonzero(self.outline.masks[0])
        pixels = np.stack([columns, rows], axis=1)[:: max(1, len(rows) // _SPREAD)].astype(float)
        moved = self.carry(self.fixed.world(self.number, pixels))
        held = self.moving.image.grid.contains(moved)
        if not held.any():
            return None
        numbers, target = self.moving.locate(moved[held])
        known = np.column_stack([pixels[held], np.ones(held.sum())])
        if np.linalg.matrix_rank(known - known.mean(axis=0)) < 2:
            return None
        matrix = np.eye(3)
        matrix[:2] = np.linalg.lstsq(known, target, rcond=None)[0].T
        return (round(float(numbers.mean())), matrix) if self._seen_along(matrix) else None

    def _places(self) -> list[tuple[int, Matrix | None]]:
        """Slices of the moving image to look at, each with the map of pixels to start from."""
        if self._share_slices():
            return [(self.number, np.eye(3))]
        fixed, moving = self.fixed.image.grid, self.moving.image.grid
        rows, columns = np.nonzero(self.outline.masks[0])
        middle = self.fixed.world(self.number, np.asarray([[columns.mean(), rows.mean()]]))
        places: dict[int, Matrix | None] = {}
        for shift in (np.zeros(fixed.ndim), np.asarray(moving.centre) - np.asarray(fixed.centre)):
            if not moving.contains(middle + shift)[0]:
                continue
            number = float(self.moving.locate(middle + shift)[0][0])
            for nearby in self._near(number):
                places.setdefault(nearby, self._pixel_map(shift))
        if not places:
            places = dict.fromkeys(self._near((len(self.moving) - 1) / 2))
        return list(places.items())

    def _share_slices(self) -> bool:
        one_axis = self.fixed.plan.axis == self.moving.plan.axis
        return one_axis and self.fixed.image.grid.same_as(self.moving.image.grid)

    def _near(self, number: float) -> list[int]:
        axis = self.moving.plan.axis
        if axis is None:
            return [0]
        reach = _REACH / self.moving.image.grid.array_spacing[axis]
        steps = np.linspace(-reach, reach, 5) if reach > 1 else np.asarray([-1.0, 0.0, 1.0])
        return sorted({int(n) for n in np.clip(np.round(number + steps), 0, len(self.moving) - 1)})

    def _pixel_map(self, shift: np.ndarray) -> Matrix | None:
        """(3, 3) pixels of the fixed slice to moving pixels, seen along the slices; None where these cross."""
        corners = self.fixed.world(self.number, np.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        _, pixels = self.moving.locate(corners + shift)
        matrix = np.eye(3)
        matrix[:2, 0], matrix[:2, 1], matrix[:2, 2] = pixels[1] - pixels[0], pixels[2] - pixels[0], pixels[0]
        return matrix if self._seen_along(matrix) else None

    def _seen_along(self, matrix: Matrix) -> bool:
        """Whether a map of pixels sees the slices from the front, not crosswise."""
        area = abs(np.linalg.det(matrix)) * (self.moving.pixel_size / self.fixed.pixel_size) ** 2
        return bool(area > _FLAT)

    def answer(self) -> PromptAnswer:
        """Through the slices, and what it all came to."""
        fixed, moving, best = self.fixed, self.moving, self.best
        quality = float(self.outline.quality[0])
        region = RoiSet((fixed.roi(self._fixed_masks(), quality),), fixed.image.grid)
        reason = self._reason()
        pairs = PairedRois.none(fixed.image.grid, moving.image.grid)
        candidate, confidence = pairs.moving, 0.0
        if best is not None:
            flat = moving.roi({best.number: best.outline.masks[0]}, float(best.outline.quality[0]))
            candidate = RoiSet((flat,), moving.image.grid)
        if best is not None and not reason:
            chain = self._follow(moving, best.number, best.outline, (0, len(moving) - 1))
            theirs = float(best.outline.quality[0])
            confidence = float(np.clip(best.similarity * best.cycle * quality * theirs, 0, 1) ** 0.25)
            other = RoiSet((moving.roi(chain, theirs),), moving.image.grid)
            pairs = PairedRois(region, other, np.asarray([best.similarity]), np.asarray([confidence]))
        segmenter = self.segmenter
        return PromptAnswer(
            fixed=fixed.image,
            moving=moving.image,
            region=region,
            pairs=pairs,
            candidate=candidate,
            similarity=0.0 if best is None else best.similarity,
            cycle=0.0 if best is None else best.cycle,
            confidence=confidence,
            reason=reason,
            config=self.config,
            origin=Origin(segmenter.name, segmenter.fingerprint, segmenter.engine, prompts=segmenter.prompt_kind),
            record=PromptRecord(
                self.number,
                None if best is None else best.number,
                fixed.n_encoded,
                moving.n_encoded,
                0.0 if best is None else best.cycle,
            ),
            seconds={},
        )

    def _reason(self) -> str:
        best, epsilon = self.best, self.config.match.epsilon
        if best is None:
            return "no mask of the moving image is good enough"
        if best.cycle < _MIN_CYCLE:
            return f"the best candidate does not lead back to the region (IoU {best.cycle:.2f})"
        if best.similarity < epsilon - _LENIENCE * best.cycle:
            return (
                f"the best candidate has similarity {best.similarity:.2f} and leads back with IoU {best.cycle:.2f}: "
                f"too little for epsilon {epsilon:g}"
            )
        return ""

    def _fixed_masks(self) -> dict[int, np.ndarray]:
        if self.given is not None:
            return self.given
        return self._follow(self.fixed, self.number, self.outline, self.span)

    def _follow(self, stack: Stack, number: int, outline: Outline, span: tuple[int, int]) -> dict[int, np.ndarray]:
        if not self.through or len(stack) == 1:
            return {number: outline.masks[0]}
        chain = through_slices(self.segmenter, stack, number, outline, self.config.match.epsilon, span)
        return {n: mask for n, (mask, _) in chain.items()}


def _inside(points: np.ndarray, image: Image, what: str) -> np.ndarray:
    if points.shape[1] != image.grid.ndim:
        raise GeometryError(
            f"{what} has {points.shape[1]} coordinates and {image.name} {image.grid.ndim} dimensions; give "
            f"{'X,Y,Z' if image.grid.ndim == 3 else 'X,Y'}"
        )
    if not image.grid.contains(points).all():
        low = image.grid.index_to_world(np.zeros((1, image.grid.ndim)))[0]
        high = image.grid.index_to_world(np.asarray([image.grid.shape[::-1]], dtype=float) - 1)[0]
        raise GeometryError(
            f"{what} {np.round(points, 1).tolist()} lies outside {image.name}, whose corners are at "
            f"{np.round(low, 1).tolist()} and {np.round(high, 1).tolist()} {image.grid.unit}"
        )
    return points


def _promptable(finder: RegionFinder) -> Segmenter:
    if finder.segmenter is None:
        raise ConfigError(f"{finder.name} segments fixed classes and takes no prompts; name one of `samreg models`")
    return finder.segmenter
