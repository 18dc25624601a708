"""The engine of torch, on any of its devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from samreg.segmenters.engines.base import SHORT, Embedding, Precision

if TYPE_CHECKING:
    from samreg.segmenters.sam.network import SamNetwork
    from samreg.segmenters.sam.transformer import SharedCells

__all__ = ["TorchEngine"]

_DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
_PROMPTS_AT_ONCE = 16
"""Prompts a pass: bounds the memory, about 20 MB a prompt at SAM's size."""


class TorchEngine:
    """Any device torch knows.

    Args:
        network: the network, already with its weights.
        device: where to compute.
        precision: arithmetic of encoder and decoder; prompts are always embedded in float32.
    """

    def __init__(self, network: SamNetwork, device: str, precision: Precision) -> None:
        self.device, self.dtype = torch.device(device), _DTYPES[precision]
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
        for start in range(0, len(sparse), _PROMPTS_AT_ONCE):
            rows = slice(start, start + _PROMPTS_AT_ONCE)
            if mask_logits is not None:
                shared = self.network.share(parts, mask_logits[rows].to(self.device, self.dtype))
            elif shared is None:
                shared = self.network.share(parts)
            tokens = sparse[rows].to(self.device, self.dtype)
            masks, scores = self.network.decode(shared, parts[1:], tokens, multimask=multimask, coarse=coarse)
            logits.append(_to_host(masks))
            quality.append(_to_host(scores))
        return torch.cat(logits), torch.cat(quality)


def _to_host(x: Tensor) -> Tensor:
    return x.to("cpu", torch.float32)
