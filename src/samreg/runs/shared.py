"""The finder of a process: opened once, used for every pair that the process gets."""

from __future__ import annotations

import functools

from samreg.config import SegmentConfig
from samreg.geometry.image import Image
from samreg.regions.find import RegionFinder, open_finder
from samreg.regions.regions import Regions
from samreg.segmenters.base import Segmenter
from samreg.types import Progress

__all__ = ["CountingFinder", "shared_finder"]


def shared_finder(settings: SegmentConfig) -> RegionFinder:
    """The finder that the settings name; a finder has no state, so sharing it changes nothing."""
    return _open(SegmentConfig(settings.segmenter, settings.engine, settings.device, settings.precision))


@functools.lru_cache(maxsize=2)
def _open(settings: SegmentConfig) -> RegionFinder:
    return open_finder(settings)


class CountingFinder:
    """A finder that remembers which images it was asked for: those that were not in the cache.

    Args:
        finder: finds the regions.
    """

    def __init__(self, finder: RegionFinder) -> None:
        self._finder = finder
        self.found: list[str] = []

    @property
    def name(self) -> str:
        """The name the user gave."""
        return self._finder.name

    @property
    def fingerprint(self) -> str:
        """sha256 of the weights."""
        return self._finder.fingerprint

    @property
    def segmenter(self) -> Segmenter | None:
        """The promptable segmenter behind it."""
        return self._finder.segmenter

    def find(self, image: Image, settings: SegmentConfig, progress: Progress | None = None) -> Regions:
        """See `RegionFinder.find`."""
        regions = self._finder.find(image, settings, progress)
        self.found.append(image.name)
        return regions
