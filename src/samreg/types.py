"""Named array shapes, used as documentation everywhere and checked at run time in the tests.

Axis letters: `z y x` are array axes (2D: `y x`); `d` is the spatial dimension (2 or 3); `n` counts
ROIs or points; `k` counts pairs; `c` counts channels. Arrays are in (z, y, x) order; points and
vectors are in (x, y, z) order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float32, Integer

__all__ = [
    "Boxes",
    "FieldArray",
    "FixedLabelArray",
    "Interpolation",
    "LabelArray",
    "MaskArray",
    "MaskStack",
    "Matrix",
    "Points",
    "Progress",
    "Prototypes",
    "ScalarArray",
    "Similarity",
    "Unit",
    "VoxelArray",
]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, the steps done and the steps in all."""

Unit: TypeAlias = Literal["mm", "px"]
"""Unit of world coordinates: millimetres (LPS), or pixels for photographs."""

Interpolation: TypeAlias = Literal["linear", "nearest", "label"]
"""How a moving image is sampled; `label` is linear interpolation per label, then the largest wins."""

ScalarArray: TypeAlias = Float32[np.ndarray, "*shape"]
"""Grey values, array order (z, y, x) or (y, x)."""

VoxelArray: TypeAlias = Float32[np.ndarray, "..."]
"""Grey values `(*shape)`, or colour values `(*shape, 3)` in RGB order."""

LabelArray: TypeAlias = Integer[np.ndarray, "*shape"]
"""Label values, 0 is background."""

FixedLabelArray: TypeAlias = Integer[np.ndarray, "*fixed_shape"]
"""Label values on the fixed grid, where `LabelArray` in the same signature is on the moving one."""

MaskArray: TypeAlias = Bool[np.ndarray, "*shape"]
"""One region."""

MaskStack: TypeAlias = Bool[np.ndarray, "n *shape"]
"""One region a row, over a whole grid."""

Points: TypeAlias = Float[np.ndarray, "n d"]
"""World points, (x, y, z), in the unit of the grid they belong to."""

Boxes: TypeAlias = Integer[np.ndarray, "n 2 d"]
"""Half-open index ranges in array order: `[i, 0]` is the first voxel, `[i, 1]` one past the last."""

Matrix: TypeAlias = Float[np.ndarray, "rows columns"]
"""Homogeneous affine matrix (d + 1, d + 1) acting on world points."""

FieldArray: TypeAlias = Float32[np.ndarray, "*shape d"]
"""Displacements u in world units, (x, y, z), on the fixed grid."""

Prototypes: TypeAlias = Float32[np.ndarray, "n c"]
"""One prototype a row: the mean of the image embedding under each ROI."""

Similarity: TypeAlias = Float32[np.ndarray, "n_fixed n_moving"]
"""Similarity of every fixed ROI to every moving ROI."""
