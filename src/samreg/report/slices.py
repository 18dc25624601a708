"""Slices of volumes on a screen: which way round, how large, how bright.

Volumes are shown as radiologists look at them: axial slices from below (the patient's right on the left of the screen,
front up), coronal slices from the front (the patient's right on the left, head up), sagittal slices with the front on
the left and the head up. Oblique volumes take the nearest of the three. Photographs and 2D images are shown as they are
stored. Pixels keep their true proportions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois
from samreg.regions.slices import TISSUE

__all__ = [
    "Plane",
    "black_and_white",
    "body_in_slices",
    "matching_axis",
    "partner_slices",
    "plane_of",
    "position_text",
    "positions",
    "shown_window",
    "to_bytes",
]

_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))  # at the negative and the positive end of world x, y, z (LPS)
# World axis across the slices -> world axes (axis, sign) that point right and down on the screen.
_SCREEN = {0: ((1, 1), (2, -1)), 1: ((0, 1), (2, -1)), 2: ((0, 1), (1, 1))}
_NAMES = {0: "sagittal", 1: "coronal", 2: "axial"}
_MOST_PIXELS = 640
_MOST_WHITE = 1.5


@dataclass(frozen=True)
class Plane:
    """How the slices of a grid across one array axis are put on the screen.

    Args:
        axis: array axis (z, y, x) that is sliced along; None in 2D.
        n_slices: number of slices.
        transpose: whether rows and columns change places.
        flip: whether rows and columns are then reversed.
        size: width and height of the picture in world units.
        letters: patient directions at the left, right, top and bottom; empty where there is no patient.
        name: axial, coronal, sagittal, or empty.
        step: every how many pixels one is shown.
    """

    axis: int | None
    n_slices: int
    transpose: bool
    flip: tuple[bool, bool]
    size: tuple[float, float]
    letters: tuple[str, str, str, str]
    name: str
    step: int = 1

    def take(self, array: np.ndarray, index: int) -> np.ndarray:
        """One slice of `(*shape)` or `(*shape, 3)`, oriented for the screen: (h, w) or (h, w, 3)."""
        flat = array if self.axis is None else np.take(array, index, axis=self.axis)
        if self.transpose:
            flat = np.swapaxes(flat, 0, 1)
        return flat[:: -1 if self.flip[0] else 1, :: -1 if self.flip[1] else 1][:: self.step, :: self.step]

    def to_screen(self, index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Picture coordinates (x, y) in shown pixels of continuous array indices (n, d), array order.

        0 is the corner of the first pixel, as in SVG.
        """
        keep = [a for a in range(len(shape)) if a != self.axis]
        flat, sizes = index[:, keep], [shape[a] for a in keep]
        if self.transpose:
            flat, sizes = flat[:, ::-1], sizes[::-1]
        rows = [(n - 1 - flat[:, i]) if self.flip[i] else flat[:, i] for i, n in enumerate(sizes)]
        return (np.stack(rows[::-1], axis=1) + 0.5) / self.step


def plane_of(grid: Grid, axis: int | None = None, oriented: bool = True) -> Plane:
    """The plane in which a grid is shown: across the axis of the coarsest spacing unless told otherwise.

    Without a known orientation (`Image.oriented`) nothing names the sides of the patient.
    """
    if grid.ndim == 2:
        width, height = grid.extent
        step = max(1, -(-max(grid.shape) // _MOST_PIXELS))
        return Plane(None, 1, False, (False, False), (width, height), ("", "", "", ""), "", step)
    if axis is None:
        axis = grid.coarsest_axis
    direction = np.asarray(grid.direction)
    through = int(np.argmax(np.abs(direction[:, 2 - axis])))
    rows_axis, columns_axis = (a for a in range(3) if a != axis)
    (right, right_sign), (down, down_sign) = _SCREEN[through]
    along_columns, along_rows = direction[:, 2 - columns_axis], direction[:, 2 - rows_axis]
    transpose = bool(abs(along_columns[right]) < abs(along_rows[right]))
    across, downwards = (along_rows, along_columns) if transpose else (along_columns, along_rows)
    flip = (bool(downwards[down] * down_sign < 0), bool(across[right] * right_sign < 0))
    extent = grid.extent[::-1]
    height, width = extent[rows_axis], extent[columns_axis]
    sides = (height, width) if transpose else (width, height)
    if grid.unit == "mm" and oriented:
        ends = [_LETTERS[right][:: 1 if right_sign > 0 else -1], _LETTERS[down][:: 1 if down_sign > 0 else -1]]
        letters = (ends[0][0], ends[0][1], ends[1][0], ends[1][1])
    else:
        letters = ("", "", "", "")
    step = max(1, -(-max(grid.shape[rows_axis], grid.shape[columns_axis]) // _MOST_PIXELS))
    return Plane(axis, grid.shape[axis], transpose, flip, sides, letters, _NAMES[through], step)


def matching_axis(fixed: Grid, axis: int, moving: Grid) -> int:
    """The array axis of the moving grid that runs most nearly along array axis `axis` of the fixed grid."""
    along = np.asarray(fixed.direction)[:, 2 - axis]
    return 2 - int(np.argmax(np.abs(along @ np.asarray(moving.direction))))


def partner_slices(plane: Plane, moving_plane: Plane, pairs: PairedRois, field: DisplacementField | None) -> list[int]:
    """The moving slice to look at beside each fixed slice; 0 in 2D.

    It is the one that cuts most partners of the regions in the fixed slice; among equals, and where there are no
    regions, the one nearest to where the middle of the fixed slice comes from.
    """
    axis, moving_axis = plane.axis, moving_plane.axis
    if axis is None or moving_axis is None:
        return [0] * plane.n_slices
    fixed, moving = pairs.fixed.grid, pairs.moving.grid
    world = _middles(fixed, axis)
    if field is not None:
        world = field.transform_points(world)
    at = moving.world_to_index(world)[:, ::-1][:, moving_axis]
    held = np.zeros((fixed.shape[axis], moving.shape[moving_axis]), dtype=int)
    for a, b in zip(pairs.fixed.rois, pairs.moving.rois, strict=True):
        held[a.start[axis] : a.stop[axis], b.start[moving_axis] : b.stop[moving_axis]] += 1
    chosen = []
    for row, middle in zip(held, at, strict=True):
        best = np.flatnonzero(row == row.max())
        # The small step makes half-way go up for all slices alike; otherwise every other slice would show twice.
        chosen.append(int(best[np.argmin(np.abs(best - (middle + 1e-6)))]))
    return chosen


def positions(plane: Plane, grid: Grid) -> list[float]:
    """World position of each slice along the normal of the slices, in mm; empty in 2D.

    The normal points as the world axis that it follows most: towards the left, the back or the head.
    """
    if plane.axis is None:
        return []
    normal = np.asarray(grid.direction)[:, 2 - plane.axis]
    normal = normal * np.sign(normal[np.argmax(np.abs(normal))])
    found: list[float] = (_middles(grid, plane.axis) @ normal).tolist()
    return found


def position_text(plane: Plane, grid: Grid, at: float) -> str:
    """A position as radiologists say it, for example S 12.5 mm; a number alone where no patient direction is known."""
    if plane.axis is None or not any(plane.letters):
        return f"{at:.1f} {grid.unit}"
    through = int(np.argmax(np.abs(np.asarray(grid.direction)[:, 2 - plane.axis])))
    return f"{_LETTERS[through][at >= 0]} {abs(at):.1f} {grid.unit}"


def _middles(grid: Grid, axis: int) -> np.ndarray:
    """World position of the middle of each slice across an array axis, (n, 3)."""
    middle = np.tile((np.asarray(grid.shape, dtype=float) - 1) / 2, (grid.shape[axis], 1))
    middle[:, axis] = np.arange(grid.shape[axis])
    return grid.index_to_world(middle[:, ::-1])


def black_and_white(image: Image) -> tuple[float, float]:
    """Grey values that become black and white: percentiles 0.5 and 99.5; colour keeps 0 to 255."""
    if image.is_colour:
        return 0.0, 255.0 if float(image.data.max()) <= 255 else 65535.0
    values = image.data.ravel()[:: max(1, image.data.size // 200_000)]
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    if high <= low:
        low, high = float(image.data.min()), float(image.data.max())
    return low, max(high, low + 1e-6)


def shown_window(image: Image) -> tuple[float, float]:
    """Grey values that become black and white on a screen; colour keeps 0 to 255.

    As `black_and_white`, but white is at most one and a half times as far above black as 95 % of what is brighter than
    black: near a coil few voxels are many times as bright as the rest, which they would turn almost black.
    """
    low, high = black_and_white(image)
    if image.is_colour:
        return low, high
    values = image.data.ravel()[:: max(1, image.data.size // 200_000)]
    values = values[values > low]
    if values.size:
        high = min(high, low + _MOST_WHITE * (float(np.percentile(values, 95)) - low))
    return low, max(high, low + 1e-6)


def body_in_slices(image: Image) -> np.ndarray:
    """(*shape) booleans: where an image shows a body, with what it encloses in each slice."""
    from scipy import ndimage

    low, high = black_and_white(image)
    body: np.ndarray = (image.grey() - low) / (high - low) > TISSUE
    axis = image.grid.coarsest_axis if image.grid.ndim == 3 else None
    for k in range(1 if axis is None else body.shape[axis]):
        part = (Ellipsis,) if axis is None else tuple(k if a == axis else slice(None) for a in range(3))
        body[part] = ndimage.binary_fill_holes(body[part])
    return body


def to_bytes(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Grey or colour values as uint8."""
    low, high = window
    scaled: np.ndarray = np.clip((values - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    return scaled
