"""The two-way transformer of the mask decoder: exactly SAM's function, arranged so that many prompts are cheap.

A prompt has T tokens (about 7), an image 4096 cells. Two facts make it fast; neither changes the result (tests compare
with the reference implementations):

1. Attention between tokens and cells is bilinear, so every projection of the cells can be moved to the tokens: scores
   `(X W_k) q^T = X (q W_k^T)^T`, outputs `A (X W_v) W_o = (A X) W_v W_o`. Instead of two projections of 4096 cells
   there are two products with 8 T columns. What is constant over the cells (the bias of the keys) drops out of the
   softmax. In the first block the cells are still the same for all prompts: there they are projected once an image,
   and a head of T tokens meets its own 16 channels of them instead of 256.
2. The cells are visited once a block, tile by tile, while a tile is in the processor's cache: it is updated from the
   tokens, normalised, and at once used in the tokens' next attention, whose softmax is merged over the tiles at the
   end (the running maximum of Milakov and Gimelshein, 2018). No scores of a whole image are ever kept.

Source: Kirillov et al., "Segment Anything" (ICCV 2023), appendix A. Parameter names are those of the original
checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["TILE", "DecoderSpec", "SharedCells", "TwoWayTransformer"]

TILE = 512
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

    grid: int
    channels: int
    heads: int
    depth: int
    mlp_hidden: int
    shrink: int
    n_multimask: int
    iou_hidden: int
    iou_depth: int
    eps: float


class SharedCells(NamedTuple):
    """Cells and their projections for the first block: the same for all prompts (g = 1), one set for as many prompts
    each (several images), or, with mask prompts, one set a prompt (g = n).

    Args:
        cells: (g, cells, c) embedding plus the dense prompt.
        keys: (g, heads, d, cells) keys of the cells, for the tokens' queries.
        values: (g, heads, d, cells) values of the cells, for the tokens.
        queries: (g, heads, d, cells) queries of the cells to the tokens.
    """

    cells: Tensor
    keys: Tensor
    values: Tensor
    queries: Tensor


class _TileSoftmax(NamedTuple):
    """Attention of tokens to one tile of cells: the parts of a softmax that has not seen all cells yet.

    Args:
        maximum: (..., rows, 1) largest score.
        total: (..., rows, 1) sum of exp(score - maximum).
        weighted: (..., rows, c) sum of the cells weighted by exp(score - maximum).
    """

    maximum: Tensor
    total: Tensor
    weighted: Tensor


def _tile_softmax(scores: Tensor, cells: Tensor) -> _TileSoftmax:
    maximum = scores.amax(dim=-1, keepdim=True)
    weight = (scores - maximum).exp()
    return _TileSoftmax(maximum, weight.sum(dim=-1, keepdim=True), weight @ cells)


def _merge(tiles: list[_TileSoftmax]) -> Tensor:
    """The softmax-weighted mean over the cells of all tiles, (..., rows, c)."""
    maximum, total, weighted = [torch.stack(parts) for parts in zip(*tiles, strict=True)]
    share = (maximum - maximum.amax(dim=0)).exp()
    return (weighted * share).sum(dim=0) / (total * share).sum(dim=0)


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

    def output(self, x: Tensor) -> Tensor:
        """The heads' results, (n, heads, t, d), through the output projection: (n, t, c)."""
        out: Tensor = self.out_proj(x.transpose(1, 2).flatten(2))
        return out

    def _by_head(self, weight: Tensor) -> Tensor:
        """Weight of an input projection, (heads * d, c), as (heads, d, c)."""
        return weight.view(self.heads, self.width, -1)

    def among_tokens(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Plain attention between tokens, (n, t, c) each."""
        scores = self._split(self.q_proj(q) * self.scale) @ self._split(self.k_proj(k)).transpose(2, 3)
        return self.output(torch.softmax(scores, dim=-1) @ self._split(self.v_proj(v)))

    # The first block: cells that several prompts share, projected beforehand.

    def project_cells(self, layer: nn.Linear, cells: Tensor) -> Tensor:
        """Cells (g, p, c) through an input projection, (g, heads, d, p); without its bias."""
        return torch.unflatten(layer.weight @ cells.transpose(1, 2), 1, (self.heads, self.width))

    def project_tokens(self, layer: nn.Linear, tokens: Tensor, groups: int) -> Tensor:
        """Tokens (n, t, c) through an input projection, scaled, as rows of the g groups: (g, heads, n / g * t, d)."""
        split = torch.unflatten(self._split(layer(tokens) * self.scale), 0, (groups, -1))
        return split.transpose(1, 2).flatten(2, 3)

    def by_prompt(self, rows: Tensor, n: int) -> Tensor:
        """Rows of the groups, (g, heads, n / g * t, x), prompt by prompt again: (n, heads, t, x)."""
        return torch.unflatten(rows, 2, (n // len(rows), -1)).transpose(1, 2).flatten(0, 1)

    # Tokens attend to cells.

    def token_queries(self, tokens: Tensor) -> Tensor:
        """Queries of tokens (n, t, c) as directions in the space of the cells, (n, heads * t, c)."""
        return (self._split(self.q_proj(tokens) * self.scale) @ self._by_head(self.k_proj.weight)).flatten(1, 2)

    def token_output(self, weighted: Tensor) -> Tensor:
        """Weighted means of cells, (n, heads * t, c), through value and output projection: (n, t, c)."""
        weighted = torch.unflatten(weighted, 1, (self.heads, -1))
        bias = self.v_proj.bias.view(self.heads, 1, self.width)
        return self.output(weighted @ self._by_head(self.v_proj.weight).transpose(1, 2) + bias)

    # Cells attend to tokens.

    def token_keys(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys of tokens (n, t, c) as directions (n, heads * t, c), and their constant part (n, heads * t, 1)."""
        k = self._split(self.k_proj(tokens) * self.scale)
        constant = k @ self.q_proj.bias.view(self.heads, self.width, 1)
        return (k @ self._by_head(self.q_proj.weight)).flatten(1, 2), constant.flatten(1, 2)

    def token_values(self, tokens: Tensor) -> Tensor:
        """Values of tokens (n, t, c) through the output projection, head by head: (n, heads * t, c)."""
        out = self.out_proj.weight.t().reshape(self.heads, self.width, -1)
        return (self._split(self.v_proj(tokens)) @ out).flatten(1, 2)

    def cell_output(self, scores: Tensor, values: Tensor) -> Tensor:
        """Output of cells (p) from scores (n, heads * t, p) and `token_values` (n, heads * t, c): (n, p, c)."""
        share = torch.softmax(torch.unflatten(scores, 1, (self.heads, -1)), dim=2).flatten(1, 2)
        return share.transpose(1, 2) @ values + self.out_proj.bias


class _Mlp(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels, hidden)
        self.lin2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(functional.relu(self.lin1(x)))
        return out


class _TwoWayBlock(nn.Module):
    """Self-attention of tokens, attention of tokens to cells, MLP, attention of cells to tokens."""

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

    def attend_tokens(self, tokens: Tensor, prompt_tokens: Tensor) -> Tensor:
        """Tokens after self-attention; in the first block they are the prompt's tokens and have no residual."""
        if self.first:
            tokens = self.self_attn.among_tokens(tokens, tokens, tokens)
        else:
            positioned = tokens + prompt_tokens
            tokens = tokens + self.self_attn.among_tokens(positioned, positioned, tokens)
        out: Tensor = self.norm1(tokens)
        return out

    def update_tokens(self, tokens: Tensor, attended: Tensor) -> Tensor:
        """Tokens after their attention to the cells, whose output is `attended`, and the MLP."""
        tokens = self.norm2(tokens + attended)
        out: Tensor = self.norm3(tokens + self.mlp(tokens))
        return out


class TwoWayTransformer(nn.Module):
    """Tokens and cells update each other, block by block.

    `tile` is the number of cells that are visited together: a graphics card wants all of them at once.

    Args:
        spec: shape of the network.
    """

    def __init__(self, spec: DecoderSpec) -> None:
        super().__init__()
        self.tile = TILE
        self.layers = nn.ModuleList(_TwoWayBlock(spec, first=i == 0) for i in range(spec.depth))
        self.final_attn_token_to_image = _Attention(spec.channels, spec.heads, spec.shrink)
        self.norm_final_attn = nn.LayerNorm(spec.channels)

    def share(self, position: Tensor, cells: Tensor) -> SharedCells:
        """What the first block needs of cells (g, cells, c), whatever the prompts; position is (cells, c)."""
        block = cast("_TwoWayBlock", self.layers[0])
        to_tokens, to_cells = block.cross_attn_token_to_image, block.cross_attn_image_to_token
        positioned = cells + position
        values = to_tokens.project_cells(to_tokens.v_proj, cells)
        values = values + to_tokens.v_proj.bias.view(to_tokens.heads, to_tokens.width, 1)
        queries = to_cells.project_cells(to_cells.q_proj, positioned)
        queries = queries + to_cells.q_proj.bias.view(to_cells.heads, to_cells.width, 1)
        return SharedCells(cells, to_tokens.project_cells(to_tokens.k_proj, positioned), values, queries)

    def forward(self, prompt_tokens: Tensor, position: Tensor, shared: SharedCells) -> tuple[Tensor, list[Tensor]]:
        """Tokens (n, t, c) and tiles of cells (n, p, c) after all blocks.

        Args:
            prompt_tokens: (n, t, c) output tokens and tokens of the prompts; also their positional encoding.
            position: (cells, c).
            shared: of the image, or of each prompt.
        """
        blocks = [cast("_TwoWayBlock", layer) for layer in self.layers]
        n, groups = len(prompt_tokens), len(shared.cells)
        # Several images, each with as many prompts: every prompt gets the cells of its own image.
        cells = shared.cells if groups in (1, n) else shared.cells.repeat_interleave(n // groups, dim=0)
        positions = list(torch.split(position, self.tile))
        tiles = list(torch.split(cells, self.tile, dim=1))
        shared_tiles = torch.split(shared.queries, self.tile, dim=3)
        tokens = blocks[0].attend_tokens(prompt_tokens, prompt_tokens)
        attention = blocks[0].cross_attn_token_to_image
        rows = attention.project_tokens(attention.q_proj, tokens + prompt_tokens, groups)
        parts = zip(
            torch.split(shared.keys, self.tile, dim=3), torch.split(shared.values, self.tile, dim=3), strict=True
        )
        mean = _merge([_tile_softmax(rows @ keys, values.transpose(2, 3)) for keys, values in parts])
        tokens = blocks[0].update_tokens(tokens, attention.output(attention.by_prompt(mean, n)))
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            to_cells = block.cross_attn_image_to_token
            if block.first:
                rows = to_cells.project_tokens(to_cells.k_proj, tokens + prompt_tokens, groups)
            else:
                keys, constant = to_cells.token_keys(tokens + prompt_tokens)
            values = to_cells.token_values(tokens)
            if following is None:
                attention = self.final_attn_token_to_image
            else:
                tokens = following.attend_tokens(tokens, prompt_tokens)
                attention = following.cross_attn_token_to_image
            directions = attention.token_queries(tokens + prompt_tokens)
            seen = []
            for i, tile_position in enumerate(positions):
                # Scores of a tile are computed when it is visited: those of a whole image are never kept. Not by a
                # generator: tracing looks into its frame, by which Python 3.13.0 crashes (cpython issue 125723).
                if block.first:
                    score = to_cells.by_prompt(rows @ shared_tiles[i], n).flatten(1, 2)
                else:
                    score = keys @ (tiles[i] + tile_position).transpose(1, 2) + constant
                tiles[i] = block.norm4(tiles[i] + to_cells.cell_output(score, values))
                seen.append(_tile_softmax(directions @ (tiles[i] + tile_position).transpose(1, 2), tiles[i]))
            attended = attention.token_output(_merge(seen))
            if following is None:
                tokens = self.norm_final_attn(tokens + attended)
            else:
                tokens = following.update_tokens(tokens, attended)
        return tokens, tiles
