"""The cache of regions: by content, bounded, safe under concurrent writers, honest about damage."""

from __future__ import annotations

import dataclasses
import logging
import multiprocessing
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from samreg import FeatureVolume, Grid, Image, Regions, RoiSet, preset
from samreg.config import RegisterConfig
from samreg.errors import ConfigError
from samreg.io.cache import RegionsCache, cached_segment, regions_key
from samreg.segmenters.compiled_cache import cache_folder
from worlds import GRIDS, noise


class FakeSegmenter:
    name, fingerprint, engine, input_size = "fake", "0123", "torch-float32-cpu", 256


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
        provenance={"segmenter": "fake", "seconds": np.float32(1.5), "stages": {"encode": 1}},
    )


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the pipeline by a fake that says which images it was given."""
    calls: list[str] = []

    def segment(image: Image, config: object = None, *, segmenter: object = None, progress: object = None) -> Regions:
        calls.append(image.name)
        return make_regions(image)

    module = types.ModuleType("samreg.registration")
    module.segment = segment  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "samreg.registration", module)
    return calls


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
    # A field that is added to Regions must be added to the entries, and the layout number raised.
    wanted = {"image", "rois", "prototypes", "features", "slice_axis", "slice_index", "provenance"}
    assert {f.name for f in dataclasses.fields(Regions)} == wanted
    assert {f.name for f in dataclasses.fields(FeatureVolume)} == {"data", "grid"}


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
    assert found.provenance == {"segmenter": "fake", "seconds": 1.5, "stages": {"encode": 1}}


def test_the_same_content_is_segmented_once(
    tmp_path: Path, counted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    cache, config = RegionsCache(tmp_path), preset("default")
    images = [make_image(i) for i in range(3)]
    with caplog.at_level(logging.INFO, logger="samreg.cache"):
        for fixed in images:
            for moving in images:
                for image in (fixed, moving):
                    same(cached_segment(image, config, FakeSegmenter(), cache), make_regions(image))
    assert sorted(counted) == ["image0", "image1", "image2"]
    assert sum("encoded" in r.message for r in caplog.records) == 3
    renamed = dataclasses.replace(images[0], name="another name")
    assert cached_segment(renamed, config, FakeSegmenter(), cache).image is renamed
    assert len(counted) == 3


def test_without_a_cache_everything_is_computed(counted: list[str]) -> None:
    for _ in range(2):
        cached_segment(make_image(), preset("default"), FakeSegmenter())
    assert len(counted) == 2


def test_whatever_decides_the_regions_is_in_the_key() -> None:
    image, config, segmenter = make_image(), preset("default"), FakeSegmenter()
    key = regions_key(image, config, segmenter)
    other_segment = dataclasses.replace(config.segment, hounsfield="no")
    other_match = dataclasses.replace(config.match, epsilon=0.1)
    flipped = image.data.copy()
    flipped[0, 0, 0] += 1e-3
    moved = dataclasses.replace(image.grid, origin=(0.0, 0.0, 0.5))
    newer = FakeSegmenter()
    newer.fingerprint = "4567"
    changed = [
        regions_key(image.with_data(flipped), config, segmenter),
        regions_key(Image(image.data, moved), config, segmenter),
        regions_key(image, dataclasses.replace(config, segment=other_segment), segmenter),
        regions_key(image, config, newer),
        *(
            regions_key(image, _asked(config, **one), segmenter)
            for one in ({"engine": "torch"}, {"precision": "float16"})
        ),
    ]
    assert len({key, *changed}) == 7
    assert regions_key(image, dataclasses.replace(config, match=other_match), segmenter) == key


def _asked(config: RegisterConfig, **segment: object) -> RegisterConfig:
    return dataclasses.replace(config, segment=dataclasses.replace(config.segment, **segment))  # type: ignore[arg-type]


def test_what_does_not_change_the_regions_finds_the_entry(tmp_path: Path, counted: list[str]) -> None:
    cache, config, image = RegionsCache(tmp_path), preset("default"), make_image()
    cached_segment(image, config, FakeSegmenter(), cache)
    for other in (
        dataclasses.replace(config, seed=1),
        _asked(config, lift="slices"),
        _asked(config, device="cpu"),
    ):
        cached_segment(image, other, FakeSegmenter(), cache)
    assert counted == ["image0"]


def test_every_setting_of_segment_is_either_in_the_key_or_known_not_to_matter() -> None:
    # A new setting is in the key until somebody shows that it does not change what is found.
    names = {f.name for f in dataclasses.fields(preset("default").segment)}
    assert names - set(preset("default").segment.decisive()) == {"segmenter", "lift", "device"}


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, counted: list[str], damage: str) -> None:
    cache, image, config = RegionsCache(tmp_path), make_image(), preset("default")
    cached_segment(image, config, FakeSegmenter(), cache)
    path = cache.path(regions_key(image, config, FakeSegmenter()))
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data) if damage == "flip" else bytes(data[:200]) if damage == "truncate" else b"")
    same(cached_segment(image, config, FakeSegmenter(), cache), make_regions(image))
    assert len(counted) == 2
    cached_segment(image, config, FakeSegmenter(), cache)
    assert len(counted) == 2  # the entry is whole again


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
    tmp_path: Path, counted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with caplog.at_level(logging.WARNING, logger="samreg.cache"):
        found = cached_segment(make_image(), preset("default"), FakeSegmenter(), RegionsCache(blocked / "cache"))
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
    from samreg.segmenters import classes

    image, config = make_image(), preset("default")
    deferred = classes.deferred_segmenter(config.segment)
    assert isinstance(deferred, classes.DeferredSegmenter)
    cache = RegionsCache(tmp_path)
    cache.put(regions_key(image, config, deferred), make_regions(image))

    def loads(*_: object) -> None:
        raise AssertionError("the segmenter was loaded")

    monkeypatch.setattr(classes, "configured_segmenter", loads)
    same(cached_segment(image, config, deferred, cache), make_regions(image))
    with pytest.raises(AssertionError, match="was loaded"):
        cached_segment(make_image(1), config, deferred, cache)
