"""The engine of torch, on any of its devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
"""Prompts a pass on a CPU: bounds the memory, about 20 MB a prompt at SAM's size."""
_MOST_PROMPTS = 512
_BYTES_A_PROMPT = 32 << 20
"""On a graphics card as many prompts a pass as a quarter of its memory holds, and no more than keep it busy."""
_SLICES_AT_ONCE, _SIDE = 32, 256
"""Slices of that side that a graphics card encodes in one pass; fewer of a larger side."""


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
        self._alone = self.device.type == "cpu"
        if not self._alone:  # nothing is gained by tiles that fit the cache of a processor
            self.network.mask_decoder.transformer.tile = self.network.position.shape[0]

    @property
    def slices_at_once(self) -> int:
        """See `Engine.slices_at_once`."""
        side = self.network.prompt_encoder.input_size
        return 1 if self._alone else max(1, _SLICES_AT_ONCE * _SIDE**2 // side**2)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Embedding:
        """See `Engine.encode`."""
        return tuple(part.float() for part in self.network.encode(images.to(self.device, self.dtype)))

    @torch.inference_mode()
    def decode(
        self, embedding: Embedding, sparse: Tensor, mask_logits: Tensor | None, *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """See `Engine.decode`."""
        parts = tuple(part.to(self.device, self.dtype) for part in embedding)
        shared: SharedCells | None = None
        logits, quality = [], []
        at_once = self._prompts_at_once()
        for start in range(0, len(sparse), at_once):
            rows = slice(start, start + at_once)
            if mask_logits is not None:
                shared = self.network.share(parts, mask_logits[rows].to(self.device, self.dtype))
            elif shared is None:
                shared = self.network.share(parts)
            tokens = sparse[rows].to(self.device, self.dtype)
            masks, scores = self.network.decode(shared, parts[1:], tokens, multimask=multimask, coarse=coarse)
            logits.append(masks.float())
            quality.append(scores.float())
        return torch.cat(logits), torch.cat(quality)

    @torch.inference_mode()
    def decode_slices(
        self, embeddings: Sequence[Embedding], sparse: Sequence[Tensor], *, multimask: bool, coarse: bool
    ) -> list[tuple[Tensor, Tensor]]:
        """See `Engine.decode_slices`. Slices that fit into one pass are decoded in it, each with as many prompts as the
        one with the most: what is asked twice costs less than a pass of its own.
        """
        out: list[tuple[Tensor, Tensor]] = []
        for rows in _groups([len(tokens) for tokens in sparse], self._prompts_at_once()):
            some, tokens = embeddings[rows], sparse[rows]
            kinds = {part.shape[1:] for part in tokens}
            # Features of higher resolution belong to one image, and tokens of other lengths to another network.
            if self._alone or len(some) == 1 or len(some[0]) > 1 or len(kinds) > 1:
                pairs = zip(some, tokens, strict=True)
                out += [self.decode(part, t, None, multimask=multimask, coarse=coarse) for part, t in pairs]
                continue
            most = max(len(part) for part in tokens)
            padded = torch.cat([torch.cat([t, t[-1:].expand(most - len(t), -1, -1)]) for t in tokens])
            features = torch.stack([part[0] for part in some]).to(self.device, self.dtype)
            shared = self.network.share((features,))
            masks, scores = self.network.decode(
                shared, (), padded.to(self.device, self.dtype), multimask=multimask, coarse=coarse
            )
            for number, part in enumerate(tokens):
                own = slice(number * most, number * most + len(part))
                out.append((masks[own].float(), scores[own].float()))
        return out

    def _prompts_at_once(self) -> int:
        if self._alone:
            return _PROMPTS_AT_ONCE
        memory = torch.cuda.get_device_properties(self.device).total_memory if self.device.type == "cuda" else 0
        return min(_MOST_PROMPTS, max(_PROMPTS_AT_ONCE, memory // (4 * _BYTES_A_PROMPT)))


def _groups(counts: Sequence[int], most: int) -> Iterator[slice]:
    """Neighbours whose number times the largest of their counts stays within `most`; at least one each."""
    first = 0
    for last in range(1, len(counts) + 1):
        if last == len(counts) or (last + 1 - first) * max(counts[first : last + 1]) > most:
            yield slice(first, last)
            first = last
