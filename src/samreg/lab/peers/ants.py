"""ANTs: symmetric normalisation (SyN), Avants et al., Medical Image Analysis 2008; in 3D, and slice by slice in 2D."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import RegistrationError, install_command
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.lab.peers.base import Method
from samreg.lab.peers.itk_bridge import after_affine, matrix_of, register_slices

__all__ = ["ANTS", "ANTS_2D", "ANTS_MI"]

_INSTALL = install_command("peers", "antspyx")
_CC_RADIUS = {2: 4, 3: 2}
"""Of the cross-correlation, by dimension: in 3D radius 4 takes seven times as long and brings nothing (ACDC patient027:
0.693 in 225 s, radius 2 0.695 in 31 s)."""
_MI_BINS = 32
_ITERATIONS = {2: (100, 70, 50, 20), 3: (100, 70, 50, 0)}
"""By dimension; in 3D those of ANTs' own antsRegistrationSyNQuick.sh."""


def _to_ants(image: Image) -> Any:
    import ants

    # antspyx indexes arrays (x, y, z).
    data = np.ascontiguousarray(image.grey().T)
    direction = np.asarray(image.grid.direction)
    return ants.from_numpy(data, origin=image.grid.origin, spacing=image.grid.spacing, direction=direction)


def _register(fixed: Image, moving: Image, folder: Path, *, metric: str, affine_first: bool) -> DisplacementField:
    import ants
    import SimpleITK as sitk

    d = fixed.grid.ndim
    options: dict[str, Any] = {
        # SyNRA optimises a rigid and an affine map before SyN; SyNOnly starts from the headers.
        "type_of_transform": "SyNRA" if affine_first else "SyNOnly",
        "syn_metric": metric,
        "syn_sampling": _CC_RADIUS[d] if metric == "CC" else _MI_BINS,
        "reg_iterations": _ITERATIONS[d],
        "outprefix": str(folder / "t_"),
        "random_seed": 1,
        "singleprecision": True,
    }
    if not affine_first:
        options["initial_transform"] = "identity"
    found = ants.registration(_to_ants(fixed), _to_ants(moving), **options)["fwdtransforms"]
    warp = None
    affine = np.eye(d + 1)
    for path in map(str, found):
        if path.endswith((".nii.gz", ".nii")):
            # (x, y, z, component) -> (z, y, x, component)
            u = ants.image_read(path).numpy()
            warp = DisplacementField(np.swapaxes(u, 0, -2) if u.ndim == 3 else u.transpose(2, 1, 0, 3), fixed.grid)
        else:
            affine = matrix_of(sitk.ReadTransform(path))
    if warp is None:
        raise RegistrationError(f"ANTs returned no displacement field for {fixed.name}")
    return after_affine(warp, affine)


def _solve(fixed: Image, moving: Image, *, intra_subject: bool, threads: int, metric: str) -> DisplacementField:  # noqa: ARG001
    with tempfile.TemporaryDirectory(prefix="samreg-ants-") as name:
        return _register(fixed, moving, Path(name), metric=metric, affine_first=not intra_subject)


def _solve_slices(fixed: Image, moving: Image, *, intra_subject: bool, threads: int) -> DisplacementField:  # noqa: ARG001
    def one(a: Image, b: Image) -> np.ndarray:
        with tempfile.TemporaryDirectory(prefix="samreg-ants-") as name:
            return _register(a, b, Path(name), metric="CC", affine_first=False).u

    return register_slices(fixed, moving, one)


def _method(name: str, metric: str, text: str) -> Method:
    counts = ["x".join(map(str, _ITERATIONS[d])) for d in (3, 2)]
    settings = {
        "affine": "rigid, then affine with mutual information (SyNRA; between subjects only)",
        "deformable": f"SyN, {text}, {counts[0]} iterations ({counts[1]} in 2D)",
    }
    return Method(name, partial(_solve, metric=metric), settings, "antspyx", "ants", _INSTALL, dimensions=(2, 3))


ANTS = _method("ants", "CC", f"cross-correlation of radius {_CC_RADIUS[3]} ({_CC_RADIUS[2]} in 2D)")
ANTS_MI = _method("ants-mi", "mattes", f"mutual information of {_MI_BINS} bins")
ANTS_2D = Method(
    "ants2d",
    _solve_slices,
    {
        "deformable": f"slice by slice: SyN, cross-correlation of radius {_CC_RADIUS[2]}, "
        f"{'x'.join(map(str, _ITERATIONS[2]))} iterations"
    },
    "antspyx",
    "ants",
    _INSTALL,
    slices_only=True,
)
