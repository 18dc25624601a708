"""Do other tools make of samreg's files what samreg makes of them? Images, points and segments, in both directions.

    python -m benchmarks.interoperability                     made grids: identity, anisotropic, flipped, oblique, 2D
    python -m benchmarks.interoperability RUN [RUN ...]       run folders of samreg register, whose images are there

    pip install "samreg[interop]" brings all tools; those that are missing are named and left out.

A tool gets the files alone: `displacement.nii.gz` or `transform.h5`, and for the other direction
`inverse_displacement.nii.gz` or `inverse_transform.h5`; an image in float32; and the fill value. Its image is compared
with `DisplacementField.warp` as a share of the range of the image, its points with
`DisplacementField.transform_points` in world units. Tools of the ITK family end an image at the outer edges of its
voxels, as samreg does, and are compared everywhere; the others at voxels that come from between voxel centres. 100
points lie anywhere between the voxel centres of the grid; on voxel centres for nitransforms, whose field is a cubic
spline between them. Ends with status 1 if something is above its limit.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from samreg import bridges
from samreg.config import preset
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.io.images import read_image, write_image
from samreg.io.transforms import read_displacement
from samreg.result import RegistrationResult
from samreg.runs.pair_files import write_pair_files
from samreg.runs.run_folder import read_run
from samreg.runs.transforms import write_inverse, write_transforms

LIMIT_SHARE = 1e-4
"""Largest difference of an image, as a share of its range."""
LIMIT_WORLD = 0.01
"""Largest distance of a point, in mm (or pixels)."""
N_POINTS = 100
_EDGE = 1e-3  # voxels; nearer to an edge, rounding decides on which side of it a point is
TOLERANCE_SHARE_OF_VOXELS = 0.05  # of the voxels at least must have been compared


@dataclass(frozen=True)
class Way:
    """One direction of one run: what a tool gets, and what samreg makes of it.

    Args:
        name: of the run and the direction.
        field: on the grid of the result; pulls back from the image.
        image: the image that is carried along.
        image_file: that image, float32 NIfTI.
        reference_file: an image on the grid of the result.
        displacement: the field's file.
        transform: the composite transform's file.
    """

    name: str
    field: DisplacementField
    image: Image
    image_file: Path
    reference_file: Path
    displacement: Path
    transform: Path

    @property
    def fill(self) -> float:
        """What stands where there is no image: clearly none of its grey values."""
        return float(self.image.data.min() - 0.1 * np.ptp(self.image.data))


Warped = Callable[[Way], np.ndarray]
"""Makes the image (z, y, x) of a way's files."""
Moved = Callable[[Way, np.ndarray], np.ndarray]
"""Carries (n, d) world points, LPS, by a way's files."""


@dataclass(frozen=True)
class Tool:
    """A tool that reads one of the files.

    Args:
        package: what to import.
        warp: makes an image.
        move: carries points; None where the tool carries none.
        everywhere: it ends an image at the outer edges of its voxels.
        on_centres: its points are compared on voxel centres.
        ndim: dimensions that it knows.
    """

    package: str
    warp: Warped | None
    move: Moved | None
    everywhere: bool = False
    on_centres: bool = False
    ndim: tuple[int, ...] = (2, 3)

    @property
    def is_installed(self) -> bool:
        """Whether the package can be found."""
        return importlib.util.find_spec(self.package) is not None


# Tools -------------------------------------------------------------------------------------------------------------


def _sitk_transform(way: Way):
    import SimpleITK as sitk

    return sitk.ReadTransform(str(way.transform))


def _sitk_field(way: Way):
    import SimpleITK as sitk

    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(way.displacement), sitk.sitkVectorFloat64))


def _sitk(kind: Callable[[Way], object]) -> tuple[Warped, Moved]:
    def warp(way: Way) -> np.ndarray:
        import SimpleITK as sitk

        image, reference = (sitk.ReadImage(str(path)) for path in (way.image_file, way.reference_file))
        out = sitk.Resample(image, reference, kind(way), sitk.sitkLinear, way.fill, sitk.sitkFloat32)
        return sitk.GetArrayFromImage(out)

    def move(way: Way, points: np.ndarray) -> np.ndarray:
        transform = kind(way)
        return np.asarray([transform.TransformPoint(point) for point in points.tolist()])

    return warp, move


def _itk_transform(way: Way):
    import itk

    return itk.transformread(str(way.transform))[0]


def _itk_warp(way: Way) -> np.ndarray:
    import itk

    image, reference = (itk.imread(str(path), itk.F) for path in (way.image_file, way.reference_file))
    out = itk.resample_image_filter(
        image,
        transform=_itk_transform(way),
        reference_image=reference,
        use_reference_image=True,
        default_pixel_value=way.fill,
    )
    return itk.array_from_image(out)


def _itk_move(way: Way, points: np.ndarray) -> np.ndarray:
    transform = _itk_transform(way)
    return np.asarray([list(transform.TransformPoint(point)) for point in points.tolist()])


def _ants_warp(way: Way) -> np.ndarray:
    import ants

    reference, image = (ants.image_read(str(path)) for path in (way.reference_file, way.image_file))
    out = ants.apply_transforms(
        reference, image, [str(way.transform)], interpolator="linear", defaultvalue=way.fill, whichtoinvert=[False]
    )
    return out.numpy().T


def _ants_move(way: Way, points: np.ndarray) -> np.ndarray:
    import ants
    import pandas as pd

    names = list("xyz")[: points.shape[1]]
    table = pd.DataFrame(points, columns=names)
    moved = ants.apply_transforms_to_points(points.shape[1], table, [str(way.transform)], whichtoinvert=[False])
    return moved[names].to_numpy()


_RAS = np.asarray([-1.0, -1.0, 1.0])


def _nitransforms_field(way: Way):
    from nitransforms.nonlinear import DenseFieldTransform

    return DenseFieldTransform.from_filename(way.displacement, fmt="itk")


def _nitransforms_warp(way: Way) -> np.ndarray:
    import nibabel as nib
    from nitransforms.resampling import apply

    image, reference = nib.load(way.image_file), nib.load(way.reference_file)
    out = apply(
        _nitransforms_field(way), image, reference, order=1, cval=way.fill, prefilter=False, output_dtype=np.float32
    )
    return np.asarray(out.dataobj).T


def _nitransforms_move(way: Way, points: np.ndarray) -> np.ndarray:
    return np.asarray(_nitransforms_field(way).map(points * _RAS)) * _RAS


def _nibabel_coordinates(way: Way):
    """World points (RAS) of all voxels after the displacement, by nibabel and numpy alone."""
    import nibabel as nib

    file = nib.load(way.displacement)
    d = file.shape[-1]
    u = np.asarray(file.dataobj).reshape(*file.shape[:d], d) * _RAS[:d]
    affine = file.affine
    index = np.stack(np.meshgrid(*map(np.arange, u.shape[:d]), indexing="ij"), -1)
    return index @ affine[:d, :d].T + affine[:d, 3] + u, affine


def _nibabel_warp(way: Way) -> np.ndarray:
    import nibabel as nib
    from scipy.ndimage import map_coordinates

    world, _ = _nibabel_coordinates(way)
    image = nib.load(way.image_file)
    d = world.shape[-1]
    index = (world - image.affine[:d, 3]) @ np.linalg.inv(image.affine[:d, :d]).T
    data = np.asarray(image.dataobj, dtype=np.float64)
    return map_coordinates(data, np.moveaxis(index, -1, 0), order=1, cval=way.fill).T


def _nibabel_move(way: Way, points: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    world, affine = _nibabel_coordinates(way)
    d = world.shape[-1]
    index = (points * _RAS[:d] - affine[:d, 3]) @ np.linalg.inv(affine[:d, :d]).T
    moved = [map_coordinates(np.asarray(world[..., i]), index.T, order=1, mode="nearest") for i in range(d)]
    return np.stack(moved, -1) * _RAS[:d]


def _monai_warp(way: Way) -> np.ndarray:
    """MONAI's Warp wants an image of the field's size: the image is brought onto that grid first, by `on_grid`."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        from monai.networks.blocks import Warp

        image, field = bridges.to_monai(way.image), bridges.to_monai(bridges.field_from_sitk(_read_sitk(way)))
        return Warp()(image[None], field[None])[0, 0].as_tensor().numpy().T


def _read_sitk(way: Way):
    import SimpleITK as sitk

    return sitk.ReadImage(str(way.displacement))


TOOLS: dict[str, Tool] = {
    "SimpleITK transform.h5": Tool("SimpleITK", *_sitk(_sitk_transform), everywhere=True),
    "SimpleITK displacement": Tool("SimpleITK", *_sitk(_sitk_field), everywhere=True),
    "ITK transform.h5": Tool("itk", _itk_warp, _itk_move, everywhere=True),
    "ANTs transform.h5": Tool("ants", _ants_warp, _ants_move, everywhere=True),
    "nitransforms displacement": Tool(
        "nitransforms", _nitransforms_warp, _nitransforms_move, on_centres=True, ndim=(3,)
    ),
    "nibabel displacement": Tool("nibabel", _nibabel_warp, _nibabel_move),
    "MONAI Warp": Tool("monai", _monai_warp, None),
}


# Comparison --------------------------------------------------------------------------------------------------------


def on_grid(way: Way, folder: Path) -> Way:
    """The same way for an image that was brought onto the grid of the field, which MONAI wants."""
    if way.image.grid.same_as(way.field.grid):
        return way
    here = DisplacementField.identity(way.field.grid).warp(way.image, fill=way.fill)
    return replace(way, image=here, image_file=write_image(here, folder / f"{way.image_file.name[:-7]}-here.nii.gz"))


def image_difference(tool: Tool, way: Way) -> tuple[float, float]:
    """Largest difference as a share of the range, and the share of the voxels that were compared."""
    ours = way.field.warp(way.image, fill=way.fill).data
    theirs = tool.warp(way).reshape(ours.shape)
    index, n = way.field.moving_index(way.image.grid), np.asarray(way.image.grid.shape[::-1])
    if tool.everywhere:
        compared = (np.minimum(np.abs(index + 0.5), np.abs(index - n + 0.5)) > _EDGE).all(-1)
    else:
        compared = ((index >= 0) & (index <= n - 1)).all(-1)
    if not compared.any():
        return float("nan"), 0.0
    return float(np.abs(ours - theirs)[compared].max() / np.ptp(way.image.data)), float(compared.mean())


def point_distance(tool: Tool, way: Way) -> float:
    """Largest distance between a tool's points and samreg's."""
    rng, grid = np.random.default_rng(0), way.field.grid
    index = rng.uniform(0, np.asarray(grid.shape[::-1]) - 1.0, (N_POINTS, grid.ndim))
    points = grid.index_to_world(np.rint(index) if tool.on_centres else index)
    return float(np.linalg.norm(tool.move(way, points) - way.field.transform_points(points), axis=1).max())


def segments_agree(folder: Path, pairs: PairedRois) -> bool:
    """Whether slicerio finds the regions of both files, voxel by voxel, where samreg has them."""
    import slicerio

    for side, rois in (("fixed", pairs.fixed), ("moving", pairs.moving)):
        read = slicerio.read_segmentation(str(folder / f"{side}_rois.seg.nrrd"))
        d = rois.grid.ndim
        matrix = np.asarray(read["ijkToLPS"])
        if not np.allclose(matrix[:d, :d], rois.grid.matrix[:d, :d]) or not np.allclose(
            matrix[:d, 3], rois.grid.matrix[:d, d]
        ):
            return False
        for i, mask in enumerate(rois.masks()):
            theirs = slicerio.segment_mask(read, slicerio.segment_from_id(read, f"pair_{i + 1}"))
            if not np.array_equal(theirs.T.reshape(mask.shape), mask):
                return False
    return True


# Runs ----------------------------------------------------------------------------------------------------------------


def _rotation(angles: Sequence[float]) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    if len(angles) == 1:
        return Rotation.from_euler("z", angles[0]).as_matrix()[:2, :2]
    return Rotation.from_euler("xyz", angles).as_matrix()


def _grid(shape: tuple[int, ...], spacing: tuple[float, ...], origin: tuple[float, ...], direction: np.ndarray) -> Grid:
    return Grid(shape, spacing, origin, tuple(map(tuple, direction.tolist())))


MADE: dict[str, Grid] = {
    "identity-2d": Grid((30, 34), (1.0, 1.0)),
    "flipped-oblique-2d": _grid((30, 34), (0.7, 1.5), (4, 7), _rotation((0.6,)) @ np.diag([-1, 1])),
    "identity": Grid((14, 30, 34), (1.0, 1.0, 1.0)),
    "anisotropic": Grid((9, 30, 34), (1.4, 1.2, 8.0), (-120.0, 30.0, 7.0)),
    "flipped": _grid((12, 30, 34), (1.4, 1.2, 4.0), (90, -80, 11), np.diag([-1, 1, 1])),
    "oblique": _grid((12, 30, 34), (1.4, 1.2, 4.0), (10, 20, -30), _rotation((0.3, -0.5, 0.9))),
    "oblique-flipped": _grid(
        (12, 30, 34), (0.8, 1.2, 3.0), (1, 2, 3), _rotation((0.2, 0.4, -0.7)) @ np.diag([1, -1, 1])
    ),
}
"""Grids of the fixed image; the moving one has others in the same world."""


def made_result(grid: Grid) -> RegistrationResult:
    """Noise on two grids, a turn with a shift and a wave between them, and pairs of boxes."""
    d, rng = grid.ndim, np.random.default_rng(0)
    moving = replace(grid.with_shape([n + 3 for n in grid.shape]), unit=grid.unit)
    x, centre = grid.voxel_centres(), np.asarray(grid.centre)
    matrix = np.eye(d + 1)
    matrix[:d, :d] = _rotation((0.08,) if d == 2 else (0.05, -0.04, 0.06)) * 1.03
    matrix[:d, d] = centre - matrix[:d, :d] @ centre + 0.6 * min(grid.spacing)
    wave = np.stack([np.sin((x - centre)[..., (i + 1) % d] / (0.3 * max(grid.extent))) for i in range(d)], -1)
    u = DisplacementField.from_matrix(matrix, grid).u + 0.8 * min(grid.spacing) * wave
    images = [
        Image(rng.uniform(20, 255, g.shape).astype(np.float32), g, name)
        for g, name in ((grid, "fixed"), (moving, "moving"))
    ]
    sides = []
    for g in (grid, moving):
        masks = np.zeros((3, *g.shape), dtype=bool)
        for i, mask in enumerate(masks):
            mask[tuple(slice(1 + i, n // 2 + 2 * i) for n in g.shape)] = True  # they overlap
        sides.append(RoiSet.from_masks(list(masks), g))
    pairs = PairedRois(*sides, np.ones(3))
    return RegistrationResult(
        *images, pairs, matrix, DisplacementField(u.astype(np.float32), grid), config=preset("default")
    )


def made_run(grid: Grid, folder: Path) -> tuple[list[Way], PairedRois]:
    """The files of a run, without its page; and both ways."""
    result = made_result(grid)
    write_transforms(result, folder)
    write_inverse(result, folder)
    write_pair_files(result.pairs, folder)
    images = {"fixed": result.fixed, "moving": result.moving}
    return _ways(folder, folder, images), result.pairs


def real_run(path: Path, folder: Path) -> tuple[list[Way], PairedRois]:
    """Both ways of a run folder; the images go into another folder, with headers that all tools read alike."""
    run = read_run(path)
    images = {}
    for side in ("fixed", "moving"):
        entry = run.manifest["images"][side]
        image = read_image(entry["path"], frame=entry.get("frame"), series=entry.get("series"))
        images[side] = image.with_data(image.grey())
    return _ways(path, folder, images), run.pairs


def _ways(run: Path, folder: Path, images: dict[str, Image]) -> list[Way]:
    files = {}
    for side, image in images.items():
        # NIfTI knows no pixels: the same numbers as mm.
        images[side] = Image(image.data, replace(image.grid, unit="mm"), side)
        files[side] = write_image(images[side], folder / f"{side}-float32.nii.gz")
    ways = []
    for name, start, to in (("", "moving", "fixed"), ("inverse_", "fixed", "moving")):
        displacement = run / f"{name}displacement.nii.gz"
        if displacement.is_file():
            field = read_displacement(displacement, images[to].grid)
            label = f"{run.name} {name.rstrip('_') or 'forward'}"
            transform = run / f"{name}transform.h5"
            ways.append(Way(label, field, images[start], files[start], files[to], displacement, transform))
    return ways


def rows(ways: list[Way], pairs: PairedRois, run: Path, folder: Path) -> Iterator[tuple[str, bool]]:
    """A line of text for each tool and way, and whether it is within the limits."""
    for way in ways:
        for name, tool in TOOLS.items():
            if not tool.is_installed or way.field.grid.ndim not in tool.ndim:
                continue
            here = on_grid(way, folder) if tool.package == "monai" else way
            share, compared = image_difference(tool, here)
            far = 0.0 if tool.move is None else point_distance(tool, way)
            fine = share <= LIMIT_SHARE and far <= LIMIT_WORLD and compared >= TOLERANCE_SHARE_OF_VOXELS
            points = "           " if tool.move is None else f"{far:8.1e} mm"
            yield f"{way.name:28} {name:26} {share:8.1e} of {100 * compared:3.0f} % voxels  {points}", fine
    if importlib.util.find_spec("slicerio") is not None and len(pairs):
        fine = segments_agree(run, pairs)
        yield f"{run.name:28} slicerio, {len(pairs)} pairs of segments {'equal' if fine else 'differ'}", fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    runs = parser.parse_args().runs
    missing = sorted({tool.package for tool in TOOLS.values() if not tool.is_installed})
    if missing:
        print(f"not installed, left out: {', '.join(missing)}")
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="samreg-interop-") as temporary:
        for number, item in enumerate(runs or MADE):
            folder = Path(temporary) / (str(number) if runs else str(item))
            folder.mkdir()
            ways, pairs = real_run(item, folder) if runs else made_run(MADE[item], folder)
            for text, fine in rows(ways, pairs, item if runs else folder, folder):
                print(f"{'      ' if fine else 'WRONG '}{text}", flush=True)
                wrong += not fine
    print(f"{wrong} above the limits of {LIMIT_SHARE:g} of the range and {LIMIT_WORLD:g} mm")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
