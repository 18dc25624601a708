"""Signed distances of paired regions: what MSE and Dice of masks cannot see from afar.

    1/K sum_k c_k / r_k mean_x [ M_k^fixed max(D_k o phi, 0) + (1 - M_k^fixed) max(-D_k o phi, 0) ]

with D_k the signed distance to the edge of the moving region, positive outside, r_k the radius of a ball of its size,
and the mean weighted so that the fixed region counts as 1. It is zero where both masks are the same. Where two masks
hardly meet, their overlap has no slope, and the distance still has one.

Source: the boundary loss of Kervadec et al., "Boundary loss for highly unbalanced segmentation" (MIDL 2019), between
two masks of which one is carried.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from samreg.fit.terms.masked import Inside
from samreg.fit.terms.regions import common_boxes, draw, flat_indices, level_boxes, pack
from samreg.geometry.frame import Frame
from samreg.geometry.rois import PairedRois

__all__ = ["DistanceTerm"]

_REACH = 16
"""Voxels of the level from which a distance no longer grows, and within which no other pair may share a layer."""


class DistanceTerm:
    """Weighted mean over pairs of the distances of misplaced voxels, each pair inside its own box.

    Args:
        pairs: the correspondence, on the full grids.
        frame: the level's grids.
        slice_axis: array axis along which the pairs are one slice thick and slices correspond; None for ROIs of the
            full dimension.
        inside: the weight of each place, where images count in part; None is 1 everywhere.
    """

    def __init__(
        self, pairs: PairedRois, frame: Frame, slice_axis: int | None = None, inside: Inside | None = None
    ) -> None:
        self.frame, self.slice_axis, self.inside = frame, slice_axis, inside
        near = [0 if a == slice_axis else 4 for a in range(frame.fixed.ndim)]
        far = [0 if a == slice_axis else _REACH for a in range(frame.fixed.ndim)]
        moving = level_boxes(pairs.moving, frame.moving.shape, far)
        common = common_boxes(level_boxes(pairs.fixed, frame.fixed.shape, near), moving, frame, slice_axis)
        layers = pack(common, moving)
        n_layers = max(layers, default=-1) + 1
        self.n_pairs = len(pairs)
        fixed_layers = draw(pairs.fixed, layers, n_layers, frame.fixed.shape, 0.0, slice_axis)
        moving_layers = draw(pairs.moving, layers, n_layers, frame.moving.shape, 0.0, slice_axis)
        spacing = frame.moving.array_spacing
        pixel = min(s for a, s in enumerate(spacing) if a != slice_axis)
        self.layers = torch.full_like(moving_layers, float(_REACH))
        radius = []
        for box, layer in zip(moving, layers, strict=True):
            place = tuple(slice(a, b) for a, b in box)
            filled = (moving_layers[layer][place] > 0.5).numpy(force=True)
            self.layers[layer][place] = torch.as_tensor(_signed(filled, [s / pixel for s in spacing], slice_axis))
            d = filled.ndim - (slice_axis is not None)
            volume = filled.sum() * np.prod([s / pixel for a, s in enumerate(spacing) if a != slice_axis])
            radius.append(max(1.0, float(volume / _BALL[d]) ** (1 / d)))
        places = [
            flat_indices(box, frame.fixed.shape) + layer * frame.fixed.n_voxels
            for box, layer in zip(common, layers, strict=True)
        ]
        self.places = torch.cat(places) if places else torch.zeros(0, dtype=torch.long)
        self.owners = torch.repeat_interleave(torch.arange(self.n_pairs), torch.tensor([len(p) for p in places]))
        self.fixed = fixed_layers.flatten()[self.places]
        size = torch.zeros(self.n_pairs).index_add(0, self.owners, self.fixed).clamp(min=1)
        scale = torch.tensor(radius) * size * max(1, self.n_pairs)
        self.weights = (torch.as_tensor(pairs.weights.copy()) / scale)[self.owners]

    def __call__(self, index: Tensor) -> Tensor:
        """The weighted term for displaced fixed indices (d, *level shape), array order."""
        if self.slice_axis is not None:
            flat = self.frame.identity()[self.slice_axis]
            index = torch.stack([flat if a == self.slice_axis else x for a, x in enumerate(index)])
        distance = self.frame.warp(self.layers, index).flatten()[self.places]
        wrong = self.fixed * distance.clamp(min=0) + (1 - self.fixed) * (-distance).clamp(min=0)
        if self.inside is not None:
            wrong = wrong * self.inside(index).flatten()[self.places % self.frame.fixed.n_voxels]
        return (self.weights * wrong).sum()


_BALL = {1: 2.0, 2: np.pi, 3: 4 / 3 * np.pi}
"""Volume of the ball of radius 1."""


def _signed(inside: np.ndarray, spacing: Sequence[float], slice_axis: int | None) -> np.ndarray:
    """Distance to the edge in voxels of the smallest size, negative inside, at most `_REACH` either way."""
    if not inside.any():
        return np.full(inside.shape, float(_REACH), dtype=np.float32)
    if slice_axis is None:
        parts = [inside]
    else:
        parts = [np.take(inside, i, axis=slice_axis) for i in range(inside.shape[slice_axis])]
        spacing = [s for a, s in enumerate(spacing) if a != slice_axis]
    # Cells beyond the box are outside: a region that fills its box has its edge there.
    out = []
    for part in parts:
        padded = np.pad(part, 1)
        away = ndimage.distance_transform_edt(~padded, sampling=spacing) if padded.any() else _REACH
        distance = away - ndimage.distance_transform_edt(padded, sampling=spacing)
        distance = np.where(padded, distance + 0.5, distance - 0.5)
        out.append(distance[(slice(1, -1),) * part.ndim])
    whole = out[0] if slice_axis is None else np.stack(out, axis=slice_axis)
    result: np.ndarray = np.clip(whole, -_REACH, _REACH).astype(np.float32)
    return result
