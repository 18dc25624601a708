"""SAM-HQ: SAM's decoder with one more token, which predicts a correction from early and late features.

Source: Ke et al., "Segment anything in high quality" (NeurIPS 2023). Parameter names are those of the original
checkpoints.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from samreg.segmenters.sam.decoder import MaskDecoder
from samreg.segmenters.sam.layers import ChannelNorm, Perceptron, Tokens
from samreg.segmenters.sam.transformer import DecoderSpec

__all__ = ["HqMaskDecoder"]


def _upscaler(c_in: int, middle: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(c_in, middle, 2, stride=2),
        ChannelNorm(middle),
        nn.GELU(),
        nn.ConvTranspose2d(middle, c_out, 2, stride=2),
    )


class HqMaskDecoder(MaskDecoder):
    """Masks are the sum of those of SAM's token and of the high-quality token; several come best first.

    Args:
        spec: shape of the network.
        encoder_dim: channels of the encoder's early features.
    """

    def __init__(self, spec: DecoderSpec, encoder_dim: int) -> None:
        super().__init__(spec)
        c = spec.channels
        self.hf_token = Tokens(1, c)
        self.hf_mlp = Perceptron(c, c, c // 8, 3)
        self.compress_vit_feat = _upscaler(encoder_dim, c, c // 8)
        self.embedding_encoder = _upscaler(c, c // 4, c // 8)
        self.embedding_maskfeature = nn.Sequential(
            nn.Conv2d(c // 8, c // 4, 3, padding=1),
            ChannelNorm(c // 4),
            nn.GELU(),
            nn.Conv2d(c // 4, c // 8, 3, padding=1),
        )

    def output_tokens(self) -> Tensor:
        """(1 + masks + 1, c): the quality token, the mask tokens, the high-quality token."""
        return torch.cat([super().output_tokens(), self.hf_token.weight])

    def high_res_features(self, features: Tensor, early: Tensor) -> Tensor:
        """Features for the high-quality token, (b, c / 8, 4 h, 4 w): the same for all prompts."""
        out: Tensor = self.embedding_encoder(features) + self.compress_vit_feat(early)
        return out

    def predict(
        self, tokens: Tensor, tiles: list[Tensor], high_res: tuple[Tensor, ...], *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """See `MaskDecoder.predict`."""
        # The 3 x 3 convolutions need the neighbours of every pixel: full resolution, whatever is asked for.
        logits, quality = super().predict(tokens, tiles, (), multimask=multimask, coarse=False)
        if multimask:
            quality, order = quality.sort(dim=1, descending=True)
            logits = logits.gather(1, order[:, :, None, None].expand_as(logits))
        logits = logits + self._correction(tokens[:, 1 + self.n_masks], tiles, high_res[0])
        return (logits[..., ::4, ::4] if coarse else logits), quality

    def _correction(self, token: Tensor, tiles: list[Tensor], high_res: Tensor) -> Tensor:
        pixels = torch.cat([self.upscale(tile, (), coarse=False) for tile in tiles], dim=1)
        maps = self.to_image_order(pixels.transpose(1, 2), coarse=False)
        wide, norm, _, narrow = self.embedding_maskfeature
        x = functional.gelu(norm(wide(maps)))
        weight = self.hf_mlp(token)
        # The last convolution is linear: weigh its channels before, and it has one channel a prompt.
        last = cast("nn.Conv2d", narrow)
        kernels = torch.einsum("no,oihw->nihw", weight, last.weight)
        n, _, h, w = x.shape
        corrected = functional.conv2d(x.reshape(1, -1, h, w), kernels, padding=1, groups=n).view(n, h, w)
        bias = torch.zeros_like(weight[0]) if last.bias is None else last.bias
        return (corrected + torch.einsum("no,ohw->nhw", weight, high_res + bias[:, None, None]))[:, None]
