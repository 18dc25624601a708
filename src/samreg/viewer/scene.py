"""What the page shows of a run folder, read from it: its images, its map, its pairs."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samreg.errors import InputError
from samreg.files import sha256_of
from samreg.geometry.image import Image
from samreg.io.images import read_image
from samreg.io.palette import pair_colour
from samreg.notes import collected, unsaid
from samreg.report.slices import shown_window
from samreg.report.structures import titled
from samreg.runs.run_folder import Run, read_run
from samreg.viewer.display import Display
from samreg.viewer.edits import Edits
from samreg.viewer.masks import shown_roi
from samreg.viewer.volumes import coarse_map, write_volume

__all__ = ["Scene", "warped_of"]


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
        if self.fixed is None and self.warped is None:
            raise InputError(f"{self.run.folder}: neither the fixed image nor warped.nii.gz can be read")
        known = {side: bool(entry.get("oriented", True)) for side, entry in self.run.manifest["images"].items()}
        self.fixed_display = Display(self.run.fixed_grid, known["fixed"])
        self.moving_display = Display(self.run.moving_grid, known["moving"])
        self._map: tuple[np.ndarray, list[int]] | None = None
        self._mapping = threading.Lock()
        self.edits = Edits(self.run)

    @classmethod
    def load(cls, folder: str | Path) -> Scene:
        """Read a run folder and the images that its manifest names.

        Raises:
            InputError: if it is no run folder, or no image of it can be read.
        """
        with collected() as notes:
            run = read_run(folder)
        images = {side: _original(run, side, notes) for side in ("fixed", "moving")}
        return cls(run, images["fixed"], images["moving"], warped_of(run), notes)

    @property
    def complete(self) -> bool:
        """Whether both images are there, so that prompts and a registration are possible."""
        return self.fixed is not None and self.moving is not None

    def describe(self) -> dict[str, Any]:
        """What the page needs before it draws: no voxel, no mask."""
        manifest = self.run.manifest
        images = manifest["images"]
        return {
            "folder": str(self.run.folder),
            "title": f"{images['moving']['name']} → {images['fixed']['name']}",
            "fixed": self._side(self.fixed_display, self.fixed, images["fixed"]["name"]),
            "moving": self._side(self.moving_display, self.moving, images["moving"]["name"]),
            "warped": self.warped is not None,
            "before": self.moving is not None,
            "jacobian": self.run.field is not None,
            "nodes": self.map()[1],
            "notes": [*self.notes, *manifest["warnings"]],
            "verdict": manifest.get("verdict", ""),
            "registered": self.run.field is not None or self.run.affine is not None,
            "epsilon": float(manifest["config"].get("match", {}).get("epsilon", 0.0)),
            "complete": self.complete,
        }

    def map(self) -> tuple[np.ndarray, list[int]]:
        """Where nodes of the fixed image are in the moving image; see `coarse_map`."""
        with self._mapping:  # asked for by several threads at first
            if self._map is None:
                self._map = coarse_map(self.run.field, self.fixed_display, self.moving_display)
        return self._map

    def pairs(self, ids: list[int] | None = None) -> list[dict[str, Any]]:
        """Pairs with both masks, in the order of their numbers; all of them, or those of some numbers."""
        edits = self.edits
        numbers = sorted(edits.rows) if ids is None else [i for i in ids if i in edits.rows]
        return [self._pair(number) for number in numbers]

    def _pair(self, number: int) -> dict[str, Any]:
        row = self.edits.rows[number]
        sides = {}
        for side, roi, display in zip(
            ("fixed", "moving"), self.edits.rois[number], (self.fixed_display, self.moving_display), strict=True
        ):
            size = roi.n_voxels * display.grid.voxel_volume
            sides[side] = {**shown_roi(roi, display), "size": size, "n_voxels": roi.n_voxels}
        return {
            "id": number,
            "name": row["name"],
            "title": titled(number, row["name"]),
            "keep": row["keep"],
            "given": bool(row.get("given", row["name"] != "")),
            "similarity": float(row["similarity"]),
            "confidence": float(row["confidence"]),
            "structure": int(row.get("structure", number)),
            "background": bool(row.get("background", False)),
            # A pair that was added here has no neighbours yet that its colour was chosen to differ from.
            "colour": "rgb({},{},{})".format(*row.get("colour", pair_colour(number - 1))),
            **sides,
        }

    def write(self, name: str, path: Path) -> None:
        """Write one of the images that the run folder and its inputs hold: `fixed`, `moving` or `warped`.

        Raises:
            InputError: if there is no such image.
        """
        image = {"fixed": self.fixed, "moving": self.moving, "warped": self.warped}.get(name)
        if image is None:
            raise InputError(f"this run has no image {name!r}")
        write_volume(image.data, self.moving_display if name == "moving" else self.fixed_display, path)

    def _side(self, display: Display, image: Image | None, name: str) -> dict[str, Any]:
        reference = image or self.moving or self.warped
        return {
            "name": name,
            "there": image is not None,
            "colour": reference is not None and reference.is_colour,
            "window": (0.0, 1.0) if reference is None else shown_window(reference),
            "shape": display.shape,
            "spacing": display.spacing,
            "matrix": display.matrix.tolist(),
            "letters": display.letters,
            "plane": display.plane,
            "flat": display.grid.ndim == 2,
            "unit": display.grid.unit,
        }


def warped_of(run: Run) -> Image | None:
    """The moving image on the fixed grid, as the run folder holds it."""
    path = run.folder / "warped.nii.gz"
    if not path.is_file():
        return None
    found = read_image(path)
    return Image(found.data.reshape((*run.fixed_grid.shape, *((3,) if found.is_colour else ()))), run.fixed_grid)


def _original(run: Run, side: str, notes: list[str]) -> Image | None:
    """An input image as it was when the run was made; a file that changed since is not shown as if it had not."""
    entry = run.manifest["images"][side]
    if entry["path"] is None:
        notes.append(f"The {side} image was not a file; only what the run folder holds is shown.")
        return None
    with contextlib.suppress(InputError, OSError):
        if sha256_of(entry["path"]) != entry["sha256"]:
            notes.append(f"The {side} image has changed since the run: {entry['path']}")
            return None
        with collected(unsaid):  # these notes were given when it was registered, and are in the manifest
            return read_image(entry["path"], frame=entry.get("frame"), series=entry.get("series"))
    notes.append(f"The {side} image is not where it was: {entry['path']}")
    return None
