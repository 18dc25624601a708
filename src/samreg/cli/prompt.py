"""`samreg prompt`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated

import tyro

from samreg.cli.common import rois_on, show
from samreg.cli.output import report
from samreg.cli.progress import ProgressLines
from samreg.cli.settings_file import asked_settings, read_settings
from samreg.config import MatchConfig, PresetName, RegisterConfig, SliceConfig, preset
from samreg.errors import InputError, check_number
from samreg.types import Points

__all__ = ["Prompt"]


@dataclass(frozen=True)
class PromptConfig(SliceConfig):
    """The settings that a prompt uses: nothing is proposed, and nothing fitted."""

    epsilon: float = MatchConfig.epsilon
    """Cosine similarity below which two regions do not correspond."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "epsilon", -1, 1)

    @classmethod
    def of(cls, config: RegisterConfig) -> PromptConfig:
        """The part of the settings of a registration that a prompt uses."""
        shared = {f.name: getattr(config.segment, f.name) for f in fields(SliceConfig)}
        return cls(**shared, epsilon=config.match.epsilon)

    def within(self, config: RegisterConfig) -> RegisterConfig:
        """The settings of a registration with these."""
        shared = {f.name: getattr(self, f.name) for f in fields(SliceConfig)}
        return replace(
            config,
            segment=replace(config.segment, **shared),
            match=replace(config.match, epsilon=self.epsilon),
        )


@dataclass(frozen=True)
class Prompt:
    """Find the region at a point, box or mask of FIXED, and its pair in MOVING; both go into a run folder.

    Where there is no counterpart, the folder holds no pair and the manifest says why.
    """

    fixed: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FIXED")]
    """The image that is prompted."""
    moving: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MOVING")]
    """The image in which the counterpart is looked for."""
    out: Annotated[Path, tyro.conf.arg(metavar="RUN", aliases=("-o",))]
    """Folder for the result; must not exist or be empty."""
    point: Annotated[str, tyro.conf.arg(metavar="X,Y,Z")] = ""
    """A point in LPS millimetres, or X,Y in pixels for photographs."""
    box: Annotated[str, tyro.conf.arg(metavar="X,Y,Z,X,Y,Z")] = ""
    """Two opposite corners, in the same coordinates."""
    mask: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A mask or label map of the fixed image, or .seg.nrrd; all that is not background is one region."""
    run_folder: Annotated[Path | None, tyro.conf.arg(name="run", metavar="RUN")] = None
    """A run of these two images, in either order: its transform says where to look first, and its settings are taken
    where no --preset and no --config are given. The answer is that of `samreg view RUN`."""
    overwrite: bool = False
    """Replace an older run in that folder."""
    preset: PresetName = "default"
    """What all settings start from: default, fast, regions or paper."""
    config_file: Annotated[Path | None, tyro.conf.arg(name="config", metavar="FILE")] = None
    """Settings from a TOML file or the manifest.json of a run; options given here win over it."""
    config: Annotated[PromptConfig, tyro.conf.arg(name="")] = field(default_factory=PromptConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> Prompt:
        """All other options default to what preset and settings file say."""
        return cls(
            tyro.MISSING, tyro.MISSING, tyro.MISSING, config=PromptConfig.of(asked_settings(_with_run(arguments)))
        )

    def run(self) -> None:
        """Read, prompt, write."""
        from samreg.files import check_output
        from samreg.io.images import read_image
        from samreg.io.rois import read_rois
        from samreg.runs.run_folder import write_run

        check_output(self.out, self.overwrite)
        if sum(bool(p) for p in (self.point, self.box, self.mask)) != 1:
            raise InputError("give exactly one of --point, --box and --mask")
        point, box = _numbers("--point", self.point), _numbers("--box", self.box)
        with ProgressLines() as progress:
            progress.begin(f"reading {self.fixed.name} and {self.moving.name}")
            fixed, moving = read_image(self.fixed), read_image(self.moving)
        inputs, mask = {"fixed": self.fixed, "moving": self.moving}, None
        if self.mask is not None:
            inputs["mask"] = self.mask
            rois = rois_on(fixed.grid, read_rois(self.mask), f"{self.mask}: its regions")
            mask = rois.label_map() > 0
        carry = None if self.run_folder is None else _carry(self.run_folder, self.fixed, self.moving)
        from samreg.prompt import prompt_pair

        named = None if self.preset == "default" else self.preset
        settings = self.config_file or (self.run_folder if named is None else None)
        base = preset(self.preset) if settings is None else read_settings(settings, named)
        config = self.config.within(base)
        with ProgressLines() as progress:
            progress.begin("loading the segmenter")
            answer = prompt_pair(
                fixed, moving, point=point, box=box, mask=mask, config=config, carry=carry, progress=progress
            )
        write_run(answer.result(), self.out, inputs=inputs, overwrite=self.overwrite)
        report(
            run=str(self.out),
            found=answer.found,
            reason=None if answer.found else answer.reason,
            confidence=round(float(answer.confidence), 4),
            pairs=len(answer.pairs),
        )
        if not answer.found:
            show(f"no counterpart: {answer.reason}", f"written to {self.out}")
            return
        where = ", ".join(f"{c:.1f}" for c in answer.pairs.moving.centroids[0])
        show(
            f"counterpart at {where} {moving.grid.unit}, similarity {answer.similarity:.2f}, way back "
            f"{answer.cycle:.2f}, confidence {answer.confidence:.2f}",
            f"written to {self.out}; look at {self.out / 'report.html'}",
        )


def _with_run(arguments: Sequence[str]) -> list[str]:
    """The same, with the settings of `--run` where nothing else names settings."""
    words = [word.partition("=") for word in arguments]
    if any(name in ("--preset", "--config") for name, _, _ in words):
        return list(arguments)
    runs = [
        value or (arguments[i + 1] if i + 1 < len(arguments) else "")
        for i, (n, _, value) in enumerate(words)
        if n == "--run"
    ]
    return [*arguments, "--config", runs[-1]] if runs and runs[-1] else list(arguments)


def _carry(folder: Path, fixed: Path, moving: Path) -> Callable[[Points], Points] | None:
    """Where the transform of a run puts points of the image that is prompted.

    Raises:
        InputError: if the run is of other images.
    """
    from samreg.files import sha256_of
    from samreg.runs.run_folder import read_run

    run = read_run(folder)
    known = [run.manifest["images"][side]["sha256"] for side in ("fixed", "moving")]
    given = [sha256_of(path) if path.exists() else None for path in (fixed, moving)]
    if given == known:
        return run.carry("fixed")
    if given == known[::-1]:
        return run.carry("moving")
    raise InputError(f"--run {folder}: is of other images than {fixed} and {moving} (another sha256)")


def _numbers(option: str, text: str) -> list[float] | None:
    if not text:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"{option} {text}: is not a list of numbers with commas, for example {option} 12.5,-3,40"
        ) from None
