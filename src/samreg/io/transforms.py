"""Displacement fields and transforms in ITK's conventions, so that SimpleITK, ANTs and 3D Slicer read them.

`displacement.nii.gz` holds u: a vector image (NIfTI intent 1007) on the fixed grid, LPS, in world units.
`transform.h5` holds the same map as a composite, applied field first, then affine:

    T(x) = A(x + v(x)),   v(x) = A⁻¹(x + u(x)) - x,   so that T(x) = x + u(x).

Linear interpolation and an affine map commute, so this holds between voxel centres too. Beyond its field ITK takes
v = 0, which leaves the affine part. The field of `transform.h5` therefore reaches two voxels further than the fixed
grid, with the u of the nearest edge, as samreg itself has it there. ITK takes a NIfTI file of one slice for an image of
the plane: `displacement.nii.gz` of such a volume holds the slice three times, one above the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samreg.errors import GeometryError, ImageReadError, InputError
from samreg.files import written
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid, apply_affine
from samreg.io.formats import inspect
from samreg.io.images import save
from samreg.io.itk import array_of, grid_of, quiet, read_itk, to_itk
from samreg.io.nifti import check_nifti
from samreg.io.transform_files import check_transform_file
from samreg.io.volumes import check_nrrd_extent
from samreg.types import Matrix, Unit

if TYPE_CHECKING:
    import h5py

__all__ = ["read_displacement", "read_transform", "write_affine", "write_displacement", "write_transform"]

_SMALL = 64  # values; not worth compressing
_MARGIN = 2  # voxels of the field of a composite transform beyond the fixed grid
_NEGLIGIBLE = 1e-5  # of the smallest spacing; a smaller v is rounding


def write_displacement(field: DisplacementField, path: str | Path) -> Path:
    """Write u as an ITK displacement field (.nii.gz, .nii, .nrrd or .mha).

    One slice of a volume becomes three, and one row of a picture, which NIfTI cannot tell from a line.
    """
    if 1 in field.grid.shape:
        field = _padded(field, [int(n == 1) for n in field.grid.shape])
    return save(to_itk(field.u, field.grid), Path(path))


def read_displacement(path: str | Path, grid: Grid | None = None, unit: Unit = "mm") -> DisplacementField:
    """Read an ITK displacement field.

    Args:
        path: a vector image with as many components as dimensions.
        grid: the fixed grid, where it is known. It keeps a unit that the file cannot say, and volumes of one slice.
        unit: unit of the world coordinates where the grid is not known.

    Raises:
        ImageReadError: if the file is not such a field.
    """
    source = Path(path)
    kind = inspect(source)
    if kind.name == "NIfTI":
        check_nifti(source)
    if kind.name == "NRRD":
        check_nrrd_extent(source)
    image = read_itk(source, kind.engine, kind.name)
    d, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if grid is not None:
        data = array_of(image).astype(np.float32)
        if data.ndim == grid.ndim + 1 and 1 in grid.shape:
            data = data[
                tuple(
                    slice(1, 2) if (m, n) == (1, 3) else slice(None)
                    for m, n in zip(grid.shape, data.shape, strict=False)
                )
            ]
        if data.size != grid.n_voxels * grid.ndim or components != grid.ndim:
            raise ImageReadError(f"{source}: holds {data.shape} values, its grid has shape {grid.shape}")
        return DisplacementField(data.reshape(*grid.shape, grid.ndim), grid)
    if components != d or d not in (2, 3):
        raise ImageReadError(f"{source}: has {components} values a voxel in {d}D; a displacement field has {d}")
    try:
        return DisplacementField(array_of(image).astype(np.float32), grid_of(image, unit))
    except GeometryError as error:
        raise ImageReadError(f"{source}: {error}") from None


def write_transform(field: DisplacementField, path: str | Path, affine: Matrix | None = None) -> Path:
    """Write the whole map x + u(x) as an ITK composite transform (.h5).

    The file is written with h5py: ITK's own writer stores the time of day and does not compress.

    Args:
        field: the whole transform, affine part included.
        path: a file name that ends in .h5.
        affine: (d + 1, d + 1) the affine part, which then also holds beyond the grid; none by default.

    Raises:
        InputError: if the name does not end in .h5 or the file cannot be written.
    """
    import h5py

    target = Path(path)
    if target.suffix != ".h5":
        raise InputError(f"{target}: an ITK composite transform is written to a file name that ends in .h5")
    d = field.grid.ndim
    parts: list[tuple[str, np.ndarray, np.ndarray]] = []
    if affine is not None:
        matrix = np.asarray(affine, dtype=float)
        parameters = np.concatenate([matrix[:d, :d].ravel(), matrix[:d, d]])
        parts.append((f"AffineTransform_double_{d}_{d}", np.zeros(d), parameters))
    if affine is None or np.abs(_beside(field, affine)).max() > _NEGLIGIBLE * min(field.grid.spacing):
        wide = _padded(field, [_MARGIN] * d)
        grid, residual = wide.grid, _beside(wide, affine)
        fixed = np.concatenate([grid.shape[::-1], grid.origin, grid.spacing, np.ravel(grid.direction)])
        parts.append((f"DisplacementFieldTransform_double_{d}_{d}", fixed, residual.ravel()))
    try:
        with h5py.File(target, "w") as file:
            group = file.create_group("TransformGroup")
            _entry(group, 0, f"CompositeTransform_double_{d}_{d}")
            for i, (name, fixed_parameters, parameters) in enumerate(parts, start=1):
                _entry(group, i, name, fixed_parameters, parameters)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror or error}") from None
    return target


def _beside(field: DisplacementField, affine: Matrix | None) -> np.ndarray:
    """v(x) = A⁻¹(x + u(x)) - x, (*shape, d) float32, as u is: what is left of a field beside its affine part."""
    if affine is None:
        return field.u
    back, v = np.linalg.inv(affine), np.empty_like(field.u)
    for part in field.grid.slabs():
        x = field.grid.voxel_centres(part)
        v[part] = apply_affine(back, x + field.u[part]) - x
    return v


def _padded(field: DisplacementField, margin: Sequence[int]) -> DisplacementField:
    """The field on a grid with so many more voxels on both sides of each array axis, with the u of its edges."""
    grid = field.grid
    shape = tuple(n + 2 * m for n, m in zip(grid.shape, margin, strict=True))
    origin = grid.index_to_world(-np.asarray(margin[::-1], dtype=float)[None])[0]
    wide = replace(grid, shape=shape, origin=tuple(map(float, origin)))
    return DisplacementField(np.pad(field.u, [*((m, m) for m in margin), (0, 0)], mode="edge"), wide)


def write_affine(affine: Matrix, path: str | Path) -> Path:
    """Write an affine map of world points as an ITK transform file, by ITK itself.

    Args:
        affine: (d + 1, d + 1) fixed world to moving world.
        path: a file name that ends in .mat (Matlab v4, what ANTs calls `GenericAffine.mat`), .tfm or .txt.

    Raises:
        InputError: if the name ends otherwise or the file cannot be written.
    """
    import SimpleITK as sitk

    target, matrix = Path(path), np.asarray(affine, dtype=float)
    if target.suffix not in (".mat", ".tfm", ".txt"):
        raise InputError(f"{target}: an affine transform is written to a file name that ends in .mat, .tfm or .txt")
    d = len(matrix) - 1
    transform = sitk.AffineTransform(d)
    transform.SetMatrix(matrix[:d, :d].ravel().tolist())
    transform.SetTranslation(matrix[:d, d].tolist())
    try:
        with written(target, target.suffix) as partial, quiet():
            sitk.WriteTransform(transform, str(partial))
    except (OSError, RuntimeError):
        raise InputError(f"{target}: cannot be written; is there such a folder, and is the disk full?") from None
    return target


def _entry(group: h5py.Group, i: int, name: str, *parameters: np.ndarray) -> None:
    """One transform of the file, as ITK lays it out: its type, fixed parameters and parameters."""
    import h5py

    entry = group.create_group(str(i))
    entry.create_dataset("TransformType", data=[name], dtype=h5py.string_dtype("ascii"))
    for key, values in zip(("TransformFixedParameters", "TransformParameters"), parameters, strict=False):
        packing = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if values.size > _SMALL else {}
        # Converted while it is written: float32 becomes double, whose zeros behind compress away.
        entry.create_dataset(key, values.shape, "<f8", **packing)[...] = values


def read_transform(path: str | Path, grid: Grid) -> DisplacementField:
    """Read any ITK transform file (.h5, .tfm, .mat, .txt) as a displacement field on a grid.

    Args:
        path: the transform, fixed world to moving world.
        grid: the fixed grid to sample it on.

    Raises:
        ImageReadError: if the file is missing or not a transform of the grid's dimension.
    """
    import SimpleITK as sitk

    source = Path(path)
    if not source.is_file():
        raise ImageReadError(f"{source}: there is no such file")
    check_transform_file(source)
    with quiet():
        try:
            transform = sitk.ReadTransform(str(source))
        except (RuntimeError, UnicodeDecodeError):  # a message of ITK with bytes of the file in it
            raise ImageReadError(f"{source}: is not an ITK transform, or it is damaged") from None
    if transform.GetDimension() != grid.ndim:
        raise ImageReadError(f"{source}: is a {transform.GetDimension()}D transform; the fixed grid is {grid.ndim}D")
    direction = [value for row in grid.direction for value in row]
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, grid.shape[::-1], grid.origin, grid.spacing, direction
    )
    return DisplacementField(array_of(field).astype(np.float32), grid)
