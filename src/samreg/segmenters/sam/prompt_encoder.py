"""Prompts to tokens: the prompt encoder that the whole SAM family shares.

Source: Kirillov et al., "Segment Anything" (ICCV 2023), section 3 and appendix A. Parameter names are those of the
original checkpoints. Coordinates here are pixels of the square model input, (x, y), 0 at the centre of the first.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from samreg.segmenters.sam.layers import ChannelNorm, Tokens

__all__ = ["PromptEncoder"]


class _FourierPosition(nn.Module):
    """Positions in [0, 1]^2 to sines and cosines of random projections."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(2, channels // 2))

    def forward(self, points: Tensor) -> Tensor:
        # float32, whatever the precision of the network: bf16 would round positions to whole pixels.
        matrix = self.positional_encoding_gaussian_matrix.float()
        angle = 2 * math.pi * ((2 * points.float() - 1) @ matrix)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Points, boxes and masks to tokens.

    Args:
        channels: channels of the embedding.
        grid: side of the embedding in cells.
        input_size: side of the square model input in pixels.
        mask_channels: channels of the hidden layer that shrinks mask prompts.
        always_pad: as SAM 2 does: a padding token also after a box, and two for mask prompts alone. SAM pads points
            without a box only.
    """

    def __init__(
        self, channels: int, grid: int, input_size: int, mask_channels: int, *, always_pad: bool = False
    ) -> None:
        super().__init__()
        self.channels, self.grid, self.input_size, self.always_pad = channels, grid, input_size, always_pad
        self.pe_layer = _FourierPosition(channels)
        # Background point, foreground point, first and second corner of a box.
        self.point_embeddings = nn.ModuleList(Tokens(1, channels) for _ in range(4))
        self.not_a_point_embed = Tokens(1, channels)
        self.no_mask_embed = Tokens(1, channels)
        small = mask_channels // 4
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, small, 2, stride=2),
            ChannelNorm(small),
            nn.GELU(),
            nn.Conv2d(small, mask_channels, 2, stride=2),
            ChannelNorm(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, channels, 1),
        )

    def position(self) -> Tensor:
        """(cells, channels) positional encoding of the cells of the embedding, row by row."""
        line = (torch.arange(self.grid, device=self.no_mask_embed.weight.device) + 0.5) / self.grid
        y, x = torch.meshgrid(line, line, indexing="ij")
        out: Tensor = self.pe_layer(torch.stack([x, y], dim=-1).reshape(-1, 2))
        return out

    def sparse(self, n: int, points: Tensor | None, labels: Tensor | None, boxes: Tensor | None) -> Tensor:
        """Tokens of points and boxes.

        Args:
            n: number of prompts.
            points: (n, m, 2), or None.
            labels: (n, m) 1 foreground, 0 background, -1 padding; None is all foreground.
            boxes: (n, 4), or None.

        Returns:
            (n, tokens, channels); no tokens for mask prompts alone.
        """
        parts = [self.not_a_point_embed.weight.new_empty(n, 0, self.channels)]
        if points is not None:
            if labels is None:
                labels = torch.ones(points.shape[:2], dtype=torch.long, device=points.device)
            if boxes is None:
                points = torch.cat([points, torch.zeros_like(points[:, :1])], dim=1)
                labels = torch.cat([labels, -torch.ones_like(labels[:, :1])], dim=1)
            parts.append(self._points(points, labels))
        if boxes is not None:
            corners = self.pe_layer((boxes.reshape(-1, 2, 2) + 0.5) / self.input_size)
            parts.append(corners + torch.stack(self._kinds()[2:]))
        n_pads = 1 if boxes is not None else 2 if points is None else 0
        if self.always_pad and n_pads:
            parts.append(self.not_a_point_embed.weight[None].expand(n, n_pads, -1))
        return torch.cat(parts, dim=1)

    def _kinds(self) -> list[Tensor]:
        return [cast("Tokens", embedding).weight[0] for embedding in self.point_embeddings]

    def _points(self, points: Tensor, labels: Tensor) -> Tensor:
        at = self.pe_layer((points + 0.5) / self.input_size)
        label = labels[..., None]
        kinds = self._kinds()
        at = torch.where(label == -1, self.not_a_point_embed.weight[0], at)
        for value in range(4):
            at = torch.where(label == value, at + kinds[value], at)
        return at

    def dense(self, mask_logits: Tensor) -> Tensor:
        """(n, cells, channels) embedding of mask prompts, (n, 4 grid, 4 grid) logits."""
        out: Tensor = self.mask_downscaling(mask_logits[:, None])
        return out.flatten(2).transpose(1, 2)
