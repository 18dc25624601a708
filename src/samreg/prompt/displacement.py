"""Where the pixels of a slice are on a slice of the other image: found by the embeddings and the grey values, or known.

Either way tells where a region is carried and how well masks of the other slice agree with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from samreg.config import FitConfig, FlowConfig
from samreg.fit.levels import fit_dense
from samreg.fit.problem import DenseProblem
from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid, apply_affine
from samreg.geometry.ops.resample import resize, sample_border
from samreg.geometry.rois import PairedRois
from samreg.initial.descriptors import joint_descriptors
from samreg.initial.discrete import Search, coupled_convex, descriptor_cost
from samreg.regions.outline import iou_with
from samreg.regions.regions import FeatureVolume
from samreg.regions.stack import Stack, View
from samreg.segmenters.base import Encoding
from samreg.types import Matrix, Points

__all__ = ["Carried", "Displacement", "WayBack", "displacement", "known_displacement"]

_CHANNELS = 32
_FLOW = FitConfig(flow=FlowConfig(flow_roi_weight=0.0, flow_feature_weight=0.0, flow_iterations=(40, 30)))
"""Grey values alone follow the first optimum of a coarser level, however far."""
_SEARCH = Search(
    radius=(3, 3), step=(1, 1), sigma=(1.0, 1.0), cost_sigma=(1.0, 1.0), theta=(0.01, 0.1), stretch=(1.0, 1.0)
)
_NODES = 64
"""Places along the longer side of a slice at which a known transform is asked; between them it is taken as linear."""
_MIDDLE = [2, 98]
"""Percentiles of the carried pixels between which a region lies: a few that stray do not count."""


class Carried(Protocol):
    """What a search needs to know about position."""

    def box(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """The first and the last pixel (x, y) of the other slice to which a mask (y, x) is carried; None beyond it."""
        ...

    def iou(self, mask: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """(n,) IoU of a mask (y, x) with masks (n, y', x') of the other slice, compared on one of both slices."""
        ...


@dataclass(frozen=True, eq=False)
class Displacement:
    """Where each pixel of a slice is on a slice of the other image.

    Args:
        target: (y, x, 2) pixels (x, y) of the other slice.
        shape: (y', x') of the other slice.
    """

    target: np.ndarray
    shape: tuple[int, int]

    def box(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Carried.box`."""
        low, high = np.percentile(self.target[mask], _MIDDLE, axis=0)
        return low, high

    def iou(self, mask: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """See `Carried.iou`; read where the pixels of `mask` are carried to."""
        return iou_with(self.read(masks), mask) if len(masks) else np.zeros(0)

    def read(self, masks: np.ndarray) -> np.ndarray:
        """Masks (n, y', x') of the other slice as this one sees them, (n, y, x)."""
        inside, rows, columns = self._nearest
        result: np.ndarray = masks[:, rows, columns] & inside
        return result

    @cached_property
    def _nearest(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For each pixel (y, x): whether it is carried into the other slice, and to which row and column of it."""
        last = np.asarray(self.shape[::-1]) - 1
        inside = np.asarray(((self.target >= -0.5) & (self.target <= last + 0.5)).all(axis=-1))
        columns, rows = np.moveaxis(np.clip(np.rint(self.target), 0, last).astype(np.intp), -1, 0)
        return inside, rows, columns


@dataclass(frozen=True, eq=False)
class WayBack:
    """The same displacement for regions of the other slice: they are compared where it starts, and nothing is inverted.

    Args:
        there: from the slice that is now the other one.
    """

    there: Displacement

    def box(self, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """See `Carried.box`."""
        rows, columns = np.nonzero(self.there.read(mask[None])[0])
        if not len(rows):
            return None
        low, high = np.percentile(np.stack([columns, rows], axis=1), _MIDDLE, axis=0)
        return low, high

    def iou(self, mask: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """See `Carried.iou`."""
        return iou_with(masks, self.there.read(mask[None])[0]) if len(masks) else np.zeros(0)


def known_displacement(given: Stack, number: int, other: Stack, carry: Callable[[Points], Points]) -> Displacement:
    """Where a transform puts the pixels of a slice, seen along the slices of the other image.

    Args:
        given: the image of the slice.
        number: of the slice.
        other: the other image.
        carry: (n, d) world points to world points of the other image.
    """
    shape = given.plane
    n = [max(2, round(_NODES * side / max(shape))) if side > 1 else 1 for side in shape]
    axes = [np.linspace(0, side - 1, k) for side, k in zip(shape, n, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij")[::-1], axis=-1).reshape(-1, 2)
    _, pixels = other.locate(carry(given.world(number, nodes)))
    values = torch.from_numpy(np.ascontiguousarray((pixels - nodes).T.reshape(2, *n)))
    index = np.stack(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij")[::-1], axis=-1).astype(float)
    scale = [(k - 1) / max(1, side - 1) for side, k in zip(shape, n, strict=True)][::-1]
    between = sample_border(values, torch.from_numpy(index * scale)).numpy()
    return Displacement(index + np.moveaxis(between, 0, -1), other.plane)


def displacement(given: View, other: View, matrix: Matrix) -> Displacement:
    """Discrete search of the embeddings from a start, then a flow along the grey values.

    The embeddings have cells of several pixels, too large for the outline of a chamber that contracts.

    Args:
        given: the slice whose pixels are carried.
        other: the slice they are carried to.
        matrix: (3, 3) pixels (x, y) of `given` to pixels of `other`: the start.
    """
    fixed, moving = _cells(given.encoding), _cells(other.encoding)
    a, b = joint_descriptors(fixed, moving, _CHANNELS)
    frame = Frame(fixed.grid, moving.grid, matrix)
    u = coupled_convex(descriptor_cost(a, b, frame, None, _SEARCH), _SEARCH)
    shape, stride = given.encoding.shape, given.encoding.stride
    fine = _followed(given.grey, other.grey, matrix, _pixels(u * stride, shape, stride))
    index = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in shape), indexing="ij")) + fine
    target = apply_affine(matrix, torch.movedim(index.flip(0), 0, -1).numpy())
    return Displacement(target, other.encoding.shape)


def _pixels(cells: torch.Tensor, shape: tuple[int, int], stride: float) -> torch.Tensor:
    """Channels (c, h, w) of cells at the pixels of a slice, (c, *shape); the last cell may lie short of the edge."""
    size = [round(n * stride) for n in cells.shape[1:]]
    out = resize(cells, size)[:, : shape[0], : shape[1]]
    pad = [max(0, n - m) for n, m in zip(shape, out.shape[1:], strict=True)]
    if any(pad):
        out = functional.pad(out[None], (0, pad[1], 0, pad[0]), mode="replicate")[0]
    return out


def _followed(fixed: np.ndarray, moving: np.ndarray, matrix: Matrix, start: torch.Tensor) -> torch.Tensor:
    """The displacement (2, y, x) in pixels, array order, after the greedy flow."""
    grids = [Grid((x.shape[0], x.shape[1]), (1.0, 1.0), (0.0, 0.0), unit="px") for x in (fixed, moving)]
    nothing = PairedRois.none(grids[0], grids[1])
    problem = DenseProblem(fixed, moving, grids[0], grids[1], matrix, nothing, None, start, None)
    return fit_dense(problem, _FLOW).displacement


def _cells(encoding: Encoding) -> FeatureVolume:
    """The embedding as a 2D volume whose world is slice pixels."""
    h, w = encoding.valid
    first, stride = (encoding.stride - 1) / 2, encoding.stride
    grid = Grid((h, w), (stride, stride), (first, first), unit="px")
    return FeatureVolume(encoding.valid_features.float().cpu().numpy(), grid)
