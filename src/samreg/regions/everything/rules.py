"""The numbers of everything mode that go together: samreg's own, the paper's, and those of its released code."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RULES", "MaskRules"]


@dataclass(frozen=True)
class MaskRules:
    """How prompts are placed and which masks stay.

    Args:
        nms_iou: IoU above which the lower-ranked of two masks is dropped; of their boxes where `exact_points`.
        max_overlap: overlap ratio (intersection over the smaller) above which the smaller of two ROIs is dropped; 1
            keeps all.
        min_stability: stability score below which a mask is dropped.
        exact_points: whether points are placed, and their masks chosen, as by SAM's automatic mask generator. A
            segmenter that was trained on boxes is asked with samreg's boxes all the same.
        points_per_side: points along the longer side of the slice, or along both where `exact_points`.
        side: pixels of the square to which slices are resized for the segmenter; 0 keeps their shape.
        reach: how far apart the slices that are encoded may be, in cells of the embedding; 0 encodes all.
        most_prompts: box prompts a slice at most, those of connected components first; 0 is no limit.
    """

    nms_iou: float
    max_overlap: float
    min_stability: float
    exact_points: bool
    points_per_side: int = 32
    side: int = 0
    reach: float = 0.0
    most_prompts: int = 0


RULES = {
    "samreg": MaskRules(nms_iou=0.6, max_overlap=1.0, min_stability=0.0, exact_points=False, reach=1.0),
    "fast": MaskRules(
        nms_iou=0.6,
        max_overlap=1.0,
        min_stability=0.0,
        exact_points=False,
        reach=1.5,
        most_prompts=16,
        points_per_side=16,
    ),
    "paper": MaskRules(nms_iou=0.7, max_overlap=0.8, min_stability=0.9, exact_points=True),
    "code": MaskRules(nms_iou=0.7, max_overlap=0.9, min_stability=0.9, exact_points=True, side=200),
}
"""By the name that `ProposalConfig.mask_rules` gives them; why: docs/decisions/paper-and-code.md."""
