"""The pipeline on real images and on cases whose answer is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import samreg
from samreg.config import ElasticConfig, FitConfig, FlowConfig, RegisterConfig, preset
from samreg.errors import ConfigError, GeometryError
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.regions.everything.boxes import box_grid, grown, informative
from samreg.regions.regions import Regions
from samreg.regions.slices import plan_slices, window
from samreg.segmenters import Segmenter

HEART = (slice(3, 5), slice(40, 168), slice(70, 198))


def _mean_dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean([2 * ((a == v) & (b == v)).sum() / ((a == v).sum() + (b == v).sum()) for v in (1, 2, 3)]))


def _crop(image: Image) -> Image:
    grid = image.grid.crop([s.start for s in HEART], [s.stop for s in HEART])
    return Image(image.data[HEART], grid, image.name)


@pytest.fixture(scope="module")
def heart(data_root: Path, litemedsam: Segmenter) -> tuple[Regions, Regions, np.ndarray, np.ndarray]:
    """Two middle slices of ACDC patient067, end-diastole and end-systole, segmented once."""
    folder = data_root / "acdc" / "training" / "patient067"
    images, labels = [], []
    for frame in ("01", "10"):
        images.append(_crop(samreg.read_image(folder / f"patient067_frame{frame}.nii.gz")))
        labels.append(_crop(samreg.read_image(folder / f"patient067_frame{frame}_gt.nii.gz")).data.astype(np.int32))
    fixed, moving = (samreg.segment(image, segmenter=litemedsam) for image in images)
    return fixed, moving, labels[0], labels[1]


def test_both_ventricles_are_among_the_regions(heart: tuple[Regions, Regions, np.ndarray, np.ndarray]) -> None:
    best = []
    for regions, labels in ((heart[0], heart[2]), (heart[1], heart[3])):
        for value in (1, 3):
            for z in np.flatnonzero((labels == value).sum(axis=(1, 2)) > 150):
                target = labels[z] == value
                masks = [regions.rois.mask(int(i))[z] for i in np.flatnonzero(regions.slice_index == z)]
                best.append(max(2 * (m & target).sum() / (m.sum() + target.sum()) for m in masks))
    assert min(best) > 0.5
    assert np.mean(best) > 0.7


@pytest.mark.parametrize(("name", "gain"), [("regions", 0.05), ("default", 0.2)])
def test_registration_brings_the_labels_together(
    heart: tuple[Regions, Regions, np.ndarray, np.ndarray], name: str, gain: float
) -> None:
    fixed, moving, fixed_labels, moving_labels = heart
    result = samreg.register_regions(fixed, moving, preset(name))
    assert result.field is not None
    warped = result.field.warp_labels(moving_labels, moving.image.grid)
    assert _mean_dice(warped, fixed_labels) > _mean_dice(moving_labels, fixed_labels) + gain
    assert result.field.folding_fraction() < (0.001 if name == "default" else 0.01)
    assert result.confidence == result.agreement.embedding
    assert (0.7 if name == "default" else 0.5) < result.confidence <= 1
    assert len(result.pairs) >= 10
    assert result.in_plane == (name == "regions")


def test_the_same_regions_give_the_same_bytes(heart: tuple[Regions, Regions, np.ndarray, np.ndarray]) -> None:
    config = preset("default")
    config = dataclasses.replace(config, fit=FitConfig(flow=FlowConfig(flow_iterations=(5, 5, 5))))
    first, second = (samreg.register_regions(heart[0], heart[1], config) for _ in range(2))
    assert first.field is not None
    assert second.field is not None
    assert np.array_equal(first.field.u, second.field.u)
    assert np.array_equal(first.pairs.similarity, second.pairs.similarity)


@pytest.mark.parametrize("transform", ["affine", "rigid", "none"])
def test_other_transforms(heart: tuple[Regions, Regions, np.ndarray, np.ndarray], transform: str) -> None:
    base = preset("default")
    config = dataclasses.replace(base, fit=dataclasses.replace(base.fit, transform=transform))  # type: ignore[arg-type]
    result = samreg.register_regions(heart[0], heart[1], config)
    if transform == "none":
        assert result.field is None
        return
    assert result.affine is not None
    assert result.field is not None
    linear = result.affine[:3, :3]
    if transform == "rigid":
        assert np.allclose(linear.T @ linear, np.eye(3), atol=1e-6)
    assert np.ptp(result.field.jacobian_determinant()) < 1e-3


def test_the_confidence_falls_where_the_moving_image_is_another_part_of_the_body(
    heart: tuple[Regions, Regions, np.ndarray, np.ndarray],
) -> None:
    fixed, moving = heart[:2]
    elastic = ElasticConfig(similarity_weight=0.0, feature_weight=0.0, max_iterations=0)
    held = RegisterConfig(fit=FitConfig(transform="ffd", elastic=elastic))
    turned = dataclasses.replace(
        moving,
        features=dataclasses.replace(moving.features, data=np.ascontiguousarray(moving.features.data[..., ::-1, ::-1])),
    )
    right, wrong = (samreg.register_regions(fixed, other, held).confidence for other in (moving, turned))
    assert wrong < right - 0.2


def test_an_image_and_itself(heart: tuple[Regions, Regions, np.ndarray, np.ndarray]) -> None:
    fixed = heart[0]
    result = samreg.register_regions(fixed, fixed)
    assert result.field is not None
    voxels = np.abs(result.field.u) / np.asarray(fixed.image.grid.spacing)
    assert voxels.max() < 1.0
    assert np.quantile(voxels, 0.99) < 0.2
    assert voxels.mean() < 0.1
    warped = result.field.warp_labels(heart[2], fixed.image.grid)
    assert _mean_dice(warped, heart[2]) > 0.99
    assert result.confidence > 0.75


def test_a_moving_image_elsewhere_with_other_axes_is_found(
    heart: tuple[Regions, Regions, np.ndarray, np.ndarray], litemedsam: Segmenter
) -> None:
    """The same picture under a header that claims it lies 60 mm away and is stored back to front."""
    fixed = heart[0]
    grid = fixed.image.grid
    direction = np.asarray(grid.direction) * [-1, 1, 1]
    rows = tuple(tuple(float(v) for v in row) for row in direction)
    last = grid.index_to_world(np.asarray([[grid.shape[2] - 1.0, 0.0, 0.0]]))[0]
    away = Grid(grid.shape, grid.spacing, tuple(last + np.asarray([60.0, -40.0, 0.0])), rows)
    moving = samreg.segment(Image(fixed.image.data[:, :, ::-1], away), segmenter=litemedsam)
    result = samreg.register_regions(fixed, moving)
    assert result.field is not None
    middle = result.field.u[:, 30:-30, 30:-30].reshape(-1, 3).mean(axis=0)
    assert np.allclose(middle[:2], [60.0, -40.0], atol=4.0)


def test_images_that_do_not_go_together_are_refused() -> None:
    flat = Image(np.random.default_rng(0).random((32, 32)), Grid((32, 32), (1, 1)))
    photo = Image(flat.data, Grid((32, 32), (1, 1), unit="px"))
    volume = Image(np.zeros((2, 8, 8)), Grid((2, 8, 8), (1, 1, 1)))
    with pytest.raises(GeometryError, match=r"is 2D in mm and .* is 3D in mm"):
        samreg.register(flat, volume)
    with pytest.raises(GeometryError, match=r"is 2D in mm and .* is 2D in px"):
        samreg.register(flat, photo)


def test_one_window_for_the_whole_volume() -> None:
    data = np.zeros((2, 10, 10), dtype=np.float32)
    data[0, 2:8, 2:8], data[1, 2:8, 2:8] = 50.0, 100.0
    out = window(Image(data, Grid(data.shape, (1, 1, 8))))
    assert out.min() == 0.0
    assert out.max() == 1.0
    assert out[0].max() < out[1].max()


def test_hounsfield_units_get_the_soft_tissue_window() -> None:
    data = np.linspace(-1000, 1200, 2 * 20 * 20).reshape(2, 20, 20).astype(np.float32)
    out = window(Image(data, Grid(data.shape, (1, 1, 2))))
    assert out[data < -160].max() == 0.0
    assert out[data > 240].min() == 1.0
    assert float(out.flat[np.abs(data - 40).argmin()]) == pytest.approx(0.5, abs=0.01)


def test_mr_on_a_canvas_of_its_darkest_value_is_not_ct() -> None:
    """As a copy of a prostate was that interpolation had given a few voxels of -970."""
    data = np.full((6, 40, 40), -970.0, np.float32)
    data[:, 8:32, 8:32] = np.random.default_rng(0).uniform(50, 240, (6, 24, 24))
    inside = window(Image(data, Grid(data.shape, (1, 1, 3))))[:, 8:32, 8:32]
    assert np.percentile(inside, 10) < 0.5 < np.percentile(inside, 90) < 0.95


def test_slices_lie_across_the_coarsest_spacing_and_have_square_pixels() -> None:
    plan = plan_slices(Grid((20, 10, 30), (1.0, 8.0, 2.0)))
    assert plan.axis == 1
    assert plan.plane == (40, 30)
    assert plan.slices(np.zeros((20, 10, 30), dtype=np.float32))[0].shape == (40, 30)
    assert plan_slices(Grid((20, 10), (1.0, 1.0))).axis is None


def test_cells_of_the_embedding_start_at_the_edge_of_the_image() -> None:
    grid = Grid((5, 40, 60), (1.5, 1.5, 9.0), (10.0, 20.0, 30.0), ((0, -1, 0), (1, 0, 0), (0, 0, 1)))
    cells = plan_slices(grid).feature_grid((10, 15), 4.0)
    assert cells.shape == (5, 10, 15)
    assert cells.spacing == (6.0, 6.0, 9.0)
    # The middle of the first cell is the middle of its four by four pixels.
    assert np.allclose(cells.origin, grid.index_to_world(np.asarray([[1.5, 1.5, 0.0]]))[0])


def test_box_prompts_cover_the_slice_and_skip_flat_background() -> None:
    boxes = box_grid((50, 70), 20, 0.5)
    covered = np.zeros((50, 70), dtype=bool)
    for x0, y0, x1, y1 in boxes.astype(int):
        covered[y0 : y1 + 1, x0 : x1 + 1] = True
    assert covered.all()
    pixels = np.zeros((50, 70), dtype=np.float32)
    pixels[:, 35:] = np.random.default_rng(0).random((50, 35))
    kept = boxes[informative(boxes, pixels)]
    assert 0 < len(kept) < len(boxes)
    assert kept[:, 2].min() >= 35
    assert grown(boxes, 5, (50, 70)).min() == 0
    assert grown(boxes, 5, (50, 70))[:, 2].max() == 69


def test_presets_say_what_they_are() -> None:
    assert preset("default") == RegisterConfig()
    paper = preset("paper")
    assert (paper.match.method, paper.match.epsilon, paper.match.verify) == ("greedy", 0.8, False)
    assert paper.segment.proposals.areas == pytest.approx((0.005, 0.175))
    with pytest.raises(samreg.InputError, match="there is no preset 'best'"):
        preset("best")


def test_slices_can_be_resized_to_a_square_and_their_cells_stay_where_they_are() -> None:
    grid = Grid((3, 40, 60), (2.0, 1.0, 8.0), (5.0, 6.0, 7.0))
    plan = plan_slices(grid, side=50)
    assert plan.plane == (50, 50)
    assert [s.shape for s in plan.slices(np.zeros(grid.shape, dtype=np.float32))] == [(50, 50)] * 3
    cells = plan.feature_grid((10, 10), 5.0)
    assert cells.extent == pytest.approx(grid.extent)
    assert np.asarray(cells.centre) == pytest.approx(np.asarray(grid.centre))
    with pytest.raises(ConfigError, match="cannot be resized to -1"):
        plan_slices(grid, side=-1)
