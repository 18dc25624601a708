"""TinyViT, the image encoder of LiteMedSAM and MobileSAM.

Written from the description in Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers"
(ECCV 2022), with the two changes that MobileSAM made for dense embeddings: the last merging keeps its resolution, and
SAM's neck projects to the embedding. Parameter names are those of the published checkpoints, which load strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from samreg.segmenters.sam.layers import ChannelNorm

__all__ = ["LITEMEDSAM", "MOBILESAM", "TinyViT", "TinyViTSpec"]


@dataclass(frozen=True)
class TinyViTSpec:
    """Shape of a TinyViT.

    Args:
        strided_stem: two 3 x 3 convolutions of stride 2 (MobileSAM), or pointwise ones at full resolution (LiteMedSAM).
        dims: channels of the four stages.
        depths: blocks of the four stages.
        heads: attention heads of the four stages; the first stage is convolutional.
        windows: attention window sides of the four stages.
        out_channels: channels of the embedding.
    """

    strided_stem: bool
    dims: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    windows: tuple[int, ...] = (7, 7, 14, 7)
    out_channels: int = 256


LITEMEDSAM = TinyViTSpec(strided_stem=False)
MOBILESAM = TinyViTSpec(strided_stem=True)


class _ConvNorm(nn.Module):
    """Convolution and batch normalisation; `fuse` makes one convolution of the two."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(c_out)

    def fuse(self) -> nn.Conv2d:
        c, bn = self.c, self.bn
        gain = bn.weight / torch.sqrt(torch.as_tensor(bn.running_var) + bn.eps)
        fused = nn.Conv2d(
            c.in_channels,
            c.out_channels,
            c.kernel_size,  # type: ignore[arg-type]
            c.stride,  # type: ignore[arg-type]
            c.padding,  # type: ignore[arg-type]
            groups=c.groups,
        )
        fused.weight = nn.Parameter(c.weight * gain[:, None, None, None], requires_grad=False)
        fused.bias = nn.Parameter(bn.bias - torch.as_tensor(bn.running_mean) * gain, requires_grad=False)
        return fused

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.c(x))
        return out


class _Stem(nn.Module):
    def __init__(self, dim: int, strided: bool) -> None:
        super().__init__()
        kernel, stride = (3, 2) if strided else (1, 1)
        self.seq = nn.Sequential(
            _ConvNorm(3, dim // 2, kernel, stride), nn.GELU(), _ConvNorm(dim // 2, dim, kernel, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.seq(x)
        return out


class _InvertedBottleneck(nn.Module):
    """Widen, convolve depthwise, narrow, add."""

    def __init__(self, dim: int, expansion: int = 4) -> None:
        super().__init__()
        wide = dim * expansion
        self.conv1 = _ConvNorm(dim, wide)
        self.conv2 = _ConvNorm(wide, wide, 3, groups=wide)
        self.conv3 = _ConvNorm(wide, dim)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.gelu(self.conv1(x))
        y = functional.gelu(self.conv2(y))
        return functional.gelu(self.conv3(y) + x)


class _Merge(nn.Module):
    """Between two stages: change the channels and, with stride 2, halve the resolution."""

    def __init__(self, dim: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(dim, out)
        self.conv2 = _ConvNorm(out, out, 3, stride, groups=out)
        self.conv3 = _ConvNorm(out, out)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.conv1(x))
        out: Tensor = self.conv3(functional.gelu(self.conv2(x)))
        return out


class _WindowAttention(nn.Module):
    """Self-attention within a window, with a learned bias for each absolute offset of two cells."""

    bias_index: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))
        y, x = np.divmod(np.arange(window**2), window)
        offset = np.abs(y[:, None] - y) * window + np.abs(x[:, None] - x)
        self.register_buffer("bias_index", torch.from_numpy(offset), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).view(b, n, self.heads, -1).chunk(3, dim=-1)
        bias = self.attention_biases[:, self.bias_index].to(q.dtype)
        y = functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=bias
        )
        out: Tensor = self.proj(y.transpose(1, 2).reshape(b, n, c))
        return out


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(x))))
        return out


class _Block(nn.Module):
    """Window attention, a depthwise convolution that joins the windows, an MLP; cells are (b, h, w, c)."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = _WindowAttention(dim, heads, window)
        self.local_conv = _ConvNorm(dim, dim, 3, groups=dim)
        self.mlp = _Mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        s = self.window
        ph, pw = -h % s, -w % s
        # The zeros take part in the attention of the windows at the border, as in training.
        y = functional.pad(x, (0, 0, 0, pw, 0, ph))
        nh, nw = (h + ph) // s, (w + pw) // s
        y = y.view(b, nh, s, nw, s, c).transpose(2, 3).reshape(b * nh * nw, s * s, c)
        y = self.attn(y)
        y = y.view(b, nh, nw, s, s, c).transpose(2, 3).reshape(b, h + ph, w + pw, c)
        x = x + y[:, :h, :w]
        x = _channels_last(self.local_conv(_channels_first(x)))
        out: Tensor = x + self.mlp(x)
        return out


class _Stage(nn.Module):
    def __init__(self, blocks: Sequence[nn.Module], merge: _Merge | None, cells: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = merge
        self.cells = cells

    def forward(self, x: Tensor) -> Tensor:
        if self.cells:
            x = _channels_last(x)
        for block in self.blocks:
            x = block(x)
        if self.cells:
            x = _channels_first(x)
        return x if self.downsample is None else self.downsample(x)


def _channels_last(x: Tensor) -> Tensor:
    """(b, c, h, w) to (b, h, w, c)."""
    b, c, h, w = x.shape
    # As a matrix: OpenVINO moves four axes one element at a time, and two in blocks.
    return x.flatten(2).transpose(1, 2).reshape(b, h, w, c)


def _channels_first(x: Tensor) -> Tensor:
    """(b, h, w, c) to (b, c, h, w)."""
    b, h, w, c = x.shape
    return x.reshape(b, h * w, c).transpose(1, 2).reshape(b, c, h, w)


class TinyViT(nn.Module):
    """Image to embedding: (b, 3, s, s) to (b, 256, s / 4, s / 4) for LiteMedSAM, s / 16 for MobileSAM.

    Args:
        spec: shape of the network.
    """

    def __init__(self, spec: TinyViTSpec) -> None:
        super().__init__()
        self.patch_embed = _Stem(spec.dims[0], spec.strided_stem)
        self.layers = nn.ModuleList()
        last = len(spec.dims) - 1
        for i, dim in enumerate(spec.dims):
            # The last merging keeps the resolution, so that the embedding stays dense.
            merge = None if i == last else _Merge(dim, spec.dims[i + 1], 1 if i + 1 == last else 2)
            make = [
                _InvertedBottleneck(dim) if i == 0 else _Block(dim, spec.heads[i], spec.windows[i])
                for _ in range(spec.depths[i])
            ]
            self.layers.append(_Stage(make, merge, cells=i > 0))
        out = spec.out_channels
        self.neck = nn.Sequential(
            nn.Conv2d(spec.dims[-1], out, 1, bias=False),
            ChannelNorm(out),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            ChannelNorm(out),
        )

    def fuse(self) -> TinyViT:
        """Fold every batch normalisation into its convolution: the same function with less work; for inference."""
        for module in list(self.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, _ConvNorm):
                    setattr(module, name, child.fuse())
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Embedding of (b, 3, s, s) images."""
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.neck(x)
        return out
