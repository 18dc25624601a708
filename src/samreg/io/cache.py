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
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.config import RegisterConfig
from samreg.errors import ConfigError
from samreg.grid import Grid
from samreg.image import Image
from samreg.regions import FeatureVolume, Regions
from samreg.rois import Roi, RoiSet
from samreg.segmenters.compiled_cache import cache_folder

if TYPE_CHECKING:
    from samreg.segmenters.base import Segmenter
    from samreg.segmenters.classes import DeferredSegmenter
    from samreg.segmenters.labels import ClassSegmenter

__all__ = ["RegionsCache", "cached_segment", "find_or_segment", "regions_key"]

_LOG = logging.getLogger("samreg.cache")
_LAYOUT = 1
_REVISION = 2
"""Part of the key: count up whenever the same settings give other regions."""
_SUFFIX = ".regions"
_DIGEST_BYTES = 32
_DEFAULT_BYTES = 20 * 1024**3


def regions_key(image: Image, config: RegisterConfig, segmenter: Segmenter | ClassSegmenter | DeferredSegmenter) -> str:
    """sha256 of everything that decides what `segment` returns.

    Args:
        image: voxels and grid count, the name does not.
        config: of `segment` what `SegmentConfig.decisive` says counts, and nothing else: the seed does not.
        segmenter: name and weights count. What computes counts only as far as the settings ask for it; the regions say
            which engine made them.
    """
    digest = hashlib.sha256()
    facts = {
        "layout": _LAYOUT,
        "revision": _REVISION,
        "grid": dataclasses.asdict(image.grid),
        "shape": image.data.shape,
        "segmenter": [segmenter.name, segmenter.fingerprint],
        "settings": config.segment.decisive(),
    }
    digest.update(json.dumps(facts, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(image.data).data)
    return digest.hexdigest()


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
        return _unpack(bytes(payload), image)

    def put(self, key: str, regions: Regions) -> None:
        """Write an entry, whole or not at all, and make room for it.

        A folder that cannot be written to costs the entry, not the work: that is logged.
        """
        payload = _pack(regions)
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(prefix=".partial-", dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(hashlib.sha256(payload).digest())
                    stream.write(payload)
                Path(partial).replace(path)
            except BaseException:
                Path(partial).unlink(missing_ok=True)
                raise
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

    @contextlib.contextmanager
    def computing(self, key: str) -> Iterator[None]:
        """Within it no other process computes the same entry; the lock goes with the process, however it ends."""
        try:
            import fcntl

            path = self.path(key).with_suffix(".lock")
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("w")
        except (ImportError, OSError):  # no locks here: at worst two processes compute the same
            yield
            return
        with stream:
            with contextlib.suppress(OSError):
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield


def cached_segment(
    image: Image,
    config: RegisterConfig,
    segmenter: Segmenter | ClassSegmenter | DeferredSegmenter,
    cache: RegionsCache | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> Regions:
    """`segment`, or what it returned before for the same content.

    Args:
        image: the image.
        config: its `segment` settings count.
        segmenter: the segmenter, loaded or to be loaded when it is needed.
        cache: where to look and to keep; None computes.
        progress: passed on to `segment`.
    """
    return find_or_segment(image, config, segmenter, cache, progress=progress)[0]


def find_or_segment(
    image: Image,
    config: RegisterConfig,
    segmenter: Segmenter | ClassSegmenter | DeferredSegmenter,
    cache: RegionsCache | None = None,
    *,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Regions, bool]:
    """`cached_segment`, and whether the image was segmented now; that is also logged to `samreg.cache`."""
    from samreg.registration import segment
    from samreg.segmenters.classes import DeferredSegmenter

    key = "" if cache is None else regions_key(image, config, segmenter)
    found = None if cache is None else cache.get(key, image)
    if found is None:
        with contextlib.nullcontext() if cache is None else cache.computing(key):
            found = None if cache is None else cache.get(key, image)  # another process may have been faster
            if found is None:
                real = segmenter.loaded if isinstance(segmenter, DeferredSegmenter) else segmenter
                fresh = segment(image, config, segmenter=real, progress=progress)
                if cache is not None:
                    cache.put(key, fresh)
                _LOG.info("encoded %s", image.name)
                return fresh, True
    _LOG.info("found %s", image.name)
    return found, False


def _pack(regions: Regions) -> bytes:
    """Everything but the image, without pickle."""
    rois, features = regions.rois.rois, regions.features
    if features is None:
        raise ConfigError("the cache keeps what a segmenter found; these regions have no embedding")
    facts = {
        "starts": [list(roi.start) for roi in rois],
        "shapes": [list(roi.mask.shape) for roi in rois],
        "qualities": [roi.quality for roi in rois],
        "names": [roi.name for roi in rois],
        "feature_grid": dataclasses.asdict(features.grid),
        "slice_axis": regions.slice_axis,
        "provenance": regions.provenance,
    }
    bits = [np.packbits(roi.mask) for roi in rois]
    stream = io.BytesIO()
    np.savez(
        stream,
        facts=np.frombuffer(json.dumps(facts, default=_plain).encode(), dtype=np.uint8),
        masks=np.concatenate(bits) if bits else np.zeros(0, dtype=np.uint8),
        prototypes=regions.prototypes,
        features=features.data,
        slice_index=regions.slice_index,
    )
    return stream.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


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
            provenance=facts["provenance"],
        )


def _grid(facts: dict[str, Any]) -> Grid:
    lists = {key: tuple(value) for key, value in facts.items() if key not in ("direction", "unit")}
    return Grid(**lists, direction=tuple(map(tuple, facts["direction"])), unit=facts["unit"])
