"""Slices of DICOM files in one grid, or the reason why they have none.

Slices that are parallel, of one size and evenly spaced make a grid. Where they are shifted in their planes, as by the
tilt of a CT gantry, each is moved within its plane onto a straight grid; across slices nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samreg.errors import ImageReadError
from samreg.geometry.grid import Grid
from samreg.io.dicom_frames import Frame
from samreg.io.frames import chosen_frame
from samreg.notes import note

__all__ = ["Stack", "stack_frames", "straightened"]

_GAP_TOLERANCE = 0.1  # of the usual distance; below it, uneven gaps are rounding of the header
_SHIFT_TOLERANCE = 0.1  # pixels
_TURN_TOLERANCE = 0.1  # pixels, at the far corner of a slice
_SPACING_TOLERANCE = 1e-3  # relative


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames in the order of their positions, and where they are.

    Args:
        frames: one a slice.
        grid: the straight grid that they make.
        shifts: (n, 2) pixels along x and y by which each slice lies further than the grid's first voxel; None where
            all lie straight above each other.
    """

    frames: tuple[Frame, ...]
    grid: Grid
    shifts: np.ndarray | None = None


def stack_frames(frames: Sequence[Frame], source: Path, frame: int | None, digest: Callable[[Frame], bytes]) -> Stack:
    """Put frames in order and find their grid.

    Args:
        frames: of one series.
        source: its file or folder, for messages.
        frame: which of several frames at one position to take, from 1.
        digest: of the pixels of a frame; two that hold the same have the same.

    Raises:
        ImageReadError: if they do not make one volume; the message says why and what to do.
    """
    placed = [f for f in frames if f.position is not None and f.axes is not None]
    if not placed or len(frames) == 1:
        what = "holds frames that have no recorded position, such as ultrasound in time"
        return _single(frames[chosen_frame(source, frame, len(frames), what)], source)
    if len(placed) < len(frames):
        lost = next(f for f in frames if f.position is None or f.axes is None)
        raise ImageReadError(f"{source}: {lost.name} has no recorded position and the others have; remove it")
    _check_alike(placed, source)
    reference = placed[0]
    axes = np.asarray(reference.axes)
    normal = np.cross(*axes)
    positions = np.stack([np.asarray(f.position) for f in placed])
    height = positions @ normal
    order = np.argsort(height, kind="stable")
    groups = _by_height([placed[i] for i in order], height[order], reference)
    chosen = _one_each(groups, source, frame, digest, axes)
    if len(chosen) == 1:
        return _single(chosen[0], source)
    return _as_stack(chosen, axes, normal, source)


def _single(frame: Frame, source: Path) -> Stack:
    missing = [text for text, value in (("spacing", frame.spacing), ("thickness", frame.thickness)) if value is None]
    if missing:
        note(f"{source}: records no {' and no '.join(missing)} of its one slice; 1 mm is assumed")
    spacing = np.ones(2) if frame.spacing is None else frame.spacing
    axes = np.eye(3)[:2] if frame.axes is None else frame.axes
    position = np.zeros(3) if frame.position is None or frame.axes is None else frame.position
    return Stack((frame,), _grid((1, *frame.size), (*spacing, frame.thickness or 1.0), position, axes))


def _grid(shape: tuple[int, ...], spacing: Sequence[float], origin: np.ndarray, axes: np.ndarray) -> Grid:
    direction = np.stack([*axes, np.cross(*axes)], axis=1) + 0.0
    return Grid(shape, tuple(float(s) for s in spacing), tuple(origin + 0.0), tuple(map(tuple, direction)))


def _check_alike(frames: Sequence[Frame], source: Path) -> None:
    """Refuse frames of different size, spacing or orientation; the first that differs is named."""
    first = frames[0]
    for other in frames[1:]:
        if other.size != first.size:
            sizes = [f"{f.size[1]} x {f.size[0]} pixels" for f in (other, first)]
            raise ImageReadError(f"{source}: {other.name} has {sizes[0]} and {first.name} {sizes[1]}; remove one kind")
        if (other.spacing is None) != (first.spacing is None) or (
            other.spacing is not None
            and first.spacing is not None
            and np.abs(other.spacing / first.spacing - 1).max() > _SPACING_TOLERANCE
        ):
            raise ImageReadError(
                f"{source}: {other.name} has pixels of {_mm(other.spacing)} and {first.name} of {_mm(first.spacing)}; "
                "remove one kind, or resample them"
            )
        turn = np.abs(np.asarray(other.axes) - np.asarray(first.axes)).max() * max(first.size)
        if turn > _TURN_TOLERANCE:
            raise ImageReadError(
                f"{source}: {other.name} and {first.name} have different orientations (a localiser?); remove one kind"
            )
    if first.spacing is None:
        raise ImageReadError(f"{source}: {first.name} records no PixelSpacing; a volume needs it")


def _mm(spacing: np.ndarray | None) -> str:
    return "unknown size" if spacing is None else " x ".join(f"{s:.4g}" for s in spacing) + " mm"


def _by_height(frames: Sequence[Frame], height: np.ndarray, reference: Frame) -> list[list[Frame]]:
    """Frames that lie in one plane, plane by plane; both in ascending order."""
    same_plane = min(0.01, 0.1 * float(np.min(np.asarray(reference.spacing))))
    groups: list[list[Frame]] = []
    for i, frame in enumerate(frames):
        if i and height[i] - height[i - 1] <= same_plane:
            groups[-1].append(frame)
        else:
            groups.append([frame])
    return groups


def _one_each(
    groups: list[list[Frame]], source: Path, frame: int | None, digest: Callable[[Frame], bytes], axes: np.ndarray
) -> list[Frame]:
    """One frame a position; of several the chosen one."""
    pixel = float(np.min(np.asarray(groups[0][0].spacing)))
    for group in groups:
        if len(group) > 1:
            _check_position(group, source, digest, axes, pixel)
    counts = {len(group) for group in groups}
    if len(counts) > 1:
        most, least = (pick(groups, key=len) for pick in (max, min))
        raise ImageReadError(
            f"{source}: has {len(most)} files or frames at the position of {most[0].name} and {len(least)} at that of "
            f"{least[0].name}; give a folder with one file a position"
        )
    count = counts.pop()
    where = "one position" if len(groups) == 1 else f"each of {len(groups)} positions"
    which = chosen_frame(source, frame, count, f"holds several images of {where} (a cine, phases or echoes)")
    return [group[0] for group in groups] if count == 1 else _in_time(groups, which, source)


def _check_position(
    group: list[Frame], source: Path, digest: Callable[[Frame], bytes], axes: np.ndarray, pixel: float
) -> None:
    """Refuse frames of one plane that lie side by side, and files that hold the same slice twice."""
    first = group[0]
    seen: dict[object, Frame] = {}
    for frame in group:
        if np.linalg.norm(axes @ (_at(frame) - _at(first))) > pixel:
            raise ImageReadError(
                f"{source}: {first.name} and {frame.name} lie side by side in one plane; give one of them alone"
            )
        # Frames of one file may look alike, as in a cine of something that rests.
        uid = str(frame.file.get("SOPInstanceUID") or id(frame.file))
        for key in (("uid", uid, frame.index), ("pixels", digest(frame))):
            twin = seen.setdefault(key, frame)
            if twin.file is not frame.file:
                raise ImageReadError(
                    f"{source}: {frame.name} is a duplicate of {twin.name} (same position and pixels, or one UID); "
                    "remove one of them"
                )


def _at(frame: Frame) -> np.ndarray:
    return np.asarray(frame.position)


def _in_time(groups: list[list[Frame]], which: int, source: Path) -> list[Frame]:
    """The frame that comes at this place in time at each position."""
    for key in range(len(groups[0][0].order)):
        times = [[f.order[key] for f in group] for group in groups]
        if all(None not in row and len(set(row)) == len(row) for row in times):
            return [sorted(group, key=lambda f: f.order[key] or 0.0)[which] for group in groups]
    raise ImageReadError(
        f"{source}: nothing says which of the images at one position comes first; give a folder with one of each"
    )


def _as_stack(frames: list[Frame], axes: np.ndarray, normal: np.ndarray, source: Path) -> Stack:
    positions = np.stack([_at(f) for f in frames])
    height = (positions - positions[0]) @ normal
    gap = height[-1] / (len(frames) - 1)
    _check_gaps(height, gap, frames, source)
    spacing = np.asarray(frames[0].spacing)
    shifts = (positions - positions[0]) @ axes.T / spacing
    rows, columns = frames[0].size
    if np.abs(shifts).max() <= _SHIFT_TOLERANCE:
        return Stack(tuple(frames), _grid((len(frames), rows, columns), (*spacing, gap), positions[0], axes))
    low, high = np.floor(shifts.min(axis=0)), np.ceil(shifts.max(axis=0))
    # Headers round: a shift of 2.0000001 pixels needs no third column.
    low = np.where(shifts.min(axis=0) - low > 1 - 1e-3, low + 1, low)
    high = np.where(high - shifts.max(axis=0) > 1 - 1e-3, high - 1, high)
    if ((high - low) > np.asarray([columns, rows])).any():
        raise ImageReadError(f"{source}: its slices do not lie above each other; give slices of one stack")
    step = shifts[-1] * spacing
    angle = np.degrees(np.arctan2(np.linalg.norm(step), height[-1]))
    note(
        f"{source}: its slices are shifted in their planes by up to {np.abs(shifts * spacing).max():.3g} mm (a tilt of "
        f"{angle:.1f} degrees); each was moved onto a straight grid, and what no slice covers is filled"
    )
    origin = positions[0] + (low * spacing) @ axes
    shape = (len(frames), rows + int(high[1] - low[1]), columns + int(high[0] - low[0]))
    return Stack(tuple(frames), _grid(shape, (*spacing, gap), origin, axes), shifts - low)


def _check_gaps(height: np.ndarray, mean: float, frames: list[Frame], source: Path) -> None:
    """Refuse a series with a hole, which would be closed up and bend the anatomy."""
    gaps = np.diff(height)
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    if abs(gaps[worst] - usual) > _GAP_TOLERANCE * usual:
        raise ImageReadError(
            f"{source}: slices are missing or unevenly spaced: {gaps[worst]:.3g} mm between {frames[worst].name} and "
            f"{frames[worst + 1].name} where {usual:.3g} mm is usual; complete the series"
        )
    drift = np.abs(height - mean * np.arange(len(height)))
    if drift.max() > 2 * _GAP_TOLERANCE * mean:
        raise ImageReadError(
            f"{source}: its slices are unevenly spaced: {frames[int(np.argmax(drift))].name} lies {drift.max():.3g} mm "
            f"from its place in a regular grid; resample them"
        )


def straightened(data: np.ndarray, stack: Stack, *, labels: bool) -> np.ndarray:
    """Slices moved within their planes onto the grid of the stack.

    Args:
        data: `(n, rows, columns)`, or with a last axis of colours.
        stack: what `stack_frames` found.
        labels: take the nearest value and fill with 0, in place of linear interpolation and the lowest value.
    """
    if stack.shifts is None:
        return data
    shape = (*stack.grid.shape, *data.shape[3:])
    fill = 0 if labels else data.min()
    result = np.full(shape, fill, data.dtype if labels else np.float64)
    for z, (x, y) in enumerate(stack.shifts):
        rows, inside_y = _along(data[z], y, shape[1], 0, labels)
        plane, inside_x = _along(rows, x, shape[2], 1, labels)
        inside = inside_y[:, None] & inside_x[None, :]
        result[z][inside] = plane[inside]
    return result


def _along(plane: np.ndarray, shift: float, size: int, axis: int, nearest: bool) -> tuple[np.ndarray, np.ndarray]:
    """A plane sampled at `index - shift` along one axis, and which samples lie within its outer edges."""
    index = np.arange(size) - shift
    count = plane.shape[axis]
    inside = (index >= -0.5) & (index <= count - 0.5)
    index = np.clip(index, 0, count - 1)
    low = np.floor(index + 0.5 if nearest else index).astype(int).clip(0, count - 1)
    first = np.take(plane, low, axis=axis)
    if nearest:
        return first, inside
    share = (index - low).reshape([-1 if a == axis else 1 for a in range(plane.ndim)])
    return first * (1.0 - share) + np.take(plane, np.minimum(low + 1, count - 1), axis=axis) * share, inside
