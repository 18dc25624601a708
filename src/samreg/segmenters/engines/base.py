"""What an engine is, and which names choose one."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from samreg.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ENGINES", "SHORT", "Embedding", "Engine", "Precision", "check_settings"]

Embedding: TypeAlias = "tuple[Tensor, ...]"
"""Output of an encoder: the embedding, then features of higher resolution where the family has them."""

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]

ENGINES = ("auto", "torch", "openvino")
SHORT: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""Precision -> its short name, as in the name of an engine."""


class Engine(Protocol):
    """Computes the two halves of a network, from any thread. Tensors go in and come out as float32 on the CPU."""

    @property
    def name(self) -> str:
        """Engine, precision and device, for example `openvino-bf16-cpu`."""
        ...

    def encode(self, images: Tensor) -> Embedding:
        """Embedding of (b, 3, s, s) normalised images, each part (b, ...)."""
        ...

    def decode(
        self, embedding: Embedding, sparse: Tensor, mask_logits: Tensor | None, *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, m, h, w) and quality (n, m) of prompts on one image, whose embedding has no batch axis."""
        ...


def check_settings(engine: str, device: str, precision: str) -> None:
    """Check that the three are known names and fit together, without importing an engine.

    Args:
        engine: `auto`, `torch` or `openvino`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`.

    Raises:
        ConfigError: if one is unknown, or they do not fit together.
        MissingDependencyError: if OpenVINO was asked for and is not installed.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r} is not one of {', '.join(ENGINES)}")
    if precision not in ("auto", *SHORT):
        raise ConfigError(f"precision {precision!r} is not one of auto, {', '.join(SHORT)}")
    if not re.fullmatch(r"auto|(cpu|cuda|mps)(:\d+)?", device):
        raise ConfigError(f"device {device!r} is not one of auto, cpu, cuda, cuda:N, mps")
    if engine == "openvino" and find_spec("openvino") is None:
        raise MissingDependencyError("openvino", "engine=openvino")
    if engine == "openvino" and device not in ("auto", "cpu"):
        raise ConfigError(f"engine=openvino computes on the CPU, not on device={device!r}; use --engine torch")
