"""Step 1 as one function: an image to its regions, found now or taken from the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from samreg import plugins
from samreg.config import SegmentConfig
from samreg.geometry.image import Image
from samreg.regions.cache import RegionsCache
from samreg.regions.everything.finder import EverythingMode
from samreg.regions.regions import Regions
from samreg.segmenters.base import Segmenter
from samreg.types import Progress

__all__ = ["FinderFactory", "RegionFinder", "as_finder", "find_regions", "open_finder"]


@runtime_checkable
class RegionFinder(Protocol):
    """The contract of everything that finds the regions of an image.

    `find` is a function of its arguments alone: the same image and settings give the same regions, in any order, from
    any thread. Two images are registered with regions of the same finder.
    """

    @property
    def name(self) -> str:
        """The name the user gave, for example `litemedsam`, or the path of a checkpoint."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 of the weights: what the cache keys on. It can be known before the weights are loaded."""
        ...

    @property
    def segmenter(self) -> Segmenter | None:
        """The promptable segmenter behind it; None for one that takes no prompts."""
        ...

    def find(self, image: Image, settings: SegmentConfig, progress: Progress | None = None) -> Regions:
        """The regions of one image, with prototypes and embedding.

        Args:
            image: 2D or 3D, grey or RGB.
            settings: window, slices, prompts.
            progress: called with ("segment", slices done, slices in all).
        """
        ...


@runtime_checkable
class FinderFactory(Protocol):
    """What an entry point of the group `samreg.segmenters` names: an object that opens finders.

    It may have an attribute `use`: what to give to `--segmenter`, for `samreg models`, where that is not its name.
    """

    def claims(self, path: Path) -> bool:
        """Whether a file that the user named as segmenter is a checkpoint for this factory."""
        ...

    def open(self, settings: SegmentConfig) -> RegionFinder:
        """The finder that the settings name; weights are loaded when they are first needed."""
        ...


def open_finder(settings: SegmentConfig) -> RegionFinder:
    """The finder that settings name: one of another package, a checkpoint that one of them claims, or everything mode.

    Args:
        settings: `segmenter` is the name of an entry point, a checkpoint file, or what `samreg.load_segmenter` takes.

    Raises:
        ModelError: if the weights are missing, or of an architecture that nobody knows.
        PluginError: if the entry point of that name cannot be imported.
    """
    factory: FinderFactory | None = plugins.find("segmenters", settings.segmenter)
    path = Path(settings.segmenter).expanduser()
    if factory is None and path.is_file():
        offered = (plugins.load("segmenters", name) for name in plugins.names("segmenters"))
        factory = next((known for known in offered if known.claims(path)), None)
    return EverythingMode.open(settings) if factory is None else factory.open(settings)


def as_finder(segmenter: RegionFinder | Segmenter) -> RegionFinder:
    """A promptable segmenter as everything mode; what finds regions already stays as it is."""
    return segmenter if hasattr(segmenter, "find") else EverythingMode(segmenter)  # type: ignore[return-value]


def find_regions(
    image: Image,
    finder: RegionFinder,
    settings: SegmentConfig,
    cache: RegionsCache | None = None,
    progress: Progress | None = None,
) -> Regions:
    """The regions of one image.

    Args:
        image: 2D or 3D, grey or RGB.
        finder: what finds them.
        settings: window, slices, prompts.
        cache: where regions are kept that were found before; None finds them anew.
        progress: called after each slice.
    """
    if cache is None:
        return finder.find(image, settings, progress)
    key = finder.name, finder.fingerprint
    return cache.find(image, settings, key, lambda: finder.find(image, settings, progress))
