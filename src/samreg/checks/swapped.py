"""Check: does the registration of the swapped images lead back?"""

from __future__ import annotations

import numpy as np

from samreg.checks.again import swapped_fit
from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.initial.search import MATCH_TOLERANCE
from samreg.result import CheckResult

__all__ = ["check"]

_POINTS = 20_000


def check(finished: Finished) -> CheckResult | None:
    """How far from where they were points of the body end, by the field and back by that of the swapped images.

    The median over those that meet the moving image, in world units.
    """
    field = finished.fitted.field
    if field is None or not finished.config.fit.is_dense:
        return None
    back = swapped_fit(finished).field
    points = finished.body_points("fixed", _POINTS)
    there = field.transform_points(points)
    inside = finished.images.moving_grid.contains(there)
    if back is None or not inside.any():
        return None
    error = float(np.median(np.linalg.norm(back.transform_points(there[inside]) - points[inside], axis=1)))
    grid = finished.images.fixed_grid
    limit = MATCH_TOLERANCE * float(np.linalg.norm(grid.extent))
    return judge(
        "swapped",
        error,
        (None, limit),
        (None, 4 * limit),
        unit=grid.unit,
        source="6 % of the image's diagonal, the distance up to which the search calls two matches alike; a quarter of "
        "the diagonal is another part of the body",
        says=f"registered the other way round, half of the body ends {error:.1f} {grid.unit} or more from where it was",
        advice="at least one of the two registrations is wrong: look at both",
    )
