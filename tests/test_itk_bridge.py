"""What all tools of the ITK family share: stacks slice by slice, and the matrix of a transform."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from samreg import Grid, Image
from samreg.lab.peers.itk_bridge import matrix_of, register_slices


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_stack_is_registered_slice_by_slice_and_empty_slices_are_not(axis: int) -> None:
    shape, spacing = [5, 6, 7], [1.0, 1.5, 1.25]
    spacing[2 - axis] = 8.0
    grid = Grid(tuple(shape), tuple(spacing))
    data = np.random.default_rng(0).random(shape).astype(np.float32)
    data[tuple(1 if a == axis else slice(None) for a in range(3))] = 0.0
    seen: list[Image] = []

    def register(fixed: Image, moving: Image) -> np.ndarray:
        np.testing.assert_array_equal(fixed.data, moving.data)
        seen.append(fixed)
        return np.broadcast_to(np.float32([1.0, 2.0]), (*fixed.grid.shape, 2))

    image = Image(data, grid)
    field = register_slices(image, image, register)
    assert len(seen) == shape[axis] - 1
    assert seen[0].grid.shape == tuple(n for a, n in enumerate(shape) if a != axis)
    u = np.moveaxis(field.u, axis, 0)
    assert not u[1].any()
    in_plane = [c for c in range(3) if c != 2 - axis]
    assert np.all(u[2][..., in_plane] == [1.0, 2.0])
    assert not u[..., 2 - axis].any()


@pytest.mark.parametrize("transform", [sitk.Euler2DTransform(), sitk.Euler3DTransform()])
def test_the_matrix_of_a_transform_moves_points_as_the_transform_does(transform: sitk.Transform) -> None:
    d = transform.GetDimension()
    transform.SetCenter([3.0, -4.0, 5.0][:d])
    transform.SetParameters([0.3, 0.2, -0.1, 7.0, 8.0, 9.0] if d == 3 else [0.3, 7.0, 8.0])
    point = [1.5, -2.0, 4.0][:d]
    assert (matrix_of(transform) @ [*point, 1.0])[:d] == pytest.approx(transform.TransformPoint(point))
