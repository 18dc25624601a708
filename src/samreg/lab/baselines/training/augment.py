"""Random patches: one resampling for the geometry, then random grey values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from samreg.geometry.ops.resample import sample_border
from samreg.lab.baselines.training.config import AugmentConfig

__all__ = ["draw_batch", "random_patch"]


def _uniform(generator: torch.Generator, low: float, high: float, n: int = 1) -> Tensor:
    return torch.rand(n, generator=generator) * (high - low) + low


def draw_batch(
    images: Sequence[Tensor],
    labels: Sequence[Tensor],
    n: int,
    patch: Sequence[int],
    config: AugmentConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """A batch of random patches of randomly chosen samples.

    Args:
        images: samples, each (m, *shape).
        labels: their class numbers, each (m, *shape).
        n: samples in the batch.
        patch: size of a patch.
        config: how much is changed.
        generator: the source of chance; its state is the only state.

    Returns:
        images (n, m, *patch) float32 and labels (n, m, *patch) int64.
    """
    rows = torch.randint(len(images), (n,), generator=generator).tolist()
    drawn = [random_patch(images[r], labels[r], patch, config, generator) for r in rows]
    return torch.stack([a for a, _ in drawn]), torch.stack([b for _, b in drawn])


def random_patch(
    image: Tensor, labels: Tensor, patch: Sequence[int], config: AugmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A random patch of one sample; fixed and moving move together, their grey values change apart.

    Args:
        image: (m, *shape).
        labels: (m, *shape).
        patch: size of the patch.
        config: how much is changed.
        generator: the source of chance.

    Returns:
        (m, *patch) grey values in about [0, 1], and class numbers.
    """
    index = _random_index(image.shape[1:], patch, config, generator)
    grey = sample_border(image, index)
    classes = sample_border(labels.float(), index, mode="nearest").long()
    if len(grey) == 2 and float(_uniform(generator, 0, 1)) < 0.5:
        grey, classes = grey.flip(0), classes.flip(0)  # fixed <-> moving
    return torch.stack([_random_grey(channel, config, generator) for channel in grey]), classes


def _random_index(
    shape: Sequence[int], patch: Sequence[int], config: AugmentConfig, generator: torch.Generator
) -> Tensor:
    """Indices (x, y, z) of a rotated, scaled, mirrored and shifted patch, (*patch, d)."""
    d = len(shape)
    angle = math.radians(float(_uniform(generator, -config.rotation, config.rotation)))
    zoom = torch.exp(
        _uniform(generator, -config.scale, config.scale, d) * 0.5
        + _uniform(generator, -config.scale, config.scale) * 0.5
    )
    mirror = torch.where(torch.rand(2, generator=generator) < config.flip, -1.0, 1.0)
    matrix = torch.eye(d)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix[:2, :2] = turn * mirror[None]  # in the plane x, y; slices are neither turned nor mirrored
    size = torch.tensor(list(shape)[::-1], dtype=torch.float32)
    shift = _uniform(generator, -config.shift, config.shift, d) * size
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch]
    offset: Tensor = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], dim=-1)
    index: Tensor = torch.matmul(offset * zoom, matrix.T) + (size - 1) / 2 + shift
    return index


def _random_grey(grey: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    gamma, gain, lift, sigma = torch.rand(4, generator=generator).tolist()
    out = torch.pow(grey.clamp(0, 1), math.exp((2 * gamma - 1) * config.gamma))
    out = out * (1 + (2 * gain - 1) * config.contrast) + (2 * lift - 1) * config.contrast * 0.5
    noisy: Tensor = out + torch.randn(grey.shape, generator=generator) * sigma * config.noise
    return noisy
