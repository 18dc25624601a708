"""A run in the formats of other tools.

| format | what is written |
| --- | --- |
| `learn2reg` | NIfTI `(x, y, z, 3)`, displacement in voxels |
| `monai` | .npy `(3, x, y, z)`, displacement in voxels, for `Warp` |
| `x5` | the field for nitransforms |
| `jacobian`, `log-jacobian` | a map of det(I + grad u), or of its logarithm |
| `bids` | a folder with the names of BIDS derivatives: transforms both ways, the warped image, labels |
| `itk-snap` | the pairs as a label map, and beside it their names as a label description |
| `coco` | the regions of two pictures as run-length encoded masks |
| `dicom-seg` | the regions of one image as a DICOM SEG of its series |
| `dicom-reg` | the transform between two series as a DICOM (deformable) spatial registration |
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from samreg.errors import InputError
from samreg.files import staged, write_json
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.geometry.rois import RoiSet
from samreg.io.images import write_image
from samreg.io.label_names import write_label_names
from samreg.io.palette import pair_colour
from samreg.io.rois import write_label_map
from samreg.io.tables import split_image_name
from samreg.notes import note
from samreg.runs.run_folder import Run

__all__ = ["ExportFormat", "export", "jacobian_map"]

ExportFormat: TypeAlias = Literal[
    "learn2reg", "monai", "x5", "jacobian", "log-jacobian", "bids", "itk-snap", "coco", "dicom-seg", "dicom-reg"
]
_LEAST_DETERMINANT = 1e-3
"""Below which the logarithm of a determinant is that of this number."""
_ENTITY = re.compile(r"(?<![A-Za-z0-9])(sub|ses|task|acq|ce|run|echo|rec|dir)-([A-Za-z0-9]+)")


def export(run: Run, to: ExportFormat, out: Path, *, inverse: bool = False) -> Path:
    """Write one format of a run.

    Args:
        run: a run folder that was read.
        to: the format.
        out: the file or, for `bids`, the folder.
        inverse: the inverse map instead, on the moving grid, and the regions of the moving image.

    Raises:
        InputError: if the run cannot be written in that format.
    """
    writers: dict[str, Callable[[Run, Path, bool], Path]] = {
        "bids": _bids,
        "itk-snap": _itk_snap,
        "coco": _coco,
        "dicom-seg": _dicom_seg,
        "dicom-reg": _dicom_registration,
    }
    if to in writers:
        return writers[to](run, out, inverse)
    field = run.inverse() if inverse else run.transform()
    other = run.fixed_grid if inverse else run.moving_grid
    if to in ("jacobian", "log-jacobian"):
        return write_image(jacobian_map(field, log=to == "log-jacobian"), out)
    from samreg.io.voxel_fields import write_learn2reg, write_monai_ddf
    from samreg.io.x5 import write_x5

    if to == "learn2reg":
        return write_learn2reg(field, other, out)
    if to == "monai":
        return write_monai_ddf(field, other, out)
    if to == "x5":
        return write_x5(field, out)
    raise InputError(f"--to {to}: choose one of {', '.join(get_args(ExportFormat))}")


def jacobian_map(field: DisplacementField, *, log: bool = False) -> Image:
    """det(I + grad u) on the grid of a field, or its logarithm: above 1 (0), tissue is larger in the moving image.

    Warns:
        InputWarning: where the logarithm does not exist, with the number of voxels; it is that of 0.001 there.
    """
    determinant = field.jacobian_determinant()
    if not log:
        return Image(determinant, field.grid, "jacobian")
    low = int((determinant < _LEAST_DETERMINANT).sum())
    if low:
        note(f"the Jacobian is below {_LEAST_DETERMINANT:g} at {low} voxels; its logarithm is -6.9 there")
    return Image(np.log(np.maximum(determinant, _LEAST_DETERMINANT)), field.grid, "log jacobian")


def _sides(run: Run, inverse: bool) -> tuple[RoiSet, dict[str, Any]]:
    side = "moving" if inverse else "fixed"
    return getattr(run.pairs, side), run.manifest["images"][side]


def _itk_snap(run: Run, out: Path, inverse: bool) -> Path:
    rois, _ = _sides(run, inverse)
    write_label_map(rois, out)
    names = {row: roi.name or f"pair {row}" for row, roi in enumerate(rois.rois, start=1)}
    stem = split_image_name(out)[0]
    write_label_names(names, out.parent / f"{stem}.label", {row: pair_colour(row - 1) for row in names})
    return out


def _coco(run: Run, out: Path, inverse: bool) -> Path:
    from samreg.io.coco import write_coco

    images = run.manifest["images"]
    sides = ("moving", "fixed") if inverse else ("fixed", "moving")
    return write_coco([(images[side]["name"], getattr(run.pairs, side)) for side in sides], out)


def _dicom_seg(run: Run, out: Path, inverse: bool) -> Path:
    from samreg.io.dicom import series_files
    from samreg.io.dicom_seg import write_dicom_seg

    rois, image = _sides(run, inverse)
    folder = Path(image["path"] or "")
    if not folder.is_dir():
        raise InputError(f"{out}: a DICOM segmentation belongs to a DICOM series, and the image was {image['name']}")
    return write_dicom_seg(rois, series_files(folder, image.get("series")), out)


def _dicom_registration(run: Run, out: Path, inverse: bool) -> Path:
    from samreg.io.dicom import series_files
    from samreg.io.dicom_registration import write_dicom_registration

    images = run.manifest["images"]
    files: list[tuple[Path, ...]] = []
    for side in ("moving", "fixed") if inverse else ("fixed", "moving"):
        folder = Path(images[side]["path"] or "")
        if not folder.is_dir():
            raise InputError(f"{out}: a DICOM registration leads between DICOM series; {images[side]['name']} is none")
        files.append(series_files(folder, images[side].get("series")))
    dense = run.manifest["config"]["fit"]["transform"] not in ("affine", "rigid")
    if dense or run.affine is None:
        return write_dicom_registration(run.inverse() if inverse else run.transform(), files[0], files[1], out)
    return write_dicom_registration(np.linalg.inv(run.affine) if inverse else run.affine, files[0], files[1], out)


def _bids(run: Run, out: Path, inverse: bool) -> Path:
    """Derivatives: transforms both ways, the warped image and the labels of both images."""
    import samreg

    if inverse:
        raise InputError("--to bids writes both directions; leave out --inverse")
    images = run.manifest["images"]
    entities = [dict(_ENTITY.findall(images[side]["path"] or images[side]["name"])) for side in ("fixed", "moving")]
    if not entities[0].get("sub"):
        raise InputError(
            f"{images['fixed']['name']}: has no subject in its name (sub-01_...), as BIDS has; rename the images first"
        )
    spaces = _spaces(images, entities)
    stem = "_".join(f"{key}-{entities[0][key]}" for key in ("sub", "ses") if key in entities[0])
    suffix = re.search(r"_([A-Za-z0-9]+)$", split_image_name(Path(images["moving"]["name"]))[0])
    kind = suffix[1] if suffix else "image"
    with staged(out, False) as stage:
        write_json(
            stage / "dataset_description.json",
            {
                "Name": "samreg registration",
                "BIDSVersion": "1.9.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "samreg", "Version": samreg.__version__}],
            },
        )
        folder = stage.joinpath(*(f"{key}-{entities[0][key]}" for key in ("sub", "ses") if key in entities[0])) / "anat"
        folder.mkdir(parents=True)
        # BIDS names a transform by what it carries: images go from the moving to the fixed space.
        names = {
            "transform.h5": f"{stem}_from-{spaces[1]}_to-{spaces[0]}_mode-image_xfm.h5",
            "inverse_transform.h5": f"{stem}_from-{spaces[0]}_to-{spaces[1]}_mode-image_xfm.h5",
            "warped.nii.gz": f"{stem}_space-{spaces[0]}_desc-warped_{kind}.nii.gz",
            "fixed_rois.nii.gz": f"{stem}_space-{spaces[0]}_desc-regions_dseg.nii.gz",
            "moving_rois.nii.gz": f"{stem}_space-{spaces[1]}_desc-regions_dseg.nii.gz",
        }
        for source, name in names.items():
            if (run.folder / source).is_file():
                shutil.copyfile(run.folder / source, folder / name)
        rows = [f"{n}\t{roi.name or f'pair {n}'}" for n, roi in enumerate(run.pairs.fixed.rois, start=1)]
        table = "\n".join(["index\tname", *rows]) + "\n"
        for space in dict.fromkeys(spaces):
            (folder / f"{stem}_space-{space}_desc-regions_dseg.tsv").write_text(table, encoding="utf-8")
    return out


def _spaces(images: dict[str, Any], entities: list[dict[str, str]]) -> tuple[str, str]:
    """Names of the fixed and the moving space: what tells both files apart, letters and digits only."""
    for key in ("ses", "sub", "acq", "run"):
        labels = [e.get(key, "") for e in entities]
        if all(labels) and labels[0] != labels[1]:
            return f"{key}{labels[0]}", f"{key}{labels[1]}"
    stems = [re.sub(r"[^A-Za-z0-9]", "", split_image_name(Path(images[s]["name"]))[0]) for s in ("fixed", "moving")]
    return (stems[0], stems[1]) if stems[0] != stems[1] else ("fixed", "moving")
