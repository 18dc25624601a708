"""SAM 2 for single images: a Hiera encoder that also gives features of higher resolution, which the decoder adds in its
upscaling.

The encoder is that of transformers; prompts and masks are computed as for the rest of the family.
Source: Ravi et al., "SAM 2: Segment anything in images and videos" (2024). Parameter names of the decoder are those of
the original checkpoints.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samreg.segmenters.sam.decoder import MaskDecoder
from samreg.segmenters.sam.layers import Perceptron, Tokens
from samreg.segmenters.sam.network import SamNetwork
from samreg.segmenters.sam.transformer import DecoderSpec

__all__ = ["Sam2MaskDecoder", "Sam2Network"]


class Sam2MaskDecoder(MaskDecoder):
    """SAM's decoder with a token for the presence of the object, features of higher resolution, and a fallback for
    unstable masks.

    Args:
        spec: shape of the network.
        stability_delta: logit offset of the stability score.
        stability_threshold: single masks less stable than this are replaced by the best of three; None turns it off.
    """

    def __init__(self, spec: DecoderSpec, stability_delta: float, stability_threshold: float | None) -> None:
        super().__init__(spec)
        c = spec.channels
        self.stability_delta, self.stability_threshold = stability_delta, stability_threshold
        self.obj_score_token = Tokens(1, c)
        self.pred_obj_score_head = Perceptron(c, c, 1, 3)
        self.conv_s0 = nn.Conv2d(c, c // 8, 1)
        self.conv_s1 = nn.Conv2d(c, c // 4, 1)

    def output_tokens(self) -> Tensor:
        """(2 + masks, c): the object token, then SAM's."""
        return torch.cat([self.obj_score_token.weight, super().output_tokens()])

    def quality(self, token: Tensor, first: int, last: int) -> Tensor:
        """See `MaskDecoder.quality`; SAM 2 predicts IoU through a sigmoid."""
        return super().quality(token, first, last).sigmoid()

    def predict(
        self, tokens: Tensor, tiles: list[Tensor], high_res: tuple[Tensor, ...], *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """See `MaskDecoder.predict`."""
        of_masks = tokens[:, 1:]
        if multimask or self.stability_threshold is None:
            return super().predict(of_masks, tiles, high_res, multimask=multimask, coarse=coarse)
        # Stability is measured on every pixel, so that coarse and full logits choose the same mask.
        logits = self.masks(of_masks[:, 1:], tiles, high_res, 0, self.n_masks, coarse=False)
        quality = self.quality(of_masks[:, 0], 0, self.n_masks)
        single = logits[:, :1].flatten(2)
        inner = (single > self.stability_delta).sum(dim=2).to(single.dtype)
        outer = (single > -self.stability_delta).sum(dim=2).to(single.dtype)
        stable = (outer == 0) | (inner >= self.stability_threshold * outer)
        best = quality[:, 1:].argmax(dim=1, keepdim=True) + 1
        chosen = torch.where(stable, torch.zeros_like(best), best)
        if coarse:
            logits = logits[..., ::4, ::4]
        picked = logits.gather(1, chosen[:, :, None, None].expand(-1, -1, *logits.shape[2:]))
        return picked, quality.gather(1, chosen)


class Sam2Network(SamNetwork):
    """SAM 2 for single images.

    Args:
        image_encoder: transformers' `Sam2VisionModel`.
        spec: shape of the mask decoder.
        size: side of the square input in pixels.
        decoder: the mask decoder.
        mask_channels: hidden channels for mask prompts.
    """

    def __init__(
        self, image_encoder: nn.Module, spec: DecoderSpec, size: int, decoder: Sam2MaskDecoder, mask_channels: int
    ) -> None:
        super().__init__(image_encoder, spec, size, mask_channels, decoder=decoder, always_pad=True)
        self.no_memory_embedding = nn.Parameter(torch.zeros(1, 1, spec.channels))

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Embedding (b, c, g, g), and the features of the two upscaling steps in the order of its pixels."""
        levels = self.image_encoder(images, return_dict=True).fpn_hidden_states
        decoder: Sam2MaskDecoder = self.mask_decoder  # type: ignore[assignment]
        embedding = levels[2] + self.no_memory_embedding.view(1, -1, 1, 1)
        return embedding, _by_cell(decoder.conv_s1(levels[1]), 1), _by_cell(decoder.conv_s0(levels[0]), 2)


def _by_cell(maps: Tensor, halvings: int) -> Tensor:
    """(b, c, y, x) to (b, cells, pixels of the cell, c), pixels in the order in which upscaling makes them."""
    step = 2**halvings
    b, c, h, w = maps.shape
    x = maps.view(b, c, h // step, *[2] * halvings, w // step, *[2] * halvings)
    y_bits, x_bits = range(3, 3 + halvings), range(4 + halvings, 4 + 2 * halvings)
    bits = [axis for pair in zip(y_bits, x_bits, strict=True) for axis in pair]
    return x.permute(0, 2, 3 + halvings, *bits, 1).reshape(b, (h // step) * (w // step), step**2, c)
