"""`samreg export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from samreg.cli.common import check_file, show
from samreg.cli.output import report

__all__ = ["Export"]


@dataclass(frozen=True)
class Export:
    """Write a run in the format of another tool: fields in voxels, X5, Jacobian maps, BIDS names, regions.

    transform.h5, displacement.nii.gz, affine.mat and the .seg.nrrd files of a run need no export: SimpleITK, ITK, ANTs
    and 3D Slicer read them.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder that samreg register wrote."""
    to: Annotated[
        Literal[
            "learn2reg", "monai", "x5", "jacobian", "log-jacobian", "bids", "itk-snap", "coco", "dicom-seg", "dicom-reg"
        ],
        tyro.conf.arg(metavar="FORMAT"),
    ]
    """learn2reg and monai: displacement in voxels (.nii.gz, .npy); x5: for nitransforms; jacobian or log-jacobian: a
    map; bids: a folder; itk-snap: label map and names; coco: masks of pictures; dicom-seg, dicom-reg: regions of a
    series, transform of two."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE", aliases=("-o",))]
    """The file to write; for bids the folder."""
    inverse: bool = False
    """The inverse map, on the moving grid; of regions, those of the moving image."""
    overwrite: bool = False
    """Replace the file if it is there."""

    def run(self) -> None:
        """Read, write."""
        from samreg.files import check_output
        from samreg.runs.export import export
        from samreg.runs.run_folder import read_run

        if self.to == "bids":
            check_output(self.out, self.overwrite)
        else:
            check_file(self.out, self.overwrite)
        export(read_run(self.run_folder), self.to, self.out, inverse=self.inverse)
        report(file=str(self.out))
        show(f"written to {self.out}")
