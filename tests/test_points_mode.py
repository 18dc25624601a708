"""Point mode, told to be exact, gives the masks of segment-anything's automatic mask generator."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
from tests import sam_fixtures as fixtures

from samreg.config import ProposalConfig
from samreg.proposals.points import automatic_masks, box_nms, generate_exact
from samreg.proposals.rules import RULES
from samreg.segmenters import Segmenter, load_segmenter

amg: ModuleType = pytest.importorskip("segment_anything.utils.amg")

LOOSE = replace(RULES["paper"], points_per_side=6, nms_iou=1.0, max_overlap=1.0, min_stability=0.0)
"""Random masks are ragged and reach over the whole image: box suppression at 0.7 leaves few, at 1 all."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Segmenter]:
    path = tmp_path_factory.mktemp("points") / "weights.pth"
    reference = fixtures.write_sam_checkpoint(path, seed=3)
    # Random logits and predicted IoU hardly vary over the image: stretch both into the range that the thresholds cut.
    with torch.no_grad():
        reference.mask_decoder.output_upscaling[0].weight *= 4
        reference.mask_decoder.output_upscaling[3].weight *= 4
        reference.mask_decoder.output_upscaling[3].bias.zero_()
        for perceptron in reference.mask_decoder.output_hypernetworks_mlps:
            last = perceptron.layers[-1]
            last.weight.copy_(48 * (last.weight - last.weight.mean(dim=0)))
            last.bias.copy_(16 * (last.bias - last.bias.mean()))
        reference.mask_decoder.iou_prediction_head.layers[-1].weight *= 4
    torch.save(reference.state_dict(), path)
    return reference, load_segmenter(str(path), engine="torch", device="cpu", precision="float32")


def _image(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    rng = np.random.default_rng(8)
    image = np.zeros((*shape, 3))
    for _ in range(12):
        cy, cx = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        radius, colour = rng.uniform(15, 80), rng.uniform(0, 60, 3)
        image += colour * (((y - cy) ** 2 + (x - cx) ** 2) < radius**2)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "stability", "nms", "at_least"),
    [((384, 300), 0.6, 1.0, 20), ((300, 384), 0.0, 0.7, 1), ((384, 384), 0.5, 0.98, 1)],
)
def test_same_masks_as_the_automatic_mask_generator(
    pair: tuple[torch.nn.Module, Segmenter],
    shape: tuple[int, int],
    stability: float,
    nms: float,
    at_least: int,
) -> None:
    from segment_anything import SamAutomaticMaskGenerator

    model, segmenter = pair
    image = _image(shape)
    reference = SamAutomaticMaskGenerator(
        model,
        points_per_side=6,
        pred_iou_thresh=0.5,
        stability_score_thresh=stability,
        box_nms_thresh=nms,
    ).generate(image)
    rules = replace(LOOSE, nms_iou=nms, min_stability=stability)
    masks, quality, n_prompts = automatic_masks(segmenter, image.astype(np.float32) / 255, rules, 0.5)
    assert n_prompts == 36
    assert len(masks) == len(reference)
    assert at_least <= len(masks) < n_prompts * 3
    for ours, score, theirs in zip(masks.numpy(), quality.tolist(), reference, strict=True):
        union = (ours | theirs["segmentation"]).sum()
        assert (ours & theirs["segmentation"]).sum() >= 0.99 * union
        assert score == pytest.approx(theirs["predicted_iou"], abs=1e-3)


def test_box_suppression_is_that_of_torchvision() -> None:
    ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(200, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + torch.rand(200, 2, generator=generator) * 50], dim=1)
    boxes[:3] = 0  # boxes of empty masks
    scores = torch.rand(200, generator=generator).round(decimals=1)
    for limit in (0.1, 0.5, 0.7):
        assert torch.equal(box_nms(boxes, scores, limit), ops.nms(boxes, scores, limit))


def test_roi_filter_bounds_area_and_number(
    pair: tuple[torch.nn.Module, Segmenter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "paper", LOOSE)
    _, segmenter = pair
    pixels = _image((384, 300)).astype(np.float32) / 255
    loose = ProposalConfig("paper", min_quality=0.3, areas=(0.0, 1.0), max_rois=0)
    everything = generate_exact(segmenter, pixels, loose)
    share = everything.masks.reshape(len(everything.masks), -1).mean(axis=1)
    low, high = np.quantile(share, [0.3, 0.7])
    strict = replace(loose, areas=(float(low), float(high)), max_rois=3)
    some = generate_exact(segmenter, pixels, strict)
    inside = everything.quality[(share >= low) & (share <= high)]
    assert len(some.quality) == 3
    assert np.array_equal(some.quality, np.sort(inside)[::-1][:3])


def test_a_threshold_that_nothing_passes_gives_no_masks(pair: tuple[torch.nn.Module, Segmenter]) -> None:
    _, segmenter = pair
    config = ProposalConfig("paper", min_quality=1.0)
    none = generate_exact(segmenter, np.full((90, 70), 0.5, dtype=np.float32), config)
    assert none.masks.shape == (0, 90, 70)
    assert len(none.quality) == 0
