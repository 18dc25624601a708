"""A registration result made of the phantom's truth, without a registration."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np

from samreg.config import preset
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.phantom import phantom
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.result import Origin, RegistrationResult


@functools.cache
def true_result(ndim: Literal[2, 3] = 2, *, with_field: bool = True, n_slices: int = 3) -> RegistrationResult:
    """The phantom's organs as pairs and its true field, made once: no test may change its arrays."""
    pair = phantom(ndim, n_slices=n_slices)
    fixed = RoiSet.from_labels(pair.fixed_labels, pair.fixed.grid, pair.names)
    moving = RoiSet.from_labels(pair.moving_labels, pair.moving.grid, pair.names)
    affine = np.eye(ndim + 1)
    affine[0, -1], affine[1, -1] = 4.0, -3.0
    return RegistrationResult(
        pair.fixed,
        pair.moving,
        PairedRois(fixed, moving, np.linspace(0.98, 0.8, len(fixed)), np.linspace(1, 0.4, len(fixed))),
        affine if with_field else None,
        pair.field if with_field else None,
        preset("default"),
        0.83,
        origins=(Origin("labels"), Origin("labels")),
        seconds={"segment": 1.25, "fit": 2.5},
        losses={"rois": 0.12, "smoothness": 0.01},
        notes=("This is <not> a real registration.",),
    )


def photograph_result(colour: bool = True) -> RegistrationResult:
    """Two pictures in pixels, the moving one shifted by (3, 2)."""
    rng = np.random.default_rng(0)
    big = np.rint(rng.uniform(0, 255, (12, 14, 3) if colour else (12, 14))).repeat(5, 0).repeat(5, 1)
    fixed_grid, moving_grid = Grid((50, 60), (1.0, 1.0), unit="px"), Grid((60, 70), (1.0, 1.0), unit="px")
    u = np.broadcast_to(np.float32([3.0, 2.0]), (50, 60, 2)).astype(np.float32)
    mask, other = np.zeros((50, 60), bool), np.zeros((60, 70), bool)
    mask[10:20, 20:40], other[12:22, 23:43] = True, True
    pairs = PairedRois(RoiSet.from_masks([mask], fixed_grid), RoiSet.from_masks([other], moving_grid), np.array([0.9]))
    return RegistrationResult(
        Image(big[2:52, 3:63].astype(np.float32), fixed_grid, "a.png"),
        Image(big.astype(np.float32), moving_grid, "b.png"),
        pairs,
        None,
        DisplacementField(u, fixed_grid),
        preset("default"),
    )
