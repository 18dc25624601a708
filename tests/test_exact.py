"""A global map refined by grey values, starts that are found wherever they are, and partial overlap."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.exact_cases import CASES_2D, CASES_3D, Case
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from scipy.spatial.transform import Rotation

from samreg import Image, preset, read_image
from samreg.config import FitConfig
from samreg.fit.levels import fit_dense
from samreg.fit.problem import DenseProblem
from samreg.fit.solvers.flow import (
    smoothed_where_quiet,
    smoothed_where_unexplained,
    smoothed_where_volumes_change,
)
from samreg.fit.terms.lncc import Lncc
from samreg.geometry.frame import Frame
from samreg.geometry.grid import Grid
from samreg.geometry.ops.displacement import central_determinant
from samreg.geometry.ops.resample import resize
from samreg.geometry.ops.smoothing import gaussian
from samreg.geometry.phantom import phantom
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.initial.affine import Candidate
from samreg.initial.agreement import best_agreement
from samreg.initial.descriptors import Descriptors
from samreg.initial.edges import edge_agreement
from samreg.initial.hypotheses import best_start, global_search
from samreg.initial.problem import ImagePair
from samreg.initial.pyramid import GreyPyramid, resample
from samreg.initial.refine import nearest_of_kind, plausible_map, refine
from samreg.initial.search import affine_start, compared
from samreg.initial.start import find_start
from samreg.pipeline import register_regions
from samreg.regions.regions import FeatureVolume, Regions
from samreg.regions.slices import window

_TURN = {2: np.deg2rad(7.0), 3: np.deg2rad(5.0)}


def _world(d: int, name: str) -> Grid:
    """Grids as files have them: the same body seen with other spacings and axes."""
    shape, spacing = ((110, 130), (2.0, 2.0)) if d == 2 else ((24, 56, 66), (4.0, 4.0, 4.0))
    direction = np.eye(d)
    if name == "anisotropic":
        shape, spacing = ((70, 130), (2.0, 3.2)) if d == 2 else ((14, 56, 66), (4.0, 4.0, 7.0))
    elif name == "flipped":
        direction = np.diag([-1.0, 1.0, 1.0][:d])
    elif name == "oblique":
        direction = _turn(d, 0.3)
    grid = Grid(shape, spacing, direction=tuple(map(tuple, direction)))
    return replace(grid, origin=tuple(-(np.asarray(grid.centre))))


def _turn(d: int, angle: float) -> np.ndarray:
    if d == 2:
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(Rotation.from_rotvec(angle * np.array([1.0, 2.0, 3.0]) / np.sqrt(14.0)).as_matrix())


def _body(points: np.ndarray) -> np.ndarray:
    """A function of the world: blobs of many sizes within 90 mm, the same for every grid."""
    random = np.random.default_rng(7)
    d = points.shape[-1]
    out = np.zeros(points.shape[:-1])
    for _ in range(60):
        centre = random.uniform(-75, 75, d) * ([1, 1, 0.5][:d])
        width = random.uniform(6, 16)
        out += random.uniform(0.2, 1.0) * np.exp(-((points - centre) ** 2).sum(-1) / (2 * width**2))
    return out / 1.5


def _true_map(d: int, kind: str) -> np.ndarray:
    linear = _turn(d, _TURN[d])
    if kind != "rigid":
        linear = 1.06 * linear
    if kind == "affine":
        linear = linear @ (np.eye(d) + 0.05 * np.eye(d, k=1))
    matrix = np.eye(d + 1)
    matrix[:d, :d] = linear
    matrix[:d, d] = [5.0, -4.0, 3.0][:d]
    return matrix


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
@pytest.mark.parametrize("name", ["plain", "anisotropic", "flipped", "oblique"])
def test_a_known_map_is_found_on_every_grid(d: int, kind: str, name: str) -> None:
    fixed_grid, moving_grid = _world(d, "plain"), _world(d, name)
    truth = _true_map(d, kind)
    fixed = _body(fixed_grid.voxel_centres() @ truth[:d, :d].T + truth[:d, d])
    moving = _body(moving_grid.voxel_centres())
    pyramid = GreyPyramid(fixed, fixed_grid, 1 - 0.5 * moving, moving_grid, 100_000)  # another contrast, inverted
    found = refine(pyramid, np.eye(d + 1), kind)  # type: ignore[arg-type]
    assert found.refused == ""
    points = np.random.default_rng(1).uniform(-60, 60, (500, d)) * [1, 1, 0.5][:d]
    gap = (points @ (found.matrix - truth)[:d, :d].T + (found.matrix - truth)[:d, d]) / max(fixed_grid.spacing)
    assert np.median(np.linalg.norm(gap, axis=1)) < 0.05
    if kind == "rigid":
        np.testing.assert_allclose(found.matrix[:d, :d] @ found.matrix[:d, :d].T, np.eye(d), atol=1e-8)


@pytest.mark.parametrize("d", [2, 3])
def test_an_image_and_itself_do_not_move(d: int) -> None:
    example = phantom(d)
    values, grid = window(example.fixed), example.fixed.grid
    start, stop = [1] * d, [n - 1 for n in grid.shape]
    part, crop = grid.crop(start, stop), values[tuple(slice(1, -1) for _ in range(d))]
    for moving, other in ((values, grid), (crop, part)):
        pyramid = GreyPyramid(values, grid, moving, other, 100_000)
        matrix, _ = best_start(pyramid, [Candidate("headers", np.eye(d + 1))], "affine")
        gap = grid.voxel_centres().reshape(-1, d) @ (matrix[:d, :d] - np.eye(d)).T + matrix[:d, d]
        assert float(np.abs(gap / grid.spacing).max()) < 0.02


@pytest.mark.parametrize(
    ("shape", "thick"), [((48, 60), 1.0), ((48, 60), 1.4), ((6, 32, 40), 1.0), ((6, 32, 40), 4.0), ((14, 24, 32), 1.0)]
)
@pytest.mark.parametrize("other", ["itself", "cropped", "flipped", "inverted", "half blank"])
def test_noise_does_not_move_an_image_from_itself(shape: tuple[int, ...], thick: float, other: str) -> None:
    # Interpolation smooths noise: where the image is looked at between its voxels, a small stretch would fit no worse.
    image = _noisy_balls(shape, thick)
    copy = image
    if other == "cropped":
        low = [n // 6 for n in shape]
        high = [n - 1 for n in shape]
        copy = Image(image.data[tuple(map(slice, low, high))], image.grid.crop(low, high))
    elif other == "flipped":
        first = image.grid.index_to_world(np.array([[shape[-1] - 1.0, *[0.0] * (len(shape) - 1)]]))[0]
        direction = np.asarray(image.grid.direction) * [-1, *[1] * (len(shape) - 1)]
        turned = replace(image.grid, origin=tuple(first), direction=tuple(map(tuple, direction)))
        copy = Image(np.ascontiguousarray(image.data[..., ::-1]), turned)
    elif other == "inverted":
        copy = Image(300 - 2 * image.data, image.grid)
    elif other == "half blank":
        data = image.data.copy()
        data[..., shape[-1] * 2 // 5 :] = data.min()
        copy = Image(data, image.grid)
    pyramid = GreyPyramid(window(image), image.grid, window(copy), copy.grid, 1_000_000)
    matrix, (first_tried, *_) = best_start(pyramid, [Candidate("headers", np.eye(len(shape) + 1))], "affine")
    assert np.array_equal(matrix, np.eye(len(shape) + 1))
    assert "copy" in first_tried.refined.refused


def test_other_noise_is_no_copy_and_neither_is_a_place_between_voxels() -> None:
    image, again = _noisy_balls((40, 48), 1.0), _noisy_balls((40, 48), 1.0, seed=1)
    away = replace(image.grid, origin=(0.5, 0.0))
    for moving, grid in ((again.data, image.grid), (image.data, away)):
        other = Image(moving, grid)
        pyramid = GreyPyramid(window(image), image.grid, window(other), grid, 100_000)
        _, (tried, *_) = best_start(pyramid, [Candidate("headers", np.eye(3))], "affine")
        assert "copy" not in tried.refined.refused


def _noisy_balls(shape: tuple[int, ...], thick: float, seed: int = 0) -> Image:
    at = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(sum(a**2 for a in at))
    noise = np.random.default_rng(seed).normal(0, 3, shape)
    data = (100 * (radius < 0.7) + 60 * (radius < 0.4) + noise).astype(np.float32)
    return Image(data, Grid(shape, (1.0,) * (len(shape) - 1) + (thick,)))


def test_what_the_moving_image_does_not_hold_has_no_say() -> None:
    grid = _world(2, "plain")
    truth = _true_map(2, "rigid")
    fixed = _body(grid.voxel_centres() @ truth[:2, :2].T + truth[:2, 2])
    half = grid.crop((0, 0), (grid.shape[0], grid.shape[1] // 2))
    found = refine(GreyPyramid(fixed, grid, _body(half.voxel_centres()), half, 100_000), np.eye(3), "rigid")
    assert found.overlap < 0.65
    assert np.linalg.norm((found.matrix - truth)[:2] @ [-30.0, 0.0, 1.0]) < 0.1 * max(grid.spacing)


def test_a_map_outside_its_limits_is_refused_and_the_start_stays() -> None:
    assert plausible_map(np.diag([0.3, 1.0, 1.0]))
    assert plausible_map(np.diag([-1.0, 1.0, 1.0]))
    assert not plausible_map(np.diag([0.8, 1.2, 1.0]))
    # Nothing but a bar: along it nothing holds a map back.
    grid = Grid((64, 64), (1.0, 1.0))
    bar = np.zeros((64, 64))
    bar[28:36] = 1.0
    thin = np.zeros((64, 64))
    thin[31:33] = 1.0
    found = refine(GreyPyramid(bar, grid, thin, grid, 10_000), np.eye(3), "affine")
    assert not plausible_map(found.matrix)


def test_nearest_rigid_map_keeps_the_centre() -> None:
    matrix = _true_map(3, "affine")
    centre = np.array([10.0, -20.0, 5.0])
    rigid = nearest_of_kind(matrix, "rigid", centre)
    np.testing.assert_allclose(rigid @ [*centre, 1], matrix @ [*centre, 1])
    np.testing.assert_allclose(rigid[:3, :3] @ rigid[:3, :3].T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("degrees", [90.0, 160.0])
def test_the_search_finds_turns_that_no_start_is_near(degrees: float) -> None:
    grid = _world(2, "plain")
    linear = _turn(2, np.deg2rad(degrees))
    fixed = _body(grid.voxel_centres() @ linear.T)
    pyramid = GreyPyramid(fixed, grid, _body(grid.voxel_centres()), grid, 100_000)
    matrix, tried = best_start(pyramid, [Candidate("headers", np.eye(3))], "rigid")
    np.testing.assert_allclose(matrix[:2, :2], linear, atol=2e-3)
    assert tried[0].name.startswith("search")
    assert "headers" in {t.name for t in tried}  # what was refused is named
    assert tried[0].agreement > 0.5 > edge_agreement(pyramid.level(0), np.eye(3))


def test_the_search_finds_a_shift_and_a_scale() -> None:
    grid = _world(2, "plain")
    fixed = _body(grid.voxel_centres() * 1.3 + [20.0, -12.0])
    best = global_search(GreyPyramid(fixed, grid, _body(grid.voxel_centres()), grid, 100_000))[0]
    np.testing.assert_allclose(best.matrix[:2, :2], 1.3 * np.eye(2), atol=0.1)
    np.testing.assert_allclose(best.matrix[:2, 2], [20, -12], atol=10)


def test_resampling_keeps_the_centre_of_a_blob() -> None:
    """Pooling over blocks of unequal size does not."""
    x = torch.arange(101.0)
    line = torch.exp(-((x - 37.3) ** 2) / (2 * 4.0**2))[None, None].expand(1, 101, 101).contiguous()
    grid = Grid((101, 101), (1.0, 1.0))
    out = resample(line, grid, (101, 67), 101 / 67)[0, 50]
    at = (torch.arange(67.0) + 0.5) * 101 / 67 - 0.5
    assert abs(float((out * at).sum() / out.sum()) - 37.3) < 0.02


def test_lncc_leaves_out_what_is_not_held() -> None:
    random = torch.Generator().manual_seed(0)
    f = torch.rand(1, 40, 40, generator=random)
    held = torch.ones(1, 40, 40)
    held[..., 20:] = 0
    lncc = Lncc(f, (7, 7))
    broken = torch.where(held > 0, f, torch.rand(1, 40, 40, generator=random))
    whole, masked = lncc.squared(f), lncc.squared(broken, held)
    torch.testing.assert_close(masked[..., :17], whole[..., :17])  # windows that lie inside
    assert float(masked[..., :20].min()) > 0.9  # and those that are cut
    assert float(masked[..., 25:].abs().max()) == 0
    w = broken.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(lncc(w, held), w)
    assert float(slope[..., 20:].abs().max()) == 0


@pytest.mark.parametrize("part", ["whole", "held in part"])
def test_the_slope_of_lncc_is_that_of_autograd(part: str) -> None:
    """With a flat corner, where variances are rounding, and windows that the edges cut."""
    random = torch.Generator().manual_seed(0)
    fixed, warped = torch.rand(2, 1, 6, 20, 21, generator=random).double()
    fixed[..., :9, :9] = 0.5
    warped[..., :9, :9] = 0.25
    held = None
    if part != "whole":
        held = (torch.rand(1, 6, 20, 21, generator=random) > 0.2).double()
        held[..., 15:] = 0
    lncc = Lncc(fixed, (3, 7, 5))
    squared, pull = lncc.squared_and_pull(warped, held)
    w = warped.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(lncc(w, held), w)
    torch.testing.assert_close(squared, lncc.squared(warped, held))
    torch.testing.assert_close(pull, slope)
    assert float(slope.abs().max()) > 1e-5


def test_a_grid_says_which_indices_it_holds() -> None:
    fixed = Grid((4, 6), (1.0, 1.0))
    frame = Frame(fixed, Grid((4, 3), (1.0, 1.0)), np.eye(3))
    held = frame.held(frame.identity())
    assert held is not None
    assert held[0].tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]] * 4
    assert Frame(fixed, fixed, np.eye(3)).held(frame.identity()) is None
    values = torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(0))
    warped, too = frame.warp_held(values, frame.identity())
    assert too is not None
    assert torch.equal(warped, frame.warp(values, frame.identity()))
    assert torch.equal(too, held)


def _seen(image: Image) -> Regions:
    """An image as a segmenter sees it that finds nothing: grey values and their slopes are the embedding."""
    grey = window(image)
    channels = [ndimage.gaussian_filter(grey, 4.0, order) for order in (0, (0, 1), (1, 0), (2, 0), (0, 2), (1, 1))]
    small = image.grid.with_shape([n // 4 for n in image.grid.shape])
    data = resize(torch.from_numpy(np.stack([c / c.std() for c in channels])), small.shape).numpy()
    features = FeatureVolume(data.astype(np.float16), small)
    nothing = RoiSet((), image.grid)
    return Regions(image, nothing, np.zeros((0, 6), np.float32), features, None, np.zeros(0, int), None)


@pytest.mark.parametrize("name", ["turn-20", "half-cut", "smooth-5"])
def test_a_dense_registration_of_a_moved_copy_is_exact(name: str) -> None:
    # The phantom is flat inside: only a texture shows where a smooth map has moved it.
    case = CASES_2D[name](_noise_image(3) if name == "smooth-5" else phantom(2).fixed)
    result = register_regions(_seen(case.fixed), _seen(case.moving))
    assert result.field is not None
    found = result.field.transform_points(case.points)
    error = np.linalg.norm(found - case.truth, axis=1) / case.voxel
    assert np.median(error) < (0.2 if name == "smooth-5" else 0.05)


def test_images_of_two_bodies_start_from_the_embeddings() -> None:
    a, b = (_seen(_noise_image(seed)) for seed in (1, 2))
    config = preset("default")
    images = ImagePair.of(a, b, config)
    start = find_start(images, config, lambda _images, start, _config: start.guide)
    assert start.record is not None
    assert not start.alike
    found = Descriptors.of(*_features(a, b))
    candidates = {c.name: c.matrix for c in affine_start(found, images, 0)[2]}
    led = best_agreement(found, compared(found, images), affine_start(found, images, 0)[2])
    assert np.array_equal(start.affine, {**candidates, "agreement": led}[start.record.chosen])
    assert "agreement" in start.record.costs
    copy = find_start(ImagePair.of(a, a, config), config, lambda _images, start, _config: start.guide)
    assert copy.alike


def _noise_image(seed: int) -> Image:
    noise = np.random.default_rng(seed).random((96, 96))
    return Image(ndimage.gaussian_filter(noise, 2.0).astype(np.float32), Grid((96, 96), (1.0, 1.0)), f"noise {seed}")


def _features(a: Regions, b: Regions) -> tuple[FeatureVolume, FeatureVolume]:
    assert a.features is not None
    assert b.features is not None
    return a.features, b.features


def test_a_field_between_two_bodies_keeps_plausible_volumes() -> None:
    a, b = (_noise_image(seed) for seed in (1, 2))
    nothing = PairedRois.none(a.grid, b.grid)
    grey = [window(i) for i in (a, b)]
    problem = DenseProblem(
        grey[0], grey[1], a.grid, b.grid, np.eye(3), nothing, None, torch.zeros(2, 96, 96), None
    )  # fmt: skip
    outside, spread = [], []
    for stiffness in (0.0, 1.0, 3.0):
        fit = fit_dense(replace(problem, stiffness=stiffness), FitConfig(stiffness=stiffness))
        log = central_determinant(fit.displacement).log()
        outside.append(float((log.abs() > 2.0).float().mean()))  # volumes more than 7 times as large or small
        spread.append(float(log.std()))
    assert outside[0] > 0.05
    assert max(outside[1:]) < 0.01
    assert spread[0] > 1.2 * spread[1] > 1.5 * spread[2]


@pytest.mark.parametrize("smoothing", ["_UNEXPLAINED", "_LAST", "_QUIET"])
def test_what_a_user_knows_is_not_smoothed_for_want_of_evidence_or_motion(
    smoothing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = (_noise_image(seed) for seed in (1, 2))
    grey = [window(i) for i in (a, b)]
    corner = np.zeros((96, 96), bool)
    corner[2:8, 80:86] = True
    rois = RoiSet.from_masks([corner], a.grid)
    known, nothing = PairedRois(rois, rois, np.ones(1), given=np.ones(1, bool)), PairedRois.none(a.grid, b.grid)

    def displacement(pairs: PairedRois) -> torch.Tensor:
        problem = DenseProblem(
            grey[0], grey[1], a.grid, b.grid, np.eye(3), pairs, None, torch.zeros(2, 96, 96), None
        )  # fmt: skip
        return fit_dense(replace(problem, same_body=smoothing == "_QUIET"), FitConfig()).displacement

    smooth, followed = displacement(nothing), displacement(known)
    monkeypatch.setattr(f"samreg.fit.solvers.flow.{smoothing}", 0)
    assert torch.equal(displacement(known), followed)
    assert not torch.equal(displacement(nothing), smooth)


@given(
    arrays(np.float32, (2, 8, 9), elements=st.floats(-3, 3, width=32)),
    arrays(np.float32, (1, 8, 9), elements=st.floats(0, 1, width=32)),
)
def test_what_grey_values_explain_is_not_smoothed(v: np.ndarray, explained: np.ndarray) -> None:
    before, share = torch.as_tensor(v), torch.as_tensor(explained)
    after = smoothed_where_unexplained(before, [1.0, 1.0], share)
    seen = (share >= 0.3).expand_as(before)
    assert torch.equal(after[seen], before[seen])
    assert after.abs().max() <= before.abs().max() + 1e-5
    nothing = smoothed_where_unexplained(before, [1.0, 1.0], torch.zeros_like(share))
    assert torch.allclose(nothing, gaussian(before, [1.0, 1.0]), atol=1e-5)


def test_one_body_is_smoothed_further_only_where_its_volume_hardly_changes() -> None:
    at = torch.arange(64.0) - 31.5
    ripple = 0.1 * torch.sin(2 * np.pi * at / 3)  # along each slice, across it: no volume changes
    before = torch.stack([ripple.expand(64, 64), torch.where(at < 0, -0.3 * at, torch.zeros(64)).expand(64, 64)])
    after = smoothed_where_quiet(before, [1.0, 1.0], [4.0, 4.0])
    change = (after - before).abs()
    assert float(change[:, 8:56, 8:20].max()) == 0.0  # squeezed to 0.7 of its length
    assert float(after[0, 8:56, 48:56].abs().max()) < 0.3 * 0.1


def _grey_error(case: Case, kind: str) -> float:
    grey = [window(i) for i in (case.fixed, case.moving)]
    d = case.fixed.grid.ndim
    pyramid = GreyPyramid(grey[0], case.fixed.grid, grey[1], case.moving.grid, 100_000)
    start = [Candidate("headers", np.eye(d + 1))]
    matrix, _ = best_start(pyramid, start, kind)  # type: ignore[arg-type]
    found = case.points @ matrix[:d, :d].T + matrix[:d, d]
    return float(np.median(np.linalg.norm(found - case.truth, axis=1)) / case.voxel)


@pytest.mark.parametrize(
    "name", ["shift-100", "turn-45", "turn-180", "scale-0.6", "inverted", "noise", "half-cut", "half-turned"]
)
def test_phantom_cases_of_the_benchmark(name: str) -> None:
    example = phantom(2)
    assert _grey_error(CASES_2D[name](example.fixed), "affine") < (0.2 if name == "noise" else 0.1)


@pytest.mark.parametrize(("name", "most"), [("rigid", 0.1), ("affine", 0.15), ("half-cut", 0.05)])
def test_hippocampus_cases_of_the_benchmark(data_root: Path, name: str, most: float) -> None:
    path = data_root / "hippocampus_mr_msd" / "imagesTr" / "hippocampus_008.nii.gz"
    image: Image = read_image(path)
    assert _grey_error(CASES_3D[name](image), "affine") < most


def test_images_with_hardly_an_edge_or_none_are_searched() -> None:

    grid = Grid((64, 64), (1.0, 1.0))
    dot, nothing = np.zeros((64, 64), np.float32), np.zeros((64, 64), np.float32)
    dot[30:33, 30:33] = 1.0
    assert global_search(GreyPyramid(dot, grid, dot, grid, 4096))
    assert global_search(GreyPyramid(dot, grid, nothing, grid, 4096)) == []


def test_a_fixed_image_that_is_a_speck_of_the_moving_one_is_not_searched_for() -> None:
    # 9 mm in 2 m: at the resolution of the search the moving image would have 10^11 voxels.
    grain, room = Grid((1, 1, 9), (1.0, 0.001, 0.001)), Grid((2, 9, 1), (1.0, 1.0, 1000.0))
    values = [np.random.default_rng(0).normal(size=grid.shape).astype(np.float32) for grid in (grain, room)]
    assert global_search(GreyPyramid(values[0], grain, values[1], room, 4096)) == []


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["swells", "shrinks"])
def test_volumes_are_bound_of_the_whole_map(sign: float) -> None:
    y, x = torch.meshgrid(torch.arange(48.0) - 23.5, torch.arange(48.0) - 23.5, indexing="ij")
    bump = torch.exp(-(x.square() + y.square()) / 200)
    before = sign * 0.3 * torch.stack([y * bump, x * bump])

    def kept(scaled: float) -> float:
        after = smoothed_where_volumes_change(before, [2.5, 2.5], 1.0, scaled)
        return float(after.abs().sum() / before.abs().sum())

    # What the affine map does already leaves the displacement less of it, and more of the opposite.
    assert kept(sign * 0.7) < kept(0.0) < kept(-sign * 0.7) <= 1.0
    # Units of length may differ: the affine map scales by thousands then, and the displacement is bound all the same.
    assert kept(7.0) == kept(0.9)
    assert kept(-7.0) == kept(-0.9) < 1.0
