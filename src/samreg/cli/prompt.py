"""`samreg prompt`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from samreg.cli.common import asked_preset, rois_on, show
from samreg.cli.progress import ProgressLines
from samreg.config import RegisterConfig
from samreg.errors import GeometryError, InputError

if TYPE_CHECKING:
    from samreg.grid import Grid
    from samreg.prompting import PromptAnswer
    from samreg.result import RegistrationResult
    from samreg.types import MaskArray

__all__ = ["Prompt"]


@dataclass(frozen=True)
class Prompt:
    """One point, box or mask in FIXED gives its region there and the paired region in MOVING.

    Nothing is registered. Where MOVING holds no counterpart, the answer says so and why. Coordinates are world
    coordinates, LPS mm (photographs: pixels); write negative ones as --point=-12,30,5.
    """

    fixed: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FIXED")]
    """The image that is prompted."""
    moving: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MOVING")]
    """The image in which the counterpart is looked for."""
    out: Annotated[Path, tyro.conf.arg(metavar="RUN")]
    """Folder for the result; must not exist or be empty."""
    point: Annotated[str, tyro.conf.arg(metavar="X,Y,Z")] = ""
    """A point in the structure."""
    box: Annotated[str, tyro.conf.arg(metavar="X0,Y0,Z0,X1,Y1,Z1")] = ""
    """Two opposite corners of a box around it."""
    mask: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A label map or .seg.nrrd: all that is not background is the structure."""
    through: bool = True
    """Follow the structure through the slices of a volume."""
    overwrite: bool = False
    """Replace an older run in that folder."""
    config: Annotated[RegisterConfig, tyro.conf.arg(name="")] = field(default_factory=RegisterConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> Prompt:
        """All other options default to what the preset says."""
        return cls(tyro.MISSING, tyro.MISSING, tyro.MISSING, config=asked_preset(arguments))

    def run(self) -> None:
        """Read, ask, write."""
        from samreg.io.folders import check_output
        from samreg.io.images import read_image
        from samreg.io.run_folder import write_run

        check_output(self.out, self.overwrite)
        if sum(bool(given) for given in (self.point, self.box, self.mask)) != 1:
            raise InputError("give exactly one of --point, --box and --mask")
        point, box = _numbers(self.point, "--point"), _numbers(self.box, "--box")
        fixed, moving = read_image(self.fixed), read_image(self.moving)
        for numbers, name, wanted in ((point, "--point", fixed.grid.ndim), (box, "--box", 2 * fixed.grid.ndim)):
            if numbers is not None and len(numbers) != wanted:
                raise GeometryError(f"{name} of a {fixed.grid.ndim}D image wants {wanted} numbers, got {len(numbers)}")
        inputs = {"fixed": self.fixed, "moving": self.moving} | ({"mask": self.mask} if self.mask else {})
        mask = None if self.mask is None else _mask(self.mask, fixed.grid)
        from samreg.prompting import prompt_pair

        with ProgressLines() as progress:
            answer = prompt_pair(
                fixed,
                moving,
                point=point,
                box=box,
                mask=mask,
                config=self.config,
                through=self.through,
                progress=progress,
            )
        prompt: dict[str, object] = {"point": point, "box": box, "mask": None if self.mask is None else str(self.mask)}
        write_run(_as_result(answer, prompt), self.out, inputs=inputs, overwrite=self.overwrite)
        size, power = ("volume", "³") if fixed.grid.ndim == 3 else ("area", "²")
        volume = f"{answer.region.volumes[0]:.4g} {fixed.grid.unit}{power}"
        show(f"the region in {fixed.name}: {size} {volume}, quality {answer.region[0].quality:.2f}")
        if len(answer.pairs):
            centre = ", ".join(f"{c:.1f}" for c in answer.pairs.moving.centroids[0])
            show(
                f"its counterpart in {moving.name}: at {centre} {moving.grid.unit}, confidence {answer.confidence:.2f}"
            )
        else:
            show(f"no counterpart in {moving.name}: {answer.reason}")
        show(f"written to {self.out}")


def _numbers(text: str, option: str) -> tuple[float, ...] | None:
    if not text:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option} wants numbers with commas between them, got {text!r}") from None


def _mask(path: Path, grid: Grid) -> MaskArray:
    from samreg.io.rois import read_rois

    rois = read_rois(path)
    if not len(rois):
        raise InputError(f"{path}: is empty; mark the structure in it")
    marked: MaskArray = np.any(rois_on(grid, rois, str(path)).masks(), axis=0)
    return marked


def _as_result(answer: PromptAnswer, prompt: dict[str, object]) -> RegistrationResult:
    """The answer in the shape of a registration without a transform, for the run folder."""
    from samreg.result import RegistrationResult

    notes = () if len(answer.pairs) else (f"There is no counterpart in the moving image: {answer.reason}.",)
    provenance = answer.provenance | {
        "prompt": prompt,
        "similarity": answer.similarity,
        "cycle_iou": answer.cycle,
        "region": {"centroid": answer.region.centroids[0].tolist(), "n_voxels": int(answer.region.n_voxels[0])},
    }
    return RegistrationResult(
        answer.fixed,
        answer.moving,
        answer.pairs,
        None,
        None,
        answer.config,
        answer.confidence,
        provenance,
        answer.seconds,
        {},
        notes,
    )
