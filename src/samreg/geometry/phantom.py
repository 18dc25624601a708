"""A pair of images with a known displacement field, for the demo and the tests.

The moving image is a function of the world point y: organs with soft edges, and texture. The fixed image is the same
function at x + u(x), with u in closed form, so u is the truth that a registration has to find, exactly and everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from samreg.errors import ConfigError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.types import FixedLabelArray, LabelArray

__all__ = ["Phantom", "phantom"]


@dataclass(frozen=True)
class _Organ:
    """An ellipsoid: centre and radii in mm, (x, y, z); grey value; turn about z in radians."""

    name: str
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    value: float
    turn: float = 0.0
    texture: float = 5.0
    label: bool = True


# A trunk in LPS seen from below, as in a textbook: +x is the patient's left, +y the back. Later ones lie on top.
_ORGANS = (
    _Organ("skin and fat", (0, 0, 0), (112, 82, 400), 55.0, texture=3.0, label=False),
    _Organ("muscle", (0, 3, 0), (102, 71, 400), 95.0, texture=4.0, label=False),
    _Organ("liver", (-46, -8, 2), (49, 49, 42), 150.0, 0.35, 6.0),
    _Organ("stomach", (38, -34, 6), (33, 22, 30), 70.0, -0.4, 8.0),
    _Organ("spleen", (74, 12, 4), (17, 36, 28), 175.0, 0.25, 6.0),
    _Organ("right kidney", (-46, 40, -4), (18, 22, 32), 205.0, 0.3, 7.0),
    _Organ("left kidney", (48, 42, 0), (18, 22, 32), 205.0, -0.3, 7.0),
    _Organ("vertebra", (0, 44, 0), (19, 16, 400), 235.0, texture=9.0),
    _Organ("spinal canal", (0, 56, 0), (8, 6, 400), 120.0, texture=2.0, label=False),
    _Organ("aorta", (10, 20, 0), (9, 9, 400), 245.0, texture=3.0),
    _Organ("vena cava", (-15, 19, 0), (11, 8, 400), 225.0, texture=3.0),
)
_EDGE_MM = 1.2
_NOISE = 2.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """Two images, their labels and the truth.

    Args:
        fixed: the fixed image.
        moving: the moving image, on a grid of its own.
        fixed_labels: `(*fixed.grid.shape)` int32, 0 is background.
        moving_labels: `(*moving.grid.shape)` int32.
        field: the true field on the fixed grid: fixed(x) = moving(x + u(x)), up to noise.
        names: organ of each label value.
    """

    fixed: Image
    moving: Image
    fixed_labels: FixedLabelArray
    moving_labels: LabelArray
    field: DisplacementField
    names: dict[int, str]


def phantom(ndim: Literal[2, 3] = 3, motion: float = 1.0, seed: int = 0, n_slices: int = 8) -> Phantom:
    """Make the pair.

    Args:
        ndim: 2 for one slice, 3 for a volume of thick slices.
        motion: strength of the deformation; 0 gives images that differ in grid and noise alone, 1 moves organs by
            about 10 mm without folding.
        seed: of texture and noise.
        n_slices: number of slices of the fixed volume.

    Raises:
        ConfigError: if the dimension is not 2 or 3, the motion would fold space, or there are no slices.
    """
    if ndim not in (2, 3) or not 0 <= motion <= 2 or n_slices < 1:
        raise ConfigError(
            "a phantom has 2 or 3 dimensions, motion from 0 to 2 and at least 1 slice, "
            f"got {ndim}, {motion} and {n_slices}"
        )
    fixed_grid = _grid(ndim, (n_slices, 128, 160), (1.6, 1.6, 8.0))
    moving_grid = _grid(ndim, (n_slices + 1, 144, 176), (1.5, 1.5, 8.0))
    rng = np.random.default_rng(seed)
    waves = rng.normal(size=(len(_ORGANS), 6, 3)) * [0.16, 0.16, 0.04], rng.uniform(0, 2 * np.pi, (len(_ORGANS), 6))
    x = fixed_grid.voxel_centres()
    u = _displacement(x, motion)
    fixed, fixed_labels = _anatomy(x + u, waves)
    moving, moving_labels = _anatomy(moving_grid.voxel_centres(), waves)
    names = dict(enumerate((organ.name for organ in _ORGANS if organ.label), start=1))
    return Phantom(
        Image(_noisy(fixed, rng), fixed_grid, "phantom fixed"),
        Image(_noisy(moving, rng), moving_grid, "phantom moving"),
        fixed_labels,
        moving_labels,
        DisplacementField(u.astype(np.float32), fixed_grid),
        names,
    )


def _grid(ndim: int, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Grid:
    """A grid around the world's origin."""
    shape, spacing = shape[3 - ndim :], spacing[:ndim]
    origin = tuple(-(n - 1) * s / 2 for n, s in zip(shape[::-1], spacing, strict=True))
    return Grid(shape, spacing, origin)


def _displacement(x: np.ndarray, motion: float) -> np.ndarray:
    """u(x) = motion * (B x + t + waves(x)), mm: a small rotation, stretch and shift, and three slow waves."""
    d = x.shape[-1]
    linear = np.array([[0.03, -0.05, 0.0], [0.05, -0.03, 0.0], [0.0, 0.0, 0.0]])[:d, :d]
    shift = np.array([4.0, -3.0, 0.0])[:d]
    p, q = x[..., 0], x[..., 1]
    waves = np.zeros_like(x)
    waves[..., 0] = 4.5 * np.sin(q / 24.0) * np.cos(p / 70.0)
    waves[..., 1] = 4.0 * np.sin(p / 26.0 + 0.7) * np.cos(q / 60.0)
    if d == 3:
        waves[..., :2] *= (0.8 + 0.2 * np.cos(x[..., 2] / 30.0))[..., None]
    u: np.ndarray = motion * (x @ linear.T + shift + waves)
    return u


def _anatomy(y: np.ndarray, waves: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, LabelArray]:
    """Grey value and label at world points (*shape, d)."""
    z = y[..., 2] if y.shape[-1] == 3 else np.zeros(y.shape[:-1])
    grey = np.full(y.shape[:-1], 4.0)
    labels = np.zeros(y.shape[:-1], dtype=np.int32)
    number = 0
    for organ, vectors, phases in zip(_ORGANS, *waves, strict=True):
        dx, dy, dz = y[..., 0] - organ.centre[0], y[..., 1] - organ.centre[1], z - organ.centre[2]
        c, s = np.cos(organ.turn), np.sin(organ.turn)
        a, b, r = (c * dx + s * dy) / organ.radii[0], (c * dy - s * dx) / organ.radii[1], dz / organ.radii[2]
        radius = np.sqrt(a**2 + b**2 + r**2)
        # Distance to the surface in mm, to first order; the sigmoid is a soft edge of partial volume.
        depth = (1.0 - radius) * min(organ.radii)
        share = 1.0 / (1.0 + np.exp(-np.clip(depth / _EDGE_MM, -40, 40)))
        texture = sum(
            np.cos(v[0] * dx + v[1] * dy + v[2] * dz + phase) for v, phase in zip(vectors, phases, strict=True)
        )
        grey = grey * (1 - share) + share * (organ.value + organ.texture * texture / 2)
        if organ.label:
            number += 1
            labels[depth > 0] = number
        elif organ.name == "spinal canal":
            labels[depth > 0] = 0
    return grey, labels


def _noisy(grey: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(grey + rng.normal(0.0, _NOISE, grey.shape), 0.0, 255.0).astype(np.float32)
