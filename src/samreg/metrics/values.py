"""Numbers of labels: which labels there are, their mean, and the one number that a table shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from samreg.errors import GeometryError
from samreg.types import LabelArray

__all__ = ["check_shapes", "label_values", "mean", "single_number"]


def label_values(*maps: LabelArray) -> list[int]:
    """Label values that occur in any of the maps, ascending, without the background."""
    found: set[int] = set()
    for labels in maps:
        found |= {int(v) for v in np.unique(labels)}
    return sorted(found - {0})


def mean(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN if there is none."""
    rows = np.asarray(list(values), dtype=float)
    rows = rows[~np.isnan(rows)]
    return float(rows.mean()) if rows.size else float("nan")


def single_number(value: Any) -> float:
    """The one number that tables and summaries show of a metric, as `Metric.compute` gives it or a record keeps it.

    The number itself; `mean` where the metric has several statistics; the mean over labels, without NaN and None;
    the length of a list; NaN for None.
    """
    if isinstance(value, Mapping):
        rows = [value["mean"]] if "mean" in value else list(value.values())
        return mean(float("nan") if v is None else float(v) for v in rows)
    if isinstance(value, list):
        return float(len(value))
    return float("nan") if value is None else float(value)


def check_shapes(caller: str, fixed: np.ndarray, warped: np.ndarray) -> None:
    """Make sure that two label maps have one shape; `caller` names the metric in the message."""
    if np.shape(fixed) != np.shape(warped):
        raise GeometryError(
            f"{caller} compares labels on one grid, got shapes {np.shape(fixed)} and {np.shape(warped)}: "
            "warp the moving labels onto the fixed grid first"
        )
