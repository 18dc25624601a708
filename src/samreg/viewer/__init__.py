"""A small local page to look at a run: scroll slices, switch and blend images, find the partner of a region."""

from samreg.viewer.server import serve

__all__ = ["serve"]
