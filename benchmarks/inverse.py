"""The inverse of real displacement fields: residuals, where it did not converge, folding and seconds.

    python -m benchmarks.inverse RUN [RUN ...]        run folders of samreg register

For each run two rows are computed. `points`: the fixed voxel centres carried into the moving image and back by
`inverse_of_points`. `grid`: `inverse_on` the grid of the moving image, that is, its voxel centres carried back. A
residual is |x + u(x) - y| by `transform_points`, which the inverse does not use, in voxels and in world units.
`there and back`: the distance between a point and what it became, which is small only where nothing folds.
Folded: cells with a Jacobian of at most 0 at one of their corners, and voxels by central differences.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from samreg.geometry.field import DisplacementField
from samreg.geometry.inverse import InverseResult
from samreg.runs.run_folder import read_run


def residuals(field: DisplacementField, found: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths in voxels and in world units."""
    arrived = field.transform_points(found)
    index = field.grid.world_to_index
    return np.linalg.norm(index(arrived) - index(wanted), axis=1), np.linalg.norm(arrived - wanted, axis=1)


def row(name: str, field: DisplacementField, result: InverseResult, wanted: np.ndarray, seconds: float) -> list[float]:
    vox, world = residuals(field, result.points, wanted)
    unit = field.grid.unit
    print(
        f"  {name:6} {len(wanted):8} points  residual p99 {np.percentile(vox, 99):.1e} max {vox.max():.1e} voxels "
        f"(max {world.max():.1e} {unit})  above 0.01 voxels: {100 * np.mean(vox > 0.01):.2g} %  not converged: "
        f"{100 * np.mean(~result.converged):.2g} %  outside: {100 * np.mean(~result.inside):.0f} %  {seconds:.1f} s",
        flush=True,
    )
    return [float(np.percentile(vox, 99)), float(vox.max()), float(world.max())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    rows: dict[str, list[list[float]]] = {"points": [], "grid": []}
    for path in parser.parse_args().runs:
        run = read_run(path)
        field = run.transform()
        corner = field.min_corner_jacobian()
        print(
            f"{path.name}: {field.grid.shape} smallest Jacobian at a corner {corner.min():.3f}, folded cells "
            f"{100 * np.mean(corner <= 0):.2g} %, folded voxels {100 * field.folding_fraction():.2g} %"
        )
        x = field.grid.voxel_centres().reshape(-1, field.grid.ndim)
        y = field.transform_points(x)
        began = time.perf_counter()
        result = field.inverse_of_points(y)
        rows["points"].append(row("points", field, result, y, time.perf_counter() - began))
        apart = np.linalg.norm(field.grid.world_to_index(result.points) - field.grid.world_to_index(x), axis=1)
        print(f"         there and back: p99 {np.percentile(apart, 99):.1e} max {apart.max():.1e} voxels")
        began = time.perf_counter()
        _, result = field.inverse_on(run.moving_grid)
        seconds = time.perf_counter() - began
        y = run.moving_grid.voxel_centres().reshape(-1, field.grid.ndim)
        rows["grid"].append(row("grid", field, result, y, seconds))
    for name, numbers in rows.items():
        p99, largest, world = np.asarray(numbers).max(axis=0)
        print(
            f"all {len(numbers)}, {name}: p99 at most {p99:.1e}, max {largest:.1e} voxels, {world:.1e} in world units"
        )


if __name__ == "__main__":
    main()
