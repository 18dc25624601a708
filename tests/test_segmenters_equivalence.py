"""Every member of the family computes what its reference implementation computes, opened by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests import sam_fixtures as fixtures

from samreg.segmenters import Prompts, Segmenter, open_segmenter

pytest.importorskip("transformers")
pytest.importorskip("segment_anything")

_MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
_STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
_TOLERANCE = 1e-4


def _image(size: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(9 * x + 5 * y + p) + np.cos(7 * y * x + p) for p in (0.0, 1.0, 2.0)]
    image = 0.5 + 0.2 * np.stack(waves, axis=-1) + 0.05 * rng.standard_normal((size, size, 3))
    return np.clip(image, 0, 1).astype(np.float32)


def _normalised(image: np.ndarray) -> torch.Tensor:
    return ((torch.from_numpy(image).permute(2, 0, 1) - _MEAN) / _STD)[None]


def _prompts(size: int, mask: int) -> dict[str, Prompts]:
    rng = np.random.default_rng(6)
    n = 5
    points = rng.uniform(0, size, (n, 3, 2)).astype(np.float32)
    labels = np.array([[1, 0, 1], [1, 1, 0], [0, 1, -1], [1, -1, -1], [1, 1, 1]])
    boxes = np.sort(rng.uniform(0, size, (n, 2, 2)), axis=1).reshape(n, 4).astype(np.float32)
    masks = rng.normal(0, 4, (n, mask, mask)).astype(np.float32)
    return {
        "point": Prompts(points=points[:, :1]),
        "points": Prompts(points=points, point_labels=labels),
        "boxes": Prompts(boxes=boxes),
        "masks": Prompts(mask_logits=masks),
        "all": Prompts(points=points, point_labels=labels, boxes=boxes, mask_logits=masks),
    }


Reference = Callable[[np.ndarray, Prompts, bool], tuple[torch.Tensor, torch.Tensor]]


def _tensors(prompts: Prompts) -> tuple[torch.Tensor | None, ...]:
    points = None if prompts.points is None else torch.from_numpy(prompts.points)
    labels = prompts.point_labels
    if points is not None and labels is None:
        labels = np.ones(points.shape[:2], dtype=int)
    rest = (labels, prompts.boxes, prompts.mask_logits)
    return (points, *(None if part is None else torch.from_numpy(part) for part in rest))


def _original(model: torch.nn.Module) -> Reference:
    def run(image: np.ndarray, prompts: Prompts, multimask: bool) -> tuple[torch.Tensor, torch.Tensor]:
        points, labels, boxes, masks = _tensors(prompts)
        sparse, dense = model.prompt_encoder(
            None if points is None else (points, labels), boxes, None if masks is None else masks[:, None]
        )
        return model.mask_decoder(
            image_embeddings=model.image_encoder(_normalised(image)),
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
        )

    return run


def _transformers(model: torch.nn.Module) -> Reference:
    def run(image: np.ndarray, prompts: Prompts, multimask: bool) -> tuple[torch.Tensor, torch.Tensor]:
        points, labels, boxes, masks = _tensors(prompts)
        logits, quality = [], []
        pixels = _normalised(image)
        for i in range(len(prompts)):  # transformers takes one mask prompt an image
            out = model(
                pixel_values=pixels,
                input_points=None if points is None else points[None, i : i + 1],
                input_labels=None if labels is None else labels[None, i : i + 1],
                # A copy: SAM 2 of transformers 4.57 moves the boxes that it is given by half a pixel.
                input_boxes=None if boxes is None else boxes[None, i : i + 1].clone(),
                input_masks=None if masks is None else masks[i : i + 1, None],
                multimask_output=multimask,
            )
            logits.append(out.pred_masks[0])
            quality.append(out.iou_scores[0])
        return torch.cat(logits), torch.cat(quality)

    return run


def _published_hq(model: torch.nn.Module) -> Reference:
    """SAM-HQ as published, put together from the layers of transformers.

    transformers' own `SamHQModel` draws from the embedding as it was before the two-way transformer (seen in 5.23), so
    only its quality can be compared directly; that is done here too.
    """
    direct = _transformers(model)
    decoder = model.mask_decoder
    side = fixtures.GRID

    def upscale(x: torch.Tensor, first: str, norm: str, second: str) -> torch.Tensor:
        return getattr(decoder, second)(decoder.activation(getattr(decoder, norm)(getattr(decoder, first)(x))))

    def run(image: np.ndarray, prompts: Prompts, multimask: bool) -> tuple[torch.Tensor, torch.Tensor]:
        points, labels, boxes, masks = _tensors(prompts)
        encoded = model.vision_encoder(_normalised(image))
        features = encoded.last_hidden_state
        early = encoded.intermediate_embeddings[0].permute(0, 3, 1, 2)
        fine = upscale(features, "encoder_conv1", "encoder_norm", "encoder_conv2")
        fine = fine + upscale(early, "compress_vit_conv1", "compress_vit_norm", "compress_vit_conv2")
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, decoder.hq_token.weight])
        logits, quality = [], []
        for i in range(len(prompts)):
            sparse, dense = model.prompt_encoder(
                input_points=None if points is None else points[None, i : i + 1],
                input_labels=None if labels is None else labels[None, i : i + 1],
                input_boxes=None if boxes is None else boxes[None, i : i + 1],
                input_masks=None if masks is None else masks[i : i + 1, None],
            )
            tokens = own[None, None] if sparse is None else torch.cat([own[None, None], sparse], dim=2)
            tokens, cells = decoder.transformer(
                point_embeddings=tokens,
                image_embeddings=features + dense,
                image_positional_embeddings=model.get_image_wide_positional_embeddings(),
                attention_similarity=None,
            )
            maps = cells.reshape(1, side, side, -1).permute(0, 3, 1, 2)
            upscaled = decoder.activation(upscale(maps, "upscale_conv1", "upscale_layer_norm", "upscale_conv2"))
            sharp = upscale(upscaled, "mask_conv1", "mask_norm", "mask_conv2") + fine
            wanted = range(1, 4) if multimask else range(1)
            drawn = [
                torch.einsum("c,chw->hw", decoder.output_hypernetworks_mlps[m](tokens[0, 0, 1 + m]), upscaled[0])
                for m in wanted
            ]
            scores = decoder.iou_prediction_head(tokens[0, 0, 0])[list(wanted)]
            order = scores.argsort(descending=True)
            correction = torch.einsum("c,chw->hw", decoder.hq_mask_mlp(tokens[0, 0, 5]), sharp[0])
            logits.append(torch.stack(drawn)[order] + correction)
            quality.append(scores[order])
        assert (torch.stack(quality) - direct(image, prompts, multimask)[1]).abs().max() < _TOLERANCE
        return torch.stack(logits), torch.stack(quality)

    return run


@pytest.fixture(
    scope="module", params=["segment-anything", "transformers-sam", "transformers-sam2", "transformers-sam-hq"]
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Segmenter, Reference]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "segment-anything":
        reference = _original(fixtures.write_sam_checkpoint(folder / "weights.pth"))
        source = folder / "weights.pth"
    elif request.param == "transformers-sam":
        reference, source = _transformers(fixtures.write_hf_sam(folder)), folder
    elif request.param == "transformers-sam2":
        reference, source = _transformers(fixtures.write_hf_sam2(folder)), folder
    else:
        reference, source = _published_hq(fixtures.write_hf_sam_hq(folder)), folder
    return open_segmenter(str(source), engine="torch", device="cpu", precision="float32"), reference


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("kind", ["point", "points", "boxes", "masks", "all"])
def test_logits_and_quality_are_those_of_the_reference(
    pair: tuple[Segmenter, Reference], kind: str, multimask: bool
) -> None:
    segmenter, reference = pair
    image = _image(segmenter.input_size)
    prompts = _prompts(segmenter.input_size, segmenter.input_size // 4)[kind]
    with torch.inference_mode():
        logits, quality = reference(image, prompts, multimask)
    (encoding,) = segmenter.encode([image])
    ours = segmenter.prompt(encoding, prompts, multimask=multimask)
    assert ours.logits.shape == logits.shape
    # Differences mean nothing where the reference is nearly constant.
    assert logits.std() > 0.03
    assert quality.std() > 1e-4
    # The rounding of float32 grows with the largest logit, and differs from processor to processor.
    tolerance = _TOLERANCE * max(1.0, float(logits.abs().max()))
    difference = (ours.logits - logits).abs()
    assert torch.quantile(difference.flatten(), 0.999) < tolerance
    # Where the channels of a pixel are nearly equal, normalising them multiplies the rounding: with the weights that
    # torch 2.4 draws, the reference itself is 0.0004 from its float64 in eight pixels of a mask prompt, and we 0.001.
    assert difference.max() < 10 * tolerance
    assert (ours.quality - quality).abs().max() < _TOLERANCE


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("kind", ["point", "boxes", "masks"])
def test_coarse_logits_are_every_fourth_pixel(pair: tuple[Segmenter, Reference], kind: str, multimask: bool) -> None:
    segmenter, _ = pair
    (encoding,) = segmenter.encode([_image(segmenter.input_size)])
    prompts = _prompts(segmenter.input_size, segmenter.input_size // 4)[kind]
    full = segmenter.prompt(encoding, prompts, multimask=multimask)
    coarse = segmenter.prompt(encoding, prompts, multimask=multimask, coarse=True)
    assert (full.logits[..., ::4, ::4] - coarse.logits).abs().max() < 1e-5
    assert torch.equal(full.quality, coarse.quality)
