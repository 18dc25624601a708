"""What computes a network: torch on any device, or OpenVINO on a CPU. Both are the same function."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

from samreg.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from samreg.segmenters.sam.decoder import SharedCells
    from samreg.segmenters.sam.network import SamNetwork

__all__ = ["Embedding", "Engine", "TorchEngine", "make_engine", "resolve_device"]

Embedding = tuple[Tensor, ...]
"""What an encoder leaves to the decoder: the embedding, then high-resolution features where the family has them."""

Precision = Literal["float32", "bfloat16", "float16"]

_DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SHORT = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


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


class TorchEngine:
    """Any device torch knows.

    Args:
        network: the network, already with its weights.
        device: where to compute.
        precision: arithmetic of encoder and decoder; prompts are always embedded in float32.
        prompts_at_once: prompts a pass: bounds the memory, about 20 MB a prompt at SAM's size.
    """

    def __init__(self, network: SamNetwork, device: str, precision: Precision, prompts_at_once: int = 16) -> None:
        self.device, self.dtype, self.prompts_at_once = torch.device(device), _DTYPES[precision], prompts_at_once
        self.network = network.to(self.device, self.dtype)
        self.name = f"torch-{SHORT[precision]}-{device}"

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Embedding:
        """See `Engine.encode`."""
        return tuple(_to_host(part) for part in self.network.encode(images.to(self.device, self.dtype)))

    @torch.inference_mode()
    def decode(
        self, embedding: Embedding, sparse: Tensor, mask_logits: Tensor | None, *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.decode`."""
        parts = tuple(part.to(self.device, self.dtype) for part in embedding)
        shared: SharedCells | None = None
        logits, quality = [], []
        for start in range(0, len(sparse), self.prompts_at_once):
            rows = slice(start, start + self.prompts_at_once)
            if mask_logits is not None:
                shared = self.network.share(parts, mask_logits[rows].to(self.device, self.dtype))
            elif shared is None:
                shared = self.network.share(parts)
            tokens = sparse[rows].to(self.device, self.dtype)
            drawn, scores = self.network.decode(shared, parts[1:], tokens, multimask=multimask, coarse=coarse)
            logits.append(_to_host(drawn))
            quality.append(_to_host(scores))
        return torch.cat(logits), torch.cat(quality)


def _to_host(x: Tensor) -> Tensor:
    return x.to("cpu", torch.float32)


def resolve_device(device: str) -> str:
    """`auto` to a device that exists, and a given one checked.

    Raises:
        ConfigError: if torch has no such device here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = device.partition(":")
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if kind not in present or (number and not number.isdigit()):
        raise ConfigError(f"device {device!r} is not one of auto, cpu, cuda, cuda:N, mps")
    if present[kind] <= int(number or 0):
        raise ConfigError(f"device {device!r} is not available to torch on this machine; use --device auto")
    return device


def _best_torch_precision(device: str) -> Precision:
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "float32"


def make_engine(network: SamNetwork, fingerprint: str, engine: str, device: str, precision: str) -> Engine:
    """The engine that was asked for, or the best there is.

    Args:
        network: the network, already with its weights.
        fingerprint: sha256 of the weights.
        engine: `auto`, `torch` or `openvino`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`.

    Raises:
        ConfigError: if the three do not fit together, or not this machine.
        MissingDependencyError: if OpenVINO was asked for and is not installed.
    """
    if engine not in ("auto", "torch", "openvino"):
        raise ConfigError(f"engine {engine!r} is not one of auto, torch, openvino")
    if precision not in ("auto", *_DTYPES):
        raise ConfigError(f"precision {precision!r} is not one of auto, {', '.join(_DTYPES)}")
    installed = find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise MissingDependencyError("openvino", "engine=openvino")
    if engine == "openvino" and device not in ("auto", "cpu"):
        raise ConfigError(f"engine=openvino computes on the CPU, not on device={device!r}; use --engine torch")
    where = "cpu" if engine == "openvino" else resolve_device(device)
    if where == "cpu" and installed and engine != "torch":
        from samreg.segmenters.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(network, fingerprint, None if precision == "auto" else precision)
    chosen = _best_torch_precision(where) if precision == "auto" else precision
    return TorchEngine(network, where, chosen)  # type: ignore[arg-type]
