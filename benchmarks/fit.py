"""Fitting equation (2) against plain gradient descent on the same pairs, in the same run.

    python -m benchmarks.fit                                     the phantom
    python -m benchmarks.fit --fixed F --moving M [--slice N]    a slice of two images, the middle one by default

The reference is what the paper's released code does: Adam on a displacement of every pixel, at full resolution, from
zero, for `--steps` steps (10,000). Both are judged by the same function, equation (2) with hard masks at full
resolution: the weighted mean over the pairs of MSE + 1 - Dice, plus lambda times the mean squared gradient. Prints it
for no displacement and for both results, the reference's curve at the time that ours took, and the ratio of times.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from samreg import Image, preset, read_image
from samreg.fit.levels import fit_dense
from samreg.fit.problem import DenseProblem
from samreg.geometry.ops.displacement import gradient_energy
from samreg.geometry.rois import PairedRois
from samreg.pipeline import register_regions, segment
from samreg.regions.slices import window


def _plane(path: Path, number: int | None) -> Image:
    image = read_image(path)
    if image.grid.ndim == 2:
        return image
    number = image.grid.shape[0] // 2 if number is None else number
    return Image(np.ascontiguousarray(image.data[number]), image.grid.slice_grid(0), path.name)


def equation_2(pairs: PairedRois, smoothness: float) -> Callable[[Tensor], Tensor]:
    """The loss of a displacement (2, y, x) in pixels, array order."""
    fixed, moving = (torch.from_numpy(rois.masks()).float() for rois in (pairs.fixed, pairs.moving))
    weights = torch.from_numpy(pairs.weights).float() / len(pairs)
    shape = fixed.shape[1:]
    identity = torch.stack(torch.meshgrid(*(torch.arange(n).float() for n in shape), indexing="ij"))
    last = torch.tensor([n - 1.0 for n in moving.shape[1:]]).reshape(2, 1, 1)

    def loss(u: Tensor) -> Tensor:
        at = (2 * (identity + u) / last - 1).flip(0).permute(1, 2, 0)[None]
        warped = functional.grid_sample(moving[None], at, align_corners=True)[0]
        mse = (warped - fixed).square().mean(dim=(1, 2))
        both, total = (warped * fixed).sum(dim=(1, 2)), (warped + fixed).sum(dim=(1, 2))
        regions = (weights * (mse + 1 - (2 * both + 1) / (total + 1))).sum()
        return regions + smoothness * gradient_energy(u, (1.0, 1.0))

    return loss


def descend(loss: Callable[[Tensor], Tensor], shape: tuple[int, ...], steps: int, rate: float) -> list[list[float]]:
    """Adam on every pixel's displacement: seconds and loss after each step."""
    u = torch.zeros(2, *shape, requires_grad=True)
    optimiser = torch.optim.Adam([u], lr=rate)
    curve, began = [], time.perf_counter()
    for _ in range(steps):
        optimiser.zero_grad()
        value = loss(u)
        curve.append([time.perf_counter() - began, float(value.detach())])
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        curve.append([time.perf_counter() - began, float(loss(u))])
    return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixed", type=Path)
    parser.add_argument("--moving", type=Path)
    parser.add_argument("--slice", type=int)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=0.1, help="Adam's step in pixels")
    arguments = parser.parse_args()
    if arguments.fixed is None or arguments.moving is None:
        from samreg.geometry.phantom import phantom

        example = phantom(2)
        fixed, moving = example.fixed, example.moving
    else:
        fixed, moving = (_plane(path, arguments.slice) for path in (arguments.fixed, arguments.moving))
    config = preset("regions")
    regions = [segment(image, config) for image in (fixed, moving)]
    only_pairs = replace(config, fit=replace(config.fit, transform="none"))
    pairs = register_regions(*regions, only_pairs).pairs
    loss = equation_2(pairs, config.fit.elastic.smoothness)
    grid = fixed.grid
    problem = DenseProblem(
        window(fixed, config.segment.hounsfield),
        window(moving, config.segment.hounsfield),
        grid,
        moving.grid,
        np.eye(3),
        pairs,
        None,
        torch.zeros(2, *grid.shape),
        None,
    )
    fit_dense(problem, config.fit)  # what is done once a process, not once a fit
    began = time.perf_counter()
    found = fit_dense(problem, config.fit)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        before, ours = float(loss(torch.zeros(2, *grid.shape))), float(loss(found.displacement))
    curve = descend(loss, grid.shape, arguments.steps, arguments.rate)
    theirs, best = curve[-1][1], min(value for _, value in curve)
    print(f"{len(pairs)} pairs on {grid.shape[0]} x {grid.shape[1]} pixels, {torch.get_num_threads()} threads")
    print(f"equation (2) before: {before:.4f}")
    print(f"samreg: {ours:.4f} after {seconds:.2f} s, {found.iterations} steps")
    at = [value for t, value in curve if t <= seconds][-1]
    print(f"Adam at every pixel: {at:.4f} after as long; {theirs:.4f} (best {best:.4f}) after {curve[-1][0]:.1f} s")
    reached = next((t for t, value in curve if value <= ours), None)
    print("Adam needs " + (f"{reached:.2f} s to be as low" if reached is not None else "longer than that to be as low"))
    print(f"ratio of the times: {curve[-1][0] / seconds:.0f}")


if __name__ == "__main__":
    main()
