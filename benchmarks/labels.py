"""Label maps carried along: seconds of one pass over the voxels against one pass a label, as samreg did before.

    python -m benchmarks.labels [--shape 48,80,80] [--labels 3,30,300,2900]

Prints, for each number of labels, the seconds of both, their ratio, and the share of voxels in which they differ (where
two labels have the same share, rounding decided before).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from scipy import ndimage

from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.ops.resample import sample
from samreg.metrics import centroid_tre, dice, hd95


def one_pass_a_label(field: DisplacementField, labels: np.ndarray, moving: Grid) -> np.ndarray:
    index = torch.from_numpy(field.moving_index(moving))
    best = sample(torch.from_numpy((labels == 0).astype(np.float32))[None], index, outside=1.0)[0]
    out = torch.zeros(field.grid.shape, dtype=torch.int32)
    for value in np.unique(labels[labels != 0]):
        share = sample(torch.from_numpy((labels == value).astype(np.float32))[None], index)[0]
        wins = (share >= best) & (share > 0)
        out[wins], best = int(value), torch.where(wins, share, best)
    return out.numpy()


def parcels(shape: tuple[int, ...], n: int, seed: int = 0) -> np.ndarray:
    """A map of n labels: each voxel has the label of the nearest of n points, and the outer tenth is background."""
    random = np.random.default_rng(seed)
    seeds = np.zeros(shape, dtype=np.int32)
    while np.count_nonzero(seeds) < n:
        seeds[tuple(random.integers(0, m) for m in shape)] = 1
    seeds[seeds > 0] = 1 + np.arange(np.count_nonzero(seeds))
    nearest = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    labels: np.ndarray = seeds[tuple(nearest)]
    middle = tuple(slice(m // 10, m - m // 10) for m in shape)
    inner = np.zeros(shape, dtype=bool)
    inner[middle] = True
    return np.where(inner, labels, 0).astype(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="48,80,80")
    parser.add_argument("--labels", default="3,30,300,2900")
    arguments = parser.parse_args()
    shape = tuple(int(n) for n in arguments.shape.split(","))
    grid = Grid(shape, (1.0,) * len(shape))
    random = np.random.default_rng(1)
    u = np.stack([ndimage.gaussian_filter(random.normal(size=shape), 6) for _ in shape], axis=-1)
    field = DisplacementField((3 * u / u.std()).astype(np.float32), grid)
    print("labels  one pass [s]  a pass a label [s]  ratio  differing voxels  evaluating [s]")
    for n in (int(n) for n in arguments.labels.split(",")):
        labels = parcels(shape, n)
        began = time.perf_counter()
        new = field.warp_labels(labels, grid)
        middle = time.perf_counter()
        old = one_pass_a_label(field, labels, grid)
        end = time.perf_counter()
        for metric in (dice, lambda a, b: centroid_tre(a, b, grid), lambda a, b: hd95(a, b, grid)):
            metric(labels, new)
        evaluated = time.perf_counter() - end
        ours, theirs = middle - began, end - middle
        print(
            f"{n:6}  {ours:12.2f}  {theirs:18.2f}  {theirs / ours:5.1f}  {np.mean(old != new):16.1e}  {evaluated:.1f}"
        )


if __name__ == "__main__":
    main()
