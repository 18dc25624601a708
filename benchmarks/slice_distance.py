"""What it costs to encode fewer slices: the labelled structures that regions of every k-th slice still find.

    python -m benchmarks.slice_distance DATASET --root DIR [--limit N] [--steps 1,2,3,4]

Regions of every slice are found once (or come from the cache); those of every k-th slice are the same regions, with the
slices between taking over the nearest one's. Prints, for every k: the distance of encoded slices in cells of the
embedding, the mean over structures of the best Dice with a linked 3D region, and the share of structures found with
Dice of at least 0.5 and 0.7.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from samreg.config import SegmentConfig
from samreg.geometry.rois import Roi, RoiSet
from samreg.io.images import read_image, read_labels
from samreg.lab.datasets import open_dataset
from samreg.regions.cache import RegionsCache
from samreg.regions.find import find_regions, open_finder
from samreg.regions.linking import link_regions
from samreg.regions.regions import Regions


def every(regions: Regions, step: int) -> Regions:
    """Regions of every `step`-th slice, which the slices around it take over."""
    axis = regions.slice_axis
    if axis is None:
        raise SystemExit("only volumes have slices")
    n = regions.image.grid.shape[axis]
    rois, rows, owners = [], [], []
    for first in range(0, n, step):
        here = min(first + (step - 1) // 2, n - 1)
        for row in np.flatnonzero(regions.slice_index == here):
            roi = regions.rois[int(row)]
            for number in range(first, min(first + step, n)):
                start = tuple(number if a == axis else s for a, s in enumerate(roi.start))
                rois.append(Roi(roi.mask, start, roi.quality))
                rows.append(row)
                owners.append(number)
    return dataclasses.replace(
        regions,
        rois=RoiSet(tuple(rois), regions.rois.grid),
        prototypes=regions.prototypes[np.asarray(rows, dtype=int)],
        slice_index=np.asarray(owners),
    )


def best_dice(regions: Regions, labels: np.ndarray) -> list[float]:
    """The best Dice of a linked region with each labelled structure."""
    linked = link_regions(regions).rois
    sizes = {int(v): int((labels == v).sum()) for v in np.unique(labels) if v}
    best = dict.fromkeys(sizes, 0.0)
    for roi in linked.rois:
        inside, counts = np.unique(labels[roi.box][roi.mask], return_counts=True)
        for value, both in zip(inside, counts, strict=True):
            if value:
                best[int(value)] = max(best[int(value)], 2 * both / (roi.n_voxels + sizes[int(value)]))
    return list(best.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--steps", default="1,2,3,4")
    args = parser.parse_args()
    settings, cache = SegmentConfig(), RegionsCache()
    finder = open_finder(settings)
    images: dict[Path, Path] = {}
    for pair in open_dataset(args.dataset, args.root, args.limit):
        if pair.fixed_labels is not None and pair.moving_labels is not None:
            images |= {pair.fixed: pair.fixed_labels, pair.moving: pair.moving_labels}
    found: dict[int, list[float]] = {}
    cells: dict[int, list[float]] = {}
    for image_file, label_file in images.items():
        image, (labels, _) = read_image(image_file), read_labels(label_file)
        regions = find_regions(image, finder, settings, cache)
        if regions.features is None or regions.slice_axis is None:
            continue
        spacing = image.grid.array_spacing
        cell = max(s for a, s in enumerate(regions.features.grid.array_spacing) if a != regions.slice_axis)
        for step in map(int, args.steps.split(",")):
            found.setdefault(step, []).extend(best_dice(every(regions, step), labels))
            cells.setdefault(step, []).append(step * spacing[regions.slice_axis] / cell)
        print(image.name, {k: round(float(np.mean(v)), 3) for k, v in found.items()}, flush=True)
    print("every  cells apart  structures  mean best Dice  at 0.5  at 0.7")
    for step, values in found.items():
        dice = np.asarray(values)
        shares = (dice >= 0.5).mean(), (dice >= 0.7).mean()
        print(f"{step:5d}  {np.mean(cells[step]):11.2f}  {len(dice):10d}  {dice.mean():14.3f}", end="")
        print(f"  {shares[0]:6.3f}  {shares[1]:6.3f}")


if __name__ == "__main__":
    main()
