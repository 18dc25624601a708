"""The phantom's truth is true: other tests stand on it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from samreg.errors import ConfigError
from samreg.geometry.field import DisplacementField
from samreg.geometry.phantom import phantom


@pytest.mark.parametrize("ndim", [2, 3])
class TestTruth:
    def test_the_true_field_maps_moving_onto_fixed(self, ndim: Literal[2, 3]) -> None:
        pair = phantom(ndim)
        warped = pair.field.warp(pair.moving)
        unmoved = DisplacementField.identity(pair.fixed.grid).warp(pair.moving)
        inside = pair.fixed_labels > 0
        error = np.abs(warped.data - pair.fixed.data)[inside]
        before = np.abs(unmoved.data - pair.fixed.data)[inside]
        assert np.percentile(error, 90) < 8  # noise of both images, and interpolation
        assert np.percentile(before, 90) > 40

    def test_labels_follow(self, ndim: Literal[2, 3]) -> None:
        pair = phantom(ndim)
        warped = pair.field.warp_labels(pair.moving_labels, pair.moving.grid)
        for value, name in pair.names.items():
            a, b = warped == value, pair.fixed_labels == value
            dice = 2 * (a & b).sum() / (a.sum() + b.sum())
            assert dice > 0.9, name

    def test_it_moves_and_does_not_fold(self, ndim: Literal[2, 3]) -> None:
        pair = phantom(ndim)
        body = pair.fixed_labels > 0
        length = np.linalg.norm(pair.field.u, axis=-1)[body]
        assert 4 < np.median(length) < 15
        assert pair.field.jacobian_determinant().min() > 0.3

    def test_without_motion_there_is_no_displacement(self, ndim: Literal[2, 3]) -> None:
        assert not phantom(ndim, motion=0.0).field.u.any()

    def test_the_seed_decides(self, ndim: Literal[2, 3]) -> None:
        a, b, c = phantom(ndim, seed=1), phantom(ndim, seed=1), phantom(ndim, seed=2)
        np.testing.assert_array_equal(a.fixed.data, b.fixed.data)
        assert np.abs(a.fixed.data - c.fixed.data).max() > 1


def test_meaningless_settings() -> None:
    with pytest.raises(ConfigError, match="2 or 3 dimensions"):
        phantom(3, motion=-1.0)
    with pytest.raises(ConfigError, match="2 or 3 dimensions"):
        phantom(3, n_slices=0)
