"""Small layers that several networks of the family share."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ChannelNorm", "Perceptron", "Tokens"]


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of (b, c, h, w)."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalised (b, c, h, w)."""
        y = functional.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


class Perceptron(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, c_in: int, hidden: int, c_out: int, depth: int) -> None:
        super().__init__()
        sizes = [c_in, *[hidden] * (depth - 1), c_out]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """(..., c_in) to (..., c_out)."""
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i + 1 < len(self.layers):
                x = functional.relu(x)
        return x


class Tokens(nn.Module):
    """n learned tokens, `weight` (n, c): an embedding table without random initial values."""

    def __init__(self, n: int, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n, channels))
