"""ROIs named by class: binarising probabilities, pairing by name."""

from __future__ import annotations

import numpy as np
import pytest

from samreg.errors import GeometryError, InputError
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import Roi, RoiSet
from samreg.regions.known import ClassSegmenter, binarise, pair_by_name

GRID = Grid((2, 4, 5), (1.0, 1.5, 8.0))


def _set(names: list[str], grid: Grid = GRID) -> RoiSet:
    return RoiSet(tuple(Roi(np.ones((1,) * grid.ndim, bool), (i % 2, *(0,) * (grid.ndim - 1)), 1.0, name)
                        for i, name in enumerate(names)), grid)  # fmt: skip


class _Threshold:
    """Two classes by grey value, certain everywhere."""

    name, fingerprint, engine = "threshold", "0" * 64, "numpy"

    def segment_classes(self, image: Image) -> tuple[tuple[str, ...], np.ndarray]:
        return ("dark", "bright"), np.stack([image.data == 1, image.data == 2]).astype(np.float32)


def _classes(image: Image) -> RoiSet:
    return binarise(*_Threshold().segment_classes(image), image.grid)


def test_most_probable_class_takes_the_voxel() -> None:
    p = np.zeros((2, 1, 4), np.float32)
    p[:, 0] = [[0.40, 0.30, 0.10, 0.0], [0.35, 0.30, 0.45, 0.0]]
    rois = binarise(("a", "b"), p, Grid((1, 4), (1.0, 1.0)))
    assert [roi.name for roi in rois.rois] == ["a", "b"]
    # Background has 0.25, 0.40, 0.45, 1.0: it takes the second and last voxel, the tie at the third goes to b.
    assert rois.masks()[:, 0].tolist() == [[True, False, False, False], [False, False, True, False]]
    assert rois.quality == pytest.approx([0.40, 0.45])


def test_threshold_lets_classes_overlap_and_absent_classes_are_absent() -> None:
    p = np.zeros((3, *GRID.shape), np.float32)
    p[0, 0], p[1, 0, :2] = 0.7, 0.9
    rois = binarise(("a", "b", "c"), p, GRID, threshold=0.5)
    assert [roi.name for roi in rois.rois] == ["a", "b"]
    assert rois.intersections()[0, 1] == 10


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(GeometryError, match="wants probabilities of shape"):
        binarise(("a",), np.zeros((2, *GRID.shape), np.float32), GRID)


def test_pairs_follow_names_not_order() -> None:
    pairs = pair_by_name(_set(["lv", "rv", "only here"]), _set(["rv", "lv"]))
    assert [roi.name for roi in pairs.fixed.rois] == [roi.name for roi in pairs.moving.rois] == ["lv", "rv"]
    assert pairs.similarity.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("fixed", "moving", "message"),
    [
        (["a"], ["b"], "no ROI name occurs in both images: fixed has 'a', moving has 'b'"),
        (["a", "a"], ["a"], "fixed has several ROIs named 'a'"),
        (["a"], ["a", ""], "moving ROI 1 has no name"),
        ([], ["a"], "fixed has none"),
    ],
)
def test_names_that_cannot_pair_are_refused(fixed: list[str], moving: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pair_by_name(_set(fixed), _set(moving))


def test_a_class_segmenter_pairs_two_images_on_different_grids() -> None:
    segmenter = _Threshold()
    assert isinstance(segmenter, ClassSegmenter)
    a = np.zeros(GRID.shape, np.float32)
    a[0, 1:3, 1:3], a[1, 1, 1] = 1, 2
    other = Grid((3, 6, 6), (1.0, 1.0, 8.0))
    b = np.zeros(other.shape, np.float32)
    b[1, 2:4, 2:4], b[2, 0, 0] = 1, 2
    pairs = pair_by_name(_classes(Image(a, GRID)), _classes(Image(b, other)))
    assert [roi.name for roi in pairs.fixed.rois] == ["dark", "bright"]
    assert pairs.moving.n_voxels.tolist() == [4, 1]
