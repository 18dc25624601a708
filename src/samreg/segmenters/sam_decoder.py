"""The mask decoder of the SAM family: exactly its function, arranged so that many prompts are cheap.

Three facts make it fast; none changes the result (tests compare with the reference implementations):

1. A prompt has T tokens (about 7), an image 4096 cells. Attention between them is bilinear, so every projection of the
   cells can be moved to the tokens: scores `(X W_k)(q)^T = X (q W_k^T)^T`, outputs `A (X W_v) W_o = (A X) W_v W_o`.
   Instead of two projections of 4096 cells there are two products with 8 T columns. What is constant over the
   cells (the bias of the keys) drops out of the softmax.
2. Without mask prompts the first layer sees the same cells for every prompt: they are projected once an image.
3. The upscaling is two transposed convolutions of kernel 2 and stride 2: an output pixel depends on one cell alone.
   All of it is a product a cell, and every fourth pixel of the output costs a sixteenth.

Source: Kirillov et al., "Segment Anything" (ICCV 2023), appendix A. Parameter names are those of the original
checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from samreg.segmenters.layers import ChannelNorm, Perceptron

__all__ = ["Cells", "DecoderSpec", "MaskDecoder"]


@dataclass(frozen=True)
class DecoderSpec:
    """Shape of a mask decoder.

    Args:
        channels: channels of the embedding.
        heads: attention heads.
        depth: two-way blocks.
        mlp_hidden: hidden units of the blocks' MLPs.
        shrink: how much narrower cross-attention is than the embedding.
        n_multimask: masks a prompt in multimask mode.
        iou_hidden: hidden units of the quality head.
        iou_depth: layers of the quality head.
        eps: epsilon of the blocks' normalisation (original code 1e-5, transformers 1e-6).
    """

    channels: int = 256
    heads: int = 8
    depth: int = 2
    mlp_hidden: int = 2048
    shrink: int = 2
    n_multimask: int = 3
    iou_hidden: int = 256
    iou_depth: int = 3
    eps: float = 1e-5


class Cells(NamedTuple):
    """The image side of the first layer; b is 1 when all prompts share it, or n with mask prompts.

    Args:
        values: (b, cells, c) embedding plus the dense prompt.
        keys: (b, heads, d, cells) projections for tokens that look at the image.
        seen: (b, heads, cells, d) what they see there.
        queries: (b, heads, d, cells) projections for cells that look at the tokens, scaled and ready.
    """

    values: Tensor
    keys: Tensor
    seen: Tensor
    queries: Tensor


class _Attention(nn.Module):
    """Projections of one attention; how they are applied depends on which side is the image."""

    def __init__(self, channels: int, heads: int, shrink: int = 1) -> None:
        super().__init__()
        inner = channels // shrink
        self.heads, self.width = heads, inner // heads
        self.scale = self.width**-0.5
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def split(self, x: Tensor) -> Tensor:
        """(n, t, heads * d) to (n, heads, t, d)."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.width).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """(n, heads, t, d) to (n, t, heads * d), projected out."""
        out: Tensor = self.out_proj(x.transpose(1, 2).reshape(x.shape[0], x.shape[2], self.heads * self.width))
        return out

    def among_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Plain attention between tokens, (n, t, c) each."""
        a = self.split(self.q_proj(q)) @ self.split(self.k_proj(k)).transpose(2, 3)
        return self.join(torch.softmax(a * self.scale, dim=-1) @ self.split(self.v_proj(v)))

    def _head_weight(self, layer: nn.Linear) -> Tensor:
        """Weight of an input projection as (heads, d, c)."""
        return layer.weight.view(self.heads, self.width, -1)

    def tokens_from_cells(self, tokens: Tensor, placed: Tensor, cells: Tensor) -> Tensor:
        """What tokens (n, t, c) gather from cells (n, p, c); `placed` is the cells plus their positions."""
        n, t, c = tokens.shape
        q = self.split(self.q_proj(tokens) * self.scale)
        folded = (q @ self._head_weight(self.k_proj)).reshape(n, self.heads * t, c)
        a = torch.softmax(folded @ placed.transpose(1, 2), dim=-1)
        gathered = (a @ cells).reshape(n, self.heads, t, c)
        bias = self.v_proj.bias.view(self.heads, 1, self.width)
        return self.join(gathered @ self._head_weight(self.v_proj).transpose(1, 2) + bias)

    def cells_from_tokens(self, placed: Tensor, tokens: Tensor, values: Tensor) -> Tensor:
        """What cells (n, p, c) gather from tokens: (n, p, c)."""
        n, t, c = tokens.shape
        k = self.split(self.k_proj(tokens) * self.scale)
        folded = (k @ self._head_weight(self.q_proj)).reshape(n, self.heads * t, c)
        # Unlike that of the keys, the bias of the queries varies over what the softmax runs over: the tokens.
        constant = (k @ self.q_proj.bias.view(self.heads, self.width, 1)).reshape(n, self.heads * t, 1)
        return self._spread(torch.baddbmm(constant, folded, placed.transpose(1, 2)), values)

    def _spread(self, scores: Tensor, values: Tensor) -> Tensor:
        """Scores (n, heads * t, p) and token values (n, t, c) to what each cell receives, (n, p, c)."""
        n, t, c = values.shape
        a = torch.softmax(scores.view(n, self.heads, t, -1), dim=2).view(n, self.heads * t, -1)
        v = self.split(self.v_proj(values))
        # The weight of the output projection, split by head on its input side: (heads, d, c).
        out = (v @ self.out_proj.weight.t().reshape(self.heads, self.width, c)).reshape(n, self.heads * t, c)
        return torch.baddbmm(self.out_proj.bias, a.transpose(1, 2), out)

    # The first layer: the cells were projected once for all prompts.

    def keys_of(self, placed: Tensor) -> Tensor:
        """(b, p, c) to (b, heads, d, p); the bias is left out, the softmax does not see it."""
        return self.split(functional.linear(placed, self.k_proj.weight)).transpose(2, 3).contiguous()

    def seen_of(self, cells: Tensor) -> Tensor:
        """(b, p, c) to (b, heads, p, d)."""
        return self.split(self.v_proj(cells)).contiguous()

    def queries_of(self, placed: Tensor) -> Tensor:
        """(b, p, c) to (b, heads, d, p), scaled."""
        return self.split(self.q_proj(placed) * self.scale).transpose(2, 3).contiguous()

    def tokens_from_projected(self, tokens: Tensor, keys: Tensor, seen: Tensor) -> Tensor:
        """`tokens_from_cells` on cells projected before."""
        q = self.split(self.q_proj(tokens) * self.scale)
        return self.join(_product(torch.softmax(_product(q, keys), dim=-1), seen))

    def projected_from_tokens(self, queries: Tensor, tokens: Tensor, values: Tensor) -> Tensor:
        """`cells_from_tokens` on cells projected before."""
        scores = _product(self.split(self.k_proj(tokens)), queries)
        return self._spread(scores.reshape(scores.shape[0], -1, scores.shape[-1]), values)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """(n, h, t, x) @ (1 or n, h, x, y); a shared right side makes one product a head instead of n."""
    if b.shape[0] != 1:
        return a @ b
    n, h, t, x = a.shape
    out = a.transpose(0, 1).reshape(h, n * t, x) @ b[0]
    return out.view(h, n, t, -1).transpose(0, 1)


class _Mlp(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, hidden)
        self.lin2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(functional.relu(self.lin1(x)))
        return out


class _TwoWayBlock(nn.Module):
    """Tokens among themselves, tokens from cells, MLP, cells from tokens."""

    def __init__(self, spec: DecoderSpec, *, first: bool) -> None:
        super().__init__()
        c = spec.channels
        self.first = first
        self.self_attn = _Attention(c, spec.heads)
        self.norm1 = nn.LayerNorm(c, spec.eps)
        self.cross_attn_token_to_image = _Attention(c, spec.heads, spec.shrink)
        self.norm2 = nn.LayerNorm(c, spec.eps)
        self.mlp = _Mlp(c, spec.mlp_hidden)
        self.norm3 = nn.LayerNorm(c, spec.eps)
        self.cross_attn_image_to_token = _Attention(c, spec.heads, spec.shrink)
        self.norm4 = nn.LayerNorm(c, spec.eps)

    def project(self, values: Tensor, placed: Tensor) -> Cells:
        to_image, to_tokens = self.cross_attn_token_to_image, self.cross_attn_image_to_token
        return Cells(values, to_image.keys_of(placed), to_image.seen_of(values), to_tokens.queries_of(placed))

    def talk(self, tokens: Tensor, place: Tensor) -> Tensor:
        """Tokens among themselves; the first block has no tokens of its own to add to yet."""
        if self.first:
            tokens = self.self_attn.among_tokens(tokens, tokens, tokens)
        else:
            at = tokens + place
            tokens = tokens + self.self_attn.among_tokens(at, at, tokens)
        out: Tensor = self.norm1(tokens)
        return out

    def digest(self, tokens: Tensor, gathered: Tensor) -> Tensor:
        """What tokens make of what they gathered from the image."""
        tokens = self.norm2(tokens + gathered)
        out: Tensor = self.norm3(tokens + self.mlp(tokens))
        return out


class _TwoWayTransformer(nn.Module):
    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_TwoWayBlock(spec, first=i == 0) for i in range(spec.depth))
        self.final_attn_token_to_image = _Attention(spec.channels, spec.heads, spec.shrink)
        self.norm_final_attn = nn.LayerNorm(spec.channels)

    def forward(self, place: Tensor, position: Tensor, cells: Cells) -> tuple[Tensor, Tensor]:
        """Tokens (n, t, c) and cells (n, p, c) after all blocks; `place` is the prompt's own tokens."""
        tokens, values = place, cells.values
        for i, module in enumerate(self.layers):
            layer = cast("_TwoWayBlock", module)
            tokens = layer.talk(tokens, place)
            to_image, to_tokens = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
            if i == 0:
                tokens = layer.digest(tokens, to_image.tokens_from_projected(tokens + place, cells.keys, cells.seen))
                received = to_tokens.projected_from_tokens(cells.queries, tokens + place, tokens)
            else:
                placed = values + position
                tokens = layer.digest(tokens, to_image.tokens_from_cells(tokens + place, placed, values))
                received = to_tokens.cells_from_tokens(placed, tokens + place, tokens)
            values = layer.norm4(values + received)
        gathered = self.final_attn_token_to_image.tokens_from_cells(tokens + place, values + position, values)
        return self.norm_final_attn(tokens + gathered), values


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
        self.transformer = _TwoWayTransformer(spec)
        self.iou_token = nn.Embedding(1, c)
        self.mask_tokens = nn.Embedding(self.n_masks, c)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(c, c // 4, 2, stride=2),
            ChannelNorm(c // 4),
            nn.GELU(),
            nn.ConvTranspose2d(c // 4, c // 8, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Perceptron(c, c, c // 8, 3) for _ in range(self.n_masks))
        self.iou_prediction_head = Perceptron(c, spec.iou_hidden, self.n_masks, spec.iou_depth)

    def cells(self, features: Tensor, dense: Tensor, position: Tensor) -> Cells:
        """The image side of the first layer.

        Args:
            features: (c, h, w) image embedding.
            dense: (c,) for all prompts, or (n, cells, c) embedded mask prompts.
            position: (cells, c).
        """
        values = features.flatten(1).t() + dense
        values = values[None] if values.ndim == 2 else values
        return cast("_TwoWayBlock", self.transformer.layers[0]).project(values, values + position)

    def forward(
        self, sparse: Tensor, position: Tensor, cells: Cells, masks: tuple[int, int], coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """Masks of n prompts.

        Args:
            sparse: (n, t, c) prompt tokens.
            position: (cells, c).
            cells: from `cells`.
            masks: half-open range of the mask tokens that are wanted.
            coarse: every fourth pixel only.

        Returns:
            Logits (n, m, 4 h, 4 w), or (n, m, h, w) with `coarse`, and predicted IoU (n, m).
        """
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        place = torch.cat([own.expand(len(sparse), -1, -1), sparse], dim=1)
        tokens, values = self.transformer(place, position, cells)
        quality = self.iou_prediction_head(tokens[:, 0])[:, masks[0] : masks[1]]
        weights = [self.output_hypernetworks_mlps[i](tokens[:, 1 + i]) for i in range(*masks)]
        return self.draw(values, torch.stack(weights, dim=1), coarse), quality

    def draw(self, values: Tensor, weights: Tensor, coarse: bool) -> Tensor:
        """Upscale the cells (n, p, c) and weigh their channels by (n, m, c / 8)."""
        up1, norm, _, up2, _ = self.output_upscaling
        side = round(values.shape[1] ** 0.5)
        x = _upscale(values, up1, coarse)  # type: ignore[arg-type]
        x = functional.gelu(functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))  # type: ignore[arg-type]
        x = functional.gelu(_upscale(x, up2, coarse))  # type: ignore[arg-type]
        n, m, _ = weights.shape
        if coarse:
            return (weights @ x.transpose(1, 2)).view(n, m, side, side)
        # Channels last until here: (n, cells, sub-cells, sub-sub-cells); only the logits are put in image order.
        flat = (weights @ x.reshape(n, -1, x.shape[-1]).transpose(1, 2)).view(n, m, side, side, 2, 2, 2, 2)
        return flat.permute(0, 1, 2, 4, 6, 3, 5, 7).reshape(n, m, 4 * side, 4 * side)


def _upscale(x: Tensor, layer: nn.ConvTranspose2d, coarse: bool) -> Tensor:
    """Transposed convolution of kernel 2 and stride 2 as a product: (..., c) to (..., 4, c'), or its first pixel."""
    if coarse:
        return functional.linear(x, layer.weight[:, :, 0, 0].t(), layer.bias)
    taps = layer.weight.permute(0, 2, 3, 1)
    out = x @ taps.reshape(taps.shape[0], -1)
    out = out.reshape(*x.shape[:-1], 4, taps.shape[-1])
    return out if layer.bias is None else out + layer.bias
