"""`samreg fit`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from samreg.cli.common import show, summary
from samreg.cli.progress import ProgressLines

__all__ = ["Fit"]


@dataclass(frozen=True)
class Fit:
    """Register again from the pairs of a run as they are now, without segmenting: after samreg pairs, or an edit.

    Pairs with "keep": false in pairs.json and segments that were removed are left out; changed segments have their new
    outline; segments added to both .seg.nrrd files under one name are a new pair.
    """

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The folder that samreg register wrote."""
    out: Annotated[Path, tyro.conf.arg(metavar="RUN2", aliases=("-o",))]
    """Folder for the new result; must not exist or be empty."""
    fixed: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The fixed image, where it is no longer at the place that the manifest names."""
    moving: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The moving image, likewise."""
    inverse: bool = True
    """Write the inverse, on the moving grid, as well; --no-inverse leaves it out."""
    overwrite: bool = False
    """Replace an older run in the folder of --out."""

    def run(self) -> None:
        """Read, register, write."""
        from samreg.errors import InputError
        from samreg.files import check_output
        from samreg.runs.refit import refit_run

        check_output(self.out, self.overwrite)
        if self.out.resolve() == self.run_folder.resolve():
            raise InputError(f"{self.out}: is the run itself; give --out another folder")
        with ProgressLines() as progress:
            result = refit_run(
                self.run_folder,
                self.out,
                fixed=self.fixed,
                moving=self.moving,
                inverse=self.inverse,
                overwrite=self.overwrite,
                progress=progress,
            )
        show(*summary(result, self.out))
