"""What an engine is, and which names choose one."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    """Computes the two halves of a network, from any thread.

    Tensors go in from the CPU or from the engine's device, and come out as float32 on the engine's device: what is
    encoded there is prompted there, and only the masks that stay are brought back.
    """

    @property
    def name(self) -> str:
        """Engine, precision and device, for example `openvino-bf16-cpu`."""
        ...

    @property
    def slices_at_once(self) -> int:
        """Slices that are worth encoding and prompting together; 1 where one alone keeps the device busy."""
        ...

    def encode(self, images: Tensor) -> Embedding:
        """Embedding of (b, 3, s, s) normalised images, each part (b, ...)."""
        ...

    def decode(
        self, embedding: Embedding, sparse: Tensor, mask_logits: Tensor | None, *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, m, h, w) and quality (n, m) of prompts on one image, whose embedding has no batch axis."""
        ...

    def decode_slices(
        self, embeddings: Sequence[Embedding], sparse: Sequence[Tensor], *, multimask: bool, coarse: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """What `decode` gives for each of several images and its own prompts, without mask prompts."""
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
