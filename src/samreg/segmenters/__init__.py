"""Promptable segmenters: encode an image once, answer prompts, keep no state in between."""

from __future__ import annotations

from samreg.segmenters.base import Encoding, Masks, Prompts, Segmenter
from samreg.segmenters.weights.load import load_segmenter

__all__ = ["Encoding", "Masks", "Prompts", "Segmenter", "load_segmenter"]
