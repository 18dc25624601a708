"""A promptable network in torch: image encoder, prompt encoder and mask decoder, and how its input is normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samreg.segmenters.prompt_encoder import PromptEncoder
from samreg.segmenters.sam_decoder import DecoderSpec, MaskDecoder
from samreg.segmenters.tinyvit import TinyViT

__all__ = ["InputSpec", "SamNetwork"]


@dataclass(frozen=True)
class InputSpec:
    """What the image encoder wants to see.

    Args:
        size: side of the square input in pixels.
        mean: subtracted from RGB values in [0, 1].
        std: divided by after that.
    """

    size: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class SamNetwork(nn.Module):
    """The three parts under the names they have in the checkpoints.

    Args:
        image_encoder: (b, 3, s, s) to (b, c, grid, grid).
        decoder: shape of the mask decoder.
        size: side of the square input in pixels.
        mask_channels: hidden channels for mask prompts.
    """

    position: Tensor

    def __init__(self, image_encoder: nn.Module, decoder: DecoderSpec, size: int, mask_channels: int = 16) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(decoder.channels, decoder.grid, size, mask_channels)
        self.mask_decoder = MaskDecoder(decoder)

    def settle(self, state: dict[str, Any]) -> SamNetwork:
        """Take the weights (strictly) and make ready for inference.

        Raises:
            RuntimeError: if names or shapes differ, as `load_state_dict` words it.
        """
        self.load_state_dict(state, strict=True)
        self.requires_grad_(requires_grad=False)
        self.eval()
        with torch.no_grad():
            if isinstance(self.image_encoder, TinyViT):
                self.image_encoder.fuse()
            self.register_buffer("position", self.prompt_encoder.position(), persistent=False)
        return self

    def cells(self, features: Tensor, mask_logits: Tensor | None = None) -> Tensor:
        """The decoder's image side of (c, h, w) features: (cells, c), or (n, cells, c) with mask prompts."""
        if mask_logits is None:
            dense = self.prompt_encoder.no_mask_embed.weight[0]
        else:
            dense = self.prompt_encoder.dense(mask_logits.to(features.dtype))
        return features.flatten(1).t() + dense
