"""The report: one self-contained page about one registration."""

from samreg.report.page import render_regions, render_registration

__all__ = ["render_regions", "render_registration"]
