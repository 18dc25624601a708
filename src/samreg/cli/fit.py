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
        from samreg.runs.refit import fit_run, inputs_of, other_inputs_of
        from samreg.runs.run_folder import read_run, write_run

        check_output(self.out, self.overwrite)
        if self.out.resolve() == self.run_folder.resolve():
            raise InputError(f"{self.out}: is the run itself; give --out another folder")
        with ProgressLines() as progress:
            result = fit_run(self.run_folder, fixed=self.fixed, moving=self.moving, progress=progress)
        run = read_run(self.run_folder)
        inputs = inputs_of(run, self.fixed, self.moving)
        chosen = {side: {k: run.manifest["images"][side].get(k) for k in ("frame", "series")} for side in inputs}
        inputs |= other_inputs_of(run)
        write_run(result, self.out, inputs=inputs, overwrite=self.overwrite, chosen=chosen, inverse=self.inverse)
        show(*summary(result, self.out))
