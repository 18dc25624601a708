"""Check: does tissue move further than the field of view allows?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.geometry.ops.displacement import rescaled_part
from samreg.result import CheckResult

__all__ = ["check"]


def check(finished: Finished) -> CheckResult | None:
    """The longest displacement (99th percentile in the body) beside the affine map, as a share of the field of view.

    Along each axis of the fixed image for itself; the largest share counts.
    """
    if finished.fitted.field is None or not finished.config.fit.is_dense:
        return None
    grid = finished.images.fixed_grid
    moved = rescaled_part(finished.fitted.displacement, grid.shape, finished.fixed_step).abs().numpy(force=True)
    shares = [float(np.percentile(v[finished.fixed_body], 99)) / n for v, n in zip(moved, grid.shape, strict=True)]
    worst = int(np.argmax(shares))
    share, length = shares[worst], shares[worst] * grid.shape[worst] * grid.array_spacing[worst]
    return judge(
        "displacement",
        share,
        (None, 0.25),
        (None, 0.5),
        unit="of the field of view",
        source="after the affine map, what moves by a quarter of the image has left its part of the body; by a half, "
        "most of it comes from outside",
        says=f"tissue moves by up to {length:.0f} {grid.unit} beside the affine map, {100 * share:.0f} % of the image",
        advice="look whether both images show the same part of the body",
    )
