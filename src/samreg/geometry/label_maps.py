"""Which images are label maps, and which regions fit into one map together."""

from __future__ import annotations

import numpy as np

from samreg.geometry.rois import RoiSet

__all__ = ["MOST_LABELS", "is_label_map", "layers"]

MOST_LABELS = 4096
_MOST_DIFFERING = 0.6  # public images: 0.71 and more; public label maps: 0.12 and less
_FEW_VALUES = 16
_STEPWISE = 0.9


def is_label_map(data: np.ndarray) -> bool:
    """Whether values look like labels, which must not be blended, and not like grey values.

    They do where all of this holds:

    1. They are whole numbers, and at most 4,096 different ones.
    2. Of the pairs of neighbouring voxels that both hold something else than the most frequent value, fewer than six
       tenths differ. Noise makes nearly all neighbours in an image differ, structures make nearly all in a label map
       equal.
    3. Where there are more than 16 values: not nine tenths of all differing neighbours are neighbours among the values
       too, as in an image that is smooth and without noise.

    Args:
        data: `(*shape)` values, one a voxel.
    """
    flat = np.asarray(data)
    if not np.issubdtype(flat.dtype, np.integer) and not np.array_equal(flat, np.rint(flat)):
        return False
    values, number, counts = np.unique(flat, return_inverse=True, return_counts=True)
    if len(values) > MOST_LABELS:
        return False
    number = number.reshape(flat.shape)
    common = int(counts.argmax())
    both = differ = steps = changes = 0
    for axis in range(flat.ndim):
        a, b = (np.moveaxis(number, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        held = (a != common) & (b != common)
        gap = np.abs(a - b)
        both += int(np.count_nonzero(held))
        differ += int(np.count_nonzero(held & (gap > 0)))
        changes += int(np.count_nonzero(gap))
        steps += int(np.count_nonzero(gap == 1))
    if differ >= _MOST_DIFFERING * max(both, 1):
        return False
    return len(values) <= _FEW_VALUES or steps < _STEPWISE * changes


def layers(rois: RoiSet) -> list[int]:
    """A layer for each region, from 0: the first in which it overlaps no region before it."""
    taken: list[np.ndarray] = []
    layer = []
    for roi in rois.rois:
        where = next((i for i, mask in enumerate(taken) if not np.any(mask[roi.box] & roi.mask)), len(taken))
        if where == len(taken):
            taken.append(np.zeros(rois.grid.shape, dtype=bool))
        taken[where][roi.box] |= roi.mask
        layer.append(where)
    return layer
