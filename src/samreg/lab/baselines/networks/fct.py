"""The Fully Convolutional Transformer.

Tragakis, Kaul, Murray-Smith and Husmeier, "The Fully Convolutional Transformer for Medical Image Segmentation",
WACV 2023. A U-shaped network whose every level is two convolutions, then a transformer layer in which both the
projections of the attention and the feed-forward part ("Wide-Focus") are convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["FCT", "ConvolutionalAttention", "WideFocus"]

_KEY_CELLS = 1024
"""Attention looks at no more cells of a map than about this many: beyond, keys and values are strided."""


def _conv(dims: int, c_in: int, c_out: int, *, dilation: int = 1, groups: int = 1) -> nn.Module:
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    layer: nn.Module = kind(c_in, c_out, 3, padding=dilation, dilation=dilation, groups=groups)
    return layer


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each voxel, of (b, c, *shape)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, *shape) to the same."""
        out: Tensor = self.norm(x.movedim(1, -1)).movedim(-1, 1)
        return out


class ConvolutionalAttention(nn.Module):
    """Multi-head attention softmax(q k^T / sqrt(c_head)) v whose q, k and v are depthwise convolutions (section 3.1).

    The paper replaces the linear projections of a vision transformer by depthwise convolutions, so that no
    positional encoding is needed. Keys and values of large maps come from a strided convolution, as in CvT (Wu et
    al., ICCV 2021), which keeps the cost of the upper levels bounded.

    Args:
        dims: 2 or 3.
        channels: c, divisible by `heads`.
        heads: number of heads.
    """

    def __init__(self, dims: int, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (_conv(dims, channels, channels, groups=channels) for _ in range(3))
        self.norms = nn.ModuleList([ChannelNorm(channels) for _ in range(3)])
        self.out = _conv(dims, channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, *shape) to the same."""
        shape, cells = x.shape[2:], x[0, 0].numel()
        stride = 1
        while cells // stride ** len(shape) > _KEY_CELLS:
            stride *= 2
        small = x if stride == 1 else _average(x, stride)
        q, k, v = (
            self._split(norm(layer(part)))
            for norm, layer, part in zip(self.norms, (self.query, self.key, self.value), (x, small, small), strict=True)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        joined = mixed.transpose(-1, -2).reshape(x.shape[0], x.shape[1], *shape)
        out: Tensor = self.out(joined)
        return out

    def _split(self, x: Tensor) -> Tensor:
        b, c = x.shape[:2]
        return x.reshape(b, self.heads, c // self.heads, -1).transpose(-1, -2)


def _average(x: Tensor, stride: int) -> Tensor:
    # Ceiling mode keeps a map that is smaller than the stride alive.
    pool = functional.avg_pool2d if x.ndim == 4 else functional.avg_pool3d
    return pool(x, stride, ceil_mode=True)


class WideFocus(nn.Module):
    """Feed-forward part: convolutions of dilation 1, 2 and 3 side by side, summed, then one more (section 3.2).

    The three dilations see fine to coarse context at once; the last convolution gathers them.

    Args:
        dims: 2 or 3.
        channels: c.
        dropout: probability after every activation.
    """

    def __init__(self, dims: int, channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.branches = nn.ModuleList([_conv(dims, channels, channels, dilation=rate) for rate in (1, 2, 3)])
        self.gather = _conv(dims, channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, *shape) to the same."""
        summed = torch.stack([self.dropout(functional.gelu(branch(x))) for branch in self.branches]).sum(0)
        out: Tensor = self.dropout(functional.gelu(self.gather(summed)))
        return out


class _Level(nn.Module):
    """Normalise, two convolutions, (pool), attention and Wide-Focus with residual connections."""

    def __init__(self, dims: int, c_in: int, channels: int, heads: int, *, pool: bool, dropout: float) -> None:
        super().__init__()
        self.first, self.second = _conv(dims, c_in, channels), _conv(dims, channels, channels)
        self.pool = (nn.MaxPool2d(2) if dims == 2 else nn.MaxPool3d(2)) if pool else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.attention = ConvolutionalAttention(dims, channels, heads)
        self.norm = ChannelNorm(channels)
        self.wide_focus = WideFocus(dims, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.second(functional.relu(self.first(x))))
        x = self.pool(self.dropout(x))
        x = x + self.attention(x)
        out: Tensor = x + self.wide_focus(self.norm(x))
        return out


class _Head(nn.Module):
    """Class scores of one decoder level, one pooling finer than the level."""

    def __init__(self, dims: int, channels: int, n_classes: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.first, self.second = _conv(dims, channels, channels), _conv(dims, channels, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(functional.interpolate(self.norm(x), scale_factor=2)))
        out: Tensor = self.second(x)
        return out


class FCT(nn.Module):
    """Class scores (logits) by a Fully Convolutional Transformer.

    Four encoder levels, a bottleneck and four decoder levels with skip connections; every encoder level after the
    first also sees the image itself, average-pooled to its size, and three decoder levels are supervised.

    Args:
        dims: 2 or 3.
        in_channels: channels of the image.
        n_classes: classes, background included.
        width: channels of the first level; they double from level to level, so the bottleneck has 16 times as many.
        heads: attention heads of every level.
        dropout: probability after the convolutions of a level.
    """

    def __init__(
        self, dims: int, in_channels: int, n_classes: int, width: int = 16, heads: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        c = [width * 2**level for level in range(5)]
        self.entries = nn.ModuleList([_conv(dims, in_channels, c[i]) for i in range(3)])
        # Normalising the channels of an image with a single one would erase it: the first level goes without.
        self.norms = nn.ModuleList([nn.Identity(), *[ChannelNorm(n) for n in (*c[:4], *c[:0:-1])]])
        inputs = [in_channels, 2 * c[0], 2 * c[1], 2 * c[2], c[3]]
        self.encoder = nn.ModuleList(
            [_Level(dims, n, c[i], heads, pool=True, dropout=dropout) for i, n in enumerate(inputs)]
        )
        self.ups = nn.ModuleList([_conv(dims, c[i + 1], c[i]) for i in (3, 2, 1, 0)])
        self.decoder = nn.ModuleList(
            [_Level(dims, 2 * c[i], c[i], heads, pool=False, dropout=dropout) for i in (3, 2, 1, 0)]
        )
        self.heads = nn.ModuleList([_Head(dims, c[i], n_classes) for i in (0, 1, 2)])
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                # He's normal initialisation: the convolutions of a level have no normalisation between them.
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Logits at full, half and quarter resolution.

        Args:
            x: (b, in_channels, *shape), every axis a multiple of 32.

        Returns:
            Three tensors (b, n_classes, *shape / 1, 2, 4).
        """
        image, skips = x, []
        for level, (norm, block) in enumerate(zip(self.norms[:5], self.encoder, strict=True)):
            x = norm(x)
            if 1 <= level <= 3:
                x = torch.cat([functional.relu(self.entries[level - 1](_average(image, 2**level))), x], dim=1)
            x = block(x)
            skips.append(x)
        scores = []
        for level, (norm, up, block) in enumerate(zip(self.norms[5:], self.ups, self.decoder, strict=True)):
            x = functional.relu(up(functional.interpolate(norm(x), scale_factor=2)))
            x = block(torch.cat([skips[3 - level], x], dim=1))
            if level >= 1:
                scores.append(self.heads[3 - level](x))
        return scores[::-1]
