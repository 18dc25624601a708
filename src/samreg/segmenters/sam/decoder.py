"""The mask decoder of the SAM family: the two-way transformer, the upscaling and the quality head.

The upscaling is two transposed convolutions of kernel 2 and stride 2: an output pixel depends on one cell alone. All of
it is a product a cell, and every fourth pixel of the output costs a sixteenth. Tests compare the result with the
reference implementations.

Source: Kirillov et al., "Segment Anything" (ICCV 2023), appendix A. Parameter names are those of the original
checkpoints.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from samreg.segmenters.sam.layers import ChannelNorm, Perceptron, Tokens
from samreg.segmenters.sam.transformer import DecoderSpec, SharedCells, TwoWayTransformer

__all__ = ["MaskDecoder"]


class MaskDecoder(nn.Module):
    """Prompt tokens and image cells to mask logits and predicted IoU.

    Args:
        spec: shape of the network.
    """

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        c = spec.channels
        self.spec = spec
        self.n_masks = spec.n_multimask + 1
        self.transformer = TwoWayTransformer(spec)
        self.iou_token = Tokens(1, c)
        self.mask_tokens = Tokens(self.n_masks, c)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(c, c // 4, 2, stride=2),
            ChannelNorm(c // 4),
            nn.GELU(),
            nn.ConvTranspose2d(c // 4, c // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Perceptron(c, c, c // 8, 3) for _ in range(self.n_masks))
        self.iou_prediction_head = Perceptron(c, spec.iou_hidden, self.n_masks, spec.iou_depth)

    def output_tokens(self) -> Tensor:
        """(1 + masks, c): the quality token and the mask tokens, which come before those of the prompt."""
        return torch.cat([self.iou_token.weight, self.mask_tokens.weight])

    def share(self, position: Tensor, cells: Tensor) -> SharedCells:
        """What prompts on the same cells share: position (cells, c), cells (g, cells, c)."""
        return self.transformer.share(position, cells)

    def forward(
        self,
        sparse: Tensor,
        position: Tensor,
        shared: SharedCells,
        high_res: tuple[Tensor, ...],
        *,
        multimask: bool,
        coarse: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks of n prompts.

        Args:
            sparse: (n, t, c) prompt tokens.
            position: (cells, c).
            shared: of the image (g = 1), of several images with as many prompts each, or of each prompt (g = n).
            high_res: features of higher resolution; SAM has none.
            multimask: the three masks of the multimask tokens instead of the one of the single-mask token.
            coarse: every fourth pixel only.

        Returns:
            Logits (n, m, 4 h, 4 w), or (n, m, h, w) with `coarse`, and predicted IoU (n, m).
        """
        prompt_tokens = torch.cat([self.output_tokens().expand(sparse.shape[0], -1, -1), sparse], dim=1)
        tokens, tiles = self.transformer(prompt_tokens, position, shared)
        return self.predict(tokens, tiles, high_res, multimask=multimask, coarse=coarse)

    def predict(
        self, tokens: Tensor, tiles: list[Tensor], high_res: tuple[Tensor, ...], *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits and quality from the transformer's tokens (n, t, c) and tiles of cells (n, p, c)."""
        first, last = (1, self.n_masks) if multimask else (0, 1)
        logits = self.masks(tokens[:, 1:], tiles, high_res, first, last, coarse=coarse)
        return logits, self.quality(tokens[:, 0], first, last)

    def quality(self, token: Tensor, first: int, last: int) -> Tensor:
        """Predicted IoU of masks `first` to `last`, (n, m)."""
        out: Tensor = self.iou_prediction_head(token)[:, first:last]
        return out

    def masks(
        self, tokens: Tensor, tiles: list[Tensor], high_res: tuple[Tensor, ...], first: int, last: int, *, coarse: bool
    ) -> Tensor:
        """Logits of masks `first` to `last` from the mask tokens (n, masks, c)."""
        weights = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, i]) for i in range(first, last)], dim=1)
        size = self.transformer.tile
        starts = range(0, self.spec.grid**2, size)
        logits = []
        for start, tile in zip(starts, tiles, strict=True):
            # Not a generator: see `TwoWayTransformer.forward`.
            added = tuple([part[start : start + size] for part in high_res])
            logits.append(weights @ self.upscale(tile, added, coarse=coarse).transpose(1, 2))
        return self.to_image_order(torch.cat(logits, dim=2), coarse=coarse)

    def upscale(self, tile: Tensor, high_res: tuple[Tensor, ...], *, coarse: bool) -> Tensor:
        """Cells (n, p, c) to pixels (n, 16 p, c / 8), those of a cell together, or its first, (n, p, c / 8).

        `high_res` are features to add to both steps, (p, 4, c / 4) and (p, 16, c / 8), or none.
        """
        up1, norm, _, up2, _ = self.output_upscaling
        added = [part[:, :1] if coarse else part for part in high_res]
        x = _upscale(tile, cast("nn.ConvTranspose2d", up1), coarse)
        if added:
            x = x + added[0].flatten(0, 1)
        norm = cast("ChannelNorm", norm)
        x = functional.gelu(functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
        x = _upscale(x, cast("nn.ConvTranspose2d", up2), coarse)
        return functional.gelu(x + added[1].flatten(0, 1) if added else x)

    def to_image_order(self, values: Tensor, *, coarse: bool) -> Tensor:
        """(n, m, pixels as `upscale` orders them) to (n, m, y, x)."""
        side = self.spec.grid
        if coarse:
            return torch.unflatten(values, 2, (side, side))
        by_cell = torch.unflatten(values, 2, (side, side, 2, 2, 2, 2)).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return by_cell.flatten(5, 7).flatten(2, 4)


def _upscale(x: Tensor, layer: nn.ConvTranspose2d, coarse: bool) -> Tensor:
    """Transposed convolution of kernel 2 and stride 2: (n, p, c) to (n, 4 p, c'), or to the first of each four."""
    if coarse:
        return functional.linear(x, layer.weight[:, :, 0, 0].t(), layer.bias)
    # All four taps as one product whose rows are then told apart.
    taps = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    out = torch.unflatten(functional.linear(x, taps), 2, (4, -1)).flatten(1, 2)
    return out if layer.bias is None else out + layer.bias
