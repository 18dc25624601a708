"""Two images that were not registered yet, as a run folder without pairs: `samreg view FIXED MOVING`."""

from __future__ import annotations

from pathlib import Path

from samreg.config import RegisterConfig
from samreg.errors import InputError
from samreg.files import check_output, sha256_of
from samreg.geometry.grid import check_pair
from samreg.geometry.rois import PairedRois
from samreg.io.images import read_image
from samreg.io.tables import split_image_name
from samreg.result import RegistrationResult
from samreg.runs.run_folder import read_run, write_run

__all__ = ["folder_for"]


def folder_for(fixed: Path, moving: Path, out: Path | None) -> Path:
    """The run folder in which the pairs of two images are kept: that of an earlier call, or a new one without pairs.

    Args:
        fixed: the fixed image.
        moving: the moving image.
        out: the folder; `view-FIXED-MOVING` in the current folder by default.

    Raises:
        InputError: if an image cannot be read, or the folder holds something else.
    """
    folder = Path(f"view-{split_image_name(fixed)[0]}-{split_image_name(moving)[0]}") if out is None else out
    if (folder / "manifest.json").is_file():
        images = read_run(folder).manifest["images"]
        if any(images[side]["sha256"] != sha256_of(path) for side, path in (("fixed", fixed), ("moving", moving))):
            raise InputError(f"{folder}: is a run of other images; choose another folder by --out")
        return folder
    check_output(folder)
    images = {"fixed": read_image(fixed), "moving": read_image(moving)}
    check_pair(images["fixed"].grid, images["moving"].grid, str(fixed), str(moving))
    result = RegistrationResult(
        fixed=images["fixed"],
        moving=images["moving"],
        pairs=PairedRois.none(images["fixed"].grid, images["moving"].grid),
        affine=None,
        field=None,
        config=RegisterConfig(),
        confidence=0.0,
        notes=("not registered yet: samreg view began from two images",),
    )
    return write_run(result, folder, inputs={"fixed": fixed, "moving": moving})
