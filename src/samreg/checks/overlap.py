"""Check: does each image show what the other shows?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.result import CheckResult

__all__ = ["check", "shares"]

_FORWARD, _BACKWARD = 20_000, 2_000
"""Voxels of the body that are carried each way; the way back needs the inverse."""


def check(finished: Finished) -> CheckResult | None:
    """The share of the fixed image's body that lies inside the moving image, where the transform carries it.

    The message also names the reverse: the share of the moving image's body that comes from inside the fixed image.
    Where that is large, the moving image is a part of the fixed one, which is something to look at and no failure.
    """
    found = shares(finished)
    if found is None:
        return None
    forward, backward = found
    few = max(found) < 0.5
    return judge(
        "overlap",
        forward,
        (0.75, None),
        (1.0 if few else None, None),
        unit="of the fixed body",
        source="where the moving image does not reach, the field is a guess: at most a quarter; two images of which "
        "neither holds half of the other have most of their tissue alone",
        says=f"{100 * forward:.0f} % of the fixed image's body lies inside the moving image, and "
        f"{100 * backward:.0f} % of the moving image's body inside the fixed image",
        advice="use the result only where both images reach",
    )


def shares(finished: Finished) -> tuple[float, float] | None:
    """Share of the fixed body inside the moving image, and of the moving body inside the fixed image."""
    field, images = finished.fitted.field, finished.images
    if field is None:
        return None
    points = finished.body_points("fixed", _FORWARD)
    forward = images.moving_grid.contains(field.transform_points(points))
    backward = field.inverse_of_points(finished.body_points("moving", _BACKWARD)).inside
    return float(np.mean(forward)), float(np.mean(backward))
