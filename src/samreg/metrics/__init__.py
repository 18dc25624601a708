"""Labels, landmarks, pairs or a field go in, and numbers with units that say how good a registration is come out.

Labels are integer maps on one grid, 0 is background. A metric of a label returns NaN where it has no meaning; nothing
is replaced by a convenient number. `mean` ignores NaN, so a label that a method pushes out of the image must be
counted: `lost_labels` does.
"""

from samreg.metrics.distance import (
    centroid_tre,
    centroid_tre_resized,
    hd95,
    slice_centroid_tre,
    surface_distances,
    tre,
)
from samreg.metrics.metric import FieldCase, LabelCase, Metric, PairsCase, PointCase, all_metrics
from samreg.metrics.overlap import dice, lost_labels
from samreg.metrics.paired import pair_precision, pair_recall
from samreg.metrics.regularity import folding_fraction, implausible_fraction, sdlogj, sdlogj_l2r
from samreg.metrics.values import label_values, mean, single_number

__all__ = [
    "FieldCase",
    "LabelCase",
    "Metric",
    "PairsCase",
    "PointCase",
    "all_metrics",
    "centroid_tre",
    "centroid_tre_resized",
    "dice",
    "folding_fraction",
    "hd95",
    "implausible_fraction",
    "label_values",
    "lost_labels",
    "mean",
    "pair_precision",
    "pair_recall",
    "sdlogj",
    "sdlogj_l2r",
    "single_number",
    "slice_centroid_tre",
    "surface_distances",
    "tre",
]
