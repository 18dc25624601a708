"""A prompt on its way: the region, its counterpart on one slice, and both through the slices, step by step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from samreg.config import RegisterConfig
from samreg.errors import GeometryError
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, Roi, RoiSet
from samreg.prompt.answer import PromptAnswer
from samreg.prompt.counterpart import Candidates, search
from samreg.prompt.displacement import Carried, WayBack, displacement, known_displacement
from samreg.regions.outline import Outline, at_point, in_box, iou_with, through_slices
from samreg.regions.prototypes import cosine_similarity
from samreg.regions.stack import Stack
from samreg.result import Origin, PromptRecord
from samreg.types import MaskArray, Matrix, Points

__all__ = ["Prompting"]

_TRIED = 3
"""Candidates whose way back is checked."""
_MIN_CYCLE = 0.4
"""IoU of the region with what its counterpart leads back to, below which there is no counterpart."""
_LEADS_BACK = 0.8
"""Way back along a registration from which no further candidate is tried: each costs as much as the search for all."""
_LENIENCE = 0.15
"""By how much a perfect way back lowers epsilon: a region that contracts looks different, and yet is the same."""
_REACH = 12.0
"""How far to either side the slices of another stack are searched, in world units."""
_SPREAD = 400
"""Pixels of the region that say where a transform carries it."""
_FLAT = 0.2
"""Area of a pixel seen in the other stack, below which the two slice each other crosswise."""


@dataclasses.dataclass(frozen=True, eq=False)
class _Match:
    number: int
    outline: Outline
    score: float
    similarity: float
    cycle: float


class _Place:
    """A moving slice to look at, and how the fixed slice is carried there and back: None where nothing is known.

    Args:
        registered: a registration says so.
    """

    def __init__(
        self, number: int, there: Carried | None, back: Callable[[], Carried | None], *, registered: bool = False
    ) -> None:
        self.number, self.there, self._back, self.registered = number, there, back, registered

    @functools.cached_property
    def back(self) -> Carried | None:
        """Made when the first candidate is asked for its way back; it is the same for all."""
        return self._back()


class Prompting:
    """One prompt: `find_region`, `find_counterpart`, then all `steps`; `answer` says at any time what is known.

    Args:
        fixed: the image that is prompted; its segmenter answers.
        moving: the other image.
        config: slices and the threshold epsilon.
        through: follow the region through the slices of a volume.
        carry: where a registration puts points, (n, d) fixed world to (n, d) moving world.
    """

    def __init__(
        self,
        fixed: Stack,
        moving: Stack,
        config: RegisterConfig,
        *,
        through: bool = True,
        carry: Callable[[Points], Points] | None = None,
    ) -> None:
        self.config, self.segmenter, self.through, self.carry = config, fixed.segmenter, through, carry
        self.fixed, self.moving = fixed, moving
        self.number = 0
        self.outline: Outline
        self.given: MaskArray | None = None
        self.span = (0, len(self.fixed) - 1)
        self.best: _Match | None = None
        self._looked_at_all = False
        self._own: dict[int, np.ndarray] = {}
        self._theirs: dict[int, np.ndarray] = {}
        self._asked: list[tuple[float, ...] | None] = [None, None]
        self._encoded = fixed.n_encoded, moving.n_encoded

    def find_region(self, point: Sequence[float] | None, box: Sequence[float] | None, mask: MaskArray | None) -> None:
        """The region on its main slice: that of the point, the middle of the box, or the mask's largest.

        Raises:
            GeometryError: if the prompt lies outside the fixed image.
            InputError: if no region answers to it.
        """
        self._asked = [None if values is None else tuple(float(v) for v in values) for values in (point, box)]
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
        cut = self.fixed.cut(mask)
        if not cut:
            raise GeometryError("the mask is empty: mark at least one voxel")
        self.given = mask
        self.number = max(cut, key=lambda number: np.count_nonzero(cut[number]))
        flat = cut[self.number][None]
        self.outline = Outline(flat, np.ones(1, dtype=np.float32), self.fixed.encoding(self.number))

    def find_counterpart(self) -> None:
        """The best match where the registration puts it; without one, on all slices where it may lie."""
        place = self._carried()
        if place is None:
            self._look_everywhere()
        else:
            self.best = self._best_on([place], enough=_LEADS_BACK)

    def steps(self) -> Iterator[None]:
        """What is left to do, one slice at a time: a wider search where the first one failed, and following."""
        if not self._looked_at_all and (self.best is None or self._reason()):
            self._look_everywhere()
            yield
        if self.given is None and self.through and len(self.fixed) > 1:
            yield from self._followed(self.fixed, self.number, self.outline, self.span, self._own)
        if self.best is not None and not self._reason() and self.through and len(self.moving) > 1:
            span = (0, len(self.moving) - 1)
            yield from self._followed(self.moving, self.best.number, self.best.outline, span, self._theirs)

    def _followed(
        self, stack: Stack, number: int, outline: Outline, span: tuple[int, int], into: dict[int, np.ndarray]
    ) -> Iterator[None]:
        for at, mask in through_slices(self.segmenter, stack, number, outline, self.config.match.epsilon, span):
            into[at] = mask
            yield

    def _look_everywhere(self) -> None:
        self._looked_at_all = True
        self.best = self._best_on(self._places()) or self.best

    def _best_on(self, places: Sequence[_Place], enough: float = 1.0) -> _Match | None:
        """The best match on some slices of the moving image.

        Args:
            places: the slices.
            enough: a candidate that leads back so well is taken before those that fit worse are tried.
        """
        view = self.fixed.view(self.number)
        ratio = self.fixed.pixel_size / self.moving.pixel_size
        tried: list[tuple[float, _Place, Candidates, int]] = []
        for place in places:
            onto = self.moving.view(place.number)
            found = search(self.segmenter, view, self.outline, onto, place.there, ratio, registered=place.registered)
            tried += [(float(found.score[i]), place, found, i) for i in range(min(_TRIED, len(found.score)))]
        tried.sort(key=lambda row: -row[0])
        best: _Match | None = None
        for score, place, found, i in tried[:_TRIED]:
            if best is not None and (best.cycle >= enough or score + 1 <= best.score):
                break  # not even a perfect way back would bring a candidate of less score before it
            outline = found.outline.select(np.asarray([i]))
            other = self.moving.view(place.number)
            near = place.registered
            returned = search(self.segmenter, other, outline, view, place.back, 1 / ratio, registered=near)
            cycle = float(iou_with(returned.outline.masks[:1], self.outline.masks[0]).max(initial=0.0))
            similarity = float(cosine_similarity(self.outline.prototypes, outline.prototypes)[0, 0])
            if best is None or score + cycle > best.score:
                best = _Match(place.number, outline, score + cycle, similarity, cycle)
        return best

    def _carried(self) -> _Place | None:
        """The moving slice to which the registration carries the region; None where that is unknown or of no use."""
        if self.carry is None:
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
        if not self._seen_along(matrix):
            return None
        # In a stack that both images share, a region of one slice is looked for on that slice.
        number = self.number if self._share_slices() else round(float(numbers.mean()))
        there = known_displacement(self.fixed, self.number, self.moving, self.carry)
        return _Place(number, there, lambda: WayBack(there), registered=True)

    def _places(self) -> list[_Place]:
        """Slices of the moving image where the region may lie if all that is known are the headers."""
        if self._share_slices():
            return [self._searched(self.number, np.eye(3))]
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
        return [self._searched(number, start) for number, start in places.items()]

    def _searched(self, number: int, start: Matrix | None) -> _Place:
        """A moving slice, with a displacement there and one back from a map of pixels to start from."""
        if start is None:
            return _Place(number, None, lambda: None)
        here, there, back = self.fixed.view(self.number), self.moving.view(number), np.linalg.inv(start)
        return _Place(number, displacement(here, there, start), lambda: displacement(there, here, back))

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
        """What is known by now."""
        fixed, moving, best = self.fixed, self.moving, self.best
        quality = float(self.outline.quality[0])
        masks = {**self._own, self.number: self.outline.masks[0]}
        own = fixed.roi(masks, quality) if self.given is None else Roi.from_mask(self.given, quality)
        region = RoiSet((own,), fixed.image.grid)
        reason = self._reason()
        pairs = PairedRois.none(fixed.image.grid, moving.image.grid)
        candidate, confidence = pairs.moving, 0.0
        if best is not None:
            flat = moving.roi({best.number: best.outline.masks[0]}, float(best.outline.quality[0]))
            candidate = RoiSet((flat,), moving.image.grid)
        if best is not None and not reason:
            chain = {**self._theirs, best.number: best.outline.masks[0]}
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
                fixed.n_encoded - self._encoded[0],
                moving.n_encoded - self._encoded[1],
                0.0 if best is None else best.cycle,
                *self._asked,
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
