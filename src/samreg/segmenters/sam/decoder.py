"""The mask decoder of the SAM family: exactly its function, arranged so that many prompts are cheap.

Three facts make it fast; none changes the result (tests compare with the reference implementations):

1. A prompt has T tokens (about 7), an image 4096 cells. Attention between them is bilinear, so every projection of the
   cells can be moved to the tokens: scores `(X W_k) q^T = X (q W_k^T)^T`, outputs `A (X W_v) W_o = (A X) W_v W_o`.
   Instead of two projections of 4096 cells there are two products with 8 T columns. What is constant over the cells
   (the bias of the keys) drops out of the softmax. In the first block the cells are still the same for all prompts:
   there they are projected once an image, and a head of T tokens meets its own 16 channels of them instead of 256.
2. The cells are swept once a block, tile by tile, while a tile is in the processor's cache: it receives from the
   tokens, is normalised, and is at once seen by the tokens' next attention, whose softmax is merged over the tiles at
   the end (the running maximum of Milakov and Gimelshein, 2018). No scores of a whole image are ever kept.
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

from samreg.segmenters.sam.layers import ChannelNorm, Perceptron, Tokens

__all__ = ["DecoderSpec", "MaskDecoder", "SharedCells"]

_TILE = 512
"""Cells a tile: 512 x 256 numbers of a prompt stay in a second-level cache."""


@dataclass(frozen=True)
class DecoderSpec:
    """Shape of a mask decoder.

    Args:
        grid: side of the embedding in cells.
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

    grid: int = 64
    channels: int = 256
    heads: int = 8
    depth: int = 2
    mlp_hidden: int = 2048
    shrink: int = 2
    n_multimask: int = 3
    iou_hidden: int = 256
    iou_depth: int = 3
    eps: float = 1e-5


class SharedCells(NamedTuple):
    """An image as the first block sees it, the same for all prompts; or, with mask prompts, once a prompt (g = n).

    Args:
        cells: (g, cells, c) embedding plus the dense prompt.
        keys: (g, heads, d, cells) what tokens compare with when they look at the image.
        values: (g, heads, d, cells) what they gather.
        queries: (g, heads, d, cells) what the cells ask the tokens.
    """

    cells: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class _Glance(NamedTuple):
    """What tokens saw of one tile: the pieces of a softmax that has not seen all cells yet.

    Args:
        peak: (..., rows, 1) largest score.
        mass: (..., rows, 1) sum of exp(score - peak).
        seen: (..., rows, c) cells weighted by exp(score - peak).
    """

    peak: Tensor
    mass: Tensor
    seen: Tensor


def _glance(scores: Tensor, cells: Tensor) -> _Glance:
    peak = scores.amax(dim=-1, keepdim=True)
    weight = (scores - peak).exp()
    return _Glance(peak, weight.sum(dim=-1, keepdim=True), weight @ cells)


def _merge(glances: list[_Glance]) -> Tensor:
    """The softmax-weighted mean over the cells of all tiles, (..., rows, c)."""
    peak, mass, seen = (torch.stack(parts) for parts in zip(*glances, strict=True))
    share = (peak - peak.amax(dim=0)).exp()
    return (seen * share).sum(dim=0) / (mass * share).sum(dim=0)


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

    def _split(self, x: Tensor) -> Tensor:
        """(n, t, heads * d) to (n, heads, t, d)."""
        return x.view(x.shape[0], x.shape[1], self.heads, self.width).transpose(1, 2)

    def join(self, x: Tensor) -> Tensor:
        """What each head has, (n, heads, t, d), projected out: (n, t, c)."""
        out: Tensor = self.out_proj(x.transpose(1, 2).flatten(2))
        return out

    def _by_head(self, weight: Tensor) -> Tensor:
        """Weight of an input projection, (heads * d, c), as (heads, d, c)."""
        return weight.view(self.heads, self.width, -1)

    def among_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Plain attention between tokens, (n, t, c) each."""
        scores = self._split(self.q_proj(q) * self.scale) @ self._split(self.k_proj(k)).transpose(2, 3)
        return self.join(torch.softmax(scores, dim=-1) @ self._split(self.v_proj(v)))

    # The first block: cells that several prompts share, projected beforehand.

    def project(self, layer: nn.Linear, cells: Tensor) -> Tensor:
        """Cells (g, p, c) through an input projection, (g, heads, d, p); without its bias."""
        return torch.unflatten(layer.weight @ cells.transpose(1, 2), 1, (self.heads, self.width))

    def rows(self, layer: nn.Linear, tokens: Tensor, groups: int) -> Tensor:
        """Tokens (n, t, c) through an input projection, scaled, as rows of the g groups: (g, heads, n / g * t, d)."""
        split = torch.unflatten(self._split(layer(tokens) * self.scale), 0, (groups, -1))
        return split.transpose(1, 2).flatten(2, 3)

    def by_prompt(self, rows: Tensor, n: int) -> Tensor:
        """Rows of the groups, (g, heads, n / g * t, x), prompt by prompt again: (n, heads, t, x)."""
        return torch.unflatten(rows, 2, (n // len(rows), -1)).transpose(1, 2).flatten(0, 1)

    # Tokens look at the image.

    def look(self, tokens: Tensor) -> Tensor:
        """Queries of tokens (n, t, c) as directions in the space of the cells, (n, heads * t, c)."""
        return (self._split(self.q_proj(tokens) * self.scale) @ self._by_head(self.k_proj.weight)).flatten(1, 2)

    def gather(self, seen: Tensor) -> Tensor:
        """What tokens saw, (n, heads * t, c), projected to tokens (n, t, c)."""
        seen = torch.unflatten(seen, 1, (self.heads, -1))
        bias = self.v_proj.bias.view(self.heads, 1, self.width)
        return self.join(seen @ self._by_head(self.v_proj.weight).transpose(1, 2) + bias)

    # Cells look at the tokens.

    def show(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys of tokens (n, t, c) as directions (n, heads * t, c), and their constant part (n, heads * t, 1)."""
        k = self._split(self.k_proj(tokens) * self.scale)
        constant = k @ self.q_proj.bias.view(self.heads, self.width, 1)
        return (k @ self._by_head(self.q_proj.weight)).flatten(1, 2), constant.flatten(1, 2)

    def offer(self, tokens: Tensor) -> Tensor:
        """Values of tokens (n, t, c), projected out head by head: (n, heads * t, c)."""
        out = self.out_proj.weight.t().reshape(self.heads, self.width, -1)
        return (self._split(self.v_proj(tokens)) @ out).flatten(1, 2)

    def receive(self, scores: Tensor, offered: Tensor) -> Tensor:
        """What cells (p) take of the offers (n, heads * t, c), by scores (n, heads * t, p): (n, p, c)."""
        share = torch.softmax(torch.unflatten(scores, 1, (self.heads, -1)), dim=2).flatten(1, 2)
        return share.transpose(1, 2) @ offered + self.out_proj.bias


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

    def share(self, position: Tensor, cells: Tensor) -> SharedCells:
        """What the first block needs of cells (g, cells, c), whatever the prompts; position is (cells, c)."""
        block = cast("_TwoWayBlock", self.layers[0])
        looks, gives = block.cross_attn_token_to_image, block.cross_attn_image_to_token
        at = cells + position
        values = looks.project(looks.v_proj, cells) + looks.v_proj.bias.view(looks.heads, looks.width, 1)
        queries = gives.project(gives.q_proj, at) + gives.q_proj.bias.view(gives.heads, gives.width, 1)
        return SharedCells(cells, looks.project(looks.k_proj, at), values, queries)

    def forward(self, place: Tensor, position: Tensor, shared: SharedCells) -> tuple[Tensor, list[Tensor]]:
        """Tokens (n, t, c) and tiles of cells (n, p, c) after all blocks.

        Args:
            place: (n, t, c) the prompts' tokens, which also say where they are.
            position: (cells, c).
            shared: of the image, or of each prompt.
        """
        blocks = [cast("_TwoWayBlock", layer) for layer in self.layers]
        places = list(torch.split(position, _TILE))
        tiles = list(torch.split(shared.cells, _TILE, dim=1))
        n, groups = len(place), len(shared.cells)
        # The prompts' tokens have seen nothing yet; in the first block they are all there is.
        tokens = blocks[0].talk(place, place)
        attention = blocks[0].cross_attn_token_to_image
        asked = attention.rows(attention.q_proj, tokens + place, groups)
        parts = zip(torch.split(shared.keys, _TILE, dim=3), torch.split(shared.values, _TILE, dim=3), strict=True)
        seen = _merge([_glance(asked @ keys, values.transpose(2, 3)) for keys, values in parts])
        tokens = blocks[0].digest(tokens, attention.join(attention.by_prompt(seen, n)))
        for block, after in zip(blocks, [*blocks[1:], None], strict=True):
            giver = block.cross_attn_image_to_token
            # Scores of a tile are made when its turn comes: those of a whole image are never kept.
            if block.first:
                rows = giver.rows(giver.k_proj, tokens + place, groups)
                queries = torch.split(shared.queries, _TILE, dim=3)
                scores = (giver.by_prompt(rows @ tile, n).flatten(1, 2) for tile in queries)
            else:
                keys, constant = giver.show(tokens + place)
                at = (tile + where for tile, where in zip(tiles, places, strict=True))
                scores = (keys @ tile.transpose(1, 2) + constant for tile in at)
            offered = giver.offer(tokens)
            if after is None:
                attention = self.final_attn_token_to_image
            else:
                tokens = after.talk(tokens, place)
                attention = after.cross_attn_token_to_image
            directions = attention.look(tokens + place)
            glances = []
            for i, (where, score) in enumerate(zip(places, scores, strict=True)):
                tiles[i] = block.norm4(tiles[i] + giver.receive(score, offered))
                glances.append(_glance(directions @ (tiles[i] + where).transpose(1, 2), tiles[i]))
            gathered = attention.gather(_merge(glances))
            tokens = self.norm_final_attn(tokens + gathered) if after is None else after.digest(tokens, gathered)
        return tokens, tiles


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

    def own_tokens(self) -> Tensor:
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
        fine: tuple[Tensor, ...] = (),
        *,
        multimask: bool,
        coarse: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks of n prompts.

        Args:
            sparse: (n, t, c) prompt tokens.
            position: (cells, c).
            shared: of the image (g = 1), or of each prompt (g = n).
            fine: features of higher resolution; SAM has none.
            multimask: the three masks of the multimask tokens instead of the one of the single-mask token.
            coarse: every fourth pixel only.

        Returns:
            Logits (n, m, 4 h, 4 w), or (n, m, h, w) with `coarse`, and predicted IoU (n, m).
        """
        place = torch.cat([self.own_tokens().expand(sparse.shape[0], -1, -1), sparse], dim=1)
        tokens, tiles = self.transformer(place, position, shared)
        return self.draw(tokens, tiles, fine, multimask=multimask, coarse=coarse)

    def draw(
        self, tokens: Tensor, tiles: list[Tensor], fine: tuple[Tensor, ...], *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits and quality from what the transformer made of tokens and cells."""
        first, last = (1, self.n_masks) if multimask else (0, 1)
        return self.masks(tokens[:, 1:], tiles, fine, first, last, coarse=coarse), self.quality(
            tokens[:, 0], first, last
        )

    def quality(self, token: Tensor, first: int, last: int) -> Tensor:
        """Predicted IoU of masks `first` to `last`, (n, m)."""
        out: Tensor = self.iou_prediction_head(token)[:, first:last]
        return out

    def masks(
        self, tokens: Tensor, tiles: list[Tensor], fine: tuple[Tensor, ...], first: int, last: int, *, coarse: bool
    ) -> Tensor:
        """Logits of masks `first` to `last` from the mask tokens (n, masks, c)."""
        weights = torch.stack([self.output_hypernetworks_mlps[i](tokens[:, i]) for i in range(first, last)], dim=1)
        starts = range(0, self.spec.grid**2, _TILE)
        drawn = [
            weights
            @ self.pixels(tile, tuple(part[start : start + _TILE] for part in fine), coarse=coarse).transpose(1, 2)
            for start, tile in zip(starts, tiles, strict=True)
        ]
        return self.in_image_order(torch.cat(drawn, dim=2), coarse=coarse)

    def pixels(self, tile: Tensor, fine: tuple[Tensor, ...], *, coarse: bool) -> Tensor:
        """Upscale cells (n, p, c) to pixels (n, 16 p, c / 8), those of a cell together, or its first, (n, p, c / 8).

        `fine` are features to add to both steps, (p, 4, c / 4) and (p, 16, c / 8), or none.
        """
        up1, norm, _, up2, _ = self.output_upscaling
        added = [part[:, :1] if coarse else part for part in fine]
        x = _upscale(tile, cast("nn.ConvTranspose2d", up1), coarse)
        if added:
            x = x + added[0].flatten(0, 1)
        norm = cast("ChannelNorm", norm)
        x = functional.gelu(functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
        x = _upscale(x, cast("nn.ConvTranspose2d", up2), coarse)
        return functional.gelu(x + added[1].flatten(0, 1) if added else x)

    def in_image_order(self, values: Tensor, *, coarse: bool) -> Tensor:
        """(n, m, pixels as `pixels` orders them) to (n, m, y, x)."""
        side = self.spec.grid
        if coarse:
            return torch.unflatten(values, 2, (side, side))
        by_place = torch.unflatten(values, 2, (side, side, 2, 2, 2, 2)).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return by_place.flatten(5, 7).flatten(2, 4)


def _upscale(x: Tensor, layer: nn.ConvTranspose2d, coarse: bool) -> Tensor:
    """Transposed convolution of kernel 2 and stride 2: (n, p, c) to (n, 4 p, c'), or to the first of each four."""
    if coarse:
        return functional.linear(x, layer.weight[:, :, 0, 0].t(), layer.bias)
    # All four taps as one product whose rows are then told apart.
    taps = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
    out = torch.unflatten(functional.linear(x, taps), 2, (4, -1)).flatten(1, 2)
    return out if layer.bias is None else out + layer.bias
