"""A graphics card against the processor of the same machine: seconds, and whether both find the same.

    python -m benchmarks.gpu                              on the phantom and on volumes that it makes itself
    python -m benchmarks.gpu --json OUT.json              the numbers as a file
    python -m benchmarks.gpu --no-cpu                     the card alone: prints no ratio and no agreement of seconds
    python -m benchmarks.gpu --cases phantom,ct --runs 3  some of the cases, and how often the warm run is timed

It needs neither data nor a network. Cold is the first registration of a process on that device, warm the median of the
next ones, nothing cached in either: both segment their images. Agreement has two parts. Masks: the same boxes are asked
on the same slices on both devices, and the IoU of the two answers is reported, its median and its lowest twentieth.
Fields: the same regions, those that the processor found, are registered on both devices, and the lengths of the
differences of the two fields inside the body are reported in voxels, their 95th percentile and the largest.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.speed import processor_name

import samreg
from samreg.config import RegisterConfig, SegmentConfig
from samreg.geometry.image import Image
from samreg.geometry.phantom import phantom
from samreg.regions.everything.boxes import box_grid, informative
from samreg.regions.find import as_finder
from samreg.regions.slices import plan_slices, window
from samreg.segmenters import Prompts, Segmenter, load_segmenter
from samreg.segmenters.base import prompt_slices
from samreg.segmenters.pixels import masks_to_slice

_BODY = 0.05
"""Grey value in [0, 1] above which a voxel belongs to the body."""


def _as_large(image: Image, shape: tuple[int, ...]) -> Image:
    """The same extent on more voxels (linear interpolation)."""
    grid = image.grid.with_shape(shape)
    return Image(samreg.DisplacementField(np.zeros((*shape, 3), np.float32), grid).warp(image).data, grid, image.name)


def cases() -> dict[str, Callable[[], tuple[Image, Image]]]:
    """Pairs of images by name, made when they are asked for."""

    def made(slices: int, shape: tuple[int, int, int]) -> tuple[Image, Image]:
        pair = phantom(3, n_slices=slices)
        return _as_large(pair.fixed, shape), _as_large(pair.moving, shape)

    def plain() -> tuple[Image, Image]:
        pair = phantom(3)
        return pair.fixed, pair.moving

    return {
        "phantom": plain,  # 8 and 9 slices
        "prostate": lambda: made(12, (32, 128, 128)),
        "ct": lambda: made(24, (80, 256, 256)),
    }


def _settings(device: str, precision: str) -> RegisterConfig:
    base = samreg.preset("default")
    engine = "auto" if device == "cpu" else "torch"
    segment = dataclasses.replace(base.segment, device=device, engine=engine, precision=precision)
    return dataclasses.replace(base, segment=segment)


def _waited(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


def times(pair: tuple[Image, Image], device: str, precision: str, runs: int) -> dict[str, Any]:
    """Seconds of whole registrations on one device: the first, and the median of the next."""
    config = _settings(device, precision)
    started = _waited(device)
    finder = as_finder(load_segmenter("litemedsam", **_how(config.segment)))
    seconds, stages = [], []
    for _ in range(runs + 1):
        result = samreg.register(*pair, config, segmenter=finder)
        seconds.append(_waited(device) - started)
        stages.append({name: round(value, 3) for name, value in result.seconds.items()})
        started = _waited(device)
    return {
        "device": device,
        "engine": finder.segmenter.engine if finder.segmenter else "",
        "cold_s": round(seconds[0], 3),
        "warm_s": round(statistics.median(seconds[1:]), 3) if runs else None,
        "warm_stages_s": stages[-1],
        "n_pairs": len(result.pairs),
    }


def _how(settings: SegmentConfig) -> dict[str, str]:
    return {"engine": settings.engine, "device": settings.device, "precision": settings.precision}


def answers(image: Image, segmenter: Segmenter, n_slices: int = 2) -> list[np.ndarray]:
    """Masks of the same boxes on some slices, (n, y, x) each."""
    plan = plan_slices(image.grid)
    slices = plan.slices(window(image))
    rows = np.unique(np.linspace(0.4, 0.6, n_slices) * (len(slices) - 1)).astype(int)
    some = [slices[int(row)] for row in rows]
    boxes = [box_grid((s.shape[0], s.shape[1]), 0.25 * max(s.shape), 0.5) for s in some]
    asked = [Prompts(boxes=b[informative(b, s)]) for b, s in zip(boxes, some, strict=True)]
    encodings = segmenter.encode(some)
    found = prompt_slices(segmenter, encodings, asked)
    return [(masks_to_slice(m.logits[:, 0], e) > 0).cpu().numpy() for m, e in zip(found, encodings, strict=True)]


def masks_agree(here: list[np.ndarray], there: list[np.ndarray]) -> dict[str, Any]:
    """IoU of the answers of two devices to the same boxes; what both leave empty is left out."""
    iou: list[float] = []
    for one, other in zip(here, there, strict=True):
        both, either = (one & other).sum((1, 2)), (one | other).sum((1, 2))
        iou += list(both[either > 0] / either[either > 0])
    return {
        "n_masks": len(iou),
        "iou_median": round(float(np.median(iou)), 4),
        "iou_mean": round(float(np.mean(iou)), 4),
        "iou_lowest_twentieth": round(float(np.quantile(iou, 0.05)), 4),
        "share_at_least_0.98": round(float(np.mean(np.asarray(iou) >= 0.98)), 4),
    }


def fields_agree(pair: tuple[Image, Image], device: str, segmenter: Segmenter) -> dict[str, Any]:
    """Difference of the fields of two devices from the same regions, in voxels; and the seconds of both."""
    fields, seconds = [], []
    regions = [as_finder(segmenter).find(image, SegmentConfig()) for image in pair]
    for where in ("cpu", device):
        started = _waited(device)
        result = samreg.register_regions(*regions, _settings(where, "auto"))
        seconds.append(round(_waited(device) - started, 3))
        if result.field is None:
            raise SystemExit("the default preset gives a field")
        fields.append(result.field.u)
    body = window(pair[0]) > _BODY
    length = np.linalg.norm((fields[0] - fields[1]) / np.asarray(pair[0].grid.spacing), axis=-1)[body]
    return {
        "cpu_s": seconds[0],
        "device_s": seconds[1],
        "difference_p95_vox": round(float(np.quantile(length, 0.95)), 4),
        "difference_largest_vox": round(float(length.max()), 4),
        "share_within_0.1_vox": round(float((length <= 0.1).mean()), 5),
    }


def _card(device: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        facts |= {"card": properties.name, "memory_gib": round(properties.total_memory / 2**30, 1)}
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (to try the script itself)")
    parser.add_argument("--precisions", default="auto", help="of the card, separated by commas: auto, float32, ...")
    parser.add_argument("--cases", default=",".join(cases()))
    parser.add_argument("--runs", type=int, default=3, help="warm runs")
    parser.add_argument("--cpu-runs", type=int, default=1, help="warm runs of the processor")
    parser.add_argument("--no-cpu", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    report: dict[str, Any] = _card(args.device) | {"cases": []}
    print(json.dumps(_card(args.device)), flush=True)

    def keep(row: dict[str, Any]) -> None:
        report["cases"].append(row)
        print(json.dumps(row), flush=True)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1) + "\n")

    precisions = args.precisions.split(",")
    exact = load_segmenter("litemedsam", engine="torch", device="cpu", precision="float32")
    for name in args.cases.split(","):
        pair = cases()[name]()
        shapes = [image.grid.shape for image in pair]
        reference = answers(pair[0], exact)
        for precision in precisions:
            here = times(pair, args.device, precision, args.runs)
            there = load_segmenter("litemedsam", engine="torch", device=args.device, precision=precision)
            peak = torch.cuda.max_memory_allocated(args.device) / 2**30 if args.device.startswith("cuda") else 0.0
            row = {"case": name, "shapes": shapes, "precision": precision, **here, "peak_gib": round(peak, 2)}
            keep(row | {"masks": masks_agree(reference, answers(pair[0], there))})
    if not args.no_cpu:
        quick = load_segmenter("litemedsam", device="cpu")
        for name in args.cases.split(","):
            pair = cases()[name]()
            row = {"case": name, **times(pair, "cpu", "auto", args.cpu_runs)}
            keep(row | {"masks": masks_agree(answers(pair[0], exact), answers(pair[0], quick))})
            keep({"case": name, "fields": fields_agree(pair, args.device, quick)})


if __name__ == "__main__":
    main()
