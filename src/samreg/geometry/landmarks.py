"""Corresponding points of two images that a person has set, and how far a transform is from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samreg.errors import ConfigError, GeometryError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.types import Points

__all__ = ["LandmarkRecord", "Landmarks"]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Points of the fixed image and the same places in the moving image; a fit is pulled towards them.

    Args:
        fixed: (n, d) world points, (x, y, z).
        moving: (n, d) world points, row by row the same places.
        weight: how strongly they pull, above 0; at 1 a point counts about as much as the grey values around it.

    Raises:
        GeometryError: if the points are not one for one, or not of the same dimension.
        InputError: if a number is not finite, or there is no point.
        ConfigError: if the weight is not above 0.
    """

    fixed: Points
    moving: Points
    weight: float = 1.0

    def __post_init__(self) -> None:
        for side in ("fixed", "moving"):
            object.__setattr__(self, side, np.asarray(getattr(self, side), dtype=float))
        a, b = self.fixed, self.moving
        if a.ndim != 2 or a.shape != b.shape or a.shape[-1] not in (2, 3):
            raise GeometryError(
                f"fixed points of shape {a.shape} and moving points of shape {b.shape}: give (n, 2) or (n, 3) for both"
            )
        if not len(a) or not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise InputError("landmarks want one point at least, and finite numbers; leave out those without a place")
        if not (np.isfinite(self.weight) and self.weight > 0):
            raise ConfigError(f"the weight of landmarks (--points-weight) is above 0, got {self.weight:g}")

    def __len__(self) -> int:
        return len(self.fixed)

    @property
    def swapped(self) -> Landmarks:
        """The same with the images in each other's place."""
        return Landmarks(self.moving, self.fixed, self.weight)

    def within(self, grid: Grid, other: Grid) -> tuple[Landmarks, tuple[str, ...]]:
        """Those that lie in the fixed image, and what the user should know.

        Args:
            grid: of the fixed image.
            other: of the moving image.

        Raises:
            GeometryError: if the points are of another dimension than the images, or none lies in both.
        """
        if self.fixed.shape[1] != grid.ndim:
            raise GeometryError(f"the landmarks are {self.fixed.shape[1]}D and the images {grid.ndim}D")
        inside = grid.contains(self.fixed)
        both = inside & other.contains(self.moving)
        if not both.any():
            raise GeometryError(
                "no landmark lies in both images: were the files exchanged, or are they in another coordinate system? "
                f"The first is {_text(self.fixed[0])} and {_text(self.moving[0])} {grid.unit} (LPS)"
            )
        if inside.all():
            return self, ()
        text = f"{int((~inside).sum())} of {len(self)} landmarks lie outside the fixed image and are left out"
        return Landmarks(self.fixed[inside], self.moving[inside], self.weight), (text,)

    def residuals(self, field: DisplacementField | None) -> np.ndarray:
        """(n,) distance of each moving point from where a transform puts its fixed point; None is the identity."""
        carried = self.fixed if field is None else field.transform_points(self.fixed)
        result: np.ndarray = np.linalg.norm(carried - self.moving, axis=1)
        return result


@dataclass(frozen=True)
class LandmarkRecord:
    """How a registration with landmarks ended.

    Args:
        weight: how strongly they pulled.
        before: distance of each pair of points without any transform, world units.
        after: the same with the transform.
    """

    weight: float
    before: tuple[float, ...]
    after: tuple[float, ...]

    @classmethod
    def of(cls, landmarks: Landmarks, field: DisplacementField | None) -> LandmarkRecord:
        """Of landmarks and the transform that they pulled."""
        before, after = (tuple(round(float(v), 4) for v in landmarks.residuals(f)) for f in (None, field))
        return cls(landmarks.weight, before, after)

    @property
    def text(self) -> str:
        """One sentence: number, mean and largest distance before and after."""
        n = len(self.before)
        numbers = [f"{np.mean(v):.1f} (at most {np.max(v):.1f})" for v in (self.before, self.after)]
        return f"{n} landmark{'s' * (n != 1)}: {numbers[0]} apart before and {numbers[1]} after"


def _text(point: np.ndarray) -> str:
    return "(" + ", ".join(f"{v:.1f}" for v in point) + ")"
