"""Box prompts from connected components."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.regions.everything.components import component_boxes

AREAS = (0.0008, 0.25)


def _ellipse(shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    result: np.ndarray = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 <= 1
    return result


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = np.clip(high - low + 1, 0, None).prod()
    return float(shared / ((a[2:] - a[:2] + 1).prod() + (b[2:] - b[:2] + 1).prod() - shared))


@settings(deadline=None, max_examples=20)
@given(
    st.floats(0.2, 0.8),
    st.floats(0.25, 0.75),
    st.floats(0.08, 0.16),
    st.floats(0.08, 0.16),
    st.booleans(),
    st.integers(0, 99),
)
def test_a_structure_gets_a_box_of_its_own_bright_or_dark(
    y: float, x: float, ry: float, rx: float, bright: bool, seed: int
) -> None:
    shape = (120, 150)
    structure = _ellipse(shape, (y * shape[0], x * shape[1]), (ry * 150, rx * 150))
    noise = np.random.default_rng(seed).normal(0, 0.03, shape)
    grey = np.clip(np.where(structure, 0.8 if bright else 0.2, 0.5) + noise, 0, 1).astype(np.float32)
    rows, columns = np.nonzero(structure)
    wanted = np.asarray([columns.min(), rows.min(), columns.max(), rows.max()], dtype=float)
    boxes = component_boxes(grey, 8, AREAS)
    assert max(_iou(box, wanted) for box in boxes) > 0.6


def test_boxes_differ_and_lie_inside_the_slice() -> None:
    grey = np.random.default_rng(0).random((90, 70)).astype(np.float32)
    boxes = component_boxes(grey, 8, AREAS)
    assert len(boxes)
    assert boxes.min() >= 0
    assert (boxes[:, 2] <= 69).all()
    assert (boxes[:, 3] <= 89).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_nothing_to_see_gives_no_boxes() -> None:
    assert component_boxes(np.zeros((64, 64), dtype=np.float32), 8, AREAS).shape == (0, 4)
    assert component_boxes(np.full((64, 64), 0.5, dtype=np.float32), 8, AREAS).shape == (0, 4)


def test_components_that_are_too_large_or_too_small_are_left_out() -> None:
    grey = np.full((100, 100), 0.1, dtype=np.float32)
    grey[22:77, 22:77] = 0.9  # 30 % of the slice
    assert not len(component_boxes(grey, 8, AREAS))
    assert len(component_boxes(grey, 8, (0.0008, 0.4)))
