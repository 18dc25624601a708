"""The pairs as a person reads them: structures in order of use, each with one number and one colour.

A registration of a thick stack pairs regions slice by slice, so that one organ is a dozen pairs. Here pairs of one
name, and pairs that lie on top of each other in neighbouring slices of both images, become one structure. Its number is
the lowest number of its pairs, so that it can be found in pairs.json and in the segmentations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet, flat_iou
from samreg.io.palette import RGB, colours_apart
from samreg.metrics.pair_overlap import structure_dice
from samreg.regions.slices import body_of
from samreg.report.slices import black_and_white, matching_axis
from samreg.result import RegistrationResult

__all__ = [
    "Structure",
    "amount_text",
    "body_mask",
    "counted",
    "result_structures",
    "size_text",
    "structures_of",
    "titled",
]

_SAME = 0.5
"""IoU of regions of neighbouring slices, in both images, from which they are one structure."""
_TOUCH = 3
"""Voxels between the boxes of two regions up to which they are neighbours."""


@dataclass(frozen=True)
class Structure:
    """What one structure is in both images.

    Args:
        number: the lowest number of its pairs.
        rows: its rows of the `PairedRois`, the first slice first.
        pairs: the numbers of its pairs, in the order of `rows`.
        name: its name; empty where it has none.
        colour: RGB, 0 to 255.
        given: it was known beforehand.
        background: less than half of it, in one of the images, lies in the body.
        weight: mean weight of its pairs in the fit, in [0, 1].
        use: sum of the weights.
        similarity: mean cosine similarity of its pairs.
        sizes: volume (3D) or area (2D) in both images, in unit^d.
        dice: of what all its pairs cover in both images, before and after registration; after is None without a
            transform.
    """

    number: int
    rows: tuple[int, ...]
    pairs: tuple[int, ...]
    name: str
    colour: RGB
    given: bool
    background: bool
    weight: float
    use: float
    similarity: float
    sizes: tuple[float, float]
    dice: tuple[float, float | None]

    @property
    def used(self) -> bool:
        """Whether it is worth a look: the fit was to bring it together, and it is not background."""
        return self.use > 0 and not self.background

    @property
    def title(self) -> str:
        """See `titled`."""
        return titled(self.number, self.name)


def titled(number: int, name: str) -> str:
    """Number and name of a pair or structure; a name that is the value of a label says so."""
    return f"{number} {'label ' if name.isdigit() else ''}{name}".strip()


def structures_of(
    pairs: PairedRois,
    fixed: Image | None = None,
    moving: Image | None = None,
    field: DisplacementField | None = None,
    numbers: Sequence[int] | None = None,
    colours: Mapping[int, RGB] | None = None,
) -> tuple[Structure, ...]:
    """The structures of some pairs: those that are used first, the most used and then the largest of these first.

    Args:
        pairs: k pairs.
        fixed: the fixed image, by which background is known; nothing is background without it.
        moving: the moving image.
        field: the transform, for the overlap after registration.
        numbers: (k,) of the pairs; 1 to k by default.
        colours: number of a pair -> the colour that it has in an earlier run, and keeps.
    """
    if not len(pairs):
        return ()
    ids = list(range(1, len(pairs) + 1)) if numbers is None else [int(n) for n in numbers]
    outside = np.zeros(len(pairs), dtype=bool)
    for rois, image in ((pairs.fixed, fixed), (pairs.moving, moving)):
        if image is not None:
            outside |= _in_body(rois, image) < 0.5
    groups = _groups(pairs)
    volumes = pairs.fixed.volumes, pairs.moving.volumes
    before = structure_dice(pairs, groups)
    after = None if field is None else structure_dice(pairs, groups, field)
    use = [float(pairs.weights[rows].sum()) for rows in groups]
    sizes = [(float(volumes[0][rows].sum()), float(volumes[1][rows].sum())) for rows in groups]
    hidden = [bool(np.mean(outside[rows]) > 0.5) for rows in groups]
    order = sorted(
        range(len(groups)),
        key=lambda g: (use[g] <= 0 or hidden[g], hidden[g], -round(use[g], 3), -sizes[g][0], groups[g][0]),
    )
    known = [next((colours[ids[r]] for r in groups[g] if ids[r] in colours), None) for g in order] if colours else []
    chosen = dict(zip(order, colours_apart(_neighbours(pairs, [groups[g] for g in order]), known), strict=True))
    made = []
    for g in order:
        rows = groups[g]
        made.append(
            Structure(
                number=min(ids[r] for r in rows),
                rows=tuple(rows),
                pairs=tuple(ids[r] for r in rows),
                name=next((pairs.fixed[r].name for r in rows if pairs.fixed[r].name), ""),
                colour=chosen[g],
                given=bool(pairs.is_given[rows].any()),
                background=hidden[g],
                weight=use[g] / len(rows),
                use=use[g],
                similarity=float(pairs.similarity[rows].mean()),
                sizes=sizes[g],
                dice=(float(before[g]), None if after is None else float(after[g])),
            )
        )
    return tuple(made)


def result_structures(result: RegistrationResult) -> tuple[Structure, ...]:
    """The structures of a registration, with their overlap before and after."""
    return structures_of(result.pairs, result.fixed, result.moving, result.field, result.pair_numbers, result.colours)


def counted(structures: Sequence[Structure]) -> str:
    """How many pairs count, and why the others do not, in a sentence."""
    total = sum(len(s.rows) for s in structures)
    used = [s for s in structures if s.used]
    n = sum(len(s.rows) for s in used)
    text = f"{n} {'pair' if n == 1 else 'pairs'} used of {total}"
    if n != len(used):
        text += f", in {len(used)} {'structure' if len(used) == 1 else 'structures'}"
    background = sum(len(s.rows) for s in structures if s.background)
    others = total - n - background
    reasons = [f"{background} of background"] if background else []
    reasons += [f"{others} of weight zero"] if others else []
    return text + (f"; {' and '.join(reasons)} folded away" if reasons else "")


def size_text(size: float, grid: Grid) -> str:
    """A volume in millilitres, an area in square centimetres or pixels."""
    return amount_text(size, grid.unit, grid.ndim)


def amount_text(size: float, of: str, ndim: int) -> str:
    """As `size_text`, of world units `of` in `ndim` dimensions."""
    if of != "mm":
        return f"{size:,.0f} {of}{'³' if ndim == 3 else '²'}"
    value, unit = (size / 1000, "ml") if ndim == 3 else (size / 100, "cm²")
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def body_mask(image: Image) -> tuple[tuple[slice, ...], np.ndarray]:
    """Where an image shows a body, and of which voxels that is said: every so many along each axis."""
    from samreg.checks.finished import every  # loads torch, which a page that is only imported has no use for

    step = every(image.grid.shape)
    low, high = black_and_white(image)
    return step, body_of((image.grey()[step] - low) / (high - low))


def _in_body(rois: RoiSet, image: Image) -> np.ndarray:
    """(k,) share of each region that lies where the image shows a body."""
    step, body = body_mask(image)
    strides = np.asarray([part.step for part in step])
    last = np.asarray(body.shape) - 1
    shares = []
    for roi in rois.rois:
        at = np.minimum((np.argwhere(roi.mask) + roi.start + strides // 2) // strides, last)
        shares.append(float(body[tuple(at.T)].mean()))
    return np.asarray(shares)


def _groups(pairs: PairedRois) -> list[list[int]]:
    """Rows of each structure, by the first slice."""
    owner = list(range(len(pairs)))

    def root(i: int) -> int:
        while owner[i] != i:
            i = owner[i]
        return i

    by_name: dict[str, int] = {}
    for i, roi in enumerate(pairs.fixed.rois):
        if roi.name:
            owner[i] = by_name.setdefault(roi.name, i)
    for i, j in _links(pairs):
        if not pairs.fixed[i].name and not pairs.fixed[j].name:
            owner[root(j)] = root(i)
    groups: dict[int, list[int]] = {}
    for i in range(len(pairs)):
        groups.setdefault(root(i), []).append(i)
    axis = pairs.fixed.grid.coarsest_axis
    return [sorted(rows, key=lambda r: (pairs.fixed[r].start[axis], r)) for rows in groups.values()]


def _links(pairs: PairedRois) -> list[tuple[int, int]]:
    """Rows that show one structure in neighbouring slices: each has one neighbour in the next slice, the best."""
    if pairs.fixed.grid.ndim == 2:
        return []
    axis = pairs.fixed.grid.coarsest_axis
    other = matching_axis(pairs.fixed.grid, axis, pairs.moving.grid)
    by_slice: dict[int, list[int]] = {}
    for i, (a, b) in enumerate(zip(pairs.fixed.rois, pairs.moving.rois, strict=True)):
        if a.mask.shape[axis] == 1 and b.mask.shape[other] == 1:
            by_slice.setdefault(a.start[axis], []).append(i)
    links = []
    most = [_MostAlike(pairs.fixed, axis), _MostAlike(pairs.moving, other)]
    for k, here in by_slice.items():
        found = []
        above = np.asarray(by_slice.get(k + 1, ()), dtype=int)
        for i in here:
            close = np.abs(pairs.moving[i].start[other] - most[1].boxes[above, 0, other]) <= 1
            for j in above[close & (most[0](i, above) >= _SAME) & (most[1](i, above) >= _SAME)].tolist():
                both = [flat_iou(pairs.fixed[i], pairs.fixed[j], axis)]
                both.append(flat_iou(pairs.moving[i], pairs.moving[j], other) if both[0] >= _SAME else 0.0)
                if min(both) >= _SAME:
                    found.append((-sum(both), i, j))
        taken: set[tuple[str, int]] = set()
        for _, i, j in sorted(found):
            if ("here", i) not in taken and ("next", j) not in taken:
                taken |= {("here", i), ("next", j)}
                links.append((i, j))
    return links


class _MostAlike:
    """The most that `flat_iou` of regions one voxel thick along an axis can be, by their sizes and boxes."""

    def __init__(self, rois: RoiSet, axis: int) -> None:
        self.boxes, self.sizes = rois.boxes, rois.n_voxels
        self.sides = [a for a in range(rois.grid.ndim) if a != axis]

    def __call__(self, i: int, others: np.ndarray) -> np.ndarray:
        """(m,) of region i with the regions `others`."""
        (low, high), size = self.boxes[i][:, self.sides], self.sizes[i]
        lows, highs = self.boxes[others][:, 0, self.sides], self.boxes[others][:, 1, self.sides]
        area = np.prod(np.maximum(np.minimum(high, highs) - np.maximum(low, lows), 0), axis=1)
        shared = np.minimum(np.minimum(size, self.sizes[others]), area)
        most: np.ndarray = shared / (size + self.sizes[others] - shared)
        return most


def _neighbours(pairs: PairedRois, groups: Sequence[Sequence[int]]) -> list[list[int]]:
    """Of each group those whose regions touch its own in one of the images, the nearest first."""
    near = np.zeros((len(groups), len(groups)), dtype=bool)
    apart = np.full(near.shape, np.inf, dtype=np.float32)
    owner = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
    flat = np.asarray([r for rows in groups for r in rows])
    for rois in (pairs.fixed, pairs.moving):
        boxes, centres = rois.boxes[flat], rois.centroids[flat]
        reach = _TOUCH * (np.asarray(rois.grid.array_spacing) <= 2 * min(rois.grid.spacing))
        # A region at a time: thousands of them at once would take gigabytes.
        for g, (low, high), centre in zip(owner, boxes, centres, strict=True):
            touching = np.all(np.maximum(low - boxes[:, 1], boxes[:, 0] - high) < reach, axis=-1)
            others = owner[touching]
            near[g, others] = True
            np.minimum.at(apart[g], others, np.linalg.norm(centres[touching] - centre, axis=-1).astype(np.float32))
    np.fill_diagonal(near, False)
    return [sorted(np.flatnonzero(near[g]).tolist(), key=lambda o: (apart[g, o], o)) for g in range(len(groups))]
