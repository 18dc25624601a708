"""Label maps and regions carried along: exactly the largest share, at a cost that does not grow with the labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.ops.labels import largest_share
from samreg.geometry.ops.resample import sample
from samreg.geometry.rois import RoiSet
from worlds import GRIDS, grids


def one_label_after_the_other(labels: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The definition: each label's mask is sampled linearly, the largest share wins. Also the margin of each win."""
    at = torch.from_numpy(index)
    background = sample(torch.from_numpy((labels == 0).astype(float))[None], at, outside=1.0)[0].numpy()
    best, out, margin = background, np.zeros(len(index), np.int64), background
    for value in np.unique(labels):
        if value == 0:
            continue
        share = sample(torch.from_numpy((labels == value).astype(float))[None], at)[0].numpy()
        margin = np.where(share >= best, share - best, np.minimum(margin, best - share))
        wins = (share >= best) & (share > 0)
        out[wins], best = value, np.where(wins, share, best)
    return out, margin


@settings(max_examples=150, deadline=None)
@given(
    shape=st.one_of(st.tuples(*[st.integers(1, 7)] * 2), st.tuples(*[st.integers(1, 5)] * 3)),
    values=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=12),
    seed=st.integers(0, 10_000),
    halves=st.booleans(),
)
def test_it_is_the_largest_share(shape: tuple[int, ...], values: list[int], seed: int, halves: bool) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice(np.asarray([0, *values], dtype=np.int32), shape)
    index = random.uniform(-1.5, np.asarray(shape[::-1]) + 0.5, (300, len(shape)))
    index[:20] = np.nan_to_num(np.rint(index[:20]))
    if halves:  # ties, without rounding
        index = np.rint(4 * index) / 4
    expected, margin = one_label_after_the_other(labels, index)
    found = largest_share(torch.from_numpy(labels), torch.from_numpy(index)).numpy()
    clear = np.abs(margin) > 1e-5
    np.testing.assert_array_equal(found[clear], expected[clear])
    if halves:
        np.testing.assert_array_equal(found, ties_to_the_larger(labels, index))


def ties_to_the_larger(labels: np.ndarray, index: np.ndarray) -> np.ndarray:
    """By exact weights of quarters: the largest label of the largest share, the background last."""
    result = []
    last = np.asarray(labels.shape) - 1
    for point in index[:, ::-1]:
        if ((point < -0.5) | (point > last + 0.5)).any():
            result.append(0)
            continue
        at = np.clip(point, 0, last)
        low = np.minimum(np.floor(at), np.maximum(last - 1, 0)).astype(int)
        shares: dict[int, float] = {}
        for bits in np.ndindex(*(2,) * labels.ndim):
            weight = float(np.prod(np.where(bits, at - low, 1 - (at - low))))
            if weight > 0:
                value = int(labels[tuple(low + bits)])
                shares[value] = shares.get(value, 0.0) + weight
        best = max(shares.values())
        winners = [v for v, share in shares.items() if share == best]
        result.append(max([v for v in winners if v] or [0]))
    return np.asarray(result)


# A random field may leave a grid of a few voxels altogether.
@pytest.mark.filterwarnings("ignore:no voxel of the fixed image:samreg.errors.InputWarning")
@settings(max_examples=40, deadline=None)
@given(moving=grids(), seed=st.integers(0, 10_000), n=st.integers(1, 8))
@example(moving=Grid((2, 2), (1.0, 1.0), (0.0, 0.0), ((-1.0, 0.0), (0.0, -1.0)), "mm"), seed=76, n=1)
def test_each_region_for_itself(moving: Grid, seed: int, n: int) -> None:
    """Overlapping, thin and single voxels: a region comes out exactly where its own mask wins against all else."""
    random = np.random.default_rng(seed)
    d = moving.ndim
    masks = []
    for _ in range(n):
        start = random.integers(0, np.asarray(moving.shape))
        stop = start + random.integers(1, 5, d)
        mask = np.zeros(moving.shape, bool)
        mask[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = True
        masks.append(mask)
    rois = RoiSet.from_masks(masks, moving, list(random.uniform(0, 1, n)), [f"region {i}" for i in range(n)])
    u = random.normal(0, 0.7 * min(moving.spacing), (*moving.shape, d)).astype(np.float32)
    field = DisplacementField(u, moving)
    warped, kept = field.warp_rois(rois)
    for i in range(n):
        expected = field.warp_labels(rois.mask(i).astype(np.int32), moving) == 1
        assert (i in kept) == expected.any()
        if i in kept:
            roi = warped[kept.index(i)]
            np.testing.assert_array_equal(warped.mask(kept.index(i)), expected)
            assert (roi.name, roi.quality) == (rois[i].name, rois[i].quality)


@pytest.mark.filterwarnings("ignore:no voxel of the fixed image:samreg.errors.InputWarning")
@settings(max_examples=60, deadline=None)
@given(moving=grids(), seed=st.integers(0, 10_000), n=st.integers(1, 12), exclusive=st.booleans())
def test_what_covers_a_voxel_of_the_result_is_in_it(moving: Grid, seed: int, n: int, exclusive: bool) -> None:
    """Thin, single and overlapping regions of which the centre of some result voxel comes: none is lost."""
    random = np.random.default_rng(seed)
    d = moving.ndim
    labels, masks = np.zeros(moving.shape, np.int32), []
    for k in range(n):
        start = random.integers(0, np.asarray(moving.shape))
        stop = start + np.where(random.random(d) < 0.6, 1, random.integers(1, 6, d))
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        labels[box] = k + 1
        masks.append(np.zeros(moving.shape, bool))
        masks[-1][box] = True
    u = random.normal(0, 0.7 * min(moving.spacing), (*moving.shape, d)).astype(np.float32)
    field = DisplacementField(u, moving)
    index = np.rint(field.moving_index(moving).reshape(-1, d))[:, ::-1].astype(int)
    inside = ((index >= 0) & (index < moving.shape)).all(axis=1)
    voxels = tuple(index[inside].T)
    if exclusive:
        covering = set(labels[voxels].tolist()) - {0}
        assert covering <= set(field.warp_labels(labels, moving).ravel().tolist())
    else:
        covering = {i for i, mask in enumerate(masks) if mask[voxels].any()}
        assert covering <= set(field.warp_rois(RoiSet.from_masks(masks, moving))[1])


def test_thousands_of_labels_cost_no_passes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over the points is counted, not timed: benchmarks/labels.py times it."""
    from samreg.geometry.ops import labels as module

    passes = []
    original = module._parts
    monkeypatch.setattr(module, "_parts", lambda *a: passes.append(1) or original(*a))
    on = Grid((12, 16, 16), (1.0, 1.0, 1.0))
    labels = np.arange(on.n_voxels, dtype=np.int32).reshape(on.shape)
    field = DisplacementField.identity(on)
    np.testing.assert_array_equal(field.warp_labels(labels, on), labels)
    warped, kept = field.warp_rois(RoiSet.from_labels(labels, on))
    assert len(kept) == on.n_voxels - 1
    np.testing.assert_array_equal(warped.label_map(), labels)
    assert len(passes) == 2


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_regions_of_a_label_map(name: str) -> None:
    on = GRIDS[name]
    labels = np.random.default_rng(0).choice([0, 0, 3, -2, 70_000], on.shape).astype(np.int32)
    rois = RoiSet.from_labels(labels, on, {3: "liver"})
    assert [roi.name for roi in rois.rois] == ["-2", "liver", "70000"]
    for roi, value in zip(range(3), (-2, 3, 70_000), strict=True):
        np.testing.assert_array_equal(rois.mask(roi), labels == value)
    assert len(RoiSet.from_labels(np.zeros(on.shape, np.int32), on)) == 0
