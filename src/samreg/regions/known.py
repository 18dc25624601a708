"""ROIs that carry the name of what they show: label maps, and networks that segment the same classes in both images.

This is the first case of the paper's section 3: when both images are segmented into the same classes, the class
names are the correspondence, and no prototype has to be compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np

from samreg.errors import GeometryError, InputError
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.types import ScalarArray

__all__ = ["ClassSegmenter", "binarise", "pair_by_name"]


@runtime_checkable
class ClassSegmenter(Protocol):
    """The contract of a network that knows what it segments: no prompts, one map a class.

    `segment_classes` is a function of its argument alone: the same image gives the same answer, in any order,
    from any thread. Two images segmented by the same `ClassSegmenter` are paired by class name.
    """

    @property
    def name(self) -> str:
        """The name the user gave, for example the checkpoint's path."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 of the weights: what a cache may key on."""
        ...

    @property
    def engine(self) -> str:
        """What computes, with precision and device, for example `torch-float32-cpu`."""
        ...

    def segment_classes(self, image: Image) -> tuple[tuple[str, ...], ScalarArray]:
        """Class probabilities over the whole image.

        Args:
            image: a 2D image or a volume, on any grid.

        Returns:
            The k class names, background not among them, and their probabilities `(k, *image.grid.shape)` in [0, 1].
            What k classes leave of 1 at a voxel is the probability of the background.
        """
        ...


def binarise(names: tuple[str, ...], probabilities: ScalarArray, grid: Grid, threshold: float | None = None) -> RoiSet:
    """One ROI a class that is present: R_c = {x : p_c(x) >= p_j(x) for all j, background included}.

    Args:
        names: k class names.
        probabilities: `(k, *grid.shape)`, in [0, 1].
        grid: the grid of the image.
        threshold: None: the most probable of all classes and the background (1 - sum of p) takes the voxel. A number:
            each class by itself, R_c = {x : p_c(x) > threshold}, so that classes may overlap.

    Returns:
        ROIs in the order of `names`, without the classes that take no voxel; `quality` is the mean probability inside.

    Raises:
        GeometryError: if the probabilities do not have k rows of the grid's shape.
    """
    if probabilities.shape != (len(names), *grid.shape):
        raise GeometryError(
            f"binarise wants probabilities of shape {(len(names), *grid.shape)} for {len(names)} classes, "
            f"got {probabilities.shape}"
        )
    if threshold is None:
        # Ties go to the class, not to the background: a thin structure must not vanish into it.
        best = probabilities.argmax(axis=0)
        foreground = probabilities.max(axis=0, initial=0.0) >= np.maximum(1.0 - probabilities.sum(axis=0), 1e-6)
        masks = [(best == row) & foreground for row in range(len(names))]
    else:
        masks = [p > threshold for p in probabilities]
    kept = [row for row, mask in enumerate(masks) if mask.any()]
    quality = [float(probabilities[row][masks[row]].mean()) for row in kept]
    return RoiSet.from_masks((masks[row] for row in kept), grid, quality, [names[row] for row in kept])


def pair_by_name(fixed: RoiSet, moving: RoiSet) -> PairedRois:
    """Pairs of the ROIs that have the same name in both images; similarity and confidence are 1.

    ROIs whose name the other image lacks stay unpaired: a structure may be out of the field of view. Order is the
    order of `fixed`.

    Args:
        fixed: named ROIs of the fixed image, names unique.
        moving: named ROIs of the moving image, names unique.

    Raises:
        InputError: if a ROI has no name, a name occurs twice in one image, or no name occurs in both.
    """
    rows = {side: _rows_by_name(rois, side) for side, rois in (("fixed", fixed), ("moving", moving))}
    common = [name for name in rows["fixed"] if name in rows["moving"]]
    if not common:
        raise InputError(
            f"no ROI name occurs in both images: fixed has {_listed(rows['fixed'])}, moving has "
            f"{_listed(rows['moving'])}; give both the same label values or segment names"
        )
    return PairedRois(
        fixed.select(rows["fixed"][name] for name in common),
        moving.select(rows["moving"][name] for name in common),
        np.ones(len(common), dtype=np.float32),
    )


def _rows_by_name(rois: RoiSet, side: str) -> dict[str, int]:
    names = [roi.name for roi in rois.rois]
    if "" in names:
        raise InputError(f"{side} ROI {names.index('')} has no name: pairing by name wants one for every ROI")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"{side} has several ROIs named {_listed(repeated)}: pairing by name wants unique names")
    return {name: row for row, name in enumerate(names)}


def _listed(names: Iterable[str]) -> str:
    texts = [repr(name) for name in names]
    shown = ", ".join(texts[:8]) or "none"
    return shown + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")
