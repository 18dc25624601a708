"""NiftyReg: reg_aladin (affine) and reg_f3d (free-form deformation), Modat et al., CMPB 2010 and JMI 2014."""

from __future__ import annotations

import subprocess
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from samreg.errors import RegistrationError
from samreg.evaluation.methods.base import Method
from samreg.evaluation.methods.itk_bridge import to_sitk
from samreg.field import DisplacementField
from samreg.image import Image

__all__ = ["METHODS"]

_INSTALL = "CMAKE_POLICY_VERSION_MINIMUM=3.5 pip install niftyreg"
_LNCC_SIGMA_MM = 5.0
_GRID_MM = 8.0


def _solve(fixed: Image, moving: Image, *, intra_subject: bool, threads: int, lncc: bool) -> DisplacementField:
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory(prefix="samreg-niftyreg-") as name:
        folder = Path(name)
        reference, floating = folder / "fixed.nii", folder / "moving.nii"
        sitk.WriteImage(to_sitk(fixed), str(reference))
        sitk.WriteImage(to_sitk(moving), str(floating))
        images = ["-ref", str(reference), "-flo", str(floating), "-omp", str(threads), "-voff"]
        start: list[str] = []
        if not intra_subject:
            affine = folder / "affine.txt"
            _call("reg_aladin", [*images, "-aff", str(affine), "-res", str(folder / "affine.nii")])
            start = ["-aff", str(affine)]
        # Control points closer than the slices along a thick axis would have no data of their own.
        spacing = [max(_GRID_MM, s) for s in fixed.grid.spacing]
        spline = [part for flag, mm in zip(("-sx", "-sy", "-sz"), spacing, strict=True) for part in (flag, f"{mm:g}")]
        metric = ["--lncc", f"{_LNCC_SIGMA_MM:g}"] if lncc else []
        control = folder / "control.nii"
        _call(
            "reg_f3d",
            [*images, *start, *spline, *metric, "-maxit", "300", "-cpp", str(control), "-res", str(folder / "f3d.nii")],
        )
        positions = folder / "positions.nii"
        _call("reg_transform", ["-ref", str(reference), "-def", str(control), str(positions)])
        target = np.squeeze(sitk.GetArrayFromImage(sitk.ReadImage(str(positions))))
    # Positions in RAS millimetres, one a fixed voxel.
    mapped = target.reshape(*fixed.grid.shape, 3) * np.asarray([-1.0, -1.0, 1.0])
    return DisplacementField((mapped - fixed.grid.voxel_centres()).astype(np.float32), fixed.grid)


def _call(program: str, arguments: list[str]) -> None:
    import niftyreg

    path = Path(niftyreg.__file__).parent / "bin" / program
    done = subprocess.run([str(path), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise RegistrationError(f"{program} failed with status {done.returncode}: {last[0]}")


def _method(name: str, metric: str, lncc: bool) -> Method:
    settings = {
        "affine": "reg_aladin, default settings (between subjects only)",
        "deformable": f"reg_f3d, {metric}, control points every {_GRID_MM:g} mm (or one a thick slice), "
        "3 levels, 300 iterations",
    }
    return Method(name, partial(_solve, lncc=lncc), settings, "niftyreg", "niftyreg", _INSTALL)


METHODS = (
    _method("niftyreg", "NMI", lncc=False),
    _method("niftyreg-lncc", f"LNCC with a Gaussian of {_LNCC_SIGMA_MM:g} mm", lncc=True),
)
