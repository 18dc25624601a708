"""Many channels at continuous indices, and the term of the embeddings that is made of them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.geometry.ops.resample import sample_border
from samreg.geometry.ops.rows import Rows, cosines

SHAPES = st.lists(st.integers(1, 6), min_size=2, max_size=3)


def _world(shape: list[int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values of three channels, and points within the image and around it, (x, y, z), doubles."""
    random = torch.Generator().manual_seed(seed)
    values = torch.rand(3, *shape, generator=random, dtype=torch.float64)
    points = torch.rand(4, 5, len(shape), generator=random, dtype=torch.float64)
    return values, points * (torch.tensor(shape[::-1]) + 3) - 2


@given(shape=SHAPES, seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_rows_are_what_sampling_each_channel_gives(shape: list[int], seed: int) -> None:
    values, points = _world(shape, seed)
    points.requires_grad_(True)
    found, wanted = Rows(values).at(points), torch.movedim(sample_border(values, points), 0, -1)
    assert found.shape == (4, 5, 3)
    assert torch.allclose(found, wanted, atol=1e-9)
    slope = torch.rand(found.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    # An axis of one voxel has no derivative; `grid_sample` takes that of its normalised coordinate, which is nothing.
    ours, theirs = (torch.autograd.grad(v, points, slope)[0] for v in (found, wanted))
    assert torch.allclose(ours, theirs, atol=1e-7)


def test_rows_at_whole_indices_are_the_values() -> None:
    values, _ = _world([3, 4, 5], 0)
    index = torch.stack(torch.meshgrid(*(torch.arange(n) for n in (3, 4, 5)), indexing="ij")).double()
    found = Rows(values).at(torch.movedim(index.flip(0), 0, -1))
    assert torch.equal(torch.movedim(found, -1, 0), values)


def test_what_is_no_number_or_endless_is_looked_up_somewhere_in_the_image() -> None:
    values, _ = _world([3, 4, 5], 0)
    points = torch.tensor([[float("nan"), 0.0, 0.0], [float("inf"), 9.0, 1.0], [-float("inf"), -1e30, 1e30]]).double()
    found = Rows(values).at(points)
    assert torch.equal(found, torch.stack([values[:, 0, 0, 0], values[:, 1, 3, 4], values[:, 2, 0, 0]]))


@pytest.mark.parametrize("zero", [False, True])
def test_the_derivative_of_a_cosine(zero: bool) -> None:
    random = torch.Generator().manual_seed(1)
    units = torch.nn.functional.normalize(torch.randn(7, 4, generator=random, dtype=torch.float64), dim=1)
    vectors = torch.randn(7, 4, generator=random, dtype=torch.float64)
    if zero:
        vectors[2] = 0.0
        assert float(cosines(vectors, units)[2]) == 0.0
        return
    vectors.requires_grad_(True)
    assert torch.allclose(cosines(vectors, units), torch.nn.functional.cosine_similarity(vectors, units))
    assert torch.autograd.gradcheck(lambda v: cosines(v, units), (vectors,))
