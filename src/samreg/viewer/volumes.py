"""Volumes as the page takes them: NIfTI-1 in a fixed layout, turned for the screen.

Written here and not by `samreg.io`, because the page reads it by itself: always little-endian, single file, 16 bits or
RGB, in the order of the screen (`samreg.viewer.display`). It is no file for other tools.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from samreg.files import written
from samreg.geometry.field import DisplacementField
from samreg.viewer.display import Display

__all__ = ["FOLDED", "NO_BODY", "coarse_map", "jacobian_volume", "write_volume"]

FOLDED = -32768
"""The stored value of a voxel where the field folds."""
NO_BODY = 32767
"""The stored value of a voxel where the fixed image shows no body: what a field does to air says nothing."""
_INT16, _RGB = 4, 128
_OFFSET = 352
_OCTAVE = 4096  # stored steps an octave of the Jacobian determinant
_NODES = {2: 193, 3: 41}
"""Most nodes along an axis: of a photograph of 1,500 pixels one every eight."""


def write_volume(data: np.ndarray, display: Display, path: Path, *, scale: tuple[float, float] | None = None) -> None:
    """Write grey values `(*shape)` or RGB `(*shape, 3)`.

    Whole numbers that fit into 16 bits stay as they are; other grey values are stored in 65,535 steps from the
    smallest to the largest.

    Args:
        data: over the grid of the display.
        display: how the grid is shown.
        path: the file.
        scale: slope and intercept of data that are int16 steps already.
    """
    colour = data.ndim == display.grid.ndim + 1
    slope, intercept = scale or (1.0, 0.0)
    if colour:
        top = 255.0 if float(data.max(initial=0)) <= 255 else 65535.0
        stored = np.clip(data * (255.0 / top), 0, 255).astype(np.uint8)
    elif data.dtype == np.int16:
        stored = data
    else:
        stored, slope, intercept = _steps(data)
    turned = np.ascontiguousarray(display.turned(stored))
    with written(path) as partial, partial.open("wb") as file:
        file.write(_header(display, _RGB if colour else _INT16, slope, intercept))
        file.write(turned.data)


def _steps(data: np.ndarray) -> tuple[np.ndarray, float, float]:
    low, high = float(data.min()), float(data.max())
    if low >= -32767 and high <= 32767:
        whole = np.rint(data)
        if np.array_equal(whole, data):
            return whole.astype(np.int16), 1.0, 0.0
    slope = (high - low) / 65534 or 1.0
    middle = (low + high) / 2
    return np.rint((data - middle) / slope).astype(np.int16), slope, middle


def _header(display: Display, kind: int, slope: float, intercept: float) -> bytes:
    """348 bytes of NIfTI-1 and four that say that no extension follows."""
    shape, spacing = display.shape[::-1], display.spacing
    turn = np.diag([-spacing[0], -spacing[1], spacing[2]])  # to RAS, which NIfTI means
    origin = display.matrix[:3, 3] * (-1, -1, 1)
    header = bytearray(_OFFSET)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, kind, 16 if kind == _INT16 else 24)
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, float(_OFFSET), slope, intercept)
    struct.pack_into("<B", header, 123, 2)
    struct.pack_into("<2h", header, 252, 0, 2)
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *turn[row], origin[row])
    header[344:348] = b"n+1\0"
    return bytes(header)


def jacobian_volume(field: DisplacementField, body: np.ndarray | None) -> tuple[np.ndarray, tuple[float, float]]:
    """log2 of the Jacobian determinant in int16 steps with slope and intercept.

    Args:
        field: the transform.
        body: booleans over its grid, where the fixed image shows a body; None marks no voxel `NO_BODY`.

    Returns:
        Over the grid of the field; `FOLDED` where the determinant is not positive, `NO_BODY` outside of the body.
    """
    determinant = field.jacobian_determinant()
    octaves = np.log2(np.where(determinant > 0, determinant, 1.0)) * _OCTAVE
    steps = np.clip(np.rint(octaves), -32767, 32766).astype(np.int16)
    steps[determinant <= 0] = FOLDED
    if body is not None:
        steps[~body] = NO_BODY
    return steps, (1.0 / _OCTAVE, 0.0)


def coarse_map(field: DisplacementField | None, fixed: Display, moving: Display) -> tuple[np.ndarray, list[int]]:
    """Where nodes of the shown fixed grid are in the shown moving grid, for linking and for the deformed grid.

    Args:
        field: the transform; None leaves every point at its place in the world.
        fixed: of the fixed grid.
        moving: of the moving grid.

    Returns:
        (nz, ny, nx, 3) float32 shown moving indices (x, y, z), and the number of nodes (nz, ny, nx), which are spread
        evenly from the first to the last voxel.
    """
    most = _NODES[fixed.grid.ndim]
    nodes = [min(n, most) for n in fixed.shape]
    axes = [np.linspace(0, n - 1, k) for n, k in zip(fixed.shape, nodes, strict=True)]
    at = np.stack(np.meshgrid(*axes, indexing="ij")[::-1], axis=-1).reshape(-1, 3)
    world = fixed.world(at)
    if field is not None:
        world = world + _sampled(field, world)
    return moving.index(world).reshape(*nodes, 3).astype(np.float32), nodes


def _sampled(field: DisplacementField, world: np.ndarray) -> np.ndarray:
    """The field at world points by linear interpolation, without torch, which takes seconds to load."""
    from scipy.ndimage import map_coordinates

    index = field.grid.world_to_index(world)[:, ::-1].T
    rows = [map_coordinates(field.u[..., i], index, order=1, mode="nearest") for i in range(field.grid.ndim)]
    return np.stack(rows, axis=1)
