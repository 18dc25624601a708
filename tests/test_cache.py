"""The cache of regions: by content, bounded, safe under concurrent writers, honest about damage."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from samreg import FeatureVolume, Grid, Image, Regions, RoiSet, segment
from samreg.config import MatchConfig, RegisterConfig, SegmentConfig
from samreg.errors import ConfigError
from samreg.regions.cache import RegionsCache, regions_key
from samreg.regions.everything.finder import EverythingMode
from samreg.regions.find import find_regions
from samreg.result import Origin
from samreg.segmenters.engines.compiled_cache import cache_folder
from worlds import GRIDS, noise


class CountedFinder:
    """Remembers which images it was given."""

    name, fingerprint, segmenter = "fake", "0123", None

    def __init__(self) -> None:
        self.calls: list[str] = []

    def find(self, image: Image, settings: SegmentConfig, progress: object = None) -> Regions:
        self.calls.append(image.name)
        return make_regions(image)


FINDER = ("fake", "0123")
ORIGIN = Origin("fake", "0123", "numpy", classes=("a", "b"), n_slices=3, n_rois=5)


def make_image(seed: int = 0, grid: Grid = GRIDS["oblique-flipped-3d"]) -> Image:
    return Image(noise(grid.shape, seed), grid, f"image{seed}")


def make_regions(image: Image, n: int = 5, channels: int = 8) -> Regions:
    rng = np.random.default_rng(int(image.data.sum()))
    masks = [rng.uniform(size=image.grid.shape) > 0.8 for _ in range(n)]
    feature_grid = image.grid.with_shape([max(1, s // 2) for s in image.grid.shape])
    return Regions(
        image=image,
        rois=RoiSet.from_masks(masks, image.grid, rng.uniform(size=n).tolist(), [f"röi {i}" for i in range(n)]),
        prototypes=rng.standard_normal((n, channels)).astype(np.float32),
        features=FeatureVolume(rng.standard_normal((channels, *feature_grid.shape)).astype(np.float16), feature_grid),
        slice_axis=0 if image.grid.ndim == 3 else None,
        slice_index=rng.integers(-1, 3, n),
        origin=ORIGIN,
    )


@pytest.fixture
def counted() -> CountedFinder:
    return CountedFinder()


def same(a: Regions, b: Regions) -> None:
    assert len(a) == len(b)
    assert np.array_equal(a.rois.masks(), b.rois.masks())
    assert np.array_equal(a.rois.quality, b.rois.quality)
    assert [r.name for r in a.rois.rois] == [r.name for r in b.rois.rois]
    assert np.array_equal(a.prototypes, b.prototypes)
    assert a.prototypes.dtype == b.prototypes.dtype
    assert np.array_equal(a.features.data, b.features.data)
    assert a.features.data.dtype == b.features.data.dtype == np.float16
    assert a.features.grid == b.features.grid
    assert (a.slice_axis, a.slice_index.tolist()) == (b.slice_axis, b.slice_index.tolist())


def test_every_field_of_regions_is_kept() -> None:
    # A field that is added to Regions must be added to the entries, and the layout number raised. Where an image counts
    # is no part of an entry: it is what `Regions.within` makes of what the cache gave.
    wanted = {"image", "rois", "prototypes", "features", "slice_axis", "slice_index", "origin", "inside"}
    assert {f.name for f in dataclasses.fields(Regions)} == wanted
    assert {f.name for f in dataclasses.fields(FeatureVolume)} == {"data", "grid", "inside"}


def test_regions_within_a_mask_are_no_entry(tmp_path: Path) -> None:
    image = make_image(3)
    part = make_regions(image).within(np.arange(image.data.size).reshape(image.grid.shape) % 2 == 0)
    with pytest.raises(ConfigError, match="whole images"):
        RegionsCache(tmp_path).put("ab" + "0" * 62, part)


@pytest.mark.parametrize("name", ["oblique-flipped-3d", "one-slice-3d", "flipped-2d"])
@pytest.mark.parametrize("n", [0, 5])
def test_what_comes_back_is_what_was_kept(tmp_path: Path, name: str, n: int) -> None:
    cache = RegionsCache(tmp_path)
    image = make_image(3, GRIDS[name])
    regions = make_regions(image, n)
    cache.put("ab" + "0" * 62, regions)
    found = cache.get("ab" + "0" * 62, image)
    assert found is not None
    assert found.image is image
    same(found, regions)
    assert found.origin == ORIGIN


def test_the_same_content_is_segmented_once(
    tmp_path: Path, counted: CountedFinder, caplog: pytest.LogCaptureFixture
) -> None:
    cache, settings = RegionsCache(tmp_path), SegmentConfig()
    images = [make_image(i) for i in range(3)]
    with caplog.at_level(logging.INFO, logger="samreg.cache"):
        for fixed in images:
            for moving in images:
                for image in (fixed, moving):
                    same(find_regions(image, counted, settings, cache), make_regions(image))
    assert sorted(counted.calls) == ["image0", "image1", "image2"]
    assert sum("encoded" in r.message for r in caplog.records) == 3
    renamed = dataclasses.replace(images[0], name="another name")
    assert find_regions(renamed, counted, settings, cache).image is renamed
    assert len(counted.calls) == 3


def test_without_a_cache_everything_is_computed(counted: CountedFinder) -> None:
    for _ in range(2):
        find_regions(make_image(), counted, SegmentConfig())
    assert len(counted.calls) == 2


def test_whatever_decides_the_regions_is_in_the_key() -> None:
    image, settings = make_image(), SegmentConfig()
    key = regions_key(image, settings, FINDER)
    flipped = image.data.copy()
    flipped[0, 0, 0] += 1e-3
    moved = dataclasses.replace(image.grid, origin=(0.0, 0.0, 0.5))
    changed = [
        regions_key(image.with_data(flipped), settings, FINDER),
        regions_key(Image(image.data, moved), settings, FINDER),
        regions_key(image, settings, ("fake", "4567")),
        *(
            regions_key(image, dataclasses.replace(settings, **one), FINDER)  # type: ignore[arg-type]
            for one in ({"hounsfield": "no"}, {"engine": "torch"}, {"precision": "float16"})
        ),
    ]
    assert len({key, *changed}) == 7


def test_what_does_not_change_the_regions_finds_the_entry(tmp_path: Path, counted: CountedFinder) -> None:
    cache, image = RegionsCache(tmp_path), make_image()
    for config in (
        RegisterConfig(),
        RegisterConfig(seed=1),
        RegisterConfig(match=MatchConfig(lift="slices")),
        RegisterConfig(segment=SegmentConfig(device="cpu")),
    ):
        segment(image, config, segmenter=counted, cache=cache)
    assert counted.calls == ["image0"]


def test_every_setting_of_segment_is_either_in_the_key_or_known_not_to_matter() -> None:
    # A new setting is in the key until somebody shows that it does not change what is found.
    names = {f.name for f in dataclasses.fields(SegmentConfig)}
    assert names - set(SegmentConfig().decisive()) == {"segmenter", "device"}


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, counted: CountedFinder, damage: str) -> None:
    cache, image, settings = RegionsCache(tmp_path), make_image(), SegmentConfig()
    find_regions(image, counted, settings, cache)
    path = cache.path(regions_key(image, settings, FINDER))
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data) if damage == "flip" else bytes(data[:200]) if damage == "truncate" else b"")
    same(find_regions(image, counted, settings, cache), make_regions(image))
    assert len(counted.calls) == 2
    find_regions(image, counted, settings, cache)
    assert len(counted.calls) == 2  # the entry is whole again


def test_the_folder_stays_within_its_bound_and_the_least_used_goes(tmp_path: Path) -> None:
    image = make_image()
    RegionsCache(tmp_path).put("00" * 32, make_regions(image))
    oldest = RegionsCache(tmp_path).path("00" * 32)
    os.utime(oldest, (999, 999))
    size = oldest.stat().st_size
    cache = RegionsCache(tmp_path, max_bytes=int(3.5 * size))
    keys = [f"{i:02d}" * 32 for i in range(1, 4)]
    for age, key in enumerate(keys):
        cache.put(key, make_regions(image))
        os.utime(cache.path(key), (1000 + age, 1000 + age))
    assert cache.get(keys[0], image) is not None  # used: now the youngest
    cache.put("77" * 32, make_regions(image))
    kept = {key for key in ["00" * 32, *keys, "77" * 32] if cache.path(key).exists()}
    assert "77" * 32 in kept
    assert keys[0] in kept
    assert keys[1] not in kept
    assert sum(p.stat().st_size for p in tmp_path.rglob("*.regions")) <= cache.max_bytes
    with pytest.raises(ConfigError, match="positive number of bytes"):
        RegionsCache(tmp_path, max_bytes=0)


def _hammer(folder: str, seed: int) -> int:
    cache = RegionsCache(Path(folder))
    image = make_image(1)
    good = 0
    for i in range(40):
        key = f"{(seed + i) % 3:02d}" * 32
        cache.put(key, make_regions(image))
        found = cache.get(key, image)
        good += found is not None and len(found) == 5
    return good


def test_many_writers_at_once_leave_only_whole_entries(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        counts = pool.starmap(_hammer, [(str(tmp_path), seed) for seed in range(3)])
    assert counts == [40, 40, 40]
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_folder_that_cannot_be_written_costs_the_entry_only(
    tmp_path: Path, counted: CountedFinder, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with caplog.at_level(logging.WARNING, logger="samreg.cache"):
        found = find_regions(make_image(), counted, SegmentConfig(), RegionsCache(blocked / "cache"))
    assert len(found) == 5
    assert "no cache entry was written" in caplog.text


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAMREG_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("SAMREG_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "samreg"


def test_a_segmenter_is_not_loaded_for_images_that_the_cache_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samreg.segmenters.weights.load import Weights

    image, settings = make_image(), SegmentConfig()
    finder = EverythingMode.open(settings)
    cache = RegionsCache(tmp_path)
    cache.put(regions_key(image, settings, (finder.name, finder.fingerprint)), make_regions(image))

    def loads(*_: object) -> None:
        raise AssertionError("the segmenter was loaded")

    monkeypatch.setattr(Weights, "load", loads)
    same(find_regions(image, finder, settings, cache), make_regions(image))
    with pytest.raises(AssertionError, match="was loaded"):
        find_regions(make_image(1), finder, settings, cache)
