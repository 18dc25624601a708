"""Grids to test geometry on: 2D and 3D; identity, anisotropic, flipped and oblique; and any of them at random."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from samreg.geometry.grid import Grid


def rotation(angles: tuple[float, ...]) -> np.ndarray:
    """Rotation matrix: one angle in 2D, three (about x, y, z) in 3D."""
    if len(angles) == 1:
        c, s = np.cos(angles[0]), np.sin(angles[0])
        return np.array([[c, -s], [s, c]])
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [a for a in range(3) if a != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def grid(shape: tuple[int, ...], spacing: tuple[float, ...], direction: np.ndarray, origin: tuple[float, ...]) -> Grid:
    return Grid(shape, spacing, origin, tuple(map(tuple, direction)))


GRIDS: dict[str, Grid] = {
    "identity-2d": Grid((9, 11), (1.0, 1.0)),
    "anisotropic-2d": Grid((9, 11), (0.7, 2.5), (-3.0, 12.5)),
    "flipped-2d": grid((9, 11), (0.7, 2.5), np.diag([-1.0, 1.0]), (40.0, -8.0)),
    "oblique-2d": grid((9, 11), (0.7, 1.5), rotation((0.6,)), (4.0, 7.0)),
    "identity-3d": Grid((5, 9, 11), (1.0, 1.0, 1.0)),
    "anisotropic-3d": Grid((5, 9, 11), (1.4, 1.2, 8.0), (-120.0, 30.0, 7.0)),
    "flipped-3d": grid((5, 9, 11), (1.4, 1.2, 4.0), np.diag([-1.0, 1.0, 1.0]), (90.0, -80.0, 11.0)),
    "oblique-3d": grid((5, 9, 11), (1.4, 1.2, 4.0), rotation((0.3, -0.5, 0.9)), (10.0, 20.0, -30.0)),
    "oblique-flipped-3d": grid(
        (5, 9, 11), (0.8, 1.2, 3.0), rotation((0.2, 0.4, -0.7)) @ np.diag([1, -1, 1]), (1, 2, 3)
    ),
    "one-slice-3d": Grid((1, 9, 11), (1.0, 1.0, 5.0), (0.0, 0.0, 12.0)),
}


@st.composite
def grids(draw: st.DrawFn, ndim: int | None = None) -> Grid:
    """Any grid: rotated, perhaps mirrored, axes perhaps swapped."""
    d = draw(st.sampled_from([2, 3])) if ndim is None else ndim
    shape = tuple(draw(st.integers(2, 7)) for _ in range(d))
    spacing = tuple(draw(st.floats(0.2, 12.0)) for _ in range(d))
    origin = tuple(draw(st.floats(-500.0, 500.0)) for _ in range(d))
    direction = rotation(tuple(draw(st.floats(-3.1, 3.1)) for _ in range(1 if d == 2 else 3)))
    mirror = np.diag([float(draw(st.sampled_from([-1, 1]))) for _ in range(d)])
    return grid(shape, spacing, direction @ mirror, origin)


def noise(shape: tuple[int, ...], seed: int = 0, low: float = 0.0, high: float = 255.0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)
