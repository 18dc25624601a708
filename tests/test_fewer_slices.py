"""Thin slices show what their neighbours show: which are encoded, and what the others get."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from samreg.config import ProposalConfig, SegmentConfig, preset
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.regions.cache import regions_key
from samreg.regions.everything.finder import EverythingMode
from samreg.regions.slices import plan_slices, slice_step
from samreg.segmenters.base import Encoding, Masks, Prompts

FAST = SegmentConfig(slice_axis="0", proposals=ProposalConfig(mask_rules="fast", max_rois=10, areas=(0.001, 0.5)))


def _grid(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    return Grid(shape, spacing)


@pytest.mark.parametrize(
    ("grid", "step"),
    [
        (_grid((300, 512, 512), (0.8, 0.8, 1.0)), 6),  # cells of 6.4 mm
        (_grid((80, 256, 256), (1.6, 1.6, 3.0)), 2),
        (_grid((10, 216, 256), (1.4, 1.4, 10.0)), 1),  # slices further apart than cells
        (_grid((20, 512, 512), (0.8, 0.8, 1.0)), 1),  # few slices are all encoded
        (_grid((40, 512, 512), (0.8, 0.8, 1.0)), 2),
        (_grid((36, 51, 35), (1.0, 1.0, 1.0)), 1),  # cells finer than voxels
    ],
)
def test_slices_are_encoded_about_a_cell_apart(grid: Grid, step: int) -> None:
    plan = plan_slices(grid, "0")
    assert slice_step(plan, 1.0) == step
    assert slice_step(plan, 0.0) == 1


@pytest.mark.parametrize(
    ("shape", "spacing", "plane"),
    [
        ((64, 40), (1.0, 2.0), (128, 40)),
        ((64, 64), (0.001, 1000.0), (4096, 1)),
        ((64, 64), (1000.0, 0.001), (1, 4096)),
        ((5000, 100), (1.0, 2.0), (5000, 50)),  # never more than the longer side has, or 4096
    ],
)
def test_square_pixels_are_bounded(
    shape: tuple[int, int], spacing: tuple[float, float], plane: tuple[int, int]
) -> None:
    assert plan_slices(Grid(shape, spacing)).plane == plane


class _Marks:
    """The embedding of a slice is its first grey value; its only mask is the whole box."""

    name, fingerprint, engine = "marks", "0", "none"
    input_size, prompt_kind, supports_multimask = 64, "boxes", False

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.asked: list[int] = []

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        self.seen += [float(s[0, 0]) for s in slices]
        return [Encoding(torch.full((1, 16, 16), float(s[0, 0])), s.shape, 64) for s in slices]

    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        boxes = np.asarray(prompts.boxes)
        if coarse:
            self.asked.append(len(boxes))
        y, x = np.mgrid[:64, :64]
        x0, y0, x1, y1 = (boxes[:, i, None, None] for i in range(4))
        masks = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        logits = torch.from_numpy(np.where(masks, 5.0, -5.0).astype(np.float32))[:, None]
        return Masks(logits[..., ::4, ::4] if coarse else logits, torch.full((len(boxes), 1), 0.9))


def _ramp(n: int) -> Image:
    """Noise, and one corner that rises from slice to slice: 0 in the first, 1 in the last."""
    data = np.random.default_rng(0).random((n, 64, 64)).astype(np.float32)
    data[:, 0, 0] = np.linspace(0, 1, n)
    return Image(data, _grid((n, 64, 64), (1.0, 1.0, 0.3)), "ramp")


def test_slices_between_have_the_regions_of_the_nearest_and_an_embedding_between_their_neighbours() -> None:
    n = 50
    segmenter = _Marks()
    found = EverythingMode(segmenter).find(_ramp(n), FAST)
    assert len(segmenter.seen) == 17  # every third
    assert max(segmenter.asked) <= 16
    assert len(segmenter.asked) == 17  # one round a slice
    assert set(found.slice_index) == set(range(n))
    per_slice = np.bincount(found.slice_index)
    np.testing.assert_array_equal(per_slice[:48].reshape(-1, 3).max(1), per_slice[:48].reshape(-1, 3).min(1))
    assert len(found.prototypes) == len(found)
    for row in np.flatnonzero(found.slice_index == 4):
        assert found.rois[int(row)].start[0] == 4
    assert found.features is not None
    assert found.features.data.shape[1] == n
    encoded = np.arange(1, n, 3)
    expected = np.interp(np.arange(n), encoded, segmenter.seen)
    np.testing.assert_allclose(found.features.data[0, :, 0, 0], expected, atol=1e-3)


@pytest.mark.parametrize(("n", "spacing", "encoded"), [(20, 0.3, 20), (50, 1.0, 50), (50, 0.3, 17), (50, 0.5, 25)])
def test_the_default_encodes_slices_a_cell_apart_at_most(n: int, spacing: float, encoded: int) -> None:
    """Cells are 1 mm: slices as far apart are all seen, and so are few slices."""
    segmenter = _Marks()
    image = Image(_ramp(n).data, _grid((n, 64, 64), (1.0, 1.0, spacing)), "ramp")
    EverythingMode(segmenter).find(
        image, SegmentConfig(slice_axis="0", proposals=ProposalConfig(areas=(0.001, 0.5), max_rois=4))
    )
    assert len(segmenter.seen) == encoded


def test_regions_of_the_fast_preset_are_kept_apart() -> None:
    image = _ramp(50)
    keys = {regions_key(image, preset(name).segment, ("marks", "0")) for name in ("default", "fast")}
    assert len(keys) == 2
