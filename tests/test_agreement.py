"""The affine map between people: where the embeddings of both images agree best, from wherever a candidate starts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.ops.smoothing import gaussian
from samreg.initial import start as start_module
from samreg.initial.affine import Candidate
from samreg.initial.agreement import agreeing_map, best_agreement
from samreg.initial.descriptors import Descriptors
from samreg.initial.search import Searched, affine_start, behind_search, both_ways, compared, one_way
from samreg.initial.start import Start
from samreg.regions.regions import FeatureVolume
from samreg.result import StartRecord

GRIDS = {
    2: (Grid((40, 44), (2.0, 2.0)), Grid((38, 46), (2.1, 2.0), (5.0, -3.0))),
    3: (Grid((18, 26, 28), (2.0, 2.0, 3.0)), Grid((20, 28, 24), (2.2, 2.0, 2.8), (-4.0, 2.0, 3.0))),
}


def _true_map(d: int) -> np.ndarray:
    """Fixed world to moving world: a little turned, scaled and shifted."""
    matrix = np.eye(d + 1)
    matrix[:d, :d] += 0.06 * np.random.default_rng(2).standard_normal((d, d)) + 0.08 * np.eye(d)
    matrix[:d, d] = (3.0, -4.0, 2.0)[:d]
    return matrix


def _texture(d: int) -> tuple[Descriptors, tuple[torch.Tensor, torch.Tensor], np.ndarray]:
    """The same texture on two grids that a map joins, the cells that count, and the map."""
    fixed_grid, moving_grid = GRIDS[d]
    noise = torch.randn((16, *moving_grid.shape), generator=torch.Generator().manual_seed(0))
    moving = gaussian(noise, (2.5,) * d)
    frame = Frame(fixed_grid, moving_grid, _true_map(d))
    fixed = frame.warp(moving, frame.identity())
    held = frame.held(frame.identity())
    counts = torch.ones(fixed_grid.shape, dtype=torch.bool) if held is None else held[0] > 0
    found = Descriptors.of(*(FeatureVolume(v.numpy(), g) for v, g in ((fixed, fixed_grid), (moving, moving_grid))))
    return found, (counts, torch.ones(moving_grid.shape, dtype=torch.bool)), frame.affine


def _off(a: np.ndarray, b: np.ndarray, grid: Grid) -> float:
    """Mean distance of what two maps make of the voxels of a grid."""
    x = grid.voxel_centres().reshape(-1, grid.ndim)
    y, z = (x @ m[:-1, :-1].T + m[:-1, -1] for m in (a, b))
    return float(np.linalg.norm(y - z, axis=1).mean())


@pytest.mark.parametrize("d", [2, 3])
def test_a_map_that_is_near_is_led_to_the_right_one(d: int) -> None:
    found, masks, true = _texture(d)
    start = np.eye(d + 1)
    matrix, cost = agreeing_map(found, masks, start)
    assert _off(start, true, found.fixed_grid) > 4.0
    assert _off(matrix, true, found.fixed_grid) < 0.4
    assert cost < 0.2


def test_the_best_of_the_maps_to_which_candidates_lead() -> None:
    found, masks, true = _texture(2)
    far = np.eye(3)
    far[:2, 2] = 40.0
    lost, cost = agreeing_map(found, masks, far)
    assert _off(lost, true, found.fixed_grid) > 10.0
    assert cost > agreeing_map(found, masks, np.eye(3))[1] + 0.2
    for order in ([far, np.eye(3)], [np.eye(3), far, far]):
        matrix = best_agreement(found, masks, [Candidate(str(i), m) for i, m in enumerate(order)])
        assert _off(matrix, true, found.fixed_grid) < 0.4


def test_no_map_scales_by_more_than_bodies_do(monkeypatch: pytest.MonkeyPatch) -> None:
    found, masks, _ = _texture(2)
    monkeypatch.setattr("samreg.initial.agreement.plausible", lambda m: np.zeros(len(m), dtype=bool))
    start = np.eye(3)
    assert agreeing_map(found, masks, start)[0] is start


def test_both_directions_count() -> None:
    """Swapped images lead to the inverse map."""
    found, masks, _ = _texture(3)
    there, cost = agreeing_map(found, masks, np.eye(4))
    back, same = agreeing_map(found.swapped, masks[::-1], np.eye(4))
    assert _off(there, np.linalg.inv(back), found.fixed_grid) < 0.2
    assert cost == pytest.approx(same, abs=0.01)


def test_the_centres_of_tissue_are_a_candidate_but_not_the_first_choice() -> None:
    found, _, _ = _texture(3)
    grey = [np.ones(g.shape, dtype=np.float32) for g in (found.fixed_grid, found.moving_grid)]
    images = SimpleNamespace(
        fixed_grid=found.fixed_grid, moving_grid=found.moving_grid, fixed_grey=grey[0], moving_grey=grey[1]
    )
    matrix, record, candidates = affine_start(found, images, 0)
    assert {c.name for c in candidates} == {"headers", "centres", "matches", "tissue"}
    assert candidates[0].name == record.chosen == "matches"
    assert candidates[0].matrix is matrix
    assert set(record.costs) == {"headers", "centres", "matches"}
    assert all(bool(mask.all()) for mask in compared(found, images))


def test_a_map_that_is_a_little_off_costs_less_behind_a_search_than_one_that_is_far_away() -> None:
    found, _, true = _texture(3)
    grey = [np.ones(g.shape, dtype=np.float32) for g in (found.fixed_grid, found.moving_grid)]
    images = SimpleNamespace(
        fixed_grid=found.fixed_grid, moving_grid=found.moving_grid, fixed_grey=grey[0], moving_grey=grey[1]
    )
    near, far = true.copy(), true.copy()
    near[0, 3] += 6.0
    far[0, 3] += 40.0
    maps = [Candidate(n, m) for n, m in (("right", true), ("near", near), ("far", far), ("again", far))]
    searched = behind_search(found, images, maps)
    assert list(searched) == ["right", "near", "far", "again"]
    assert searched["right"].cost < searched["near"].cost < 0.5 * searched["far"].cost
    assert searched["far"] is searched["again"]


def test_what_the_search_found_is_not_searched_again() -> None:
    """The first level of both directions may be handed over, and gives the same as searching for it."""
    found, _, true = _texture(3)
    grey = [np.ones(g.shape, dtype=np.float32) for g in (found.fixed_grid, found.moving_grid)]
    images = SimpleNamespace(
        fixed_grid=found.fixed_grid, moving_grid=found.moving_grid, fixed_grey=grey[0], moving_grey=grey[1]
    )
    near = true.copy()
    near[0, 3] += 6.0
    known = behind_search(found, images, [Candidate("near", near)])["near"]
    forward = one_way(found, near, None)
    assert torch.equal(one_way(found, near, None, known.there), forward)
    again, anew = (both_ways(found, near, forward, given) for given in (known.back, None))
    assert all(torch.equal(a, b) for a, b in zip(again, anew, strict=True))
    # A level that is handed over is used, not searched for.
    assert not torch.equal(one_way(found, near, None, known.there + 3.0), forward)


@pytest.mark.parametrize(
    ("cost", "behind", "chosen"),
    [
        (0.6, {"headers": 0.5, "agreement": 0.45}, "agreement"),
        (0.6, {"headers": 0.5, "agreement": 0.49}, "headers"),  # not better by 3 %
        (0.8, {"headers": 0.5, "centres": 0.4, "tissue": 0.4, "agreement": 0.39}, "centres"),
        (0.8, {"headers": 0.5, "centres": 0.49, "tissue": 0.6, "agreement": 0.49}, "headers"),
        (0.8, {"headers": 0.5, "centres": 0.4, "tissue": 0.4, "agreement": 0.3}, "agreement"),
    ],
)
def test_a_search_chooses_the_start_between_people(
    cost: float, behind: dict[str, float], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = [Candidate(n, np.eye(4) + i) for i, n in enumerate(("headers", "centres", "tissue"))]
    led = np.eye(4) * 1.1
    asked: list[list[str]] = []
    searched = {name: Searched(cost, *torch.zeros(2, 3, 2, 2, 2)) for name, cost in behind.items()}

    def costs(_found: object, _images: object, tried: list[Candidate]) -> dict[str, Searched]:
        asked.append([c.name for c in tried])
        return searched

    monkeypatch.setattr(start_module, "compared", lambda *_: None)
    monkeypatch.setattr(start_module, "best_agreement", lambda *_: led)
    monkeypatch.setattr(start_module, "behind_search", costs)
    nothing = torch.zeros(3, 2, 2, 2)
    before = Start(np.eye(4), nothing, nothing, record=StartRecord("headers", {"headers": cost}, 5, 0.5))
    start, kept = start_module._agreed(None, before, None, candidates)
    assert kept is searched[chosen]
    assert asked == [list(behind)]
    assert start.record == StartRecord(chosen, behind, 5, 0.5)
    wanted = {c.name: c.matrix for c in candidates} | {"agreement": led}
    assert start.affine is wanted[chosen]


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [((1.0, 4.2, 4.2), (10, 8, 9)), ((3.0, 4.2, 4.2), (40, 8, 9)), ((10.0, 4.2, 4.2), (40, 8, 9))],
)
def test_slices_that_are_thinner_than_half_a_cell_are_averaged(
    spacing: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    """A search counts in cells: on slices of a millimetre it would reach a quarter as far."""
    grid = Grid((40, 8, 9), spacing[::-1], (5.0, 3.0, -2.0))
    data = np.random.default_rng(0).normal(0, 1, (40, *grid.shape)).astype(np.float16)
    found = Descriptors.of(FeatureVolume(data, grid), FeatureVolume(data[:, :4], grid.crop((0, 0, 0), (4, 8, 9))))
    assert found.fixed.shape[1:] == found.fixed_grid.shape == shape
    np.testing.assert_allclose(found.fixed_grid.extent, grid.extent)
    np.testing.assert_allclose(found.fixed_grid.centre, grid.centre)
    torch.testing.assert_close(found.fixed.norm(dim=0), torch.ones(shape))
