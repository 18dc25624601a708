"""Check: would the mirrored moving image have fitted better?"""

from __future__ import annotations

import numpy as np

from samreg.checks.again import registered_again
from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.checks.mirrored import mirror_gains
from samreg.result import CheckResult

__all__ = ["check"]


def check(finished: Finished) -> CheckResult | None:
    """How much more alike the embeddings are after a registration of the moving image's mirror image.

    The moving image is mirrored along the axis along which that changes least, segmented and registered: a brain that
    was mirrored left to right fits nearly as well, but not quite. It costs a segmentation and a registration.
    """
    before = finished.agreement.embedding
    gains = mirror_gains(finished)
    if finished.segment is None or before is None or not gains:
        return None
    axis = max(gains, key=lambda a: gains[a])
    image = finished.images.moving.image
    flipped = np.flip(image.data, image.grid.ndim - 1 - axis)
    other = finished.segment(image.with_data(np.ascontiguousarray(flipped)))
    after = registered_again(finished, finished.images.fixed, other).agreement.embedding
    gain = -before if after is None else after - before
    return judge(
        "handedness",
        gain,
        (None, 0.0),
        source="the better likeness counts: of nine brains each fits its neighbour better than its mirror image does, "
        "by 0.014 to 0.037 (docs/results.md)",
        says=f"the moving image fits better when it is mirrored along its {'xyz'[axis]} axis",
        advice="look whether left and right, or top and bottom, are the same in both images",
    )
