"""Metric: one number of a registered pair, or one a label, found by name; and what a metric measures.

A metric that another package adds is an entry point of the group `samreg.metrics` that names a `Metric`. It is then in
every record of `samreg batch` and `samreg benchmark`, in the tables, and in what `samreg evaluate` prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np

from samreg import plugins
from samreg.errors import ConfigError, PluginError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois
from samreg.metrics.label_overlaps import LabelOverlaps
from samreg.metrics.values import label_values
from samreg.types import FixedLabelArray, LabelArray, Points

__all__ = ["BUILT_IN", "FieldCase", "LabelCase", "Metric", "PairsCase", "PointCase", "Value", "all_metrics"]

Value: TypeAlias = float | Mapping[int, float] | Mapping[str, float] | list[int]
"""A number; label -> number, NaN where a label has none; statistics, one of them `mean`; or a list that is counted."""

BUILT_IN = {
    "dice": "samreg.metrics.overlap:DICE",
    "centroid_tre": "samreg.metrics.distance:CENTROID_TRE",
    "centroid_tre_px200": "samreg.metrics.distance:CENTROID_TRE_PX200",
    "slice_centroid_tre": "samreg.metrics.distance:SLICE_CENTROID_TRE",
    "landmark_tre": "samreg.metrics.distance:LANDMARK_TRE",
    "hd95": "samreg.metrics.distance:HD95",
    "folding_fraction": "samreg.metrics.regularity:FOLDING_FRACTION",
    "sdlogj": "samreg.metrics.regularity:SDLOGJ",
    "implausible_fraction": "samreg.metrics.regularity:IMPLAUSIBLE_FRACTION",
    "sdlogj_l2r": "samreg.metrics.regularity:SDLOGJ_L2R",
    "lost_labels": "samreg.metrics.overlap:LOST_LABELS",
    "pair_recall": "samreg.metrics.paired:PAIR_RECALL",
    "pair_recall_80": "samreg.metrics.paired:PAIR_RECALL_80",
    "pair_precision": "samreg.metrics.paired:PAIR_PRECISION",
    "n_pairs": "samreg.metrics.paired:N_PAIRS",
    "n_structures": "samreg.metrics.paired:STRUCTURES",
}
"""Name -> where the metric is, in the order of the tables."""


@dataclass(frozen=True, eq=False)
class FieldCase:
    """The transform of one pair.

    Args:
        field: on the fixed grid.
        fixed: the fixed image; None where a metric has to do without it.
    """

    field: DisplacementField
    fixed: Image | None = None

    @cached_property
    def determinant(self) -> np.ndarray:
        """det(I + grad u) at each voxel, `(*shape)`."""
        return self.field.jacobian_determinant()


@dataclass(frozen=True, eq=False)
class LabelCase:
    """The labels of both images on the fixed grid.

    Args:
        fixed: `(*grid.shape)` labels of the fixed image, 0 is background.
        warped: `(*grid.shape)` labels of the moving image, carried onto the fixed grid.
        grid: the fixed grid.
    """

    fixed: FixedLabelArray
    warped: FixedLabelArray
    grid: Grid

    @cached_property
    def values(self) -> list[int]:
        """The labels that count: those of the fixed image. No method can match one that only the moving image has."""
        return label_values(self.fixed)


@dataclass(frozen=True, eq=False)
class PointCase:
    """The landmarks of both images, and the transform.

    Args:
        fixed: (n, d) world points of the fixed image.
        moving: (n, d) the same landmarks in the moving image.
        field: on the fixed grid.
    """

    fixed: Points
    moving: Points
    field: DisplacementField


@dataclass(frozen=True, eq=False)
class PairsCase:
    """The pairs of regions of a registration, and the labels of both images, each on its own grid.

    Args:
        pairs: found by the registration; pairs that were given say nothing about it and are left out by the caller.
        fixed: `(*pairs.fixed.grid.shape)` labels of the fixed image, 0 is background.
        moving: `(*pairs.moving.grid.shape)` labels of the moving image.
        slice_axis: array axis of the stack of thick slices that both images share, so that structures are looked for
            slice by slice; None where they share none.
    """

    pairs: PairedRois
    fixed: FixedLabelArray
    moving: LabelArray
    slice_axis: int | None = None

    @cached_property
    def values(self) -> list[int]:
        """The labels of the fixed image."""
        return label_values(self.fixed)

    @cached_property
    def overlaps(self) -> tuple[LabelOverlaps, LabelOverlaps]:
        """What the regions that count share with the labels, in the fixed and in the moving image."""
        kept = self.pairs.used
        sides = (self.pairs.fixed, self.fixed), (self.pairs.moving, self.moving)
        fixed, moving = (LabelOverlaps.of(r, kept, labels, self.values, self.slice_axis) for r, labels in sides)
        return fixed, moving


@dataclass(frozen=True)
class Metric:
    """One metric, and how a table shows it.

    Args:
        heading: of its column, without the unit.
        needs: what it measures: `field` (`compute` gets a `FieldCase`), `labels` (`LabelCase`), `points` (`PointCase`)
            or `pairs` (`PairsCase`).
        compute: the metric; None where it has no meaning for this pair.
        unit: `world` for distances in the unit of the images, `%` for a share, which tables show times 100, or empty.
        better: which values are better; empty where neither is.
        digits: decimals in tables.
        in_tables: whether tables show it; it is in the records in any case.

    Raises:
        ConfigError: if `needs`, `unit` or `better` is none of these words.
    """

    heading: str
    needs: Literal["field", "labels", "points", "pairs"]
    compute: Callable[[Any], Value | None]
    unit: Literal["", "world", "%"] = ""
    better: Literal["", "higher", "lower"] = ""
    digits: int = 2
    in_tables: bool = True

    def __post_init__(self) -> None:
        known = {
            "needs": ("field", "labels", "points", "pairs"),
            "unit": ("", "world", "%"),
            "better": ("", "higher", "lower"),
        }
        for name, words in known.items():
            if getattr(self, name) not in words:
                shown = ", ".join(word or "nothing" for word in words)
                raise ConfigError(f"metric {self.heading!r}: {name} is one of {shown}, got {getattr(self, name)!r}")

    def title(self, unit: str) -> str:
        """Heading with the unit in brackets; `unit` is that of the images."""
        shown = unit if self.unit == "world" else self.unit
        return f"{self.heading} [{shown}]" if shown else self.heading

    def text(self, value: float | None) -> str:
        """A value as tables show it; a dash for NaN and None."""
        if value is None or np.isnan(value):
            return "–"
        return f"{value * self.scale:.{self.digits}f}"

    @property
    def scale(self) -> float:
        """What tables multiply a value by."""
        return 100.0 if self.unit == "%" else 1.0


def all_metrics() -> dict[str, Metric]:
    """Every metric by name, those of samreg first.

    Raises:
        PluginError: if a metric of another package cannot be imported, or is no `Metric`.
    """
    found: dict[str, Metric] = {}
    for name in plugins.names("metrics", BUILT_IN):
        metric = plugins.load("metrics", name, BUILT_IN)
        if not isinstance(metric, Metric):
            raise PluginError(
                f"{name!r} is announced as one of samreg's metrics and is a {type(metric).__name__}; wanted is a "
                "samreg.metrics.Metric"
            )
        found[name] = metric
    return found
