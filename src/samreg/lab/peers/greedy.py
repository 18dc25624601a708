"""greedy: fast diffeomorphic registration, Yushkevich et al., Alzheimer's & Dementia 2016."""

from __future__ import annotations

import numpy as np

from samreg.errors import install_command
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.lab.peers.base import Method
from samreg.lab.peers.itk_bridge import (
    FEWEST_SLICES,
    MOST_ANISOTROPIC,
    after_affine,
    at_voxels,
    field_from_sitk,
    quiet,
    ras_to_lps,
    to_sitk,
    with_interpolated_slices,
)

__all__ = ["GREEDY"]

_ITERATIONS = "100x100x50"
_METRIC = {2: "NCC 4x4", 3: "NCC 4x4x4"}
"""By dimension."""
_SIGMAS = "3mm 1mm"


def _solve(fixed: Image, moving: Image, *, intra_subject: bool, threads: int) -> DisplacementField:
    from picsl_greedy import Greedy2D, Greedy3D

    d = fixed.grid.ndim
    tool = Greedy2D() if d == 2 else Greedy3D()
    work = with_interpolated_slices(fixed)
    images = {"fixed": to_sitk(work), "moving": to_sitk(moving)}
    common, metric = f"-threads {threads} -float", _METRIC[d]
    affine = np.eye(d + 1)
    start = ""
    if not intra_subject:
        # Not NMI: on each of three prostates tried, its map scaled one image by ten and more.
        command = f"-i fixed moving -a -dof 12 -m {metric} -n 200x100x50 -ia-image-centers -o affine {common}"
        quiet(tool.execute, command, **images, affine=None)
        affine = ras_to_lps(np.asarray(tool["affine"]))
        start = "-it affine"
    # Sigmas in voxels would smooth a thick slice into its neighbours; millimetres do not.
    command = f"-i fixed moving {start} -m {metric} -n {_ITERATIONS} -s {_SIGMAS} -o warp {common}"
    quiet(tool.execute, command, **images, warp=None)
    return after_affine(at_voxels(field_from_sitk(tool["warp"], work.grid), fixed.grid), affine)


GREEDY = Method(
    "greedy",
    _solve,
    {
        "affine": f"12 degrees of freedom, {_METRIC[3]}, from the image centres, 200x100x50 iterations "
        "(between subjects only)",
        "deformable": f"{_METRIC[3]}, sigmas {_SIGMAS}, {_ITERATIONS} iterations; slices interpolated until they are "
        f"at most {MOST_ANISOTROPIC:g} times as thick as a pixel and at least {FEWEST_SLICES}",
    },
    "picsl-greedy",
    "picsl_greedy",
    install_command("peers", "picsl-greedy"),
    dimensions=(2, 3),
)
