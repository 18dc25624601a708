"""Check: is the affine map one that may lie between two bodies?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.initial.affine import SCALES
from samreg.result import CheckResult

__all__ = ["check"]

_IMPOSSIBLE = (0.5, 2.0)


def check(finished: Finished) -> CheckResult | None:
    """The scale of the affine map along an axis that is furthest from 1; negative where the map mirrors.

    The search takes no candidate beyond its limits, but what it refines on all matches that agree may leave them.
    """
    affine = finished.start.affine if finished.fitted.affine is None else finished.fitted.affine
    linear = affine[:-1, :-1]
    scales = np.linalg.svd(linear, compute_uv=False)
    worst = float(scales[np.argmax(np.abs(np.log(np.maximum(scales, 1e-9))))])
    mirrors = bool(np.linalg.det(linear) < 0)
    return judge(
        "start",
        -worst if mirrors else worst,
        SCALES,
        _IMPOSSIBLE,
        source="limits of the search: one body is 0.6 to 1.6 times as large as another along an axis; half and twice "
        "are no longer two bodies of one kind",
        says="the affine map mirrors the body" if mirrors else f"the affine map scales by {worst:.2f} along an axis",
        advice="look whether the spacings of both images are right, and whether one was padded or cropped",
    )
