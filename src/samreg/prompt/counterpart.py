"""One region of one slice, and where it is on a slice of the other image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from samreg.config import FitConfig, FlowConfig
from samreg.fit.levels import fit_dense
from samreg.fit.problem import DenseProblem
from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid, apply_affine
from samreg.geometry.ops.resample import resize, sample
from samreg.geometry.ops.smoothing import gaussian
from samreg.geometry.rois import PairedRois
from samreg.initial.descriptors import joint_descriptors
from samreg.initial.discrete import Search, coupled_convex, descriptor_cost
from samreg.regions.everything.boxes import box_iou, grown
from samreg.regions.outline import Outline, ask_boxes, ask_points, distinct, joined
from samreg.regions.prototypes import cell_shares, cosine_similarity
from samreg.regions.regions import FeatureVolume
from samreg.regions.stack import View
from samreg.segmenters.base import Encoding, Segmenter
from samreg.types import Matrix

__all__ = [
    "Candidates",
    "Displacement",
    "carried_iou",
    "displacement",
    "mean_embedding",
    "search",
    "similarity_map",
]

_CHANNELS = 32
_EXACT = 0.85
"""IoU with the carried region beyond which the displacement is not exact enough to tell masks apart."""
_SCALES = (0.75, 1.0, 1.25)
"""Sizes of the boxes tried, relative to the region: a heart contracts and relaxes."""
_N_PEAKS = 1
_MIN_QUALITY = 0.5
_FITS = 0.5
"""IoU with a place from which the box of a component at that place is tried as well."""
_FLOW = FitConfig(flow=FlowConfig(flow_roi_weight=0.0, flow_feature_weight=0.0, flow_iterations=(40, 30)))
"""Grey values alone follow the first optimum of a coarser level, however far."""
_SEARCH = Search(
    radius=(3, 3), step=(1, 1), sigma=(1.0, 1.0), cost_sigma=(1.0, 1.0), theta=(0.01, 0.1), stretch=(1.0, 1.0)
)


@dataclass(frozen=True, eq=False)
class Displacement:
    """Where each pixel of a slice is on a slice of the other image.

    Args:
        target: (y, x, 2) pixels (x, y) of the other slice.
        cost: (y, x) 1 - cosine of the embeddings that it brings together.
    """

    target: np.ndarray
    cost: np.ndarray


@dataclass(frozen=True, eq=False)
class Candidates:
    """Masks of the other slice, best first.

    Args:
        outline: n masks.
        similarity: (n,) cosine of the prototypes, the mean embedding of both slices subtracted.
        overlap: (n,) IoU with the region, carried by the displacement.
    """

    outline: Outline
    similarity: np.ndarray
    overlap: np.ndarray

    @property
    def score(self) -> np.ndarray:
        """(n,) what the order rests on."""
        overlap = np.minimum(self.overlap, _EXACT)
        result: np.ndarray = self.similarity + overlap + 0.5 * self.outline.quality
        return result


def similarity_map(prototype: np.ndarray, encoding: Encoding, mean: np.ndarray) -> torch.Tensor:
    """s(x) = cos(p - m, F(x) - m) over the cells of a slice, (h, w).

    Args:
        prototype: (c,).
        encoding: of the slice.
        mean: (c,) mean embedding m: what all tissue shares tells nothing.
    """
    features = encoding.valid_features.float().cpu() - torch.from_numpy(mean)[:, None, None]
    p = torch.from_numpy(prototype - mean)
    return (functional.normalize(features, dim=0) * functional.normalize(p, dim=0)[:, None, None]).sum(0)


def mean_embedding(*encodings: Encoding) -> np.ndarray:
    """(c,) mean over the valid cells of slices."""
    rows = [e.valid_features.float().cpu().flatten(1) for e in encodings]
    result: np.ndarray = torch.cat(rows, 1).mean(1).numpy()
    return result


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
    cost = descriptor_cost(a, b, frame, None, _SEARCH)
    u = coupled_convex(cost, _SEARCH)
    at = frame.identity() + u
    carried = functional.normalize(frame.warp(b, at), dim=0)
    gap = 1 - (a * carried).sum(0)
    shape, stride = given.encoding.shape, given.encoding.stride
    rough = _pixels(torch.cat([u * stride, gap[None]]), shape, stride)
    fine = _followed(given.grey, other.grey, matrix, rough[:2])
    index = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in shape), indexing="ij")) + fine
    target = apply_affine(matrix, torch.movedim(index.flip(0), 0, -1).numpy())
    return Displacement(target, rough[2].numpy())


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


def search(
    segmenter: Segmenter,
    given: View,
    region: Outline,
    other: View,
    start: Matrix | None,
    ratio: float,
) -> Candidates:
    """Candidates for the counterpart of one region.

    Boxes are prompted where the displacement carries the region and where the similarity map peaks, at sizes around
    the region's own, and around connected components of these places at some grey level. Each mask's own box is
    prompted again.

    Args:
        segmenter: answers.
        given: slice of the region.
        region: one mask on it.
        other: slice of the other image.
        start: (3, 3) pixels of `given` to pixels of `other`, or None where nothing is known about position.
        ratio: pixels of `other` as long as one pixel of `given`.
    """
    mask, prototype = region.masks[0], region.prototypes[0]
    y, x = np.nonzero(mask)
    size = np.asarray([np.ptp(x) + 1, np.ptp(y) + 1]) * ratio
    mean = mean_embedding(given.encoding, other.encoding)
    moved = None if start is None else displacement(given, other, start)
    places = [(p, size) for p in _peaks(prototype, given.encoding, other.encoding, mean, mask)]
    if moved is not None:
        target = moved.target[mask]
        low, high = np.percentile(target, [2, 98], axis=0)
        places.append(((low + high) / 2, np.maximum(high - low, 0.5 * size)))
    boxes = [np.concatenate([c - s * f / 2, c + s * f / 2]) for c, s in places for f in _SCALES]
    rows = grown(np.asarray(boxes), 0.0, other.encoding.shape)
    fits = (box_iou(other.components, rows) >= _FITS).any(axis=1)
    rows = np.concatenate([rows, other.components[fits]])
    rows = rows[((rows[:, 2:] - rows[:, :2]) >= 2).all(axis=1)]
    answer = ask_boxes(segmenter, other.encoding, rows)
    if segmenter.prompt_kind == "points":
        answer = joined(answer, ask_points(segmenter, other.encoding, np.asarray([c for c, _ in places])))
    answer = distinct(answer.select(np.flatnonzero(answer.quality >= _MIN_QUALITY)), 0.9)
    similarity = _centred(answer.prototypes, prototype, mean)
    overlap = np.zeros(len(answer)) if moved is None else carried_iou(mask, answer.masks, moved)
    found = Candidates(answer, similarity, overlap)
    order = np.argsort(-found.score, kind="stable")
    return Candidates(answer.select(order), similarity[order], overlap[order])


def carried_iou(mask: np.ndarray, masks: np.ndarray, moved: Displacement) -> np.ndarray:
    """IoU of a mask (y, x) with masks (n, y', x') of the other slice, read where its pixels are carried to; (n,)."""
    if not len(masks):
        return np.zeros(0)
    at = torch.from_numpy(np.ascontiguousarray(moved.target))
    carried = sample(torch.from_numpy(masks).float(), at, "nearest").numpy() > 0.5
    result: np.ndarray = (carried & mask).sum(axis=(1, 2)) / np.maximum((carried | mask).sum(axis=(1, 2)), 1)
    return result


def _centred(prototypes: np.ndarray, prototype: np.ndarray, mean: np.ndarray) -> np.ndarray:
    result: np.ndarray = cosine_similarity(prototypes - mean, (prototype - mean)[None])[:, 0]
    return result


def _peaks(
    prototype: np.ndarray, given: Encoding, other: Encoding, mean: np.ndarray, mask: np.ndarray
) -> list[np.ndarray]:
    """The highest maxima of the similarity map, smoothed to the size of the region; pixels (x, y)."""
    cells = float(cell_shares(given, mask[None]).sum())
    sigma = max(0.7, 0.5 * (cells / np.pi) ** 0.5)
    smooth = gaussian(similarity_map(prototype, other, mean)[None], (sigma, sigma))
    top = functional.max_pool2d(smooth[None], 5, 1, 2)[0, 0]
    smooth = smooth[0]
    values, flat = torch.where(smooth == top, smooth, torch.full_like(smooth, -2.0)).flatten().topk(_N_PEAKS)
    rows = [divmod(int(i), smooth.shape[1]) for i, v in zip(flat, values, strict=True) if v > -2]
    return [(np.asarray([c, r], dtype=float) + 0.5) * other.stride - 0.5 for r, c in rows]
