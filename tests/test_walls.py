"""Walls: the even layer around a paired region, where both images show one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from samreg.config import SegmentConfig
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.pairs.counterparts import SlicePair
from samreg.pairs.planes import Planes
from samreg.pairs.walls import Smoothed, distinct, wall_around, walls
from samreg.regions.regions import Regions
from samreg.regions.slices import window

SIDE, RADIUS = 96, 14.0


def distance(x: float = 48.0, y: float = 46.0) -> np.ndarray:
    rows, columns = np.indices((SIDE, SIDE))
    return np.hypot(columns - x, rows - y)


def heart(thickness: float, wall: float = 0.2, outside: float = 0.6, *, noise: float = 0.02) -> np.ndarray:
    """A bright chamber of radius 14 with a wall around it."""
    grey = np.where(distance() <= RADIUS, 0.9, np.where(distance() <= RADIUS + thickness, wall, outside))
    return ndimage.gaussian_filter(grey, 0.7) + np.random.default_rng(0).normal(0, noise, grey.shape)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


class TestOneRegion:
    @pytest.mark.parametrize("thickness", [4, 7, 11, 16])
    @pytest.mark.parametrize("flip", [False, True], ids=["dark", "bright"])
    def test_its_wall_ends_where_grey_values_change(self, thickness: int, flip: bool) -> None:
        grey, chamber = heart(thickness), distance() <= RADIUS
        wall = wall_around(chamber, Smoothed.of(1 - grey if flip else grey))
        assert wall is not None
        assert not (wall & chamber).any()
        assert dice(wall, (distance() <= RADIUS + thickness) & ~chamber) > 0.85

    def test_holes_of_a_chamber_are_no_wall(self) -> None:
        chamber = (distance() <= RADIUS) & (distance(44, 46) > 2.5)
        wall = wall_around(chamber, Smoothed.of(heart(7)))
        assert wall is not None
        assert not wall[distance() <= RADIUS - 2].any()

    @pytest.mark.parametrize("angle", [0, 90, 180, 270])
    def test_a_turned_slice_gives_the_turned_wall(self, angle: int) -> None:
        grey, chamber = heart(6), distance(40, 52) <= 9
        turned = wall_around(np.rot90(chamber, angle // 90), Smoothed.of(np.rot90(grey, angle // 90)))
        straight = wall_around(chamber, Smoothed.of(grey))
        assert (turned is None) == (straight is None)
        if straight is not None and turned is not None:
            assert (np.rot90(straight, angle // 90) == turned).all()

    @pytest.mark.parametrize(
        "grey",
        [
            pytest.param(heart(0), id="none"),
            pytest.param(heart(1.5), id="thin"),
            pytest.param(heart(40), id="too thick"),
            pytest.param(heart(7, wall=0.9), id="like the chamber"),
            pytest.param(np.where(distance(60, 46) <= 21, heart(7), 0.6), id="open on one side"),
            pytest.param(np.zeros((SIDE, SIDE)), id="flat"),
            pytest.param(np.random.default_rng(1).normal(0.5, 0.2, (SIDE, SIDE)), id="noise"),
        ],
    )
    def test_without_an_even_closed_layer_there_is_none(self, grey: np.ndarray) -> None:
        assert wall_around(distance() <= RADIUS, Smoothed.of(grey)) is None

    @pytest.mark.parametrize("mask", [distance() < 1, distance(0, 0) < 40, np.ones((SIDE, SIDE), dtype=bool)])
    def test_a_dot_a_corner_and_a_whole_slice_have_none(self, mask: np.ndarray) -> None:
        assert wall_around(mask, Smoothed.of(heart(7))) is None


def planes(grey: np.ndarray, spacing: tuple[float, float] = (1.0, 1.0)) -> Planes:
    grid = Grid(grey.shape, spacing, (0.0, 0.0))
    regions = Regions.none(Image(np.float32(grey), grid))
    segmenter: Any = SimpleNamespace(input_size=SIDE)
    return Planes(regions, segmenter, SegmentConfig(), window(regions.image))


def pair(fixed: np.ndarray, moving: np.ndarray, **changed: Any) -> SlicePair:
    values: dict[str, Any] = {"slices": (0, 0), "quality": (0.9, 0.9), "similarity": 0.9, "agreement": 0.9}
    return SlicePair(fixed, moving, **{**values, **changed})


CHAMBER = distance() <= RADIUS


class TestPairs:
    def test_both_images_show_the_wall(self) -> None:
        found = walls([pair(CHAMBER, CHAMBER)], planes(heart(7)), planes(heart(8)), lambda p: p.moving)
        (wall,) = found
        assert (wall.kind, wall.rows) == ("ring", (-1, -1))
        assert 0.7 < wall.agreement < 1
        assert np.count_nonzero(wall.moving) > np.count_nonzero(wall.fixed) > 500

    def test_a_large_slice_gives_the_same_wall(self) -> None:
        grey, chamber = (np.repeat(np.repeat(a, 4, axis=0), 4, axis=1) for a in (heart(7), CHAMBER))
        (wall,) = walls([pair(chamber, chamber)], planes(grey), planes(grey), lambda p: p.moving)
        ring = (distance() <= RADIUS + 7) & ~CHAMBER
        assert dice(wall.fixed, np.repeat(np.repeat(ring, 4, axis=0), 4, axis=1)) > 0.85

    @pytest.mark.parametrize(
        ("moving", "carried", "changed"),
        [
            pytest.param(heart(0), CHAMBER, {}, id="one image shows it"),
            pytest.param(heart(7), distance(20, 20) <= RADIUS, {}, id="elsewhere under the first registration"),
            pytest.param(heart(7), None, {"agreement": 0.3}, id="a pair that does not agree"),
            pytest.param(heart(7), None, {"kind": "ring"}, id="a ring"),
        ],
    )
    def test_no_wall(self, moving: np.ndarray, carried: np.ndarray | None, changed: dict[str, Any]) -> None:
        asked = [pair(CHAMBER, CHAMBER, **changed)]
        assert walls(asked, planes(heart(7)), planes(moving), lambda p: p.moving if carried is None else carried) == []

    def test_of_rings_that_are_nearly_the_same_the_surest_stays(self) -> None:
        ring, other = (distance() <= 20) & ~CHAMBER, (distance(20, 20) <= 12) & (distance(20, 20) > 6)
        sure, unsure = pair(ring, ring, kind="ring"), pair(ring, other, kind="ring", agreement=0.5)
        apart, below = pair(other, other, kind="ring", agreement=0.6), pair(ring, ring, kind="ring", slices=(1, 1))
        kept = distinct([unsure, apart, below, sure])
        assert {id(p) for p in kept} == {id(sure), id(apart), id(below)}
