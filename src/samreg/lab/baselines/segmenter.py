"""Trained class segmenters (V-Net, FCT, MedNeXt): the same named classes in every image, no prompts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samreg.config import SegmentConfig
from samreg.errors import ModelError
from samreg.geometry.image import Image
from samreg.lab.baselines.networks.spec import SEGMENTATION
from samreg.types import Progress, ScalarArray

if TYPE_CHECKING:
    import torch

    from samreg.lab.baselines.networks.checkpoint import TrainedNetwork
    from samreg.regions.regions import Regions

__all__ = [
    "TRAINED",
    "TrainedSegmenter",
    "is_class_checkpoint",
    "load_class_segmenter",
]


@dataclass(frozen=True, eq=False)
class TrainedSegmenter:
    """A network trained by `samreg train vnet|fct|mednext`, as a `samreg.regions.known.ClassSegmenter`.

    Args:
        name: the path the user gave.
        trained: the network.
        device: where it computes.
        precision: `float32` or `bfloat16`.
    """

    name: str
    trained: TrainedNetwork
    device: torch.device
    precision: str

    @property
    def fingerprint(self) -> str:
        """sha256 of the checkpoint."""
        return self.trained.fingerprint

    @property
    def engine(self) -> str:
        """What computes, with precision and device."""
        return f"torch-{self.precision}-{self.device.type}"

    @property
    def segmenter(self) -> None:
        """There is no promptable segmenter behind it."""

    def find(self, image: Image, settings: SegmentConfig, progress: Progress | None = None) -> Regions:  # noqa: ARG002
        """The classes of one image as regions; of the settings only the slice axis is used."""
        from samreg.regions.classes import segment_by_class

        return segment_by_class(image, self, settings)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, background left out."""
        return self.trained.class_names

    def segment_classes(self, image: Image) -> tuple[tuple[str, ...], ScalarArray]:
        """Class names, and probabilities `(k, *image.grid.shape)`; 0 where the network does not look."""
        from samreg.lab.baselines.networks.predict import predict_classes

        probabilities = predict_classes(
            self.trained.net, self.trained.spec, image, device=self.device, precision=self.precision
        )
        return self.class_names, probabilities


class TrainedSegmenters:
    """The entry point `trained` of `samreg.segmenters`: opens checkpoints of `samreg train vnet|fct|mednext`."""

    use = "path/to/checkpoint of samreg train vnet, fct or mednext"

    def claims(self, path: Path) -> bool:
        """Whether a file is such a checkpoint."""
        return is_class_checkpoint(str(path))

    def open(self, settings: SegmentConfig) -> TrainedSegmenter:
        """The network whose checkpoint the settings name as segmenter; errors as for `load_class_segmenter`."""
        return load_class_segmenter(settings.segmenter, device=settings.device, precision=settings.precision)


TRAINED = TrainedSegmenters()


def is_class_checkpoint(name: str) -> bool:
    """Whether a segmenter's name is the path of a network trained by samreg."""
    from samreg.lab.baselines.networks.checkpoint import is_checkpoint

    path = Path(name).expanduser()
    return path.is_file() and is_checkpoint(path)


def load_class_segmenter(path: str | Path, *, device: str = "auto", precision: str = "auto") -> TrainedSegmenter:
    """A class segmenter from the checkpoint of a training run.

    Args:
        path: the checkpoint.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        precision: `float32`, `bfloat16`, or `auto`, which is float32: these networks are small.

    Raises:
        ModelError: if the file is not a checkpoint of a segmentation network.
    """
    from samreg.lab.baselines.networks.checkpoint import read_checkpoint
    from samreg.lab.baselines.networks.predict import choose_device

    if precision not in ("auto", "float32", "bfloat16"):
        raise ModelError(f"{path} computes in float32 or bfloat16, got precision {precision!r}")
    trained = read_checkpoint(Path(path).expanduser(), architectures=SEGMENTATION)
    chosen = choose_device(device)
    trained.net.to(chosen)
    return TrainedSegmenter(str(path), trained, chosen, "float32" if precision == "auto" else precision)
