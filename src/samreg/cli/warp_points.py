"""`samreg warp-points`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from samreg.cli.common import check_file, show
from samreg.cli.output import report
from samreg.errors import GeometryError

__all__ = ["WarpPoints"]


@dataclass(frozen=True)
class WarpPoints:
    """Carry points between the two images of a run; world coordinates (LPS mm, or pixels of photographs).

    Labels, IDs and other columns of the file stay. Where a point lies outside, or the inverse did not converge, a
    table says so in the columns inside and residual_vox.
    """

    points: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="POINTS")]
    """Points to carry: .csv, .txt, .fcsv or .mrk.json."""
    run_folder: Annotated[Path, tyro.conf.arg(name="run", metavar="RUN")]
    """The folder that samreg register wrote."""
    to: Literal["fixed", "moving"]
    """The image to carry them into; they lie in the other one."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE", aliases=("-o",))]
    """The file to write."""
    overwrite: bool = False
    """Replace the file if it is there."""

    def run(self) -> None:
        """Read, carry, write."""
        from samreg.io.point_files import read_point_file, write_point_file
        from samreg.notes import note
        from samreg.runs.run_folder import read_run

        check_file(self.out, self.overwrite)
        run = read_run(self.run_folder)
        field = run.transform()
        start, other = (run.fixed_grid, run.moving_grid)[:: 1 if self.to == "moving" else -1]
        file = read_point_file(self.points, start)
        if file.points.shape[1] != field.grid.ndim:
            raise GeometryError(
                f"{self.points}: holds {file.points.shape[1]}D points and the run is {field.grid.ndim}D"
            )
        defined = np.isfinite(file.points).all(axis=1)
        points = file.points[defined]
        inside = start.contains(points)
        n, of = len(points), "fixed" if self.to == "moving" else "moving"
        if not inside.any():
            more = f"; they lie in the {self.to} image" if other.contains(points).all() else ""
            raise GeometryError(f"{self.points}: none of its {n} points lies in the {of} image{more}")
        residual = np.zeros(n)
        if self.to == "moving":
            carried = field.transform_points(points)
        else:
            result = field.inverse_of_points(points)
            carried, residual, inside = result.points, result.residual, inside & result.inside
            if result.note:
                note(result.note)
        outside = int(np.count_nonzero(~inside))
        if outside:
            note(f"{outside} of {n} points lie outside; the displacement of the nearest edge was used")
        moved = np.full(file.points.shape, np.nan)
        moved[defined] = carried
        marks: dict[str, np.ndarray] = {}
        if outside or (self.to == "fixed" and result.note):
            marks["inside"] = np.zeros(len(defined))
            marks["inside"][defined] = inside
            if self.to == "fixed":
                marks["residual_vox"] = np.full(len(defined), np.nan)
                marks["residual_vox"][defined] = residual
        write_point_file(file, moved, self.out, marks)
        if not defined.all():
            note(f"{self.points}: {np.count_nonzero(~defined)} points are not defined (placed), and stay so")
        report(file=str(self.out), points=n)
        show(f"{n} points written to {self.out}")
