"""ConvexAdam: MIND features, coupled convex optimisation and Adam, Siebert et al., IEEE TMI 2024."""

from __future__ import annotations

import numpy as np

from samreg.errors import install_command
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.lab.peers.affine import register_affine
from samreg.lab.peers.base import Method
from samreg.lab.peers.itk_bridge import after_affine, at_voxels, isotropic_grid, onto_grid, quiet

__all__ = ["CONVEXADAM"]

_MOST_VOXELS = 6_000_000
# Its coarse cells are 6 voxels: fewer than four of them along an axis leave the method nothing to average.
_FEWEST = 24


def _solve(fixed: Image, moving: Image, *, intra_subject: bool, threads: int) -> DisplacementField:  # noqa: ARG001
    import torch
    from convexAdam.convex_adam_MIND import convex_adam_pt

    affine = np.eye(4) if intra_subject else register_affine(fixed, moving)
    work = isotropic_grid(fixed.grid, _MOST_VOXELS, fewest=_FEWEST)
    a, b = onto_grid(fixed, work), onto_grid(moving, work, affine)
    voxels = quiet(
        convex_adam_pt, a.grey(), b.grey(), dtype=torch.float32, device=torch.device("cpu")
    )  # (z, y, x, 3), array order, in voxels
    u = (voxels[..., ::-1] * np.asarray(work.spacing)) @ np.asarray(work.direction).T
    warp = DisplacementField(u.astype(np.float32), work)
    return after_affine(at_voxels(warp, fixed.grid), affine)


CONVEXADAM = Method(
    "convexadam",
    _solve,
    {
        "affine": "SimpleITK, mutual information, 3 levels, two starts (between subjects only)",
        "deformable": "MIND radius 1 dilation 2, grid 6, search 4, inverse consistency, lambda 1.25, "
        f"80 Adam steps (its defaults), on isotropic voxels (at most {_MOST_VOXELS / 1e6:g} million)",
    },
    "convexadam",
    "convexAdam",
    install_command("peers", "convexadam"),
)
