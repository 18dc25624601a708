"""Where a NIfTI image is: one geometry out of pixdim, qform and sform.

The precedence, and where ITK and nibabel differ, is stated in docs/conventions.md. All lengths are millimetres; the
header is RAS and the grid LPS.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samreg.errors import GeometryError, ImageReadError
from samreg.geometry.grid import Grid
from samreg.notes import note
from samreg.types import Matrix

__all__ = ["Forms", "nifti_grid", "records_orientation"]

_ONE = 1e-3  # a scale within this of 1 is 1
_SAME_SCALE = 0.01  # relative; two spacings that differ by less are one spacing, rounded
_SHEAR = 1e-3  # cosine between two axes, as `Grid` tolerates it
_APART = 0.25  # voxels; two forms whose corners differ by less are one form, rounded
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Forms:
    """What a NIfTI header says of the geometry, in millimetres.

    Args:
        shape: voxels along index axis x, y, z; two for a 2D image.
        pixdim: (3,) the spacings, as they are stored: perhaps negative, zero or NaN.
        qfac: -1 where the third axis of the qform is flipped.
        qform_code: above 0 where the qform counts.
        quaternion: (3,) b, c, d of the qform's rotation.
        qoffset: (3,) its origin, RAS.
        sform_code: above 0 where the sform counts.
        sform: (3, 4) index to RAS.
    """

    shape: tuple[int, ...]
    pixdim: np.ndarray
    qfac: float
    qform_code: int
    quaternion: np.ndarray
    qoffset: np.ndarray
    sform_code: int
    sform: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """(3,) voxels along x, y, z; a 2D image is one slice."""
        return np.asarray((*self.shape, 1)[:3])


class _UnusableError(Exception):
    """A form that gives no geometry; the text says why."""


def nifti_grid(forms: Forms, source: Path) -> Grid:
    """The grid that the header means.

    Raises:
        ImageReadError: if no form gives a grid with perpendicular axes, or if a form in use holds NaN.
    """
    if forms.sform_code > 0 and not np.isfinite(forms.sform).all():
        raise ImageReadError(f"{source}: its sform holds NaN or infinite values; correct the header")
    if forms.qform_code > 0 and not (np.isfinite(forms.qoffset).all() and np.isfinite(forms.quaternion).all()):
        raise ImageReadError(f"{source}: its qform holds NaN or infinite values; correct the header")
    try:
        if forms.sform_code > 0 and forms.qform_code > 0:
            matrix = _of_both(forms, source)
        elif forms.sform_code > 0:
            matrix = _of_sform(forms, source)
        elif forms.qform_code > 0:
            matrix = _qform(forms, source)
        else:
            matrix = _TO_LPS @ np.diag([*_spacing(forms, source), 1.0])
    except _UnusableError as error:
        raise ImageReadError(f"{source}: {error}") from None
    return _as_grid(_TO_LPS @ matrix, forms, source)


def records_orientation(forms: Forms) -> bool:
    """Whether the header says which way the patient lies.

    It does not where there is no form, and where a lone sform has a scale of 1 throughout, no offset and axes along
    those of the world: programs write that where they know nothing (ACDC; pixdim holds the spacing there).
    """
    if forms.qform_code > 0 or forms.sform_code <= 0:
        return forms.qform_code > 0
    default = np.allclose(np.abs(forms.sform[:, :3]), np.eye(3), atol=_ONE)
    return not (default and np.allclose(forms.sform[:, 3], 0.0))


def _of_both(forms: Forms, source: Path) -> Matrix:
    """Sform and qform: the sform, where it is a grid and says more than the default."""
    try:
        s: Matrix | None = _checked(forms)
        why_not_s = ""
    except _UnusableError as error:
        s, why_not_s = None, str(error)
    try:
        q = _qform(forms, source)
    except _UnusableError as error:
        if s is None:
            raise _UnusableError(why_not_s) from None
        note(f"{source}: {error}; the sform is used instead of the qform")
        return s
    if s is None:
        note(f"{source}: {why_not_s}, that of its sform; the qform is used; correct the header if that is wrong")
        return q
    distance = _distance(s, q, forms)
    if distance <= _APART * float(_scale(q).min()):
        return s
    if _all_ones(_scale(s), forms) and not _all_ones(np.abs(forms.pixdim), forms):
        note(
            f"{source}: its sform has a scale of 1 throughout and its qform {_text(_scale(q))} mm; the qform is used; "
            "correct the header if that is wrong"
        )
        return q
    note(
        f"{source}: its sform and its qform differ by up to {distance:.3g} mm; the sform is used, as nibabel, FSL and "
        "SPM do (ITK may take the qform); correct the header if that is wrong"
    )
    return s


def _of_sform(forms: Forms, source: Path) -> Matrix:
    """A lone sform, whose scale pixdim may contradict: where one of the two is all ones, the other is right."""
    matrix = _checked(forms)
    scale, pixdim = _scale(matrix), np.abs(forms.pixdim)
    known = np.isfinite(pixdim) & (pixdim > 0)
    counts = (forms.size > 1) & known  # along an axis of one voxel there is no distance to contradict
    if np.all(np.abs(scale - pixdim)[counts] <= _SAME_SCALE * np.minimum(scale, pixdim)[counts]):
        return matrix
    if _all_ones(pixdim, forms):
        return matrix
    if _all_ones(scale, forms):
        spacing = np.where(known, pixdim, scale)
        result = matrix.copy()
        result[:3, :3] *= spacing / scale
        return result
    note(
        f"{source}: its sform has a scale of {_text(scale)} mm and its pixdim {_text(forms.pixdim)} mm; the sform is "
        "used; correct the header if that is wrong"
    )
    return matrix


def _checked(forms: Forms) -> Matrix:
    """The sform as a matrix, if its axes are perpendicular and none is zero."""
    matrix = np.vstack([forms.sform, [0.0, 0.0, 0.0, 1.0]])
    scale = _scale(matrix)
    if forms.size[2] == 1 and scale[2] < 1e-9:  # one slice needs no third axis
        matrix[:3, 2] = np.cross(matrix[:3, 0], matrix[:3, 1]) / max(scale[0] * scale[1], 1e-9)
        thickness = abs(float(forms.pixdim[2]))
        matrix[:3, 2] *= thickness if np.isfinite(thickness) and thickness > 0 else 1.0
        scale = _scale(matrix)
    if (scale < 1e-9).any():
        raise _UnusableError("its sform has an axis of length zero; correct the header")
    axes = matrix[:3, :3] / scale
    if np.abs(axes.T @ axes - np.eye(3)).max() > _SHEAR:
        raise _UnusableError("its axes are not perpendicular (sheared affine); resample it onto a regular grid first")
    return matrix


def _qform(forms: Forms, source: Path) -> Matrix:
    """The qform as a matrix: rotation by a quaternion, spacing from pixdim (NIfTI-1 standard, method 2)."""
    b, c, d = forms.quaternion
    square = float(b * b + c * c + d * d)
    if square > 1.01:
        raise _UnusableError(f"its qform is no rotation (b² + c² + d² is {square:.3g}); correct the header")
    if square > 1.0:  # rounding of a half turn
        b, c, d = np.asarray([b, c, d]) / np.sqrt(square)
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.asarray(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * _spacing(forms, source) * [1.0, 1.0, -1.0 if forms.qfac < 0 else 1.0]
    matrix[:3, 3] = forms.qoffset
    return matrix


def _spacing(forms: Forms, source: Path) -> np.ndarray:
    """Spacing out of pixdim alone: signs are dropped, and an axis of one voxel may have none."""
    spacing = np.abs(forms.pixdim)
    bad = ~np.isfinite(spacing) | (spacing < 1e-9)
    if (bad & (forms.size > 1)).any():
        raise _UnusableError(
            f"its header has a spacing that is zero or not a number (pixdim {_text(forms.pixdim)}); correct the header"
        )
    if bad[: len(forms.shape)].any():
        note(f"{source}: records no thickness of its one slice; 1 mm is assumed")
    if (forms.pixdim[: len(forms.shape)] < 0).any() and forms.sform_code <= 0:
        note(
            f"{source}: its header has a negative spacing (pixdim {_text(forms.pixdim)}); the sign is dropped; correct "
            "the header"
        )
    return np.where(bad, 1.0, spacing)


def _scale(matrix: Matrix) -> np.ndarray:
    scale: np.ndarray = np.linalg.norm(matrix[:3, :3], axis=0)
    return scale


def _all_ones(values: np.ndarray, forms: Forms) -> bool:
    return bool(np.all(np.abs(values - 1.0)[: len(forms.shape)] < _ONE))


def _distance(a: Matrix, b: Matrix, forms: Forms) -> float:
    """How far apart two forms put the same corner, at most, in millimetres."""
    corners = np.stack(np.meshgrid(*([0.0, n - 1.0] for n in forms.size), indexing="ij"), -1).reshape(-1, 3)
    gap = corners @ (a - b)[:3, :3].T + (a - b)[:3, 3]
    return float(np.linalg.norm(gap, axis=1).max())


def _as_grid(matrix: Matrix, forms: Forms, source: Path) -> Grid:
    """The grid of an LPS matrix; a 2D image that does not lie in a plane of x and y is a volume of one slice."""
    scale = _scale(matrix)
    direction = matrix[:3, :3] / scale
    d = len(forms.shape)
    if d == 2 and np.abs(direction[2, :2]).max() > _SHEAR:
        d = 3
    shape = tuple(int(n) for n in forms.size[:d][::-1])
    # -0.0 reads as a sign where there is none.
    origin, axes = matrix[:d, 3] + 0.0, direction[:d, :d] + 0.0
    try:
        return Grid(shape, tuple(scale[:d]), tuple(origin), tuple(map(tuple, axes)))
    except GeometryError as error:
        raise ImageReadError(f"{source}: {error}") from None


def _text(values: np.ndarray) -> str:
    return " x ".join(f"{v:.4g}" for v in values)
