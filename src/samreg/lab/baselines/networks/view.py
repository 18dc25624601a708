"""From an image to the lattice on which a network sees it, and from that lattice to the image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from samreg.errors import GeometryError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.lab.baselines.networks.spec import NetworkSpec
from samreg.types import FieldArray, LabelArray, ScalarArray

__all__ = ["View"]


@dataclass(frozen=True)
class View:
    """How a network of some spec sees images around one grid.

    Args:
        grid: the lattice: same directions and centre as the image's grid, the spec's spacing and shape; along the
            slice axis of a 2D network on a volume, the image's own slices.
        axis: array axis of the slices for a 2D network on a volume, else None.
    """

    grid: Grid
    axis: int | None

    @classmethod
    def of(cls, spec: NetworkSpec, image: Grid) -> View:
        """The view of an image's grid.

        Raises:
            GeometryError: if a 3D network is shown a 2D image, or the image is not in millimetres.
        """
        if image.unit != "mm":
            raise GeometryError(f"{spec.architecture} was trained on images in mm, got an image in {image.unit}")
        if image.ndim < spec.dims:
            raise GeometryError(f"this {spec.architecture} is a 3D network and wants a volume, got a 2D image")
        shape, spacing, axis = list(spec.shape), list(spec.spacing), None
        if image.ndim > spec.dims:
            axis = image.coarsest_axis
            shape.insert(axis, image.shape[axis])
            spacing.insert(axis, image.array_spacing[axis])
        centred = replace(image, shape=tuple(shape), spacing=tuple(spacing[::-1]))
        # The middle of the view is put on the middle of the image.
        shift = np.asarray(image.centre) - np.asarray(centred.centre)
        return cls(replace(centred, origin=tuple(np.asarray(centred.origin) + shift)), axis)

    def image(self, image: Image) -> np.ndarray:
        """The image on the lattice: `(slices, *spec.shape)` float32; 0 outside the image."""
        smooth = image.with_data(self._antialias(image))
        return self._stack(DisplacementField.identity(self.grid).warp(smooth, fill=0.0).data)

    def labels(self, labels: LabelArray, grid: Grid) -> np.ndarray:
        """A label map on the lattice: `(slices, *spec.shape)` int32."""
        return self._stack(DisplacementField.identity(self.grid).warp_labels(labels, grid))

    def _antialias(self, image: Image) -> ScalarArray:
        from scipy import ndimage

        factor = np.asarray(self.grid.array_spacing) / np.asarray(image.grid.array_spacing)
        # The Gaussian that is missing between the two pixel sizes.
        sigma = [0.5 * np.sqrt(max(f * f - 1.0, 0.0)) for f in factor]
        grey = image.grey()
        return ndimage.gaussian_filter(grey, sigma) if max(sigma) > 0.3 else grey

    def _stack(self, values: np.ndarray) -> np.ndarray:
        stack = values[None] if self.axis is None else np.moveaxis(values, self.axis, 0)
        return np.ascontiguousarray(stack)

    def _unstack(self, values: np.ndarray) -> np.ndarray:
        """`(slices, c, *spec.shape)` to `(c, *grid.shape)`."""
        return values[0] if self.axis is None else np.moveaxis(values, 0, self.axis + 1)

    def maps_to(self, target: Grid, values: np.ndarray) -> np.ndarray:
        """Channels on the lattice, linearly sampled on another grid; 0 where the network did not look.

        Args:
            target: the grid of the result.
            values: `(slices, c, *spec.shape)`.

        Returns:
            `(c, *target.shape)` float32.
        """
        import torch

        from samreg.geometry.ops.resample import sample

        index = self.grid.world_to_index(target.voxel_centres().reshape(-1, target.ndim))
        channels = torch.from_numpy(np.ascontiguousarray(self._unstack(values), dtype=np.float32))
        out = sample(channels, torch.from_numpy(index.reshape(*target.shape, target.ndim)).float())
        return out.numpy()

    def field_to(self, target: Grid, voxels: np.ndarray) -> DisplacementField:
        """Displacements in lattice voxels as a field in world units on another grid.

        Where the network did not look the nearest displacement holds: a field must stay continuous.

        Args:
            target: the fixed grid.
            voxels: `(slices, d', *spec.shape)` displacements in array order (z, y, x) or (y, x).
        """
        rows = self._unstack(voxels)  # (d', *grid.shape)
        steps = np.zeros((*self.grid.shape, self.grid.ndim), dtype=np.float64)
        axes = [a for a in range(self.grid.ndim) if a != self.axis]
        for row, axis in zip(rows, axes, strict=True):
            steps[..., self.grid.ndim - 1 - axis] = row
        world: FieldArray = ((steps * np.asarray(self.grid.spacing)) @ np.asarray(self.grid.direction).T).astype(
            np.float32
        )
        centres = target.voxel_centres()
        points = centres.reshape(-1, target.ndim)
        moved = DisplacementField(world, self.grid).transform_points(points)
        return DisplacementField((moved - points).reshape(centres.shape).astype(np.float32), target)
