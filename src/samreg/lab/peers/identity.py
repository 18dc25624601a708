"""No registration: what the images agree on by their headers alone. Every method is compared with it."""

from __future__ import annotations

from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.lab.peers.base import Method

__all__ = ["IDENTITY"]


def _solve(fixed: Image, moving: Image, *, intra_subject: bool, threads: int) -> DisplacementField:  # noqa: ARG001
    return DisplacementField.identity(fixed.grid)


IDENTITY = Method("identity", _solve, {}, dimensions=(2, 3))
