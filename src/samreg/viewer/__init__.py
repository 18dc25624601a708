"""The viewer: a run folder goes in, and a page on this machine comes out, in which its slices are compared."""

from samreg.viewer.server import serve

__all__ = ["serve"]
