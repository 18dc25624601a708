"""One region of one slice, and where it is on a slice of the other image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from samreg.geometry.ops.smoothing import gaussian
from samreg.prompt.displacement import Carried
from samreg.regions.everything.boxes import box_iou, grown
from samreg.regions.outline import Outline, ask_boxes, ask_points, distinct, joined
from samreg.regions.prototypes import cell_shares, cosine_similarity
from samreg.regions.stack import View
from samreg.segmenters.base import Encoding, Segmenter

__all__ = ["Candidates", "mean_embedding", "search", "similarity_map"]

_EXACT = 0.85
"""IoU with the carried region beyond which the displacement is not exact enough to tell masks apart."""
_SCALES = (0.75, 1.0, 1.25)
"""Sizes of the boxes tried, relative to the region: a heart contracts and relaxes."""
_N_PEAKS = 1
_MIN_QUALITY = 0.5
_FITS = 0.5
"""IoU with a place from which the box of a component at that place is tried as well."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Masks of the other slice, best first.

    Args:
        outline: n masks.
        similarity: (n,) cosine of the prototypes, each less the mean embedding of its own slice.
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


def similarity_map(centred: np.ndarray, encoding: Encoding, mean: np.ndarray) -> torch.Tensor:
    """s(x) = cos(p, F(x) - m) over the cells of a slice, (h, w).

    Args:
        centred: (c,) prototype p, less the mean embedding of its own slice.
        encoding: of the slice.
        mean: (c,) mean embedding m of the slice: what all tissue shares tells nothing, nor does the modality.
    """
    features = encoding.valid_features.float().cpu() - torch.from_numpy(mean)[:, None, None]
    p = functional.normalize(torch.from_numpy(centred), dim=0)
    along = (p @ features.flatten(1)).view(features.shape[1:])
    result: torch.Tensor = along / torch.linalg.vector_norm(features, dim=0).clamp(min=1e-12)
    return result


def mean_embedding(encoding: Encoding) -> np.ndarray:
    """(c,) mean over the valid cells of a slice."""
    result: np.ndarray = encoding.valid_features.float().cpu().flatten(1).mean(1).numpy()
    return result


def search(
    segmenter: Segmenter,
    given: View,
    region: Outline,
    other: View,
    moved: Carried | None,
    ratio: float,
    *,
    registered: bool = False,
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
        moved: where the pixels of `given` are on `other`, or None where nothing is known about position.
        ratio: pixels of `other` as long as one pixel of `given`.
        registered: the displacement is that of a registration: only the place where it puts the region is prompted, and
            no mask again.
    """
    mask, prototype = region.masks[0], region.prototypes[0] - mean_embedding(given.encoding)
    y, x = np.nonzero(mask)
    size = np.asarray([np.ptp(x) + 1, np.ptp(y) + 1]) * ratio
    mean = mean_embedding(other.encoding)
    lies = None if moved is None else moved.box(mask)
    places = []
    if lies is None or not registered:
        places = [(p, size) for p in _peaks(prototype, given.encoding, other.encoding, mean, mask)]
    if lies is not None:
        low, high = lies
        places.append(((low + high) / 2, np.maximum(high - low, 0.5 * size)))
    boxes = [np.concatenate([c - s * f / 2, c + s * f / 2]) for c, s in places for f in _SCALES]
    rows = grown(np.asarray(boxes), 0.0, other.encoding.shape)
    fits = (box_iou(other.components, rows) >= _FITS).any(axis=1)
    rows = np.concatenate([rows, other.components[fits]])
    rows = rows[((rows[:, 2:] - rows[:, :2]) >= 2).all(axis=1)]
    answer = ask_boxes(segmenter, other.encoding, rows, rounds=0 if registered else 1)
    if segmenter.prompt_kind == "points":
        answer = joined(answer, ask_points(segmenter, other.encoding, np.asarray([c for c, _ in places])))
    answer = distinct(answer.select(np.flatnonzero(answer.quality >= _MIN_QUALITY)), 0.9)
    similarity = cosine_similarity(answer.prototypes - mean, prototype[None])[:, 0]
    overlap = np.zeros(len(answer)) if moved is None else moved.iou(mask, answer.masks)
    found = Candidates(answer, similarity, overlap)
    order = np.argsort(-found.score, kind="stable")
    return Candidates(answer.select(order), similarity[order], overlap[order])


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
