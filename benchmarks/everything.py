"""Everything mode against segment-anything's automatic mask generator with the same network, in the same run.

    python -m benchmarks.everything                          LiteMedSAM on a slice of the phantom
    python -m benchmarks.everything --image I --labels L     ... on the slices of an image, with recall
    python -m benchmarks.everything --network vit_b          SAM ViT-B with random weights at 1024 px

Prints, a slice: seconds of both and their ratio; with labels, the share of labelled structures that some mask finds
with Dice >= 0.8, for the reference, the full box grid and the default. Medians at the end. `--batches N` times N of
the reference's 16 batches of 64 points and scales up; its results then say so and its recall is left out.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samreg.config import ProposalConfig
from samreg.regions.everything import Proposals, propose
from samreg.regions.everything.boxes import box_grid, informative
from samreg.regions.everything.propose import _Search, _together
from samreg.segmenters import Segmenter, load_segmenter
from samreg.segmenters.base import Prompts

_SMALLEST_STRUCTURE_PX = 40


@dataclass(frozen=True)
class Seconds:
    """Time by the clock, and of all processor cores together, which other work on the machine disturbs less."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.2f} s ({self.cpu:.2f} s of cores)"


def _timed(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def _slices(args: argparse.Namespace) -> list[tuple[np.ndarray, np.ndarray]]:
    """Slices in [0, 1] with their labels; the middle ones first."""
    from samreg.regions.slices import plan_slices, window

    if args.image is None:
        from samreg.geometry.phantom import phantom

        example = phantom(3)
        image, labels = example.fixed, example.fixed_labels
    else:
        from samreg.io.images import read_image, read_labels

        image = read_image(args.image)
        labels = read_labels(args.labels)[0] if args.labels else np.zeros(image.grid.shape, dtype=np.int32)
    grey = window(image)
    if image.grid.ndim == 2:
        return [(grey, labels)]
    axis = plan_slices(image.grid).axis
    stack, masks = np.moveaxis(grey, axis, 0), np.moveaxis(labels, axis, 0)
    order = sorted(range(len(stack)), key=lambda i: abs(i - len(stack) // 2))[: args.slices]
    return [(np.ascontiguousarray(stack[i]), np.ascontiguousarray(masks[i])) for i in order]


def reference_generator(network: str, folder: Path) -> tuple[Any, str]:
    """The same network in segment-anything, and the name by which samreg loads it."""
    from segment_anything import sam_model_registry
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    if network == "vit_b":
        torch.manual_seed(0)
        model = sam_model_registry["vit_b"]().eval()
        torch.save(model.state_dict(), folder / "sam_vit_b_random.pth")
        return model, str(folder / "sam_vit_b_random.pth")
    from samreg.segmenters.sam.tinyvit import LITEMEDSAM, TinyViT
    from samreg.segmenters.weights.litemedsam import weights_path

    encoder = TinyViT(LITEMEDSAM)
    encoder.img_size = 256  # segment-anything asks the encoder
    model = Sam(
        encoder,
        PromptEncoder(embed_dim=256, image_embedding_size=(64, 64), input_image_size=(256, 256), mask_in_chans=16),
        MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, 8, 2048)),
        pixel_mean=[0.0, 0.0, 0.0],
        pixel_std=[255.0, 255.0, 255.0],
    ).eval()
    state = torch.load(weights_path(), weights_only=True)
    model.load_state_dict(state, strict=False)  # segment-anything knows no `pixel_mean` in this file
    return model, "litemedsam"


def reference_seconds(model: Any, image: np.ndarray, batches: int | None) -> tuple[list[np.ndarray], Seconds]:
    from segment_anything import SamAutomaticMaskGenerator

    generator = SamAutomaticMaskGenerator(model, points_per_side=32, pred_iou_thresh=0.9, stability_score_thresh=0.9)
    if batches is None:
        found, seconds = _timed(lambda: generator.generate(image))
        return [record["segmentation"] for record in found], seconds
    predictor = generator.predictor
    _, encoding = _timed(lambda: predictor.set_image(image))
    size = image.shape[:2]
    points = generator.point_grids[0] * np.array(size)[None, ::-1]
    each = []
    for start in range(0, 64 * batches, 64):
        chunk = points[start : start + 64]
        each.append(_timed(lambda c=chunk: generator._process_batch(c, size, [0, 0, size[1], size[0]], size))[1])
    wall, cpu = (statistics.median(getattr(e, kind) for e in each) for kind in ("wall", "cpu"))
    return [], Seconds(encoding.wall + 16 * wall, encoding.cpu + 16 * cpu)


def _found(masks: list[np.ndarray] | np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """Labelled structures of the slice that some mask finds with Dice >= 0.8, and their number."""
    found = total = 0
    for value in np.unique(labels[labels > 0]):
        truth = labels == value
        if truth.sum() < _SMALLEST_STRUCTURE_PX:
            continue
        total += 1
        dice = [2 * (mask & truth).sum() / (mask.sum() + truth.sum()) for mask in masks]
        found += bool(dice) and max(dice) >= 0.8
    return found, total


def _ours(segmenter: Segmenter, pixels: np.ndarray, config: ProposalConfig) -> tuple[Any, Seconds]:
    return _timed(lambda: propose(segmenter, segmenter.encode([pixels])[0], pixels, config))


def _full_grid(segmenter: Segmenter, pixels: np.ndarray, config: ProposalConfig) -> Proposals:
    """Boxes of three sizes; none is skipped, and none comes from the image: what the default must not fall behind."""
    [encoding] = segmenter.encode([pixels])
    grey = pixels if pixels.ndim == 2 else pixels.mean(axis=2)
    search = _Search(False, encoding, grey, config)
    for share in (0.36, 0.22, 0.14):
        boxes = box_grid(encoding.shape, share * max(encoding.shape), 0.5)
        masks = segmenter.prompt(encoding, Prompts(boxes=boxes[informative(boxes, grey)]), coarse=True)
        search._collect(masks.logits[:, 0], masks.quality[:, 0])
        search._deduplicate(0)
    return _together(segmenter, [encoding], [search._answer()])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=["litemedsam", "vit_b"], default="litemedsam")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--batches", type=int, help="time only so many of the reference's 16 batches, and scale up")
    parser.add_argument("--engine", choices=["auto", "torch", "openvino"], default="auto")
    args = parser.parse_args()
    config = ProposalConfig()
    ratios, recall = [], {"reference": [0, 0], "full grid": [0, 0], "default": [0, 0]}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        model, name = reference_generator(args.network, Path(folder))
        segmenter = load_segmenter(name, engine=args.engine)
        slices = _slices(args)
        _ours(segmenter, slices[0][0], config)  # compiling is done once a machine, not once a slice
        print(f"{args.network}: {segmenter.engine} against segment-anything, {torch.get_num_threads()} threads")
        for i, (pixels, labels) in enumerate(slices):
            colour = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
            image = np.rint(colour * 255).astype(np.uint8)
            theirs, their_seconds = reference_seconds(model, image, args.batches)
            ours, seconds = _ours(segmenter, pixels, config)
            full, full_seconds = _timed(functools.partial(_full_grid, segmenter, pixels, config))
            ratios.append((their_seconds.wall / seconds.wall, their_seconds.cpu / seconds.cpu))
            scaled = " (scaled up)" if args.batches else ""
            print(
                f"slice {i}: reference {their_seconds}{scaled}; full grid {full_seconds}, {full.n_prompts} prompts; "
                f"default {seconds}, {ours.n_prompts} prompts, {len(ours.masks)} masks; "
                f"ratio {ratios[-1][0]:.0f}, of cores {ratios[-1][1]:.0f}"
            )
            results = {"reference": theirs, "full grid": full.masks, "default": ours.masks}
            for kind, masks in results.items():
                hit, total = _found(masks, labels)
                recall[kind][0] += hit
                recall[kind][1] += total
    wall, cpu = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median ratio {wall:.0f}, of processor time {cpu:.0f}")
    for kind, (hit, total) in recall.items():
        if total and not (kind == "reference" and args.batches):
            print(f"recall at Dice 0.8, {kind}: {hit} of {total}")


if __name__ == "__main__":
    main()
