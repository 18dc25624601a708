"""RoiSet and PairedRois: regions on a grid, and the correspondence that is a set of paired regions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from samreg.errors import GeometryError
from samreg.geometry.correspondence import Correspondence, edges, holds, nearest, voxel_centres
from samreg.geometry.grid import Grid
from samreg.geometry.ops.moments import moment_map, moments
from samreg.types import Boxes, LabelArray, MaskArray, MaskStack, Points

__all__ = ["Correspondence", "PairedRois", "Roi", "RoiSet", "flat_iou"]


@dataclass(frozen=True, eq=False)
class Roi:
    """One region, kept as the mask inside its bounding box.

    Args:
        mask: booleans of the bounding box, array order (z, y, x); at least one voxel is set.
        start: index of the first voxel of the box in the whole array, array order.
        quality: predicted IoU of the segmenter, or 1 for a given label; in [0, 1] up to model noise.
        name: a human name, for example the label it was read from; empty when there is none.
    """

    mask: MaskArray
    start: tuple[int, ...]
    quality: float = 1.0
    name: str = ""

    @classmethod
    def from_mask(cls, mask: MaskArray, quality: float = 1.0, name: str = "") -> Roi:
        """The region of a mask over a whole grid.

        Raises:
            GeometryError: if no voxel is set.
        """
        full = np.asarray(mask, dtype=bool)
        start, stop = [], []
        for axis in range(full.ndim):
            hit = np.flatnonzero(full.any(axis=tuple(a for a in range(full.ndim) if a != axis)))
            if hit.size == 0:
                raise GeometryError(f"ROI {name!r} is empty: a ROI needs at least one voxel")
            start.append(int(hit[0]))
            stop.append(int(hit[-1]) + 1)
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        return cls(full[box].copy(), tuple(start), float(quality), name)

    @classmethod
    def from_voxels(cls, voxels: np.ndarray, shape: Sequence[int], quality: float = 1.0, name: str = "") -> Roi:
        """The region of some voxels of a grid.

        Args:
            voxels: (n,) flat indices into an array of the shape, n at least 1.
            shape: shape of the grid, array order.
            quality: as of the class.
            name: as of the class.
        """
        at = np.stack(np.unravel_index(voxels, tuple(shape)))
        start = at.min(axis=1)
        mask = np.zeros(at.max(axis=1) - start + 1, dtype=bool)
        mask[tuple(at - start[:, None])] = True
        return cls(mask, tuple(int(a) for a in start), float(quality), name)

    @property
    def stop(self) -> tuple[int, ...]:
        """Index one past the last voxel of the bounding box, array order."""
        return tuple(a + n for a, n in zip(self.start, self.mask.shape, strict=True))

    @property
    def box(self) -> tuple[slice, ...]:
        """The bounding box as slices into the whole array."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def n_voxels(self) -> int:
        """Number of voxels set."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True, eq=False)
class RoiSet:
    """Regions on one grid; they may overlap.

    Args:
        rois: the regions, each inside the grid.
        grid: the grid of the image they were found in.

    Raises:
        GeometryError: if a region reaches outside the grid.
    """

    rois: tuple[Roi, ...]
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "rois", tuple(self.rois))
        for i, roi in enumerate(self.rois):
            inside = len(roi.start) == self.grid.ndim and all(
                a >= 0 and b <= n for a, b, n in zip(roi.start, roi.stop, self.grid.shape, strict=True)
            )
            if not inside:
                raise GeometryError(
                    f"ROI {i} covers {roi.start} to {roi.stop}, outside a grid of shape {self.grid.shape}"
                )

    @classmethod
    def from_masks(
        cls,
        masks: Iterable[MaskArray],
        grid: Grid,
        quality: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
    ) -> RoiSet:
        """Regions of full masks; empty masks are refused.

        Args:
            masks: one `(*grid.shape)` mask a region.
            grid: their grid.
            quality: predicted IoU of each, 1 by default.
            names: name of each, empty by default.

        Raises:
            GeometryError: if a mask is empty or not of the grid's shape.
        """
        rois = []
        for i, mask in enumerate(masks):
            if np.shape(mask) != grid.shape:
                raise GeometryError(f"mask {i} has shape {np.shape(mask)}, its grid has {grid.shape}")
            rois.append(Roi.from_mask(mask, 1.0 if quality is None else quality[i], "" if names is None else names[i]))
        return cls(tuple(rois), grid)

    @classmethod
    def from_labels(cls, labels: LabelArray, grid: Grid, names: dict[int, str] | None = None) -> RoiSet:
        """One region a label value, in ascending order; 0 is background.

        Args:
            labels: `(*grid.shape)` integers.
            grid: their grid.
            names: names of the values; `str(value)` where absent.
        """
        if np.shape(labels) != grid.shape:
            raise GeometryError(f"labels have shape {np.shape(labels)}, their grid has {grid.shape}")
        # One sort of the voxels; a comparison of the whole array with each of thousands of labels takes minutes.
        flat = np.asarray(labels).reshape(-1)
        voxels = np.flatnonzero(flat)
        voxels = voxels[np.argsort(flat[voxels], kind="stable")]
        parts = np.split(voxels, np.flatnonzero(np.diff(flat[voxels])) + 1) if voxels.size else []
        rois = []
        for part in parts:
            value = int(flat[part[0]])
            rois.append(Roi.from_voxels(part, grid.shape, name=(names or {}).get(value, str(value))))
        return cls(tuple(rois), grid)

    def __len__(self) -> int:
        return len(self.rois)

    def __getitem__(self, index: int) -> Roi:
        return self.rois[index]

    def select(self, indices: Iterable[int]) -> RoiSet:
        """The regions at `indices`, in that order."""
        return replace(self, rois=tuple(self.rois[int(i)] for i in indices))

    def mask(self, index: int) -> MaskArray:
        """Mask of one region over the whole grid."""
        full = np.zeros(self.grid.shape, dtype=bool)
        roi = self.rois[index]
        full[roi.box] = roi.mask
        return full

    def masks(self) -> MaskStack:
        """All masks over the whole grid, `(n, *shape)`: n times the memory of the grid."""
        full = np.zeros((len(self), *self.grid.shape), dtype=bool)
        for row, roi in zip(full, self.rois, strict=True):
            row[roi.box] = roi.mask
        return full

    @property
    def quality(self) -> np.ndarray:
        """Predicted IoU of each region, (n,)."""
        return np.asarray([roi.quality for roi in self.rois], dtype=np.float32)

    @property
    def n_voxels(self) -> np.ndarray:
        """Voxels of each region, (n,)."""
        return np.asarray([roi.n_voxels for roi in self.rois], dtype=np.int64)

    @property
    def volumes(self) -> np.ndarray:
        """Volume (3D) or area (2D) of each region in unit^d, (n,)."""
        return self.n_voxels * self.grid.voxel_volume

    @property
    def boxes(self) -> Boxes:
        """Bounding boxes, (n, 2, d): first voxel and one past the last, array order."""
        rows = [[roi.start, roi.stop] for roi in self.rois]
        return np.asarray(rows, dtype=np.int64).reshape(len(self), 2, self.grid.ndim)

    @property
    def centroids(self) -> Points:
        """World position of each region's centre of mass, (n, d), (x, y, z)."""
        index = [np.argwhere(roi.mask).mean(axis=0) + roi.start for roi in self.rois]
        rows = np.asarray(index, dtype=float).reshape(len(self), self.grid.ndim)
        return self.grid.index_to_world(rows[:, ::-1])

    def intersections(self) -> np.ndarray:
        """Voxels that each two regions share, (n, n); the diagonal holds their sizes."""
        shared = np.zeros((len(self), len(self)), dtype=np.int64)
        for i, a in enumerate(self.rois):
            shared[i, i] = a.n_voxels
            for j in range(i):
                shared[i, j] = shared[j, i] = _shared_voxels(a, self.rois[j])
        return shared

    def label_map(self, values: Sequence[int] | None = None) -> LabelArray:
        """One integer map; where regions overlap the smaller one is on top.

        Args:
            values: label of each region; 1 to n by default.

        Returns:
            `(*shape)` int32 labels, 0 where there is no region.
        """
        labels = np.zeros(self.grid.shape, dtype=np.int32)
        numbers = list(range(1, len(self) + 1)) if values is None else list(values)
        for i in np.argsort(-self.n_voxels, kind="stable"):
            labels[self.rois[i].box][self.rois[i].mask] = numbers[i]
        return labels


def _shared_voxels(a: Roi, b: Roi) -> int:
    lower = [max(p, q) for p, q in zip(a.start, b.start, strict=True)]
    upper = [min(p, q) for p, q in zip(a.stop, b.stop, strict=True)]
    if any(u <= v for u, v in zip(upper, lower, strict=True)):
        return 0
    in_a = tuple(slice(v - s, u - s) for v, u, s in zip(lower, upper, a.start, strict=True))
    in_b = tuple(slice(v - s, u - s) for v, u, s in zip(lower, upper, b.start, strict=True))
    return int(np.count_nonzero(a.mask[in_a] & b.mask[in_b]))


def flat_iou(a: Roi, b: Roi, axis: int) -> float:
    """IoU of two regions that are one voxel thick along an array axis, as if they lay in one slice."""
    flat = [Roi(roi.mask.squeeze(axis), tuple(s for i, s in enumerate(roi.start) if i != axis)) for roi in (a, b)]
    both = _shared_voxels(*flat)
    return both / (a.n_voxels + b.n_voxels - both)


@dataclass(frozen=True, eq=False)
class PairedRois:
    """A correspondence: region i of `fixed` corresponds to region i of `moving`.

    This is the paper's {(R_k^fixed, R_k^moving)}, k = 1..K (section 2).

    Args:
        fixed: K regions of the fixed image.
        moving: K regions of the moving image, in the same order.
        similarity: (K,) cosine similarity of the two prototypes, in [-1, 1].
        confidence: (K,) weight of each pair in the dense fit, in [0, 1]; ones by default.
        given: (K,) booleans: the pair was known beforehand (labels, classes) and not found; all False by default.
        kind: (K,) how each pair came about: `found` by two everything modes, `counterpart` (one region asked the other
            image), `ring` (what lies between two nested pairs) or `given`; found or given by default.

    Raises:
        GeometryError: if the lengths differ.
    """

    fixed: RoiSet
    moving: RoiSet
    similarity: np.ndarray
    confidence: np.ndarray | None = None
    given: np.ndarray | None = None
    kind: np.ndarray | None = None

    def __post_init__(self) -> None:
        similarity = np.asarray(self.similarity, dtype=np.float32)
        confidence = (
            np.ones_like(similarity) if self.confidence is None else np.asarray(self.confidence, dtype=np.float32)
        )
        object.__setattr__(self, "similarity", similarity)
        given = np.zeros(len(similarity), dtype=bool) if self.given is None else np.asarray(self.given, dtype=bool)
        object.__setattr__(self, "confidence", confidence)
        object.__setattr__(self, "given", given)
        kind = np.where(given, "given", "found") if self.kind is None else np.asarray(self.kind, dtype=str)
        object.__setattr__(self, "kind", kind)
        parts = (self.fixed, self.moving, similarity, confidence, given, kind)
        if len({len(part) for part in parts}) != 1:
            raise GeometryError(
                "PairedRois wants as many fixed and moving ROIs, similarities, confidences, values of given and kinds, "
                f"got {tuple(len(part) for part in parts)}"
            )

    @classmethod
    def none(cls, fixed: Grid, moving: Grid) -> PairedRois:
        """No pairs, K = 0, between an image on the grid `fixed` and one on the grid `moving`."""
        return cls(RoiSet((), fixed), RoiSet((), moving), np.zeros(0))

    def __len__(self) -> int:
        return len(self.fixed)

    def select(self, indices: Iterable[int]) -> PairedRois:
        """The pairs at `indices`, in that order."""
        rows = [int(i) for i in indices]
        return PairedRois(
            self.fixed.select(rows),
            self.moving.select(rows),
            self.similarity[rows],
            self.weights[rows],
            self.is_given[rows],
            self.kinds[rows],
        )

    def concatenate(self, other: PairedRois) -> PairedRois:
        """These pairs, then those of `other`, which are of the same two images."""
        return PairedRois(
            replace(self.fixed, rois=(*self.fixed.rois, *other.fixed.rois)),
            replace(self.moving, rois=(*self.moving.rois, *other.moving.rois)),
            np.concatenate([self.similarity, other.similarity]),
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.is_given, other.is_given]),
            np.concatenate([self.kinds, other.kinds]),
        )

    @property
    def swapped(self) -> PairedRois:
        """The same with the images in each other's place."""
        return replace(self, fixed=self.moving, moving=self.fixed)

    @property
    def weights(self) -> np.ndarray:
        """(K,) confidence of each pair; never None."""
        return np.asarray(self.confidence, dtype=np.float32)

    @property
    def used(self) -> np.ndarray:
        """Indices of the pairs that count: those with a weight."""
        return np.flatnonzero(self.weights > 0)

    @property
    def is_given(self) -> np.ndarray:
        """(K,) whether each pair was known beforehand; never None."""
        return np.asarray(self.given, dtype=bool)

    @property
    def kinds(self) -> np.ndarray:
        """(K,) how each pair came about; never None."""
        return np.asarray(self.kind, dtype=str)

    def correspond(self, points: Points) -> Correspondence:
        """The correspondence at any location, inferred from the pairs (paper, section 2).

        Within a pair, T_k carries the fixed region's centre and spread to the moving region's
        (`samreg.geometry.ops.moments.moment_map`). Regions overlap, so that a point may correspond to several
        positions. The one inferred position is their mean, weighted by confidence; outside of all regions it is
        x + sum_k w_k (T_k(x_k) - x_k) / sum_k w_k with x_k the voxel of region k nearest to x and
        w_k = confidence_k / |x - x_k|^2 (Shepard 1968).

        Args:
            points: (n, d) fixed world points, (x, y, z).
        """
        rows = np.asarray(points, dtype=float)
        voxel = np.floor(self.fixed.grid.world_to_index(rows)[:, ::-1] + 0.5).astype(np.int64)
        held = np.zeros((len(rows), len(self)), dtype=bool)
        target = np.zeros((len(rows), len(self), rows.shape[1]))
        weight = np.zeros((len(rows), len(self)))
        for k, (a, b) in enumerate(zip(self.fixed.rois, self.moving.rois, strict=True)):
            centres = voxel_centres(a.mask, a.start, self.fixed.grid)
            p, stretch, q = moment_map(
                moments(centres, edges(self.fixed.grid)),
                moments(voxel_centres(b.mask, b.start, self.moving.grid), edges(self.moving.grid)),
            )
            held[:, k] = holds(a.mask, a.start, voxel)
            close, square = nearest(rows, centres)
            close[held[:, k]], square[held[:, k]] = rows[held[:, k]], 1.0
            target[:, k] = rows + q + (close - p) @ stretch.T - close
            weight[:, k] = max(float(self.weights[k]), 1e-6) / np.maximum(square, 1e-12)
        # Who holds a point knows best; only where nobody does, the neighbourhood is asked.
        weight = np.where(held.any(axis=1, keepdims=True) & ~held, 0.0, weight)
        total = weight.sum(axis=1, keepdims=True)
        inferred = (weight[..., None] * target).sum(axis=1) / np.where(total > 0, total, np.nan)
        owners = tuple(np.flatnonzero(row) for row in held)
        return Correspondence(owners, tuple(t[k] for t, k in zip(target, owners, strict=True)), inferred)
