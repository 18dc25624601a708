"""Everything mode of one slice: which prompts are asked, and when it stops. The segmenter fills the box it is asked."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from samreg.config import ProposalConfig
from samreg.proposals import propose
from samreg.segmenters.base import Encoding, Masks, Prompts

SIZE = 64
PIXELS = np.random.default_rng(0).random((SIZE, SIZE)).astype(np.float32)
AREAS = (0.0, 0.25)


@pytest.fixture(autouse=True)
def grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four boxes of half the slice, sixteen of a quarter, none from the image."""
    _constants(monkeypatch, _GRID=((0.5, 0.0), (0.25, 0.0)), _COMPONENT_LEVELS=0)


def _constants(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    module = sys.modules["samreg.proposals.propose"]  # the package has a function of this name
    for name, value in values.items():
        monkeypatch.setattr(module, name, value)


class Fills:
    """A box's mask is the box; `asked` has the boxes of each call for coarse masks."""

    name, fingerprint, engine = "fills", "0", "none"
    input_size = SIZE
    prompt_kind = "boxes"
    supports_multimask = False

    def __init__(self, quality: float = 0.6) -> None:
        self.quality = quality
        self.asked: list[np.ndarray] = []

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        return [Encoding(torch.zeros(1, SIZE // 4, SIZE // 4), (SIZE, SIZE), SIZE) for _ in slices]

    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        boxes = np.asarray(prompts.boxes)
        if coarse:
            self.asked.append(boxes)
        y, x = np.mgrid[:SIZE, :SIZE]
        x0, y0, x1, y1 = (boxes[:, i, None, None] for i in range(4))
        masks = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        logits = torch.from_numpy(np.where(masks, 5.0, -5.0).astype(np.float32))[:, None]
        return Masks(logits[..., ::4, ::4] if coarse else logits, torch.full((len(boxes), 1), self.quality))


def _sides(config: ProposalConfig, quality: float = 0.6) -> list[list[int]]:
    segmenter = Fills(quality)
    [encoding] = segmenter.encode([PIXELS])
    propose(segmenter, encoding, PIXELS, config)
    return [sorted({int(side) for side in boxes[:, 2] - boxes[:, 0] + 1}) for boxes in segmenter.asked]


def test_smaller_boxes_are_asked_while_there_is_room() -> None:
    assert _sides(ProposalConfig(areas=AREAS, max_rois=5)) == [[32], [16]]
    assert _sides(ProposalConfig(areas=AREAS, max_rois=0)) == [[32], [16]]


def test_smaller_boxes_are_not_asked_when_the_slice_is_full() -> None:
    assert _sides(ProposalConfig(areas=AREAS, max_rois=4)) == [[32]]


def test_smaller_boxes_are_asked_where_no_good_mask_of_their_size_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    _constants(monkeypatch, _GRID=((0.25, 0.0), (0.24, 0.0)))
    config = ProposalConfig(areas=AREAS, max_rois=0)
    assert _sides(config, quality=0.6) == [[16], [15]]
    assert _sides(config, quality=0.9) == [[16]]


def test_boxes_of_components_come_with_the_largest_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    _constants(monkeypatch, _COMPONENT_LEVELS=4)
    pixels = np.full((SIZE, SIZE), 0.2, dtype=np.float32)
    pixels[20:31, 40:51] = 0.9
    pixels[50:, :20] = 0.5
    segmenter = Fills()
    [encoding] = segmenter.encode([pixels])
    found = propose(segmenter, encoding, pixels, ProposalConfig(areas=AREAS, max_rois=4))
    first, *_ = segmenter.asked
    around = (np.abs(first - [40, 20, 50, 30]) <= 3).all(axis=1)
    assert around.any()
    assert found.n_prompts == sum(map(len, segmenter.asked)) + 4
    assert len(found.masks) <= 4
