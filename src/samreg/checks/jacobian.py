"""Checks: how far is tissue compressed or stretched inside the body?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.initial.affine import SCALES
from samreg.result import CheckResult

__all__ = ["EXTREME", "check"]

EXTREME = (0.03, 12.5)
"""Volume ratio that one voxel in a hundred may fall below, and that one in a hundred may exceed."""
_SOURCE = "54 real registrations of slices fall to 0.036 and rise to 7.4 (docs/results.md); with a margin"


def check(finished: Finished) -> tuple[CheckResult, ...] | None:
    """The 1st, 50th and 99th percentile of the Jacobian determinant in the body, affine part included."""
    field = finished.fitted.field
    if field is None:
        return None
    inside = field.jacobian_determinant()[finished.fixed_step][finished.fixed_body]
    low, middle, high = (float(v) for v in np.percentile(inside, [1, 50, 99]))
    d = finished.images.fixed_grid.ndim
    ratio = (SCALES[0] ** d, SCALES[1] ** d)
    advice = "look at the map of the Jacobian determinant; where tissue cannot change like this, do not use the result"
    return (
        judge(
            "jacobian_p1",
            low,
            (EXTREME[0], None),
            (0.0, None),
            source=_SOURCE,
            says=f"one voxel of the body in a hundred shrinks to {low:.2g} of its volume or less",
            advice=advice,
        ),
        judge(
            "jacobian_p50",
            middle,
            ratio,
            ratio,
            source=f"two bodies differ by factors of {SCALES[0]:g} to {SCALES[1]:g} along an axis, so by "
            f"{ratio[0]:.2g} to {ratio[1]:.2g} in {'volume' if d == 3 else 'area'}",
            says=f"half of the body has a volume ratio beyond {middle:.2g}: the images do not show the same extent",
            advice="look whether one image is a part of the other, and whether their spacings are right",
        ),
        judge(
            "jacobian_p99",
            high,
            (None, EXTREME[1]),
            source=_SOURCE,
            says=f"one voxel of the body in a hundred grows to {high:.2g} times its volume or more",
            advice=advice,
        ),
    )
