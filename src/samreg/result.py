"""RegistrationResult: everything one registration found out."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois
from samreg.types import Matrix

if TYPE_CHECKING:
    from samreg.config import RegisterConfig

__all__ = ["RegistrationResult"]


@dataclasses.dataclass(frozen=True, eq=False)
class RegistrationResult:
    """Pairs, transform and how they came about.

    Args:
        fixed: the fixed image; its grid is the grid of the field.
        moving: the moving image, not warped: `result.field.warp(result.moving)` does that.
        pairs: the correspondence.
        affine: (d + 1, d + 1) fixed world to moving world: the affine part of the transform, or None.
        field: the whole transform (affine part included) on the fixed grid; None when `transform` is `none`.
        config: the settings of the run.
        confidence: how far the run trusts itself, in [0, 1].
        provenance: segmenter, weights, engine, device, versions.
        seconds: wall time of each stage.
        losses: value of each term of the objective at the end of the fit.
        warnings: what the user should know, one sentence each.
    """

    fixed: Image
    moving: Image
    pairs: PairedRois
    affine: Matrix | None
    field: DisplacementField | None
    config: RegisterConfig
    confidence: float = 1.0
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    losses: dict[str, float] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()
