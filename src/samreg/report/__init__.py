"""The report: a result goes in, and one self-contained HTML page comes out."""

from samreg.report.page import render_regions, render_registration

__all__ = ["render_regions", "render_registration"]
