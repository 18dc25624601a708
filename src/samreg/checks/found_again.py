"""Check: does each place of the body look like the place that the transform puts on it, and like no other?"""

from __future__ import annotations

import numpy as np

from samreg.checks.finished import Embeddings, Finished
from samreg.checks.judge import judge
from samreg.initial.search import MATCH_TOLERANCE
from samreg.result import CheckResult

__all__ = ["check", "found_again"]

_LOW = {2: 0.2, 3: 0.12}
"""Share below which a run is to be looked at, by dimension: a volume has many more places that may look alike."""
_PLACES = 1_500
"""Places of the fixed body that are looked for."""
_AT_ONCE = 128


def check(finished: Finished) -> CheckResult | None:
    """The share of the fixed body that the embeddings find again where the transform says it is.

    Each place is compared with all places of the warped moving image, not with those near it: the fit, which goes step
    by step, cannot have brought this about by itself.
    """
    found = finished.embeddings
    if found is None:
        return None
    share = found_again(found)
    return judge(
        "found_again",
        share,
        (_LOW[found.grid.ndim], None),
        unit="of the body",
        source="real pairs of slices have 0.24 at least, other parts of the body and corners of an image 0.11 at most; "
        "of 35 pairs of volumes 32 have 0.137 at least, other parts of the body 0.019 at most (docs/results.md)",
        says=f"the transform gives the most similar place of the moving image for only {100 * share:.0f} % of the body",
        advice="look whether both images show the same part of the body, the same way round",
    )


def found_again(found: Embeddings, tolerance: float = MATCH_TOLERANCE) -> float:
    """Share of the fixed body whose most similar place in the warped image is not far away.

    Args:
        found: the embeddings of both.
        tolerance: what is not far, as a share of the grid's diagonal.
    """
    inside = found.tissue
    at = np.argwhere(inside.numpy()) * found.grid.array_spacing
    fixed, warped = found.fixed[:, inside].T, found.warped[:, inside]
    rows = np.unique(np.linspace(0, len(at) - 1, min(_PLACES, len(at))).astype(int))
    best = np.concatenate(
        [(fixed[rows[i : i + _AT_ONCE]] @ warped).argmax(1).numpy() for i in range(0, len(rows), _AT_ONCE)]
    )
    gap = np.linalg.norm(at[rows] - at[best], axis=1)
    return float(np.mean(gap <= tolerance * np.linalg.norm(found.grid.extent)))
