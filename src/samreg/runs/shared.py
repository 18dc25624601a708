"""The segmenter of a process: read once, used for every pair that the process gets."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from samreg.config import RegisterConfig

if TYPE_CHECKING:
    from samreg.regions.known import ClassSegmenter
    from samreg.segmenters.base import Segmenter

__all__ = ["shared_segmenter"]


def shared_segmenter(config: RegisterConfig) -> Segmenter | ClassSegmenter:
    """The segmenter that the settings name; a segmenter has no state, so sharing it changes nothing."""
    settings = config.segment
    return _open(settings.segmenter, settings.engine, settings.device, settings.precision)


@functools.lru_cache(maxsize=2)
def _open(name: str, engine: str, device: str, precision: str) -> Segmenter | ClassSegmenter:
    from samreg.lab.baselines.segmenter import open_segmenter

    return open_segmenter(name, engine=engine, device=device, precision=precision)
