"""RegistrationResult: everything one registration found out."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from samreg.config import RegisterConfig
from samreg.errors import ConfigError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.inverse import InverseResult
from samreg.geometry.landmarks import LandmarkRecord
from samreg.geometry.rois import PairedRois
from samreg.types import Matrix, ScalarArray

__all__ = [
    "STATES",
    "Agreement",
    "CheckResult",
    "Origin",
    "PromptRecord",
    "RegistrationResult",
    "StartRecord",
    "TriedStart",
    "Verdict",
    "verdict_of",
]

STATES = ("pass", "look", "fail", "skipped")
"""What a check may say of what it measured."""
Verdict: TypeAlias = Literal["PASS", "LOOK", "FAIL"]
"""What all checks of a registration say together."""

_MOST_WARNINGS = 3  # lines of the repr
_LONGEST = 110  # characters of one


@dataclasses.dataclass(frozen=True)
class Origin:
    """What found the regions of one image.

    Args:
        segmenter: the name the user gave.
        weights_sha256: sha256 of its weights; empty where there are none.
        engine: what computed, for example `openvino-bf16-cpu`.
        prompts: kind of prompts of everything mode, `boxes` or `points`; empty where there were none.
        classes: names of the classes, for a network that knows classes.
        n_slices: slices that were segmented.
        n_rois: regions found.
    """

    segmenter: str
    weights_sha256: str = ""
    engine: str = ""
    prompts: str = ""
    classes: tuple[str, ...] = ()
    n_slices: int = 1
    n_rois: int = 0


@dataclasses.dataclass(frozen=True)
class TriedStart:
    """One candidate for the start of a rigid or affine registration, after its refinement by grey values.

    Args:
        agreement: how much better than chance the edges of both images run along each other; 1 is perfect, 0 is chance.
        cost: what the refinement minimised, in [0, 1].
        overlap: share of the fixed image that the moving image holds.
        not_refined: why the refined map was not taken; empty where it was.
    """

    agreement: float
    cost: float
    overlap: float
    not_refined: str = ""


@dataclasses.dataclass(frozen=True)
class StartRecord:
    """How the affine map was chosen that a registration starts from.

    Args:
        chosen: name of the candidate.
        costs: mean descriptor cost of each candidate, by name; lower is better. Between people, behind a coarse search
            from each; `agreement` is the map under which the embeddings agree best.
        n_matches: cells of the embeddings that are each other's most similar cell.
        agreeing: weighted share of these that agree with one affine map, in [0, 1].
        tried: candidates that grey values refined, by name, the winner first; empty where they refined none.
        both_ways: whether the images were also fitted in each other's place, and the last level started from the mean.
    """

    chosen: str
    costs: Mapping[str, float]
    n_matches: int
    agreeing: float
    tried: Mapping[str, TriedStart] = dataclasses.field(default_factory=dict)
    both_ways: bool = False


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well the images agree after the fit.

    Args:
        regions: mean overlap (soft IoU) of the pairs, weighted by their confidence; None without pairs that count.
        embedding: mean cosine of the descriptors in the tissue of the fixed image; None without a dense fit.
    """

    regions: float | None = None
    embedding: float | None = None


@dataclasses.dataclass(frozen=True)
class PromptRecord:
    """Where one prompt was answered.

    Args:
        fixed_slice: slice of the region in the fixed image.
        moving_slice: slice of its counterpart; None without one.
        n_fixed_encoded: slices of the fixed image that were encoded.
        n_moving_encoded: slices of the moving image that were encoded.
        cycle_iou: IoU of the region with what its counterpart leads back to.
        point: world position of the prompt, if it was a point.
        box: world positions of two opposite corners, one after the other, if it was a box.
    """

    fixed_slice: int
    moving_slice: int | None
    n_fixed_encoded: int
    n_moving_encoded: int
    cycle_iou: float
    point: tuple[float, ...] | None = None
    box: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What one named check found.

    Args:
        name: of the check.
        value: what was measured; None where it could not be.
        message: one sentence for the user; empty where there is nothing to say.
        state: `pass`, `look`, `fail` or `skipped`; empty stands for `look` where there is a message, and `pass` where
            there is none.
        unit: of the value; empty for a number without one.
        limit: lowest and highest value that passes; None leaves that side open.
        source: where the limit comes from.
        advice: what to do where it does not pass.

    Raises:
        ConfigError: if there is no such state.
    """

    name: str
    value: float | None
    message: str = ""
    state: str = ""
    unit: str = ""
    limit: tuple[float | None, float | None] = (None, None)
    source: str = ""
    advice: str = ""

    def __post_init__(self) -> None:
        if not self.state:
            object.__setattr__(self, "state", "look" if self.message else "pass")
        if self.state not in STATES:
            raise ConfigError(f"check {self.name!r} has the state {self.state!r}: choose {', '.join(STATES)}")

    @property
    def sentence(self) -> str:
        """The message and, unless the check passed, the advice; empty where there is no message."""
        counts = self.message and self.advice and self.state in ("look", "fail")
        return f"{self.message}; {self.advice}" if counts else self.message


def verdict_of(checks: Sequence[CheckResult]) -> Verdict:
    """The worst state of all checks: FAIL if one fails, LOOK if one says look, PASS otherwise.

    Checks that were skipped do not count. Where no check counts, nothing is known and the verdict is LOOK.
    """
    states = {check.state for check in checks}
    if "fail" in states:
        return "FAIL"
    return "PASS" if "pass" in states and "look" not in states else "LOOK"


@dataclasses.dataclass(frozen=True, eq=False)
class RegistrationResult:
    """Pairs, transform and how they came about.

    Args:
        fixed: the fixed image; its grid is the grid of the field.
        moving: the moving image, not warped: `result.field.warp(result.moving)` does that.
        pairs: the correspondence.
        affine: (d + 1, d + 1) fixed world to moving world: the affine part of the transform, or None.
        field: the whole transform (affine part included) on the fixed grid; None when `transform` is `none`.
        config: the settings of the run.
        confidence: how far the run trusts itself, in [0, 1].
        score: how likely the result is to be good, in [0, 1], to put many results of one kind of images in order
            (`samreg.checks.score`); None where nothing was measured.
        origins: what found the regions of the fixed and of the moving image; empty where nothing had to be found.
        same_slices: both images are the same stack of thick slices.
        linked: ROIs were paired as 3D ROIs, linked through the slices.
        in_plane: the fit moved nothing across the slices.
        start: how the affine map was chosen; None where it was not searched for.
        agreement: how well the images agree after the fit.
        iterations: steps of the optimiser at each level.
        prompt: where one prompt was answered; None for a whole registration.
        asked: `prompts` that regions of one image asked the other with, to find their counterparts, and slices that
            were `encoded` once more for them. Empty where none asked.
        seconds: wall time of each stage.
        losses: value of each term of the objective at the end of the fit.
        checks: what each check found.
        notes: what else the user should know, one sentence each.
        landmarks: how far landmarks that pulled the transform were apart before and after; None without any.
        numbers: the number of each pair in files and reports, where pairs keep those that they had in an earlier run;
            empty for 1 to K.
        colours: RGB, 0 to 255, of pairs that keep theirs as well, by number.
        maps: what checks measured at every voxel of the fixed image, by name: with `checks="all"` `spread`, how far the
            field moves when one image is perturbed, in world units.
    """

    fixed: Image
    moving: Image
    pairs: PairedRois
    affine: Matrix | None
    field: DisplacementField | None
    config: RegisterConfig
    confidence: float = 1.0
    score: float | None = None
    origins: tuple[Origin, ...] = ()
    same_slices: bool = False
    linked: bool = False
    in_plane: bool = False
    start: StartRecord | None = None
    agreement: Agreement = Agreement()
    iterations: tuple[int, ...] = ()
    prompt: PromptRecord | None = None
    asked: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    checks: tuple[CheckResult, ...] = ()
    notes: tuple[str, ...] = ()
    landmarks: LandmarkRecord | None = None
    maps: Mapping[str, ScalarArray] = dataclasses.field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    colours: Mapping[int, tuple[int, int, int]] = dataclasses.field(default_factory=dict)

    @property
    def pair_numbers(self) -> tuple[int, ...]:
        """The number of each pair: `numbers`, or 1 to K."""
        return self.numbers or tuple(range(1, len(self.pairs) + 1))

    def __repr__(self) -> str:
        """At most ten lines: images, pairs, transform, confidence, time and the first warnings."""
        lines = [
            "RegistrationResult",
            f"  fixed: {_image(self.fixed)}",
            f"  moving: {_image(self.moving)}",
            f"  pairs: {len(self.pairs)}, of which {int(self.pairs.is_given.sum())} were given",
            f"  transform: {self._transform()}",
            f"  confidence: {self.confidence:.2f}",
            f"  seconds: {sum(self.seconds.values()):.1f}",
        ]
        said = [text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..." for text in self.warnings]
        lines += [f"  warning: {text}" for text in said[:_MOST_WARNINGS]]
        if len(said) > _MOST_WARNINGS:
            lines[-1] = f"  and {len(said) - _MOST_WARNINGS + 1} more warnings: .warnings"
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """What a notebook shows: the same, with pictures of before and after and of the pairs."""
        # The report is a room above this one: it is called only where a notebook asks.
        html: str = importlib.import_module("samreg.report.notebook").result_html(self)
        return html

    def _transform(self) -> str:
        if self.field is None:
            return "none"
        length = np.linalg.norm(self.field.u, axis=-1).mean()
        folds = f"folding {100 * self.field.folding_fraction():.2g} %"
        return f"{self.config.fit.transform}, mean displacement {length:.1f} {self.field.grid.unit}, {folds}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that the user should know, one sentence each: notes, then what the checks say."""
        return self.notes + tuple(check.sentence for check in self.checks if check.message)

    @property
    def stack_axis(self) -> int | None:
        """Array axis of the stack of thick slices that both images share; None where they share none."""
        return self.fixed.grid.coarsest_axis if self.same_slices else None

    @property
    def verdict(self) -> Verdict:
        """PASS, LOOK or FAIL: the worst state of the checks; see `verdict_of`."""
        return verdict_of(self.checks)

    def inverse_on(self, grid: Grid) -> tuple[DisplacementField, InverseResult]:
        """The inverse on a grid of the moving world, and its residual at each voxel.

        A map that is affine has the inverse of its matrix everywhere; any other is inverted as it is, with the
        displacement of the nearest edge beyond the fixed grid (`DisplacementField.inverse_on`).

        Args:
            grid: usually that of the moving image.

        Raises:
            InputError: if the result has no transform.
        """
        if self.field is None:
            raise InputError("the result has pairs and no transform, and so no inverse: register with a transform")
        if self.config.fit.is_dense or self.affine is None:
            return self.field.inverse_on(grid)
        inverse = DisplacementField.from_matrix(np.linalg.inv(self.affine), grid)
        x = inverse.transform_points(grid.voxel_centres().reshape(-1, grid.ndim))
        n = len(x)
        return inverse, InverseResult(x, np.zeros(n), np.ones(n, dtype=bool), self.field.grid.contains(x))

    def provenance(self) -> dict[str, Any]:
        """How the result came about, for the manifest and the report: plain values by name."""
        sides = dict(zip(("fixed", "moving"), map(dataclasses.asdict, self.origins), strict=False))
        rois = "3D, linked through the slices" if self.linked else "slice by slice"
        return {
            **sides,
            "n_pairs": len(self.pairs),
            "slices_correspond": self.same_slices,
            "rois": rois if self.origins else "as given",
            "refined_in_plane_only": self.in_plane,
            "affine": None if self.start is None else dataclasses.asdict(self.start),
            "agreement": {k: v for k, v in dataclasses.asdict(self.agreement).items() if v is not None},
            "iterations": list(self.iterations),
            "landmarks": None if self.landmarks is None else dataclasses.asdict(self.landmarks),
            "prompt": None if self.prompt is None else dataclasses.asdict(self.prompt),
            "asked": dict(self.asked),
            "verdict": self.verdict,
            "score": self.score,
            "checks": [dataclasses.asdict(check) for check in self.checks],
        }


def _image(image: Image) -> str:
    grid = image.grid
    spacing = " x ".join(f"{v:.3g}" for v in grid.array_spacing)
    return f"{image.name}, {' x '.join(map(str, grid.shape))} voxels of {spacing} {grid.unit}"
