"""The plain vision transformer of SAM, SlimSAM, MedSAM and SAM-HQ: windows, a few global blocks, relative positions.

Written from Li et al., "Exploring plain vision transformer backbones for object detection" (ECCV 2022) and Kirillov et
al., "Segment Anything" (ICCV 2023), appendix A. Parameter names are those of the original checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from samreg.segmenters.sam.layers import ChannelNorm

__all__ = ["ViT", "ViTSpec"]

_LARGEST_BIAS = 1 << 24
"""Numbers in a block of attention biases: global attention over 4096 cells is done in blocks of queries."""


@dataclass(frozen=True)
class ViTSpec:
    """Shape of a vision transformer.

    Args:
        size: side of the square input in pixels.
        patch: side of a patch in pixels.
        dim: channels.
        depth: blocks.
        heads: attention heads.
        mlp_hidden: hidden units of the MLPs.
        window: side of a window in cells.
        global_blocks: indices of the blocks that attend to the whole image.
        out_channels: channels of the embedding.
        qkv_bias: whether queries, keys and values have a bias.
        early: also return the output of the first global block, which SAM-HQ uses.
        eps: epsilon of the normalisation.
    """

    size: int
    patch: int
    dim: int
    depth: int
    heads: int
    mlp_hidden: int
    window: int
    global_blocks: tuple[int, ...]
    out_channels: int = 256
    qkv_bias: bool = True
    early: bool = False
    eps: float = 1e-6

    @property
    def grid(self) -> int:
        """Side of the embedding in cells."""
        return self.size // self.patch


class _Patches(nn.Module):
    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, spec.dim, spec.patch, stride=spec.patch)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x).permute(0, 2, 3, 1)
        return out


class _Attention(nn.Module):
    """Self-attention over a square of cells, with a bias that is learned per row offset and per column offset."""

    def __init__(self, spec: ViTSpec, side: int) -> None:
        super().__init__()
        self.heads, self.side = spec.heads, side
        width = spec.dim // spec.heads
        self.qkv = nn.Linear(spec.dim, 3 * spec.dim, bias=spec.qkv_bias)
        self.proj = nn.Linear(spec.dim, spec.dim)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, width))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """(b, s, s, c) to the same."""
        b, s = x.shape[0], self.side
        q, k, v = self.qkv(x).view(b, s * s, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        line = torch.arange(s, device=x.device)
        offset = line[:, None] - line + s - 1
        rows, columns = self.rel_pos_h[offset], self.rel_pos_w[offset]
        square = q.view(b, self.heads, s, s, -1)
        # Bias of query (y, x) and key (i, j): q . rows[y, i] + q . columns[x, j], with q before scaling.
        by_row = square @ rows.transpose(1, 2)
        by_column = (square.transpose(2, 3) @ columns.transpose(1, 2)).transpose(2, 3)
        lines = max(1, min(s, _LARGEST_BIAS // (self.heads * s**3)))
        parts = []
        for first in range(0, s, lines):
            block = slice(first, min(first + lines, s))
            bias = by_row[:, :, block, :, :, None] + by_column[:, :, block, :, None, :]
            parts.append(
                functional.scaled_dot_product_attention(
                    square[:, :, block].flatten(2, 3), k, v, attn_mask=bias.flatten(2, 3).flatten(3, 4)
                )
            )
        y = torch.cat(parts, dim=2).transpose(1, 2).reshape(b, s, s, -1)
        out: Tensor = self.proj(y)
        return out


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.lin2(functional.gelu(self.lin1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, spec: ViTSpec, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(spec.dim, spec.eps)
        self.attn = _Attention(spec, window or spec.grid)
        self.norm2 = nn.LayerNorm(spec.dim, spec.eps)
        self.mlp = _Mlp(spec.dim, spec.mlp_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(b, h, w, c) to the same."""
        b, h, w, c = x.shape
        y = self.norm1(x)
        if self.window:
            s = self.window
            ph, pw = -h % s, -w % s
            nh, nw = (h + ph) // s, (w + pw) // s
            y = functional.pad(y, (0, 0, 0, pw, 0, ph))
            y = y.view(b, nh, s, nw, s, c).transpose(2, 3).reshape(b * nh * nw, s, s, c)
            y = self.attn(y)
            y = y.view(b, nh, nw, s, s, c).transpose(2, 3).reshape(b, h + ph, w + pw, c)[:, :h, :w]
        else:
            y = self.attn(y)
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """Image to embedding: (b, 3, s, s) to (b, out, grid, grid), and with `early` also (b, dim, grid, grid).

    Args:
        spec: shape of the network.
    """

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.spec = spec
        self.patch_embed = _Patches(spec)
        self.pos_embed = nn.Parameter(torch.zeros(1, spec.grid, spec.grid, spec.dim))
        self.blocks = nn.ModuleList(
            _Block(spec, 0 if i in spec.global_blocks else spec.window) for i in range(spec.depth)
        )
        out = spec.out_channels
        self.neck = nn.Sequential(
            nn.Conv2d(spec.dim, out, 1, bias=False),
            ChannelNorm(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            ChannelNorm(out),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Embedding of (b, 3, s, s) images."""
        x = self.patch_embed(images) + self.pos_embed
        early: Tensor | None = None
        for i, block in enumerate(self.blocks):
            x = block(x)
            if self.spec.early and i == self.spec.global_blocks[0]:
                early = x.permute(0, 3, 1, 2)
        out = cast("Tensor", self.neck(x.permute(0, 3, 1, 2)))
        return (out,) if early is None else (out, early)
