"""The region term of equation (2): sum over pairs of (MSE + Dice)(fixed mask k, warped moving mask k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from samreg.fit.terms.layers import Layers
from samreg.fit.terms.masked import Inside
from samreg.geometry.frame import Frame
from samreg.geometry.grid import apply_affine
from samreg.geometry.ops.resample import resize
from samreg.geometry.ops.smoothing import gaussian
from samreg.geometry.rois import PairedRois, RoiSet

__all__ = ["RegionTerm", "Shares"]

_MARGINS = ((256, 4), (1024, 2))
"""Up to so many pairs: voxels around a pair in which it is compared and which no other pair of its layer may enter.
Where there are more they are small, and what is around them costs more than they do themselves: one voxel."""

_LEAST_PROBABILITY = 1e-4
"""Bounds the cross-entropy where a single voxel is certain and wrong."""

_Box = list[tuple[int, int]]
"""First voxel and one past the last, along each axis."""


@dataclass(frozen=True)
class Shares:
    """Weights of the parts of the region term.

    Args:
        mse: of the mean squared difference.
        dice: of 1 - Dice.
        cross_entropy: of the binary cross-entropy, which the released code has in place of the MSE.
    """

    mse: float = 1.0
    dice: float = 1.0
    cross_entropy: float = 0.0


class RegionTerm:
    """Weighted mean over pairs of MSE + Dice of soft masks, each pair inside its own box.

    Pairs that keep clear of each other in both images share a layer: one channel that is warped like an image.

    Args:
        pairs: the correspondence, on the full grids.
        frame: the level's grids, which may be coarser than those of the pairs.
        softness: standard deviation of the mask edges in voxels of the level.
        shares: weights of the parts of the term.
        slice_axis: array axis along which the pairs are one slice thick and slices correspond, so that they say
            nothing about displacement along it; None for ROIs of the full dimension.
        inside: the weight of each place, where images count in part; None is 1 everywhere.
    """

    def __init__(
        self,
        pairs: PairedRois,
        frame: Frame,
        softness: float,
        shares: Shares | None = None,
        slice_axis: int | None = None,
        inside: Inside | None = None,
    ) -> None:
        self.inside, self.n_voxels = inside, frame.fixed.n_voxels
        self.shares = shares or Shares()
        around = next((voxels for most, voxels in _MARGINS if len(pairs) <= most), 1)
        margin = [0 if a == slice_axis else around for a in range(frame.fixed.ndim)]
        fixed_boxes = _level_boxes(pairs.fixed, frame.fixed.shape, margin)
        moving_boxes = _level_boxes(pairs.moving, frame.moving.shape, margin)
        common = _common_boxes(fixed_boxes, moving_boxes, frame, slice_axis)
        layers = _pack(common, moving_boxes)
        n_layers = max(layers, default=-1) + 1
        self.n_pairs = len(pairs)
        fixed_layers = _draw(pairs.fixed, layers, n_layers, frame.fixed.shape, softness, slice_axis)
        moving_layers = _draw(pairs.moving, layers, n_layers, frame.moving.shape, softness, slice_axis)
        self.moving = Layers(moving_layers, frame, slice_axis)
        places = [
            _flat_indices(box, frame.fixed.shape) + layer * frame.fixed.n_voxels
            for box, layer in zip(common, layers, strict=True)
        ]
        self.places = torch.cat(places) if places else torch.zeros(0, dtype=torch.long)
        counts = torch.tensor([len(p) for p in places])
        self.owners = torch.repeat_interleave(torch.arange(self.n_pairs), counts)
        self.counts = counts.float()
        self.fixed = fixed_layers.flatten()[self.places]
        self.fixed_sum = self._per_pair(self.fixed)
        # Over the number of pairs, not the sum of their weights: doubtful pairs alone must not pull like sure ones.
        self.weights = torch.as_tensor(pairs.weights.copy()) / max(1, self.n_pairs)

    def __call__(self, index: Tensor) -> Tensor:
        """The weighted term for displaced fixed indices (d, *level shape), array order."""
        return (self.weights * self.per_pair(index)).sum()

    def per_pair(self, index: Tensor) -> Tensor:
        """The term of each pair before weighting, (k,)."""
        warped, fixed, fixed_sum, counts = self._warped(index), self.fixed, self.fixed_sum, self.counts
        if self.inside is not None:
            weight = self.inside(index).flatten()[self.places % self.n_voxels]
            warped, fixed = warped * weight, fixed * weight
            fixed_sum, counts = self._per_pair(fixed), self._per_pair(weight).clamp(min=1.0)
        shares = self.shares
        both = self._per_pair(warped * fixed)
        each = shares.dice * (1 - (2 * both + 1) / (self._per_pair(warped) + fixed_sum + 1))
        if shares.mse > 0:
            each = each + shares.mse * self._per_pair((warped - fixed) ** 2) / counts
        if shares.cross_entropy > 0:
            p = warped.clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
            entropy = -(fixed * p.log() + (1 - fixed) * (1 - p).log())
            each = each + shares.cross_entropy * self._per_pair(entropy) / counts
        return each

    def _warped(self, index: Tensor) -> Tensor:
        """Moving masks at the places where pairs are compared."""
        return self.moving.at(index).flatten()[self.places]

    def _per_pair(self, values: Tensor) -> Tensor:
        return torch.zeros(self.n_pairs).index_add(0, self.owners, values)


def _level_boxes(rois: RoiSet, shape: Sequence[int], margin: Sequence[int]) -> list[_Box]:
    """Bounding boxes on the level's grid, widened by the margin."""
    scale = [n / m for n, m in zip(shape, rois.grid.shape, strict=True)]
    return [
        [
            (max(0, int(np.floor(a * s)) - m), min(n, int(np.ceil(b * s)) + m))
            for a, b, s, m, n in zip(roi.start, roi.stop, scale, margin, shape, strict=True)
        ]
        for roi in rois.rois
    ]


def _common_boxes(fixed: list[_Box], moving: list[_Box], frame: Frame, slice_axis: int | None) -> list[_Box]:
    """Fixed boxes that also hold the moving one under the affine map alone."""
    d = frame.fixed.ndim
    inverse = np.linalg.inv(frame.joint)
    out = []
    for f, m in zip(fixed, moving, strict=True):
        ends = np.stack(np.meshgrid(*m, indexing="ij"), -1).reshape(-1, d)[:, ::-1]
        carried = apply_affine(inverse, ends)[:, ::-1]
        box = []
        for a, (low, high) in enumerate(f):
            if a != slice_axis:
                low = max(0, min(low, int(np.floor(carried[:, a].min()))))
                high = min(frame.fixed.shape[a], max(high, int(np.ceil(carried[:, a].max()))))
            box.append((low, high))
        out.append(box)
    return out


def _pack(common: list[_Box], moving: list[_Box]) -> list[int]:
    """First layer for each pair in which neither its fixed nor its moving box meets another's."""
    layers = np.zeros(len(common), dtype=int)
    # Comparing a box with all before it at once: one by one, thousands of pairs would take minutes.
    boxes = [np.asarray(side, dtype=int).reshape(len(common), -1, 2) for side in (common, moving)]
    for k in range(1, len(common)):
        met = np.zeros(k, dtype=bool)
        for side in boxes:
            met |= ((side[:k, :, 0] < side[k, :, 1]) & (side[k, :, 0] < side[:k, :, 1])).all(axis=1)
        taken = np.zeros(int(layers[:k].max()) + 2, dtype=bool)
        taken[layers[:k][met]] = True
        layers[k] = int(np.argmin(taken))
    return [int(layer) for layer in layers]


def _draw(
    rois: RoiSet, layers: list[int], n_layers: int, shape: Sequence[int], softness: float, slice_axis: int | None
) -> Tensor:
    """All masks in their layers, averaged onto the level's grid, with soft edges: (n_layers, *shape)."""
    out = torch.zeros(n_layers, *shape)
    for number in range(n_layers):
        full = torch.zeros(rois.grid.shape)
        for roi, layer in zip(rois.rois, layers, strict=True):
            if layer == number:
                full[roi.box] = torch.as_tensor(roi.mask).float().maximum(full[roi.box])
        out[number] = resize(full[None], shape)[0]
    return gaussian(out, [0.0 if a == slice_axis else softness for a in range(len(shape))]) if softness > 0 else out


def _flat_indices(box: _Box, shape: Sequence[int]) -> Tensor:
    """Flat indices, into an array of a shape, of the voxels of a box."""
    axes = torch.meshgrid(*(torch.arange(a, b) for a, b in box), indexing="ij")
    flat = axes[0]
    for axis, n in zip(axes[1:], shape[1:], strict=True):
        flat = flat * n + axis
    return flat.flatten()
