"""Settings of a training run, and their defaults for each architecture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from samreg.checking import check_choice, check_device, check_number, check_numbers
from samreg.errors import ConfigError
from samreg.networks.spec import REGISTRATION, Architecture, NetworkSpec

__all__ = ["AugmentConfig", "LossConfig", "TrainConfig", "defaults"]


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of a training sample."""

    rotation: float = 30.0
    """Largest rotation in the plane, degrees."""
    scale: float = 0.2
    """Largest relative change of size."""
    shift: float = 0.1
    """Largest shift of the patch from the middle of the view, as a share of the view."""
    flip: float = 0.5
    """Probability of mirroring along each in-plane axis."""
    gamma: float = 0.3
    """Largest log-exponent of the grey values."""
    contrast: float = 0.2
    """Largest relative change of contrast, and absolute change of brightness."""
    noise: float = 0.03
    """Largest standard deviation of additive noise."""

    def __post_init__(self) -> None:
        check_number(self, "rotation", 0, 180)
        for name in ("scale", "shift", "flip"):
            check_number(self, name, 0, 1)
        for name in ("gamma", "contrast", "noise"):
            check_number(self, name, 0)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the objective; each architecture uses its own part."""

    similarity: Literal["lncc", "mse"] = "lncc"
    """VoxelMorph: image term."""
    window: int = 9
    """VoxelMorph: side of the LNCC window, pixels."""
    smoothness: float = 1.0
    """VoxelMorph: weight of the squared gradient of the field; LabelReg: weight of its bending energy."""
    dice: float = 0.0
    """VoxelMorph: weight of the Dice loss of the labels; 0 trains without labels."""
    scales: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0)
    """LabelReg: standard deviations, in pixels, at which the labels are compared."""
    deep_supervision: float = 0.5
    """Segmentation: weight of each coarser output relative to the next finer one."""

    def __post_init__(self) -> None:
        check_choice(self, "similarity", ("lncc", "mse"))
        check_number(self, "window", 3, whole=True)
        if self.window % 2 == 0:
            raise ConfigError(f"window (--window) is {self.window}: give an odd number of pixels")
        check_number(self, "smoothness", 0)
        check_number(self, "dice", 0)
        check_numbers(self, "scales", 0)
        check_number(self, "deep_supervision", 0, 1)


@dataclass(frozen=True)
class TrainConfig:
    """How a network is trained."""

    dims: Literal[2, 3] = 2
    """2: slice by slice, for thick-slice stacks; 3: volumes."""
    shape: tuple[int, ...] = (96, 96)
    """What the network sees of an image, in pixels, around its centre; (y, x) or (z, y, x)."""
    spacing: tuple[float, ...] = (2.5, 2.5)
    """Millimetres a pixel of that view, in the same order."""
    patch: tuple[int, ...] = (64, 64)
    """Size of a training sample cut from the view."""
    width: int = 0
    """Channels of the first level; 0 takes the architecture's default."""
    batch_size: int = 12
    """Samples a step."""
    epochs: int = 60
    """At most so many epochs."""
    steps_per_epoch: int = 25
    """Optimiser steps an epoch; the network is validated, and the run saved, after each epoch."""
    learning_rate: float = 2e-3
    """Peak of the schedule: one epoch of linear warm-up, then half a cosine down to zero."""
    weight_decay: float = 1e-5
    """AdamW's decoupled weight decay."""
    patience: int = 20
    """Epochs without a better validation Dice after which training stops."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The objective."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Random changes of the samples."""
    n_test: int = 10
    """Subjects kept for the test, where no stored split names them."""
    n_validation: int = 3
    """Subjects, of those not in the test, that choose the best epoch."""
    seed: int = 0
    """Seed of the split, the weights, the samples and their changes."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the network; auto takes bfloat16 on CUDA, and on CPUs that multiply in it."""
    threads: int = 0
    """CPU threads; 0 leaves torch's own choice."""

    def __post_init__(self) -> None:
        check_choice(self, "dims", (2, 3))
        check_numbers(self, "shape", 1, whole=True, length=self.dims)
        check_numbers(self, "spacing", 0, above=True, length=self.dims)
        check_numbers(self, "patch", 1, whole=True, length=self.dims)
        if any(p > s for p, s in zip(self.patch, self.shape, strict=True)):
            raise ConfigError(
                f"patch (--patch) is {self.patch}: give sizes that fit into the view, {self.shape} (--shape)"
            )
        for name in ("batch_size", "epochs", "steps_per_epoch", "patience", "n_test", "n_validation"):
            check_number(self, name, 1, whole=True)
        for name in ("width", "seed", "threads"):
            check_number(self, name, 0, whole=True)
        check_number(self, "learning_rate", 0, above=True)
        check_number(self, "weight_decay", 0)
        check_device(self)
        check_choice(self, "precision", ("auto", "float32", "bfloat16"))

    def spec(self, architecture: Architecture, n_classes: int) -> NetworkSpec:
        """The network that these settings train.

        Args:
            architecture: which one.
            n_classes: foreground classes of the dataset; unused by the registration networks.
        """
        kept = 0 if architecture in REGISTRATION else n_classes
        spec = NetworkSpec(architecture, self.dims, self.shape, self.spacing, kept, self.width)
        spec.check_size(tuple(self.patch), "patch")
        return spec

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint and for comparing two runs."""
        return {key: list(v) if isinstance(v, tuple) else v for key, v in _flat(asdict(self)).items()}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out.update(_flat(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out


def defaults(architecture: Architecture) -> TrainConfig:
    """The settings that train an architecture on ACDC within minutes on two CPU cores.

    The objectives are those of the papers; sizes and learning rates are chosen for 2D slices and few steps.

    Raises:
        ConfigError: if there is no such architecture.
    """
    base = TrainConfig()
    quiet = replace(base.augment, noise=0.0)  # noise only lowers a local correlation
    table: dict[str, TrainConfig] = {
        "voxelmorph": replace(
            base, batch_size=16, learning_rate=1e-3, augment=quiet, loss=replace(base.loss, smoothness=0.2)
        ),
        "labelreg": replace(base, epochs=24, batch_size=16, augment=quiet, loss=replace(base.loss, smoothness=0.5)),
        "vnet": base,
        "fct": replace(base, epochs=60, steps_per_epoch=40, batch_size=8, learning_rate=1e-3),
        "mednext": replace(base, epochs=36, steps_per_epoch=40, batch_size=8),
    }
    if architecture not in table:
        raise ConfigError(f"there is no architecture {architecture!r}; choose {', '.join(table)}")
    return table[architecture]
