"""What a dense fit works on, and the weights of its terms."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from samreg.config import FitConfig
from samreg.fit.terms.regions import Shares
from samreg.geometry.grid import Grid
from samreg.geometry.landmarks import Landmarks
from samreg.geometry.rois import PairedRois
from samreg.initial.descriptors import Descriptors
from samreg.initial.problem import ImagePair
from samreg.initial.start import Start
from samreg.types import MaskArray, Matrix, ScalarArray

__all__ = ["DenseProblem", "Weights", "size_within", "working_shape"]

FIELD_SMOOTHING = 0.4
"""Standard deviation of the smoothing of the whole displacement after each step, in working voxels."""
SMOOTHING_WITHOUT_EMBEDDINGS = 0.8
"""The same where no embeddings hold the field between given regions: halves the distance from the true field of the
phantom (2.2 to 1.2 mm), at the same Dice on ACDC."""
_LONGEST = 1024
"""Voxels along an axis on which an image is interpolated between its slices, at most."""
_MAX_THICKNESS = 2.0
"""Working slices are at most so many working pixels apart."""
_SMALLER = 0.97
"""Ratio of sizes that are tried for a number of voxels."""


@dataclass(frozen=True)
class Weights:
    """The weights of E at one level, and what belongs to its terms.

    Args:
        similarity: of the grey values.
        regions: of the region term.
        features: of the embeddings.
        window: side of the LNCC window, voxels of the level.
        smoothness: of the squared gradient of the displacement, world units.
        bending: of its squared second derivatives, world units.
        folding: of the penalty on small Jacobian determinants.
        softness: standard deviation of the edges of region masks, voxels of the level.
        shares: weights of the parts of the region term.
    """

    similarity: float
    regions: float
    features: float
    window: int
    smoothness: float = 0.0
    bending: float = 0.0
    folding: float = 0.0
    softness: float = 1.0
    shares: Shares = field(default_factory=Shares)


@dataclass(frozen=True, eq=False)
class DenseProblem:
    """What a dense fit works on.

    Args:
        fixed: grey values in [0, 1] on the fixed grid.
        moving: grey values in [0, 1] on the moving grid.
        fixed_grid: grid of the result.
        moving_grid: grid of `moving`.
        affine: (d + 1, d + 1) fixed world to moving world.
        pairs: the correspondence; may be empty.
        descriptors: the embeddings of both images; None where there are none.
        start: (d, *any) displacement over the fixed image to start from, in its own voxels.
        frozen_axis: array axis along which the refinement does not move, or None.
        slice_axis: array axis along which the pairs are one slice thick, or None.
        field_smoothing: smoothing of the whole displacement after each step of a flow, in working voxels.
        stiffness: how much the field resists changes of local volume and bends; 1 by default.
        similarity: name of the term that compares grey values.
        keep_start: add what the levels change to `start` as it is, instead of to what a level resolves of it.
        inside: where the fixed and the moving image count, each on its grid; None is everywhere.
        landmarks: points that pull the field; None without them.
        same_body: whether both images are known to show one body, so that embeddings have nothing to add where grey
            values agree, and volumes may change much: they agree behind the start, they are one stack of slices, or
            their transform was given.
    """

    fixed: ScalarArray
    moving: ScalarArray
    fixed_grid: Grid
    moving_grid: Grid
    affine: Matrix
    pairs: PairedRois
    descriptors: Descriptors | None
    start: Tensor
    frozen_axis: int | None
    slice_axis: int | None = None
    field_smoothing: float = FIELD_SMOOTHING
    stiffness: float = 1.0
    similarity: str = "lncc"
    keep_start: bool = False
    inside: tuple[MaskArray | None, MaskArray | None] = (None, None)
    landmarks: Landmarks | None = None
    same_body: bool = False

    def swapped(self, start: Tensor) -> DenseProblem:
        """The same with the images in each other's place.

        For two people, and regions and motion that are not bound to the slices of the fixed image.

        Args:
            start: (d, *any) displacement over the moving image to start from, in its own voxels, beside the inverse
                affine map.
        """
        return replace(
            self,
            fixed=self.moving,
            moving=self.fixed,
            fixed_grid=self.moving_grid,
            moving_grid=self.fixed_grid,
            affine=np.linalg.inv(self.affine),
            pairs=self.pairs.swapped,
            descriptors=None if self.descriptors is None else self.descriptors.swapped,
            start=start.to(self.start),
            inside=(self.inside[1], self.inside[0]),
            landmarks=None if self.landmarks is None else self.landmarks.swapped,
        )

    @classmethod
    def of(cls, images: ImagePair, pairs: PairedRois, start: Start, config: FitConfig) -> DenseProblem:
        """Of two segmented images, their pairs and the start."""
        one_body = start.alike or images.same_slices or start.given
        return cls(
            images.fixed_grey,
            images.moving_grey,
            images.fixed_grid,
            images.moving_grid,
            start.affine,
            pairs,
            None if start.descriptors is None else start.descriptors.to(images.device),
            start.displacement.to(images.device),
            images.frozen_axis,
            images.roi_axis,
            FIELD_SMOOTHING if images.segmented else SMOOTHING_WITHOUT_EMBEDDINGS,
            config.stiffness,
            config.similarity,
            start.given,
            images.inside,
            images.landmarks,
            one_body,
        )


def size_within(problem: DenseProblem, size: float, voxels: float, least: float = 0.0) -> float:
    """The largest size, up to one, at which `working_shape` has so many voxels at most.

    Args:
        problem: whose fixed grid is divided.
        size: to begin with; it falls by three in a hundred at a time.
        voxels: the bound.
        least: size that is kept whatever the bound.
    """
    while size > least and np.prod(working_shape(problem, size)) > voxels:
        size = max(least, _SMALLER * size)
    return size


def working_shape(problem: DenseProblem, size: float, coarser: float = 1.0) -> tuple[int, ...]:
    """Voxels of a level: about `size` along the longest axis, isotropic, never finer than the fixed image.

    Where displacement may cross thick slices, the fixed image is interpolated between them, so that the local
    similarity sees what happens there; no more often than gives 1024 voxels along the axis.

    Args:
        problem: whose fixed grid is divided.
        size: voxels along the longest axis.
        coarser: how many times as long the voxels are as that says.
    """
    grid = problem.fixed_grid
    spacing = grid.array_spacing
    longest = max(n * s for n, s in zip(grid.shape, spacing, strict=True) if n > 1)
    pixel = coarser * max(grid.finest_spacing, longest / size)
    shape = []
    for axis, (n, s) in enumerate(zip(grid.shape, spacing, strict=True)):
        thick = n > 1 and axis != problem.frozen_axis and s > _MAX_THICKNESS * pixel
        between = min(np.ceil(s / (_MAX_THICKNESS * pixel)), max(1, _LONGEST // n))
        shape.append(n * int(between) if thick else max(1, round(n * s / max(s, pixel))))
    return tuple(shape)
