"""How a network sees an image: geometry there and back, on every kind of grid; and what it predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from samreg.errors import GeometryError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.lab.baselines.networks.build import RegistrationNet
from samreg.lab.baselines.networks.predict import predict_classes, predict_field
from samreg.lab.baselines.networks.spec import NetworkSpec
from samreg.lab.baselines.networks.view import View
from worlds import GRIDS

CPU = torch.device("cpu")
SPEC_2D = NetworkSpec("vnet", 2, (32, 48), (0.9, 0.8), 1)
SPEC_3D = NetworkSpec("vnet", 3, (32, 32, 48), (1.1, 0.9, 0.8), 1)


def _ramp(grid: Grid) -> Image:
    """Grey values that are a linear function of the world."""
    slope = np.array([0.3, -0.2, 0.5])[: grid.ndim]
    return Image((grid.voxel_centres() @ slope).astype(np.float32), grid)


@pytest.mark.parametrize("name", [name for name in GRIDS if name != "one-slice-3d"])
@pytest.mark.parametrize("spec", [SPEC_2D, SPEC_3D], ids=["2D", "3D"])
def test_the_view_is_centred_and_shows_the_same_world(name: str, spec: NetworkSpec) -> None:
    grid = GRIDS[name]
    if grid.ndim < spec.dims:
        with pytest.raises(GeometryError, match="wants a volume"):
            View.of(spec, grid)
        return
    view = View.of(spec, grid)
    assert np.allclose(view.grid.centre, grid.centre)
    image = _ramp(grid)
    seen = view.image(image)
    expected = view._stack(_ramp(view.grid).data)
    assert seen.shape == (grid.shape[0] if (grid.ndim, spec.dims) == (3, 2) else 1, *spec.shape)
    margin = np.full(grid.ndim, 1.0)  # away from the border, where values are extended
    index = grid.world_to_index(view.grid.voxel_centres().reshape(-1, grid.ndim))
    far = ((index >= margin) & (index <= np.asarray(grid.shape[::-1]) - 1 - margin)).all(1)
    if (grid.ndim, spec.dims) == (3, 2):
        axis = grid.ndim - 1 - int(np.argmax(grid.array_spacing))
        keep = [a for a in range(3) if a != axis]
        upper = np.asarray(grid.shape[::-1])[keep] - 2
        far = ((index[:, keep] >= 1) & (index[:, keep] <= upper)).all(1)
    rows = view._stack(far.reshape(view.grid.shape))
    assert rows.any()
    assert np.allclose(seen[rows], expected[rows], atol=1e-3 * np.ptp(image.data))


def test_slices_of_a_stack_stay_where_they_are() -> None:
    grid = GRIDS["anisotropic-3d"]
    view = View.of(SPEC_2D, grid)
    assert view.axis == 0
    assert view.grid.shape == (5, 32, 48)
    assert view.grid.array_spacing == pytest.approx((8.0, 0.9, 0.8))
    z = view.grid.voxel_centres()[:, 0, 0, 2]
    assert z == pytest.approx(grid.voxel_centres()[:, 0, 0, 2])


def test_photographs_are_refused() -> None:
    with pytest.raises(GeometryError, match="trained on images in mm, got an image in px"):
        View.of(SPEC_2D, Grid((64, 64), (1.0, 1.0), unit="px"))


_CASES = [(name, dims) for name in GRIDS if name != "one-slice-3d" for dims in (2, 3) if dims <= GRIDS[name].ndim]


@pytest.mark.parametrize(("name", "dims"), _CASES)
def test_field_in_view_voxels_becomes_world_units(name: str, dims: int) -> None:
    grid = GRIDS[name]
    spec = SPEC_2D if dims == 2 else SPEC_3D
    view = View.of(spec, grid)
    steps = np.arange(1.0, dims + 1)  # view voxels along each array axis of the network
    voxels = np.zeros((view._stack(np.zeros(view.grid.shape)).shape[0], dims, *spec.shape))
    voxels += steps.reshape(1, dims, *(1,) * dims)
    field = view.field_to(grid, voxels)
    index_step = np.zeros(grid.ndim)
    for step, axis in zip(steps, [a for a in range(grid.ndim) if a != view.axis], strict=True):
        index_step[grid.ndim - 1 - axis] = step
    expected = view.grid.index_to_world(index_step[None])[0] - view.grid.index_to_world(np.zeros((1, grid.ndim)))[0]
    assert field.grid is grid
    assert np.allclose(field.u, expected, atol=1e-4)


class _Bright(nn.Module):
    """Background where dark, class 1 where bright, certain."""

    def forward(self, x: Tensor) -> list[Tensor]:
        bright = (x > 0.5).float() * 40 - 20
        return [torch.cat([-bright, bright], 1)]


@pytest.mark.parametrize("name", ["anisotropic-3d", "oblique-flipped-3d", "flipped-2d"])
def test_predicted_classes_lie_on_the_image(name: str) -> None:
    small = GRIDS[name]
    grid = small.with_shape([n * 3 if n > 5 else n for n in small.shape])
    data = np.zeros(grid.shape, np.float32)
    data[..., 6:20, 9:24] = 100.0
    spec = NetworkSpec("vnet", 2, (128, 128), tuple(s / 2 for s in grid.array_spacing[-2:]), 1)
    p = predict_classes(_Bright(), spec, Image(data, grid), device=CPU)
    assert p.shape == (1, *grid.shape)
    assert p.min() >= 0
    assert p.max() <= 1
    assert np.mean((p[0] > 0.5) == (data > 50)) > 0.97


class _Search(nn.Module):
    """The whole-pixel shift with the least difference: a registration network by hand."""

    def forward(self, x: Tensor) -> Tensor:
        moving, fixed = x[:, :1], x[:, 1:]
        best = torch.zeros(len(x), 2)
        error = torch.full((len(x),), torch.inf)
        for dy in range(-6, 7):
            for dx in range(-6, 7):
                e = (moving.roll((-dy, -dx), (2, 3)) - fixed).square().mean((1, 2, 3))
                best[e < error] = torch.tensor([float(dy), float(dx)])
                error = torch.minimum(e, error)
        return best[:, :, None, None].expand(-1, -1, *x.shape[2:]).contiguous()


@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, 1.0, 1.0]), np.diag([1.0, -1.0, -1.0])])
def test_predicted_field_aligns_images_on_different_grids(direction: np.ndarray) -> None:
    grid = Grid((3, 40, 44), (2.0, 2.0, 10.0), (5.0, -7.0, 3.0), tuple(map(tuple, direction)))
    shift = np.array([6.0, -4.0, 0.0])  # mm, world

    def blob(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
        return (100 * np.exp(-(((points - centre)[..., :2] ** 2).sum(-1)) / 200)).astype(np.float32)

    centre = np.asarray(grid.centre)
    other = Grid(
        (3, 50, 50), (1.7, 1.9, 10.0), tuple(np.asarray(grid.origin) - direction @ [3.0, 5.0, 0.0]), grid.direction
    )
    fixed = Image(blob(grid.voxel_centres(), centre), grid)
    moving = Image(blob(other.voxel_centres(), centre + shift), other)
    spec = NetworkSpec("voxelmorph", 2, (32, 32), (2.0, 2.0))
    field = predict_field(RegistrationNet(_Search()), spec, fixed, moving, device=CPU)
    assert isinstance(field, DisplacementField)
    assert np.allclose(field.u, shift, atol=1e-3)
    assert np.abs(field.warp(moving).data - fixed.data).mean() < 2.0
