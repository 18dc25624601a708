"""A cache of regions by content: N images in all pairs cost N segmentations, on one machine or on many.

An entry is a file named after the sha256 of everything that decides its content: the voxels and the grid of the image,
the weights of the segmenter, the settings of `segment`, and the layout of the file. Entries appear whole
(written beside and moved into place) and carry a checksum, so concurrent writers cannot harm each other and a damaged
entry is computed again. The folder is bounded: what was not used for the longest time goes first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samreg.config import SegmentConfig
from samreg.errors import ConfigError
from samreg.files import written
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import Roi, RoiSet
from samreg.regions.everything.rules import RULES
from samreg.regions.regions import FeatureVolume, Regions
from samreg.regions.slices import plan_slices, slice_step
from samreg.result import Origin
from samreg.segmenters.base import FEW_PIXELS
from samreg.segmenters.engines.compiled_cache import cache_folder

__all__ = ["RegionsCache", "regions_key"]

_LOG = logging.getLogger("samreg.cache")
_LAYOUT = 2
_REVISION = 2
"""Part of the key: count up whenever the same settings give other regions."""
_SUFFIX = ".regions"
_DIGEST_BYTES = 32
_DEFAULT_BYTES = 20 * 1024**3


def regions_key(image: Image, settings: SegmentConfig, finder: tuple[str, str]) -> str:
    """sha256 of everything that decides which regions are found.

    Args:
        image: voxels and grid count, the name does not.
        settings: what `SegmentConfig.decisive` says counts.
        finder: name and sha256 of the weights. What computes counts only as far as the settings ask for it; the regions
            say which engine made them.
    """
    digest = hashlib.sha256()
    facts = {
        "layout": _LAYOUT,
        "revision": _REVISION,
        "grid": dataclasses.asdict(image.grid),
        "shape": image.data.shape,
        "segmenter": list(finder),
        "settings": settings.decisive(),
    }
    rules = RULES[settings.proposals.mask_rules]
    plan = plan_slices(image.grid, settings.slice_axis, rules.side)
    step = slice_step(plan, rules.reach)
    if step > 1:
        facts["slice_step"] = step
    if max(plan.plane) <= FEW_PIXELS:  # entries that are older have not seen the smaller input
        facts["input"] = "small"
    digest.update(json.dumps(facts, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(image.data).data)
    return digest.hexdigest()


_NOT_AN_ENTRY = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    EOFError,
    MemoryError,
    RuntimeError,  # NotImplementedError of zipfile is one: another version or compression, a password
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading an entry ends with whose checksum is right and whose content is none of an entry."""


@dataclass(frozen=True)
class RegionsCache:
    """A folder of entries.

    Args:
        folder: made when the first entry is written; the platform's place by default.
        max_bytes: what all entries together may take.

    Raises:
        ConfigError: if the bound is not positive.
    """

    folder: Path = dataclasses.field(default_factory=cache_folder)
    max_bytes: int = _DEFAULT_BYTES

    def __post_init__(self) -> None:
        if self.max_bytes <= 0:
            raise ConfigError(f"the bound of a cache is a positive number of bytes, got {self.max_bytes}")

    def path(self, key: str) -> Path:
        """Where the entry of a key is or would be."""
        return self.folder / key[:2] / f"{key}{_SUFFIX}"

    def get(self, key: str, image: Image) -> Regions | None:
        """The regions of a key, or None if there are none that can be trusted.

        Args:
            key: what `regions_key` gave.
            image: the image they are of; it is not stored.
        """
        path = self.path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        payload = memoryview(data)[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != data[:_DIGEST_BYTES]:
            _LOG.warning("%s is damaged and will be computed again", path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the time of use, by which eviction goes
        try:
            return _unpack(bytes(payload), image)
        except _NOT_AN_ENTRY:
            # Whole, but nothing that this version wrote.
            _LOG.warning("%s holds no regions that this version can read; they will be computed again", path)
            return None

    def put(self, key: str, regions: Regions) -> None:
        """Write an entry, whole or not at all, and make room for it.

        A folder that cannot be written to costs the entry, not the work: that is logged.
        """
        payload = _pack(regions)
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written(path) as partial, partial.open("wb") as stream:
                stream.write(hashlib.sha256(payload).digest())
                stream.write(payload)
            self._evict(keep=path)
        except OSError as error:
            _LOG.warning("no cache entry was written to %s: %s", self.folder, error)

    def _evict(self, keep: Path) -> None:
        entries = []
        for path in self.folder.glob(f"*/*{_SUFFIX}"):
            with contextlib.suppress(OSError):  # another process may have evicted it by now
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.max_bytes:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size

    def find(
        self,
        image: Image,
        settings: SegmentConfig,
        finder: tuple[str, str],
        compute: Callable[[], Regions],
        *,
        level: int = logging.INFO,
    ) -> Regions:
        """The regions of an image, from the cache or computed and kept.

        What is found and what is computed is logged to `samreg.cache`.

        Args:
            image: the image.
            settings: as for `regions_key`.
            finder: as for `regions_key`.
            compute: finds the regions; called at most once, and by one process at a time for the same entry.
            level: of what is logged; lower for an image that the user does not know of.
        """
        key = regions_key(image, settings, finder)
        found = self.get(key, image)
        if found is None:
            with self.computing(key):
                found = self.get(key, image)  # another process may have been faster
                if found is None:
                    fresh = compute()
                    self.put(key, fresh)
                    _LOG.log(level, "encoded %s", image.name)
                    return fresh
        _LOG.log(level, "found %s", image.name)
        return found

    @contextlib.contextmanager
    def computing(self, key: str) -> Iterator[None]:
        """Within it no other process computes the same entry; the lock goes with the process, however it ends."""
        try:
            import fcntl

            path = self.path(key).with_suffix(".lock")
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("w", encoding="utf-8")
        except (ImportError, OSError):  # no locks here: at worst two processes compute the same
            yield
            return
        with stream:
            with contextlib.suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def _pack(regions: Regions) -> bytes:
    """Everything but the image, without pickle."""
    rois, features = regions.rois.rois, regions.features
    if features is None:
        raise ConfigError("the cache keeps what a segmenter found; these regions have no embedding")
    if regions.inside is not None:
        raise ConfigError("the cache keeps the regions of whole images; take those within a mask after it")
    facts = {
        "starts": [[int(i) for i in roi.start] for roi in rois],
        "shapes": [list(roi.mask.shape) for roi in rois],
        "qualities": [float(roi.quality) for roi in rois],
        "names": [roi.name for roi in rois],
        "feature_grid": dataclasses.asdict(features.grid),
        "slice_axis": regions.slice_axis,
        "origin": None if regions.origin is None else dataclasses.asdict(regions.origin),
    }
    bits = [np.packbits(roi.mask) for roi in rois]
    stream = io.BytesIO()
    np.savez(
        stream,
        facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8),
        masks=np.concatenate(bits) if bits else np.zeros(0, dtype=np.uint8),
        prototypes=regions.prototypes,
        features=features.data,
        slice_index=regions.slice_index,
    )
    return stream.getvalue()


def _unpack(payload: bytes, image: Image) -> Regions:
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        facts = json.loads(arrays["facts"].tobytes())
        bits = arrays["masks"]
        rois, at = [], 0
        rows = zip(facts["starts"], facts["shapes"], facts["qualities"], facts["names"], strict=True)
        for start, shape, quality, name in rows:
            n_voxels = int(np.prod(shape))
            n_bytes = (n_voxels + 7) // 8
            mask = np.unpackbits(bits[at : at + n_bytes], count=n_voxels).astype(bool).reshape(shape)
            rois.append(Roi(mask, tuple(start), quality, name))
            at += n_bytes
        return Regions(
            image=image,
            rois=RoiSet(tuple(rois), image.grid),
            prototypes=arrays["prototypes"],
            features=FeatureVolume(arrays["features"], _grid(facts["feature_grid"])),
            slice_axis=facts["slice_axis"],
            slice_index=arrays["slice_index"],
            origin=_origin(facts["origin"]),
        )


def _grid(facts: dict[str, Any]) -> Grid:
    lists = {key: tuple(value) for key, value in facts.items() if key not in ("direction", "unit")}
    return Grid(**lists, direction=tuple(map(tuple, facts["direction"])), unit=facts["unit"])


def _origin(facts: dict[str, Any] | None) -> Origin | None:
    return None if facts is None else Origin(**{**facts, "classes": tuple(facts["classes"])})
