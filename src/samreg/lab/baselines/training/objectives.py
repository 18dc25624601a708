"""What each network minimises, and the Dice that chooses the best epoch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from samreg.lab.baselines.networks.build import warp_voxels
from samreg.lab.baselines.networks.spec import NetworkSpec
from samreg.lab.baselines.training.config import TrainConfig

__all__ = [
    "Objective",
    "bending_energy",
    "class_dice",
    "one_hot",
    "scores_on",
    "squared_gradient",
    "training_objective",
]

Objective = Callable[[Sequence[Tensor] | Tensor, Tensor, Tensor], Tensor]
"""(output of the network in float32, images (n, m, *patch), labels (n, m, *patch)) -> loss."""


def training_objective(spec: NetworkSpec, config: TrainConfig, n_classes: int) -> Objective:
    """The objective of an architecture.

    - VoxelMorph (Balakrishnan et al., IEEE TMI 2019): -LNCC or MSE of fixed and warped, plus the weighted mean squared
      gradient of the displacement; with labels, plus their Dice loss.
    - LabelReg (Hu et al., Med. Image Anal. 2018): mean over scales of the Dice loss of Gaussian-smoothed labels,
      plus weighted bending energy.
    - V-Net, FCT, MedNeXt: Dice loss of the foreground classes plus cross-entropy, over all supervised resolutions.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's announcements
        if spec.architecture == "voxelmorph":
            return _voxelmorph(spec, config, n_classes)
        if spec.architecture == "labelreg":
            return _labelreg(config, n_classes)
        return _segmentation(config)


def one_hot(labels: Tensor, n_classes: int) -> Tensor:
    """(n, *shape) class numbers to (n, n_classes, *shape) float32, background left out."""
    return torch.stack([labels == number for number in range(1, n_classes + 1)], dim=1).float()


def squared_gradient(u: Tensor) -> Tensor:
    """Mean over axes and voxels of |u(x + e_i) - u(x)|^2 / d: VoxelMorph's smoothness term.

    Args:
        u: (b, d, *shape) displacements in voxels.
    """
    parts = [u.diff(dim=axis).square().mean() for axis in range(2, u.ndim)]
    return torch.stack(parts).mean()


def bending_energy(u: Tensor) -> Tensor:
    """Mean over voxels of the sum over i, j of |d^2 u / dx_i dx_j|^2 / d: LabelReg's smoothness term.

    Args:
        u: (b, d, *shape) displacements in voxels, at least three along every axis.
    """
    axes = range(2, u.ndim)
    total = torch.zeros((), device=u.device)
    for i in axes:
        total = total + u.diff(n=2, dim=i).square().mean()
        for j in axes:
            if j > i:
                total = total + 2 * u.diff(dim=i).diff(dim=j).square().mean()
    return total


def _voxelmorph(spec: NetworkSpec, config: TrainConfig, n_classes: int) -> Objective:
    from monai.losses import DiceLoss, LocalNormalizedCrossCorrelationLoss

    similarity: nn.Module = (
        LocalNormalizedCrossCorrelationLoss(spatial_dims=spec.dims, kernel_size=config.loss.window)
        if config.loss.similarity == "lncc"
        else nn.MSELoss()
    )
    overlap = DiceLoss(include_background=True)

    def objective(field: Sequence[Tensor] | Tensor, images: Tensor, labels: Tensor) -> Tensor:
        u = _field(field)
        warped = warp_voxels(images[:, 1:2], u)
        loss: Tensor = similarity(warped, images[:, :1]) + config.loss.smoothness * squared_gradient(u)
        if config.loss.dice:
            moved = warp_voxels(one_hot(labels[:, 1], n_classes), u)
            loss = loss + config.loss.dice * overlap(moved, one_hot(labels[:, 0], n_classes))
        return loss

    return objective


def _labelreg(config: TrainConfig, n_classes: int) -> Objective:
    from monai.losses import DiceLoss, MultiScaleLoss

    # Slices that hold none of a label must not pull: smoothing constants make their loss 0.
    overlap = MultiScaleLoss(DiceLoss(smooth_nr=1.0, smooth_dr=1.0), scales=list(config.loss.scales))

    def objective(field: Sequence[Tensor] | Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
        u = _field(field)
        moved = warp_voxels(one_hot(labels[:, 1], n_classes), u)
        loss: Tensor = overlap(moved, one_hot(labels[:, 0], n_classes)) + config.loss.smoothness * bending_energy(u)
        return loss

    return objective


def _segmentation(config: TrainConfig) -> Objective:
    from monai.losses import DiceCELoss

    loss_of = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)

    def objective(scores: Sequence[Tensor] | Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
        total, weights = torch.zeros((), device=labels.device), 0.0
        for level, score in enumerate(scores):
            weight = config.loss.deep_supervision**level
            if min(score.shape[2:]) < 8 or weight == 0:
                continue  # nothing of a heart is left at that size
            target = labels.float()
            if level:
                target = functional.interpolate(target, size=score.shape[2:], mode="nearest")
            total, weights = total + weight * loss_of(score, target), weights + weight
        return total / weights

    return objective


def _field(field: Sequence[Tensor] | Tensor) -> Tensor:
    if isinstance(field, Tensor):
        return field
    raise TypeError(f"a registration objective wants one field, got {type(field).__name__}")


def class_dice(a: Tensor, b: Tensor, n_classes: int) -> list[float]:
    """Dice of every class of two label arrays of one subject; NaN where a class is in neither."""
    out = []
    for number in range(1, n_classes + 1):
        p, q = a == number, b == number
        size = int(p.sum()) + int(q.sum())
        out.append(2 * int((p & q).sum()) / size if size else float("nan"))
    return out


def scores_on(net: nn.Module, images: Tensor, labels: Tensor, n_classes: int, *, registration: bool) -> list[float]:
    """Dice of every class for one subject on the network's view.

    Args:
        net: the network; a registration network is judged by the moving labels it warps.
        images: (n, m, *shape).
        labels: (n, m, *shape).
        n_classes: foreground classes.
        registration: which kind the network is.
    """
    if not registration:
        found = net(images)[0].float().argmax(1)
        return class_dice(found, labels[:, 0], n_classes)
    u = net(images[:, :1], images[:, 1:2]).float()
    share = warp_voxels(one_hot(labels[:, 1], n_classes), u)
    # What the classes leave of 1 is background.
    found = torch.cat([1 - share.sum(1, keepdim=True), share], dim=1).argmax(1)
    return class_dice(found, labels[:, 0], n_classes)
