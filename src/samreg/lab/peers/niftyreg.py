"""NiftyReg: reg_aladin (affine) and reg_f3d (free-form deformation), Modat et al., CMPB 2010 and JMI 2014."""

from __future__ import annotations

import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import RegistrationError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.lab.peers.base import Method
from samreg.lab.peers.itk_bridge import isotropic_grid, onto_grid, to_sitk

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["NIFTYREG", "NIFTYREG_LNCC"]

_INSTALL = "CMAKE_POLICY_VERSION_MINIMUM=3.5 pip install niftyreg"
_LNCC_SIGMA_MM = 5.0
_GRID_VOXELS = 5
_MOST_VOXELS = 3_000_000
_FEWEST_VOXELS = 32
_MOST_LEVELS = 3


def _solve(fixed: Image, moving: Image, *, intra_subject: bool, threads: int, lncc: bool) -> DisplacementField:
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory(prefix="samreg-niftyreg-") as name:
        folder = Path(name)
        reference, floating = folder / "fixed.nii", folder / "moving.nii"
        work = isotropic_grid(fixed.grid, _MOST_VOXELS)
        sitk.WriteImage(to_sitk(onto_grid(fixed, work)), str(reference))
        sitk.WriteImage(to_sitk(moving), str(floating))
        images = ["-ref", str(reference), "-flo", str(floating), "-omp", str(threads), "-voff"]
        start: list[str] = []
        if not intra_subject:
            affine = folder / "affine.txt"
            _call("reg_aladin", [*images, "-aff", str(affine), "-res", str(folder / "affine.nii")])
            start = ["-aff", str(affine)]
        # Version 1.5.70 evaluates its spline rightly only where as many voxels lie between control points along all
        # axes, at every level: hence isotropic voxels, control points in voxels, and no level that cannot halve all.
        spline = [part for flag in ("-sx", "-sy", "-sz") for part in (flag, f"-{_GRID_VOXELS}")]
        levels = ["-ln", str(_n_levels(work.shape))]
        metric = ["--lncc", f"{_LNCC_SIGMA_MM:g}"] if lncc else []
        control = folder / "control.nii"
        _call(
            "reg_f3d",
            [*images, *start, *spline, *levels, *metric, "-cpp", str(control), "-res", str(folder / "f3d.nii")],
        )
        grid = sitk.ReadImage(str(control))
    return DisplacementField((_positions(grid, fixed) - fixed.grid.voxel_centres()).astype(np.float32), fixed.grid)


def _n_levels(shape: tuple[int, ...]) -> int:
    """Levels of the pyramid: an axis is halved as long as it keeps 32 voxels."""
    return int(np.clip(1 + np.floor(np.log2(min(shape) / _FEWEST_VOXELS)), 1, _MOST_LEVELS))


def _positions(control: sitk.Image, fixed: Image) -> np.ndarray:
    """Where a grid of control points sends the fixed voxels: a cubic B-spline of positions in RAS."""
    import SimpleITK as sitk
    from scipy import ndimage

    points = np.squeeze(sitk.GetArrayFromImage(control)) * np.asarray([-1.0, -1.0, 1.0])
    lattice = Grid(points.shape[:3], control.GetSpacing(), control.GetOrigin(), _rows(control.GetDirection()))
    index = lattice.world_to_index(fixed.grid.voxel_centres().reshape(-1, 3))[:, ::-1].T
    spline = [
        ndimage.map_coordinates(points[..., i], index, order=3, prefilter=False, mode="nearest") for i in range(3)
    ]
    return np.stack(spline, axis=-1).reshape(*fixed.grid.shape, 3)


def _rows(direction: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.reshape(direction, (3, 3)))


def _call(program: str, arguments: list[str]) -> None:
    import niftyreg

    path = Path(niftyreg.__file__).parent / "bin" / program
    done = subprocess.run([str(path), *arguments], capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise RegistrationError(f"{program} failed with status {done.returncode}: {last[0]}")


def _method(name: str, metric: str, lncc: bool) -> Method:
    settings = {
        "affine": "reg_aladin, default settings (between subjects only)",
        "deformable": f"reg_f3d, {metric}, control points every {_GRID_VOXELS} voxels, up to {_MOST_LEVELS} levels, "
        f"150 iterations, on isotropic voxels (at most {_MOST_VOXELS / 1e6:g} million)",
    }
    return Method(name, partial(_solve, lncc=lncc), settings, "niftyreg", "niftyreg", _INSTALL)


NIFTYREG = _method("niftyreg", "NMI", lncc=False)
NIFTYREG_LNCC = _method("niftyreg-lncc", f"LNCC with a Gaussian of {_LNCC_SIGMA_MM:g} mm", lncc=True)
