"""The paper's tables as benchmark runs: which methods make up which table, and how their rows are called.

Huang et al., MICCAI 2024: table 1 compares methods on each dataset; table 2 compares segmenters, measured on labelled
ROIs (Lab-ROI) and on pseudo ROIs (Pse-ROI); table 3 varies the number of pairs K; table 4 varies the threshold epsilon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from samreg.errors import ConfigError

__all__ = ["DEFAULT_BASE", "PaperTable", "paper_table"]

DEFAULT_BASE = "samreg+fit.elastic.similarity_weight=0+fit.elastic.feature_weight=0+fit.transform=ffd"
"""Regions alone drive the field, as in the paper; what the images themselves add would hide what K and epsilon do."""

_K = (1, 2, 3, 4, 0)
_EPSILON = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
_TABLE_1 = ("identity", "niftyreg", "ants", "elastix", "greedy", "convexadam", "samreg")
_TABLE_2 = ("litemedsam",)


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    Args:
        number: 1 to 4.
        title: what it varies.
        methods: the methods, one a row.
        headings: method -> heading of its row, where that is not its name.
        pseudo_rois: whether the rows are also measured on pseudo ROIs.
        reuse: whether regions come from the cache: what a table varies comes after the segmentation.
    """

    number: int
    title: str
    methods: tuple[str, ...]
    headings: Mapping[str, str] = field(default_factory=dict)
    pseudo_rois: bool = False
    reuse: bool = False


def paper_table(
    number: int, *, methods: Sequence[str] = (), segmenters: Sequence[str] = (), base: str = DEFAULT_BASE
) -> PaperTable:
    """The rows of a table.

    Args:
        number: 1, 2, 3 or 4.
        methods: rows of table 1; identity, all peers and samreg by default.
        segmenters: rows of table 2, as `--segmenter` takes them; LiteMedSAM by default.
        base: the samreg method that tables 3 and 4 vary; by default regions alone drive its field.

    Raises:
        ConfigError: if there is no such table.
    """
    if number == 1:
        return PaperTable(1, "methods", tuple(methods) or _TABLE_1)
    if number == 2:
        names = tuple(segmenters) or _TABLE_2
        rows = {f"{base}+segment.segmenter={name}": name for name in names}
        return PaperTable(2, "segmenters, on Lab-ROI and Pse-ROI", tuple(rows), rows, pseudo_rois=True, reuse=True)
    if number == 3:
        rows = {f"{base}+match.max_pairs={k}": f"K = {k or 'all'}" for k in _K}
        return PaperTable(3, "number of pairs K", tuple(rows), rows, reuse=True)
    if number == 4:
        rows = {f"{base}+match.epsilon={e:g}": f"epsilon = {e:g}" for e in _EPSILON}
        return PaperTable(4, "threshold epsilon", tuple(rows), rows, reuse=True)
    raise ConfigError(f"the paper has tables 1 to 4, got {number}")
