"""`samreg train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, get_args

import tyro

from samreg.cli.common import show, table
from samreg.cli.progress import ProgressLines
from samreg.errors import InputError
from samreg.lab.baselines.networks.spec import Architecture
from samreg.lab.baselines.training.config import TrainConfig, defaults

__all__ = ["Train"]


@dataclass(frozen=True)
class Train:
    """Train a network to compare with: voxelmorph, labelreg (registration), vnet, fct, mednext (segmentation).

    Run the same command again after an interruption: it goes on from the last whole epoch.
    """

    network: Annotated[Architecture, tyro.conf.Positional]
    """Which network."""
    root: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the dataset."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE", aliases=("-o",))]
    """The checkpoint to write; FILE.csv beside it holds the learning curve."""
    dataset: str = "acdc"
    """Name of the dataset, as for samreg benchmark."""
    tensorboard: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Folder for TensorBoard event files."""
    overwrite: bool = False
    """Replace a checkpoint, or an unfinished run, that exists."""
    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)

    @classmethod
    def defaults(cls, arguments: list[str]) -> Train:
        """All other options default to what suits the network."""
        named = next((name for name in get_args(Architecture) if name in arguments), None)
        config = TrainConfig() if named is None else defaults(named)
        return cls(tyro.MISSING, tyro.MISSING, tyro.MISSING, config=config)

    def run(self) -> None:
        """Open the dataset, train, show the scores."""
        from samreg.lab.datasets.registry import open_dataset

        if self.out.is_dir():
            raise InputError(f"--out {self.out} is a folder; give a file, for example {self.out / self.network}.ckpt")
        pairs = open_dataset(self.dataset, self.root)
        # torch is loaded after the input was found to be good.
        from samreg.lab.baselines.training.run import train
        from samreg.lab.baselines.training.state import resume_path

        try:
            with ProgressLines() as progress:
                trained = train(
                    self.network,
                    pairs,
                    self.out,
                    self.config,
                    dataset=self.dataset,
                    overwrite=self.overwrite,
                    on_epoch=_EpochLines(self.config.epochs, progress),
                    tensorboard=self.tensorboard,
                )
        except KeyboardInterrupt:
            if not resume_path(self.out).exists():
                raise
            raise KeyboardInterrupt(
                f"interrupted; the same command goes on from the last whole epoch, kept in {resume_path(self.out)}"
            ) from None
        scores = trained.scores
        rows = [[name, f"{scores[f'test_dice_{name}']:.3f}"] for name in trained.class_names]
        rows.append(["mean", f"{scores['test_dice']:.3f}"])
        if "test_dice_before" in scores:
            rows.append(["mean before registration", f"{scores['test_dice_before']:.3f}"])
        show(
            table([f"Dice of {len(trained.split['test'])} test subjects", ""], rows),
            f"best epoch {scores['best_epoch']}, {scores['seconds'] / 60:.1f} min, "
            f"{scores['cpu_seconds'] / 60:.1f} CPU min",
            f"written: {self.out}",
        )


class _EpochLines:
    """A line an epoch, and on a terminal a bar."""

    def __init__(self, epochs: int, progress: ProgressLines) -> None:
        self.epochs = epochs
        self.progress = progress
        self.best = 0.0

    def __call__(self, row: Mapping[str, float]) -> None:
        self.best = max(self.best, row["dice"])
        loss = "" if row["epoch"] == 0 else f"loss {row['loss']:.4f}, "
        show(
            f"epoch {row['epoch']:.0f} of {self.epochs}: {loss}validation Dice {row['dice']:.3f}, "
            f"best {self.best:.3f}, {row['seconds']:.0f} s"
        )
        self.progress("epochs", int(row["epoch"]), self.epochs)
