"""A class segmenter in the pipeline: regions per slice, one prototype a class, pairs by class."""

from __future__ import annotations

import numpy as np
import pytest

from samreg.config import SegmentConfig
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.pairs.assignment import assign
from samreg.regions.classes import segment_by_class
from samreg.regions.prototypes import cosine_similarity
from worlds import GRIDS


class ByGrey:
    """Three classes by grey value; certain, but for the middle one."""

    name, fingerprint, engine = "by grey", "0" * 64, "numpy"

    def segment_classes(self, image: Image) -> tuple[tuple[str, ...], np.ndarray]:
        p = np.stack([image.data == value for value in (1, 2, 3)]).astype(np.float32)
        p[1] *= 0.75
        return ("a", "b", "c"), p


def _image(name: str) -> Image:
    grid = GRIDS[name]
    data = np.zeros(grid.shape, np.float32)
    data[..., 2:6, 3:8] = 1
    data[..., 3:5, 4:6] = 2
    if grid.ndim == 3:
        data[0] = 0
        data[2:, 7, 9] = 3
    return Image(data, grid)


@pytest.mark.parametrize("name", ["anisotropic-3d", "flipped-3d", "oblique-3d"])
def test_classes_of_a_volume_are_cut_slice_by_slice(name: str) -> None:
    image = _image(name)
    regions = segment_by_class(image, ByGrey(), SegmentConfig())
    assert regions.slice_axis == 0
    found = sorted((roi.name, int(i)) for roi, i in zip(regions.rois.rois, regions.slice_index, strict=True))
    assert found == [(n, i) for n in "ab" for i in (1, 2, 3, 4)] + [("c", i) for i in (2, 3, 4)]
    for row, (roi, number) in enumerate(zip(regions.rois.rois, regions.slice_index, strict=True)):
        mask = regions.rois.mask(row)
        assert mask.any(axis=(1, 2)).nonzero()[0].tolist() == [number]
        assert (image.data[mask] == "abc".index(roi.name) + 1).all()
    for value in (1, 2, 3):
        rows = [i for i, roi in enumerate(regions.rois.rois) if roi.name == "abc"[value - 1]]
        assert np.array_equal(regions.rois.select(rows).masks().any(axis=0), image.data == value)


def test_prototypes_tell_classes_apart_and_nothing_else() -> None:
    regions = segment_by_class(_image("identity-2d"), ByGrey(), SegmentConfig())
    assert [roi.name for roi in regions.rois.rois] == ["a", "b"]
    assert regions.slice_axis is None
    assert regions.slice_index.tolist() == [0, 0]
    similarity = cosine_similarity(regions.prototypes, regions.prototypes)
    assert similarity.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert assign(similarity, 0.8).tolist() == [[0, 0], [1, 1]]


def test_the_embedding_is_the_class_probability() -> None:
    grid = Grid((3, 8, 12), (1.0, 1.5, 6.0), (3.0, 4.0, 5.0))
    data = np.zeros(grid.shape, np.float32)
    data[1, 4:6, 4:8] = 2
    image = Image(data, grid)
    features = segment_by_class(image, ByGrey(), SegmentConfig()).features
    assert features.data.shape == (4, 3, 2, 3)
    assert np.allclose(features.data.astype(float).sum(0), 1.0, atol=2e-3)
    assert features.grid.extent == pytest.approx(image.grid.extent)
    assert np.allclose(features.grid.centre, image.grid.centre)
    expected = np.zeros((3, 2, 3))
    expected[1, 1, 1] = 0.75 * 8 / 16  # half of the cell, with probability 0.75
    assert np.allclose(features.data[2], expected)


def test_an_image_without_classes_has_no_regions() -> None:
    image = _image("identity-3d")
    regions = segment_by_class(image.with_data(np.zeros_like(image.data)), ByGrey(), SegmentConfig())
    assert len(regions) == 0
    assert regions.prototypes.shape == (0, 3)
