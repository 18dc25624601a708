"""Regions that people have, whichever way they keep them: label maps with names, folders of masks, segmentations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from samreg.errors import GeometryError, ImageReadError, InputError
from samreg.geometry.rois import RoiSet
from samreg.io.images import read_labels
from samreg.io.label_names import find_label_names, read_label_names
from samreg.io.rois import read_rois, read_segmentation
from samreg.io.tables import IMAGE_SUFFIXES, split_image_name

__all__ = ["KnownRegions", "is_mask_folder", "read_known_regions"]


@dataclass(frozen=True, eq=False)
class KnownRegions:
    """Regions of one image.

    Args:
        rois: by name: what they show, or their label value where nothing says more.
        values: label value of each; None where they have none (a folder of masks).
        named: whether the names say what they show.
    """

    rois: RoiSet
    values: tuple[int, ...] | None
    named: bool

    def by_value(self, source: Path) -> RoiSet:
        """The same, named by their label values.

        Raises:
            InputError: if they have none.
        """
        if self.values is None:
            raise InputError(
                f"{source}: its masks have names and no label values; give names of the other side too (--label-names)"
            )
        rois = zip(self.rois.rois, self.values, strict=True)
        return replace(self.rois, rois=tuple(replace(roi, name=str(value)) for roi, value in rois))


def read_known_regions(path: str | Path, names: Mapping[int, str] | None = None) -> KnownRegions:
    """Read the regions of a file or folder.

    Args:
        path: a label map, a segmentation (.seg.nrrd or DICOM SEG), COCO masks of one picture (.json), or a folder of
            masks, a file a region, whose names are those of the files (as TotalSegmentator writes them).
        names: of label values; None takes those that lie beside a label map (`samreg.io.label_names`).

    Raises:
        ImageReadError: if it is none of them.
        GeometryError: if the masks of a folder have different grids.
    """
    source = Path(path)
    if source.name.lower().endswith(".seg.nrrd"):
        rois, values = read_segmentation(source)
        return KnownRegions(rois, tuple(values), True)
    if source.suffix.lower() == ".json":
        from samreg.io.coco import read_coco

        return KnownRegions(read_coco(source), None, True)
    if is_mask_folder(source):
        return KnownRegions(_masks(source), None, True)
    from samreg.io.dicom_seg import is_dicom_seg, read_dicom_seg

    if is_dicom_seg(source):
        rois, values = read_dicom_seg(source)
        return KnownRegions(rois, tuple(values), True)
    rois = read_rois(source)
    values = [int(roi.name) for roi in rois.rois]
    found = find_label_names(source) if names is None else None
    named = dict(names or {}) if found is None else read_label_names(found)
    if not named:
        return KnownRegions(rois, tuple(values), False)
    kept = tuple(replace(roi, name=named.get(value, str(value))) for roi, value in zip(rois.rois, values, strict=True))
    return KnownRegions(replace(rois, rois=kept), tuple(values), True)


def is_mask_folder(path: Path) -> bool:
    """Whether a folder holds masks, a file each, and nothing that DICOM would be."""
    return path.is_dir() and bool(_mask_files(path))


def _mask_files(folder: Path) -> list[Path]:
    medical = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in (".jpg", ".jpeg", ".tif", ".tiff"))
    return sorted(path for path in folder.iterdir() if path.name.lower().endswith(medical))


def _masks(folder: Path) -> RoiSet:
    masks, names, grid = [], [], None
    for path in _mask_files(folder):
        labels, own = read_labels(path)
        if grid is not None and not own.same_as(grid):
            raise GeometryError(f"{path}: lies on another grid than the other masks of the folder")
        grid = own
        if labels.any():
            masks.append(labels != 0)
            names.append(split_image_name(path)[0])
    if grid is None or not masks:
        raise ImageReadError(f"{folder}: none of its masks holds anything")
    return RoiSet.from_masks(masks, grid, names=names)
