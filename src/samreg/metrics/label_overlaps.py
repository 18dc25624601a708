"""What regions share with labels, slice by slice or in the whole volume."""

from __future__ import annotations

import numpy as np

from samreg.geometry.rois import RoiSet
from samreg.types import LabelArray

__all__ = ["LabelOverlaps"]


class LabelOverlaps:
    """Voxels that regions share with labels, in one unit a slice or in one for the whole volume.

    Args:
        shared: (pairs, labels, units) voxels.
        regions: (pairs, units) voxels of the regions.
        labels: (labels, units) voxels of the labels.
    """

    def __init__(self, shared: np.ndarray, regions: np.ndarray, labels: np.ndarray) -> None:
        self.shared, self.regions, self.labels = shared, regions, labels

    @classmethod
    def of(
        cls, rois: RoiSet, kept: np.ndarray, labels: LabelArray, values: list[int], axis: int | None
    ) -> LabelOverlaps:
        """Count them.

        Args:
            rois: regions on the grid of the labels.
            kept: rows of the regions that count.
            labels: `(*grid.shape)`, 0 is background.
            values: the labels that are looked for.
            axis: array axis of the slices; None for one unit.
        """
        n = 1 if axis is None else labels.shape[axis]
        row_of = np.zeros(max((*values, int(labels.max(initial=0)))) + 1, dtype=np.int64)
        row_of[values] = np.arange(1, len(values) + 1)
        shared, sizes = np.zeros((len(kept), len(values), n)), np.zeros((len(kept), n))
        for k, i in enumerate(kept):
            roi = rois[int(i)]
            rows, first = row_of[labels[roi.box]], 0 if axis is None else roi.start[axis]
            counts = _counted(rows, roi.mask, len(values), axis)
            shared[k, :, first : first + counts.shape[1]] = counts[1:]
            sizes[k, first : first + counts.shape[1]] = counts.sum(axis=0)
        whole = _counted(row_of[labels], np.ones(labels.shape, dtype=bool), len(values), axis)
        return cls(shared, sizes, whole[1:])

    def dice(self) -> np.ndarray:
        """(pairs, labels, units) Dice of each region with each label; 0 where both are absent."""
        total = self.regions[:, None, :] + self.labels[None]
        result: np.ndarray = 2 * self.shared / np.maximum(total, 1)
        return result


def _counted(rows: np.ndarray, mask: np.ndarray, n_labels: int, axis: int | None) -> np.ndarray:
    """(labels + 1, units) voxels of a mask that hold each label; the first row is the background."""
    if axis is None:
        return np.bincount(rows[mask], minlength=n_labels + 1)[:, None]
    number = np.broadcast_to(
        np.arange(rows.shape[axis]).reshape([-1 if a == axis else 1 for a in range(rows.ndim)]), rows.shape
    )
    flat = number[mask] * (n_labels + 1) + rows[mask]
    counts = np.bincount(flat, minlength=rows.shape[axis] * (n_labels + 1))
    result: np.ndarray = counts.reshape(rows.shape[axis], n_labels + 1).T
    return result
