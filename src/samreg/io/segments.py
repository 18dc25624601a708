"""What a segmentation (.seg.nrrd) says of each segment: ID, name, colour, terminology, layer and label value.

Read from the text of the header, as it stands, so that a segmentation that is carried along keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from samreg.errors import ImageReadError
from samreg.geometry.rois import RoiSet

__all__ = ["entries_of", "segment_entries"]

_ENTRY = re.compile(r"Segment(\d+)_(\w+):=(.*)")
_LONGEST = 1 << 26  # bytes of a header; the text ends with an empty line


def segment_entries(path: str | Path) -> list[dict[str, str]]:
    """All keys of each segment, without `SegmentN_`, in the order of N; values as they are written in the file.

    Raises:
        ImageReadError: if the file cannot be read.
    """
    source = Path(path)
    found: dict[int, dict[str, str]] = {}
    try:
        with source.open("rb") as file:
            while (line := file.readline(_LONGEST)).strip():
                match = _ENTRY.match(line.decode("utf-8", errors="replace").rstrip("\r\n"))
                if match:
                    found.setdefault(int(match[1]), {})[match[2]] = match[3]
    except OSError as error:
        raise ImageReadError(f"{source}: cannot be read: {error.strerror}") from None
    return [found[i] for i in sorted(found)]


def entries_of(
    rois: RoiSet, values: Sequence[int], entries: Sequence[Mapping[str, str]]
) -> list[Mapping[str, str]] | None:
    """The entry of each region that was read from a segmentation: empty segments have an entry and no region.

    Args:
        rois: the regions, in the order of the file and named as their segments.
        values: the label value of each, where these are unique.
        entries: of all segments, in the order of the file.

    Returns:
        One entry a region; None where they cannot be told apart.
    """
    named = [entry for entry in entries if "ID" in entry]
    if len(named) == len(rois):
        return list(named)
    by_value = {entry.get("LabelValue", ""): entry for entry in named}
    chosen = [by_value.get(str(value)) for value in values]
    if len(by_value) == len(named) and all(
        entry is not None and entry.get("Name", "") == roi.name for entry, roi in zip(chosen, rois.rois, strict=True)
    ):
        return [entry for entry in chosen if entry is not None]
    by_name = {entry.get("Name", ""): entry for entry in named}
    if len(by_name) == len(named) and all(roi.name in by_name for roi in rois.rois):
        return [by_name[roi.name] for roi in rois.rois]
    return None
