"""Promptable segmenters: slices and prompts (points, boxes, masks) go in, and image embeddings and masks come out."""

from __future__ import annotations

from samreg.segmenters.base import Encoding, Masks, Prompts, Segmenter
from samreg.segmenters.registry import LazySegmenter, open_segmenter

__all__ = ["Encoding", "LazySegmenter", "Masks", "Prompts", "Segmenter", "load_segmenter", "open_segmenter"]

load_segmenter = open_segmenter
"""The name of `open_segmenter` in the public interface, `samreg.load_segmenter`."""
