"""Pure tensor functions: B-splines, smoothing, similarity, displacement algebra."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from samreg.fit.terms.lncc import Lncc, box_mean
from samreg.geometry.ops.bspline import ControlGrid, basis
from samreg.geometry.ops.displacement import (
    bending_energy,
    exponential,
    gradient_energy,
    jacobian_determinant,
    logarithm,
    rescale,
    unfold,
)
from samreg.geometry.ops.resample import sample_border
from samreg.geometry.ops.smoothing import gaussian


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@given(n=st.integers(2, 60), spacing=st.floats(1.1, 12))
@settings(max_examples=30, deadline=None)
def test_bspline_weights_sum_to_one_and_reproduce_a_line(n: int, spacing: float) -> None:
    matrix = basis(n, spacing)
    assert torch.allclose(matrix.sum(1), torch.ones(n), atol=1e-5)
    # Cubic B-splines reproduce linear functions of the control positions exactly.
    line = (torch.arange(matrix.shape[1]) - 1) * spacing
    assert torch.allclose(matrix @ line.float(), torch.arange(n).float(), atol=1e-3)


def test_control_grid_equals_the_sum_over_basis_functions() -> None:
    grid = ControlGrid((7, 9), (3.0, 4.0))
    control = torch.randn(grid.zeros(2).shape, generator=torch.Generator().manual_seed(1))
    expected = torch.einsum("yi,xj,cij->cyx", grid.bases[0], grid.bases[1], control)
    assert torch.allclose(grid(control), expected, atol=1e-5)


def test_gaussian_keeps_constants_and_matches_a_direct_convolution() -> None:
    assert torch.allclose(gaussian(torch.full((1, 6, 7), 3.0), (1.0, 2.0)), torch.tensor(3.0))
    values = _noise(1, 30)
    taps = torch.arange(-5, 6).float()
    kernel = torch.exp(-(taps**2) / 8)
    direct = functional.conv1d(
        functional.pad(values[None], (5, 5), mode="replicate"), (kernel / kernel.sum())[None, None]
    )[0]
    assert torch.allclose(gaussian(values, (2.0,)), direct, atol=1e-5)


@pytest.mark.parametrize(("shape", "window"), [((12, 15), (3, 5)), ((6, 12, 15), (1, 5, 7)), ((9, 10, 11), (3, 3, 9))])
def test_box_mean_is_the_mean_of_what_lies_in_the_box(shape: tuple[int, ...], window: tuple[int, ...]) -> None:
    values = _noise(1, *shape)
    out = box_mean(values, window)
    for at in [tuple(0 for _ in shape), tuple(n // 2 for n in shape), tuple(n - 1 for n in shape)]:
        box = tuple(slice(max(0, a - w // 2), a + w // 2 + 1) for a, w in zip(at, window, strict=True))
        assert float(out[(0, *at)]) == pytest.approx(float(values[(0, *box)].mean()), abs=1e-5)


def test_lncc_is_zero_for_a_linear_change_of_grey_values_and_high_for_noise() -> None:
    image = _noise(1, 20, 24)
    term = Lncc(image, (7, 7))
    assert float(term(image * 0.5 + 0.3)) < 0.02
    assert float(term(1 - image)) < 0.02
    assert float(term(_noise(1, 20, 24, seed=5))) > 0.8


@settings(max_examples=25, deadline=None)
@given(st.floats(1.1, 20.0), st.integers(0, 99))
def test_lncc_does_not_reward_contrast(gain: float, seed: int) -> None:
    faint = 0.5 + 0.01 * _noise(1, 20, 24, seed=seed)
    term = Lncc(faint, (7, 7))
    assert float(term(0.5 + gain * (faint - 0.5))) == pytest.approx(float(term(faint)), abs=2e-3)


def test_lncc_leaves_flat_places_out() -> None:
    flat, noise = torch.full((1, 20, 24), 0.5), _noise(1, 20, 24)
    assert float(Lncc(flat, (7, 7))(noise)) == pytest.approx(1.0, abs=1e-3)
    assert float(Lncc(noise, (7, 7))(flat)) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("shape", [(8, 9), (6, 7, 8), (1, 7, 8)])
def test_jacobian_of_a_stretch_is_its_determinant(shape: tuple[int, ...]) -> None:
    identity = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in shape), indexing="ij"))
    factor = 1 + 0.1 * torch.arange(1, len(shape) + 1).float()
    u = identity * (factor - 1).reshape(-1, *([1] * len(shape)))
    expected = float(torch.stack([f for f, n in zip(factor, shape, strict=True) if n > 1]).prod())
    assert torch.allclose(jacobian_determinant(u), torch.tensor(expected), atol=1e-5)


def test_gradient_energy_uses_world_units() -> None:
    # u grows by half a 2 mm voxel (1 mm) along y for every 4 mm voxel along x: slope 1/4.
    u = torch.zeros(2, 5, 6)
    u[0] = 0.5 * torch.arange(6).float()
    assert float(gradient_energy(u, (2.0, 4.0))) == pytest.approx(1 / 16)


def test_bending_energy_ignores_affine_maps_and_uses_world_units() -> None:
    y, x = torch.meshgrid(torch.arange(6).float(), torch.arange(7).float(), indexing="ij")
    affine = torch.stack([0.3 * y - 0.2 * x + 1, 0.1 * x + 0.4 * y])
    assert float(bending_energy(affine, (2.0, 3.0))) == pytest.approx(0.0, abs=1e-9)
    # u_y = x^2 / 2 voxels of 2 mm: in mm, u = 2 (X / 4)^2 / 2, whose second derivative is 1 / 8.
    curved = torch.stack([0.5 * x**2, 0 * x])
    assert float(bending_energy(curved, (2.0, 4.0))) == pytest.approx((1 / 8) ** 2)
    twisted = torch.stack([x * y, 0 * x])  # mixed derivative 1 / 4, counted twice
    assert float(bending_energy(twisted, (2.0, 4.0))) == pytest.approx(2 * (1 / 4) ** 2)


def test_rescale_keeps_lengths_in_the_world() -> None:
    u = torch.full((2, 8, 10), 1.5)
    assert torch.allclose(rescale(u, (16, 5)), torch.tensor([3.0, 0.75]).reshape(2, 1, 1).expand(2, 16, 5))


def _smooth_velocity(seed: int, size: float) -> torch.Tensor:
    noise = torch.randn((2, 24, 26), generator=torch.Generator().manual_seed(seed))
    v = gaussian(noise, (4, 4))
    return v / v.abs().max() * size


@given(seed=st.integers(0, 20))
@settings(max_examples=8, deadline=None)
def test_exponential_does_not_fold_and_logarithm_undoes_it(seed: int) -> None:
    v = _smooth_velocity(seed, 4.0)
    u = exponential(v)
    assert float(jacobian_determinant(u).min()) > 0
    again = exponential(logarithm(u))
    # Found step by step: what is left is far below the 4 voxels that the field moves.
    assert float((again - u).abs().max()) < 0.25


def test_flow_forth_and_back_is_the_identity() -> None:
    v = _smooth_velocity(3, 3.0)
    forth, back = exponential(v), exponential(-v)
    identity = torch.stack(torch.meshgrid(torch.arange(24.0), torch.arange(26.0), indexing="ij"))
    total = forth + sample_border(back, torch.movedim((identity + forth).flip(0), 0, -1))
    assert float(total[:, 4:-4, 4:-4].abs().max()) < 0.1


def test_unfold_mends_a_fold_and_leaves_the_rest() -> None:
    u = torch.zeros(2, 40, 40)
    u[1, 18:22, 20] = 4.0
    assert float(jacobian_determinant(u).min()) < 0
    mended = unfold(u)
    assert float(jacobian_determinant(mended).min()) > 0
    assert torch.equal(mended[:, :8], u[:, :8])
    clean = _smooth_velocity(1, 1.0)
    assert torch.equal(unfold(clean), clean)


def test_unfold_does_not_change_its_argument() -> None:
    u = torch.zeros(2, 20, 20)
    u[1, 9:11, 10] = 4.0
    before = u.clone()
    unfold(u)
    assert np.array_equal(u.numpy(), before.numpy())
