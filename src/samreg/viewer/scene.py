"""What the viewer shows, read from a run folder: pictures and outlines of slices, nothing kept but the images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import InputError
from samreg.files import sha256_of
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.io.images import read_image
from samreg.io.palette import pair_colour
from samreg.report.maps import blend, checkerboard, difference, jacobian_colours
from samreg.report.png import encode
from samreg.report.slices import Plane, black_and_white, matching_axis, partner_slice, plane_of, to_bytes
from samreg.report.svg import marks_of
from samreg.runs.run_folder import Run, read_run

__all__ = ["Scene"]

_FIXED_VIEWS = ("fixed", "warped", "before", "blend", "blend before", "checkerboard", "difference", "jacobian")


@dataclass(eq=False)
class Scene:
    """A run with its images.

    Args:
        run: the run folder.
        fixed: the fixed image, or None where its file is gone or has changed.
        moving: the moving image, or None.
        warped: the moving image on the fixed grid, or None.
        notes: what is missing, in sentences.
    """

    run: Run
    fixed: Image | None
    moving: Image | None
    warped: Image | None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        known = {side: entry.get("oriented", True) for side, entry in self.run.manifest["images"].items()}
        self.plane = plane_of(self.run.fixed_grid, oriented=known["fixed"])
        axis = self.plane.axis
        along = None if axis is None else matching_axis(self.run.fixed_grid, axis, self.run.moving_grid)
        self.moving_plane = plane_of(self.run.moving_grid, along, known["moving"])
        shown = self.fixed or self.warped
        if shown is None:
            raise InputError(f"{self.run.folder}: neither the fixed image nor warped.nii.gz can be read")
        self._before: Image | None = None
        self._determinant: np.ndarray | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Scene:
        """Read a run folder and the images that its manifest names.

        Raises:
            InputError: if it is no run folder, or no image of it can be read.
        """
        run = read_run(folder)
        notes: list[str] = []
        images = {side: _original(run, side, notes) for side in ("fixed", "moving")}
        path = run.folder / "warped.nii.gz"
        warped = None
        if path.is_file():
            found = read_image(path)
            warped = Image(
                found.data.reshape((*run.fixed_grid.shape, *((3,) if found.is_colour else ()))), run.fixed_grid
            )
        return cls(run, images["fixed"], images["moving"], warped, notes)

    def describe(self) -> dict[str, Any]:
        """What the page needs to know at the start."""
        views = [view for view in _FIXED_VIEWS if self._has(view)]
        pairs = [dict(row) for row in self.run.rows]
        for row, roi in zip(pairs, self.run.pairs.fixed.rois, strict=True):
            row["colour"] = "rgb({},{},{})".format(*pair_colour(row["id"] - 1))
            axis = self.plane.axis
            row["slice"] = None if axis is None else (roi.start[axis] + roi.stop[axis] - 1) // 2
        images = self.run.manifest["images"]
        return {
            "title": f"{images['moving']['name']} → {images['fixed']['name']}",
            "views": views,
            "moving": self.moving is not None,
            "fixed_plane": _plane(self.plane),
            "moving_plane": _plane(self.moving_plane),
            "partner": [self.partner(k) for k in range(self.plane.n_slices)],
            "pairs": pairs,
            "notes": [*self.notes, *self.run.manifest["warnings"]],
            "confidence": self.run.manifest["confidence"],
        }

    def picture(self, view: str, index: int) -> bytes:
        """PNG of one slice.

        Raises:
            InputError: if there is no such view or slice.
        """
        if view == "moving" and self.moving is not None:
            k = min(max(index, 0), self.moving_plane.n_slices - 1)
            return encode(to_bytes(self.moving_plane.take(self.moving.data, k), black_and_white(self.moving)))
        if view not in _FIXED_VIEWS or not self._has(view) or not 0 <= index < self.plane.n_slices:
            raise InputError(f"there is no slice {index} of {view!r}")
        return encode(self._pixels(view, index))

    def outlines(self, side: str, index: int) -> list[dict[str, Any]]:
        """The paired regions that a slice cuts: pair number, SVG path and place of the number."""
        rois = self.run.pairs.fixed if side == "fixed" else self.run.pairs.moving
        plane = self.plane if side == "fixed" else self.moving_plane
        return [{"pair": self.run.rows[m.pair]["id"], "path": m.path, "at": m.at} for m in marks_of(rois, plane, index)]

    def partner(self, index: int) -> int:
        """The moving slice to look at beside a fixed slice."""
        return partner_slice(self.plane, index, self.moving_plane, self.run.pairs, self.run.field)

    def _has(self, view: str) -> bool:
        needs: dict[str, list[object]] = {
            "fixed": [self.fixed],
            "warped": [self.warped],
            "before": [self.moving],
            "blend": [self.fixed, self.warped],
            "blend before": [self.fixed, self.moving],
            "checkerboard": [self.fixed, self.warped],
            "difference": [self.fixed, self.warped],
            "jacobian": [self.run.field],
        }
        return all(part is not None for part in needs[view])

    def _pixels(self, view: str, k: int) -> np.ndarray:
        if view == "jacobian":
            if self._determinant is None and self.run.field is not None:
                self._determinant = self.run.field.jacobian_determinant()
            return jacobian_colours(self.plane.take(np.asarray(self._determinant), k))
        if view in ("fixed", "warped", "before"):
            return self._shown(view, k)
        other = self._shown("before" if view == "blend before" else "warped", k)
        how = {"blend": blend, "blend before": blend, "checkerboard": checkerboard, "difference": difference}[view]
        return how(self._shown("fixed", k), other)

    def _shown(self, what: str, k: int) -> np.ndarray:
        if what == "before" and self._before is None and self.moving is not None:
            self._before = DisplacementField.identity(self.run.fixed_grid).warp(self.moving)
        image = {"fixed": self.fixed, "warped": self.warped, "before": self._before}[what]
        reference = self.fixed if what == "fixed" else (self.moving or self.warped)
        if image is None or reference is None:
            raise InputError(f"there is no {what} image in this run")
        return to_bytes(self.plane.take(image.data, k), black_and_white(reference))


def _plane(plane: Plane) -> dict[str, Any]:
    return {
        "n": plane.n_slices,
        "width": plane.size[0],
        "height": plane.size[1],
        "letters": list(plane.letters),
        "name": plane.name,
    }


def _original(run: Run, side: str, notes: list[str]) -> Image | None:
    """An input image as it was when the run was made; a file that changed since is not shown as if it had not."""
    entry = run.manifest["images"][side]
    if entry["path"] is None:
        notes.append(f"The {side} image was not a file; only what the run folder holds is shown.")
        return None
    try:
        if sha256_of(entry["path"]) != entry["sha256"]:
            notes.append(f"The {side} image has changed since the run: {entry['path']}")
            return None
        return read_image(entry["path"], frame=entry.get("frame"), series=entry.get("series"))
    except (InputError, OSError):
        notes.append(f"The {side} image is not where it was: {entry['path']}")
        return None
