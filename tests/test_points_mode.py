"""Point mode, told to be exact, gives the masks of segment-anything's automatic mask generator."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from tests import sam_fixtures as fixtures

from samreg.config import ProposalConfig
from samreg.proposals.points import Crop, automatic_masks, box_nms, crops, cut_off, generate_exact
from samreg.segmenters import Segmenter, load_segmenter

amg: ModuleType = pytest.importorskip("segment_anything.utils.amg")

_LOOSE = {"min_area": 0.0, "max_area": 1.0, "max_rois": 0, "max_overlap": 1.0}


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
    ("shape", "n_crop_layers", "stability", "nms", "at_least"),
    # Random masks are ragged and reach over the whole image: box suppression at 0.7 leaves few, at 1 all.
    [((384, 300), 0, 0.6, 1.0, 20), ((300, 384), 0, 0.0, 0.7, 1), ((384, 384), 1, 0.5, 0.98, 1)],
)
def test_same_masks_as_the_automatic_mask_generator(
    pair: tuple[torch.nn.Module, Segmenter],
    shape: tuple[int, int],
    n_crop_layers: int,
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
        crop_n_layers=n_crop_layers,
        box_nms_thresh=nms,
        crop_nms_thresh=nms,
    ).generate(image)
    config = ProposalConfig(
        points_per_side=6,
        min_quality=0.5,
        min_stability=stability,
        crop_layers=n_crop_layers,
        nms="box",
        nms_iou=nms,
        **_LOOSE,
    )
    masks, quality, n_prompts = automatic_masks(segmenter, image.astype(np.float32) / 255, config)
    assert n_prompts == 36 * (1 + 4 * n_crop_layers)
    assert len(masks) == len(reference)
    assert at_least <= len(masks) < n_prompts * 3
    for ours, score, theirs in zip(masks.numpy(), quality.tolist(), reference, strict=True):
        union = (ours | theirs["segmentation"]).sum()
        assert (ours & theirs["segmentation"]).sum() >= 0.99 * union
        assert score == pytest.approx(theirs["predicted_iou"], abs=1e-3)


def test_crops_are_those_of_the_generator() -> None:
    for shape in ((384, 300), (217, 512)):
        boxes, _ = amg.generate_crop_boxes(shape, 2, 512 / 1500)
        assert [[c.x0, c.y0, c.x1, c.y1] for c in crops(shape, 2)] == boxes


def test_masks_cut_off_by_a_crop_are_those_of_the_generator() -> None:
    generator = torch.Generator().manual_seed(1)
    shape, crop = (400, 300), Crop(40, 0, 260, 190)
    corner = torch.rand(300, 2, generator=generator) * torch.tensor([150.0, 180.0])
    boxes = torch.cat([corner, corner + torch.rand(300, 2, generator=generator) * 40], dim=1).round()
    theirs = amg.is_box_near_crop_edge(boxes, [crop.x0, crop.y0, crop.x1, crop.y1], [0, 0, shape[1], shape[0]])
    assert 0 < theirs.sum() < 300
    assert torch.equal(cut_off(boxes, crop, shape), theirs)


def test_box_suppression_is_that_of_torchvision() -> None:
    ops = pytest.importorskip("torchvision.ops")
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(200, 2, generator=generator) * 60
    boxes = torch.cat([corner, corner + torch.rand(200, 2, generator=generator) * 50], dim=1)
    boxes[:3] = 0  # boxes of empty masks
    scores = torch.rand(200, generator=generator).round(decimals=1)
    for limit in (0.1, 0.5, 0.7):
        assert torch.equal(box_nms(boxes, scores, limit), ops.nms(boxes, scores, limit))


def test_roi_filter_bounds_area_and_number(pair: tuple[torch.nn.Module, Segmenter]) -> None:
    _, segmenter = pair
    pixels = _image((384, 300)).astype(np.float32) / 255
    loose = ProposalConfig(points_per_side=6, min_quality=0.3, nms="box", nms_iou=1.0, **_LOOSE)
    everything = generate_exact(segmenter, pixels, loose)
    share = everything.masks.reshape(len(everything.masks), -1).mean(axis=1)
    low, high = np.quantile(share, [0.3, 0.7])
    bounds = {**_LOOSE, "min_area": float(low), "max_area": float(high), "max_rois": 3}
    strict = ProposalConfig(points_per_side=6, min_quality=0.3, nms="box", nms_iou=1.0, **bounds)
    some = generate_exact(segmenter, pixels, strict)
    inside = everything.quality[(share >= low) & (share <= high)]
    assert len(some.quality) == 3
    assert np.array_equal(some.quality, np.sort(inside)[::-1][:3])


def test_a_threshold_that_nothing_passes_gives_no_masks(pair: tuple[torch.nn.Module, Segmenter]) -> None:
    _, segmenter = pair
    config = ProposalConfig(points_per_side=4, min_quality=1.0, nms="box", nms_iou=0.7)
    none = generate_exact(segmenter, np.full((90, 70), 0.5, dtype=np.float32), config)
    assert none.masks.shape == (0, 90, 70)
    assert len(none.quality) == 0
