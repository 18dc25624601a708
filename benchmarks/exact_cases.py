"""Images moved by known maps: the cases of `benchmarks.exact`.

A moving image is the fixed image f behind a map S from the moving world to the fixed world, m(y) = f(S(y)), sampled by
cubic splines on a canvas of its own. The truth is the inverse of S at the points of the fixed body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from samreg import Image, read_image
from samreg.geometry.grid import Grid

__all__ = ["CASES_2D", "CASES_3D", "IMAGES_3D", "Case", "make_case"]

IMAGES_3D = {
    "prostate": "prostate_mr_promise12/img00.nii.gz",
    "ct": "abdomen_ct_btcv/img0003.nii.gz",
    "hippocampus": "hippocampus_mr_msd/imagesTr/hippocampus_008.nii.gz",
    "heart": "acdc/training/patient007/patient007_frame01.nii.gz",
}
_BODY = 0.05
"""Grey value that begins the body, as a share of the way from the darkest value to the 99.5th percentile."""
_INVERSE_STEPS = 40


@dataclass(frozen=True, eq=False)
class Case:
    """A pair with its truth.

    Args:
        name: of the case.
        fixed: the image as it is.
        moving: the moved or changed copy.
        points: (n, d) world points of the fixed body that the moving image holds.
        truth: (n, d) where they are in the moving image.
        voxel: length that errors are measured in: the geometric mean spacing of the coarser image.
    """

    name: str
    fixed: Image
    moving: Image
    points: np.ndarray
    truth: np.ndarray
    voxel: float


def _linear(d: int, degrees: float = 0.0, scale: float = 1.0, shear: float = 0.0) -> np.ndarray:
    """(d, d): a turn (in 3D about the diagonal (1, 2, 3)), a scale and a shear."""
    angle = np.deg2rad(degrees)
    if d == 2:
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    else:
        turn = Rotation.from_rotvec(angle * np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)).as_matrix()
    skewed = np.eye(d)
    skewed[0, 1] = shear
    skewed[-1, 0] = -0.5 * shear
    return scale * turn @ skewed


def _body(image: Image) -> np.ndarray:
    """(*shape) the body: what is brighter than the background, its largest part, filled."""
    data = image.grey()
    low, high = np.percentile(data, [0, 99.5])
    mask = ndimage.binary_opening(data > low + _BODY * (high - low))
    parts, n = ndimage.label(mask)
    if n:
        mask = parts == 1 + int(np.argmax(ndimage.sum_labels(mask, parts, range(1, n + 1))))
    return np.asarray(ndimage.binary_fill_holes(mask))


def _sample(image: Image, points: np.ndarray, order: int = 3) -> np.ndarray:
    index = image.grid.world_to_index(points.reshape(-1, image.grid.ndim))[:, ::-1].T
    data = image.grey()
    values = ndimage.map_coordinates(data, index, order=order, mode="constant", cval=float(data.min()))
    inside = image.grid.contains(points.reshape(-1, image.grid.ndim))
    values = np.where(inside, np.clip(values, data.min(), data.max()), data.min())
    return values.reshape(points.shape[:-1]).astype(np.float32)


def _smooth_map(grid: Grid, amplitude: float, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A smooth displacement of world points, `amplitude` long at most, that vanishes nowhere in particular."""
    random = np.random.default_rng(seed)
    d = grid.ndim
    # Waves of about half of the image and of a quarter of it, in all directions.
    extent = np.asarray(grid.extent)
    waves = [
        (np.asarray(random.uniform(0.4, 1.0, d)) * 2 * np.pi / extent, random.uniform(0, 2 * np.pi, d))
        for _ in range(4)
    ]
    weights = random.normal(size=(4, d))

    def raw(points: np.ndarray) -> np.ndarray:
        total = np.zeros_like(points)
        for (k, phase), w in zip(waves, weights, strict=True):
            total += np.prod(np.cos((points - np.asarray(grid.centre)) * k + phase), axis=-1, keepdims=True) * w
        return total

    longest = np.linalg.norm(raw(grid.voxel_centres().reshape(-1, d)), axis=1).max()
    return lambda points: raw(points) * (amplitude / longest)


def _moved(
    name: str,
    image: Image,
    *,
    degrees: float = 0.0,
    scale: float = 1.0,
    shear: float = 0.0,
    shift: float = 0.0,
    smooth: float = 0.0,
    canvas: float = 1.5,
    spacing: float = 1.0,
) -> Case:
    """The copy: turned, scaled and sheared about the middle of the image, shifted along (1, 1, .. ) / sqrt(d)."""
    grid, d = image.grid, image.grid.ndim
    centre = np.asarray(grid.centre)
    linear = _linear(d, degrees, scale, shear)
    direction = np.ones(d) / np.sqrt(d)
    offset = shift * direction
    bend = _smooth_map(grid, smooth, 3) if smooth else None
    # A canvas stays where the image was unless the copy leaves it.
    middle = centre + (offset if shift > 60 else 0.0)
    voxels = np.asarray(grid.spacing) * spacing
    wanted = np.asarray(grid.extent) * canvas
    shape = [max(1, round(float(w / v))) for w, v in zip(wanted, voxels, strict=True)]
    other = Grid(tuple(shape[::-1]), tuple(voxels), (0.0,) * d, grid.direction, grid.unit)
    other = replace(other, origin=tuple(middle - (np.asarray(other.centre) - np.asarray(other.origin))))
    inverse = np.linalg.inv(linear)

    def back(y: np.ndarray) -> np.ndarray:
        """S: moving world to fixed world."""
        x = (y - centre - offset) @ inverse.T + centre
        return x if bend is None else x + bend(x)

    smoothed = image
    shrink = spacing / scale
    if shrink > 1.05:  # what samples less densely must not alias
        sigma = 0.5 * np.sqrt(shrink**2 - 1)
        smoothed = image.with_data(ndimage.gaussian_filter(image.grey(), sigma))
    data = _sample(smoothed, back(other.voxel_centres()))
    moving = Image(data, other, f"{image.name} {name}")
    points = grid.voxel_centres()[_body(image)]
    truth = (points - centre) @ linear.T + centre + offset
    if bend is not None:
        x = points.copy()
        for _ in range(_INVERSE_STEPS):
            x = points - bend(x)
        truth = (x - centre) @ linear.T + centre + offset
    held = other.contains(truth)
    coarser = max(_voxel(g) for g in (grid, other))
    return Case(name, image, moving, points[held], truth[held], coarser)


def _changed(name: str, image: Image, change: Callable[[np.ndarray], np.ndarray]) -> Case:
    """Other grey values in the same place."""
    data = image.grey().astype(np.float64)
    low, high = float(data.min()), float(data.max())
    moving = image.with_data((low + (high - low) * change((data - low) / (high - low))).astype(np.float32))
    points = image.grid.voxel_centres()[_body(image)]
    return Case(name, image, replace(moving, name=name), points, points, _voxel(image.grid))


def _voxel(grid: Grid) -> float:
    """Size of a voxel: the geometric mean of its spacing."""
    return float(np.prod(grid.spacing)) ** (1 / grid.ndim)


def _coarse(name: str, image: Image, factor: int) -> Case:
    """A quarter of the resolution, on a grid of its own."""
    shape = [max(1, n // factor) for n in image.grid.shape]
    grid = image.grid.with_shape(shape)
    smoothed = image.with_data(ndimage.gaussian_filter(image.grey(), 0.5 * factor))
    moving = Image(_sample(smoothed, grid.voxel_centres(), 1), grid, name)
    points = image.grid.voxel_centres()[_body(image)]
    return Case(name, image, moving, points, points, _voxel(grid))


def _half(name: str, image: Image, cut: bool) -> Case:
    """The half of the image in which the last axis is small, cut off the grid or left as background."""
    keep = image.grid.shape[-1] // 2
    if cut:
        start, stop = [0] * image.grid.ndim, [*image.grid.shape[:-1], keep]
        moving = Image(image.grey()[..., :keep].copy(), image.grid.crop(start, stop), name)
    else:
        data = image.grey().copy()
        data[..., keep:] = data.min()
        moving = image.with_data(data)
    body = _body(image)
    body[..., keep:] = False
    points = image.grid.voxel_centres()[body]
    return Case(name, image, replace(moving, name=name), points, points, _voxel(image.grid))


def _bias(values: np.ndarray) -> np.ndarray:
    """A field that multiplies by 1/2 at one corner and by 2 at the other."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in values.shape), indexing="ij")
    return np.asarray(values * 2.0 ** (sum(axes) / len(axes)))


def _hot(values: np.ndarray) -> np.ndarray:
    out = values.copy()
    out[tuple(n // 3 for n in values.shape)] = 1000.0
    return out


def _noise(values: np.ndarray) -> np.ndarray:
    return np.asarray(values + np.random.default_rng(5).normal(0, 0.15, values.shape))


Maker = Callable[[Image], Case]

CASES_2D: dict[str, Maker] = {
    "itself": lambda image: _changed("itself", image, lambda v: v),
    "canvas": partial(_moved, "canvas"),
    **{f"shift-{s}": partial(_moved, f"shift-{s}", shift=float(s)) for s in (20, 50, 100, 300)},
    **{f"turn-{a}": partial(_moved, f"turn-{a}", degrees=float(a)) for a in (10, 20, 30, 45, 60, 90, 135, 180)},
    **{f"scale-{s}": partial(_moved, f"scale-{s}", scale=s, canvas=max(1.5, s)) for s in (0.6, 0.75, 1.3, 1.6, 2.0)},
    "affine": partial(_moved, "affine", degrees=12.0, scale=1.1, shear=0.15, shift=15.0),
    "mixed": partial(_moved, "mixed", degrees=70.0, scale=0.8, shift=40.0),
    "smooth-5": partial(_moved, "smooth-5", smooth=5.0),
    "smooth-15": partial(_moved, "smooth-15", smooth=15.0),
    "root": lambda image: _changed("root", image, np.sqrt),
    "inverted": lambda image: _changed("inverted", image, lambda v: 1 - v),
    "levels-8": lambda image: _changed("levels-8", image, lambda v: np.floor(v * 7.999) / 7),
    "noise": lambda image: _changed("noise", image, _noise),
    "blur": lambda image: _changed("blur", image, lambda v: ndimage.gaussian_filter(v, 3.0)),
    "quarter": lambda image: _coarse("quarter", image, 4),
    "bias": lambda image: _changed("bias", image, _bias),
    "hot-pixel": lambda image: _changed("hot-pixel", image, _hot),
    "half-cut": lambda image: _half("half-cut", image, cut=True),
    "half-blank": lambda image: _half("half-blank", image, cut=False),
    "half-turned": lambda image: _half_turned(image),
}

CASES_3D: dict[str, Maker] = {
    "itself": CASES_2D["itself"],
    "rigid": partial(_moved, "rigid", degrees=9.0, shift=12.0, canvas=1.25, spacing=1.15),
    "similarity": partial(_moved, "similarity", degrees=-7.0, scale=1.12, shift=8.0, canvas=1.25, spacing=0.9),
    "affine": partial(_moved, "affine", degrees=6.0, scale=0.95, shear=0.1, shift=6.0, canvas=1.2, spacing=1.1),
    "smooth-5": partial(_moved, "smooth-5", smooth=5.0, canvas=1.15),
    "smooth-15": partial(_moved, "smooth-15", smooth=15.0, canvas=1.15),
    "quarter-turn": partial(_moved, "quarter-turn", degrees=90.0, canvas=1.3),
    "inverted": CASES_2D["inverted"],
    "bias": CASES_2D["bias"],
    "half-cut": CASES_2D["half-cut"],
}


def _half_turned(image: Image) -> Case:
    """Half of the image, turned by 10 degrees and shifted by 15 mm."""
    whole = _moved("half-turned", image, degrees=10.0, shift=15.0)
    keep = whole.moving.grid.shape[-1] // 2
    data = whole.moving.data.copy()[..., :keep]
    grid = whole.moving.grid.crop([0] * data.ndim, [*whole.moving.grid.shape[:-1], keep])
    held = grid.contains(whole.truth)
    moving = Image(data, grid, "half-turned")
    return replace(whole, moving=moving, points=whole.points[held], truth=whole.truth[held])


def make_case(root: Path, source: str, name: str) -> Case:
    """A case of a 2D brain slice (`brain01` to `brain10`) or of one of `IMAGES_3D`.

    Raises:
        KeyError: if there is no such case.
    """
    if source.startswith("brain"):
        image = read_image(root / f"brain_mr_oasis/img{source[5:]}.nii.gz")
        case = CASES_2D[name](image)
    else:
        image = read_image(root / IMAGES_3D[source])
        case = CASES_3D[name](image)
    return replace(case, name=f"{source}/{name}")
