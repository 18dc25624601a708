"""One prompt in the fixed image gives a pair, or the word that there is none. A segmenter without weights answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

import samreg
from samreg.cli import main
from samreg.config import RegisterConfig
from samreg.errors import ConfigError, GeometryError, InputError
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.io.images import write_image
from samreg.prompt import PromptAnswer, prompt_pair
from samreg.prompt.counterpart import search
from samreg.prompt.displacement import WayBack, displacement, known_displacement
from samreg.prompt.prompting import Prompting
from samreg.regions.everything.finder import EverythingMode
from samreg.regions.outline import Outline, ask_boxes, ask_each_box
from samreg.regions.stack import Stack, View
from samreg.result import RegistrationResult
from samreg.runs.run_folder import read_run, write_run
from samreg.segmenters.base import Encoding, Masks, Prompts, Segmenter
from samreg.viewer.asking import Asking
from samreg.viewer.display import Display
from samreg.viewer.masks import unshown_roi
from worlds import GRIDS

SIZE = 64
DISC, OTHER = 0.5, 0.9


class Levels:
    """A segmenter for images of flat regions: a box's mask is the connected region at its middle, cut at the box.

    The embedding says which grey level a cell has. A mask that reaches the edge of its box is of low quality.
    """

    name, fingerprint, engine = "levels", "0", "none"
    input_size = SIZE
    prompt_kind = "boxes"
    supports_multimask = False

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        return [self._encode(s) for s in slices]

    def _encode(self, pixels: np.ndarray) -> Encoding:
        levels = torch.linspace(0, 1, 6)
        channels = torch.exp(-(((torch.from_numpy(pixels)[None] - levels[:, None, None]) / 0.15) ** 2))
        features = torch.nn.functional.avg_pool2d(channels[None], 4)[0]
        return Encoding(features, (pixels.shape[0], pixels.shape[1]), SIZE, pixels)

    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        pixels = encoding.extra
        masks, quality = [], []
        for x0, y0, x1, y1 in np.asarray(prompts.boxes).round().astype(int):
            middle = pixels[(y0 + y1) // 2, (x0 + x1) // 2]
            inside = np.zeros(pixels.shape, dtype=bool)
            inside[y0 : y1 + 1, x0 : x1 + 1] = True
            parts, _ = ndimage.label((np.abs(pixels - middle) < 0.1) & inside)
            mask = parts == parts[(y0 + y1) // 2, (x0 + x1) // 2]
            edge = inside & ~ndimage.binary_erosion(inside)
            masks.append(np.where(mask, 5.0, -5.0))
            quality.append(0.55 if (mask & edge).any() or middle < 0.1 else 0.95)
        logits = torch.tensor(np.asarray(masks)).float()[:, None]
        return Masks(logits, torch.tensor(quality)[:, None])


def _disc(y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.hypot(rows - y, columns - x) <= radius


def _flat(*discs: tuple[np.ndarray, float]) -> np.ndarray:
    values = np.full((SIZE, SIZE), 0.2, dtype=np.float32)
    for mask, value in discs:
        values[mask] = value
    # One black corner makes the rest foreground, so that every image has the window 0.2 to 0.9.
    values[0, 0] = 0.0
    values[-4:, :4] = OTHER
    return values


A, B = _disc(24, 20, 8), _disc(44, 44, 9)
A2, B2 = _disc(28, 25, 6), _disc(46, 40, 10)
PIXELS = Grid((SIZE, SIZE), (1.0, 1.0), unit="px")
FIXED = Image(_flat((A, DISC), (B, OTHER)), PIXELS, "fixed")
MOVING = Image(_flat((A2, DISC), (B2, OTHER)), PIXELS, "moving")


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def _ask(fixed: Image = FIXED, moving: Image = MOVING, **prompt: object) -> PromptAnswer:
    return prompt_pair(fixed, moving, segmenter=Levels(), **prompt)  # type: ignore[arg-type]


def test_the_segmenter_of_these_tests_keeps_the_contract() -> None:
    assert isinstance(Levels(), Segmenter)


@pytest.mark.parametrize(("at", "here", "there"), [((20, 24), A, A2), ((23, 27), A, A2), ((44, 44), B, B2)])
def test_a_point_gives_its_region_and_the_counterpart(
    at: tuple[float, float], here: np.ndarray, there: np.ndarray
) -> None:
    answer = _ask(point=at)
    assert answer.found
    assert answer.reason == ""
    assert len(answer.pairs) == 1
    assert _iou(answer.region.mask(0), here) > 0.95
    assert _iou(answer.pairs.moving.mask(0), there) > 0.95
    np.testing.assert_array_equal(answer.pairs.fixed.mask(0), answer.region.mask(0))
    assert answer.similarity > 0.9
    assert answer.cycle > 0.8
    assert 0.9 < answer.confidence <= 1
    assert answer.pairs.weights[0] == pytest.approx(answer.confidence)


def test_what_a_modality_adds_to_every_embedding_says_nothing_about_where() -> None:
    here, there = (Stack(image, Levels(), RegisterConfig().segment) for image in (FIXED, MOVING))
    given, plain = here.view(0), there.view(0)
    offset = torch.linspace(-2, 3, len(plain.encoding.features))[:, None, None]
    other = replace(plain, encoding=replace(plain.encoding, features=plain.encoding.features + offset))
    region = Outline(A[None], np.ones(1, dtype=np.float32), given.encoding)
    found = [search(Levels(), given, region, view, None, 1.0) for view in (plain, other)]
    assert _iou(found[0].outline.masks[0], A2) > 0.95
    np.testing.assert_array_equal(found[1].outline.masks, found[0].outline.masks)
    np.testing.assert_allclose(found[1].similarity, found[0].similarity, atol=1e-4)


def test_a_box_and_a_mask_say_the_same_as_a_point() -> None:
    box = _ask(box=(11, 15, 29, 33))
    mask = _ask(mask=A)
    assert _iou(box.region.mask(0), A) > 0.95
    np.testing.assert_array_equal(mask.region.mask(0), A)
    for answer in (box, mask):
        assert answer.found
        assert _iou(answer.pairs.moving.mask(0), A2) > 0.95
    turned = _ask(box=(29, 33, 11, 15))  # any two opposite corners
    np.testing.assert_array_equal(turned.region.mask(0), box.region.mask(0))


def test_the_same_question_has_the_same_answer() -> None:
    one, two = _ask(point=(20, 24)), _ask(point=(20, 24))
    np.testing.assert_array_equal(one.pairs.moving.mask(0), two.pairs.moving.mask(0))
    assert (one.similarity, one.cycle, one.confidence) == (two.similarity, two.cycle, two.confidence)


def test_no_counterpart_where_there_is_none() -> None:
    lonely = Image(_flat((B2, OTHER)), PIXELS, "moving")
    answer = _ask(moving=lonely, point=(20, 24))
    assert not answer.found
    assert answer.confidence == 0
    assert answer.reason
    assert _iou(answer.region.mask(0), A) > 0.95
    result = answer.result()
    assert len(result.pairs) == 0
    assert result.field is None
    assert result.warnings == (f"no counterpart: {answer.reason}",)


def test_another_grid_is_searched_in_world_coordinates() -> None:
    # The moving image is cut from a larger one and coarser by nothing but its frame: origin (10, 6).
    values = _flat()
    values[1:-6, 1:-10] = MOVING.data[7:, 11:]
    cut = Image(values, Grid((SIZE, SIZE), (1.0, 1.0), (10.0, 6.0), unit="px"), "cut")
    answer = _ask(moving=cut, point=(20, 24))
    assert answer.found
    np.testing.assert_allclose(answer.pairs.moving.centroids[0], [25, 28], atol=0.3)


def _volume(grid: Grid, first: int, last: int, disc: np.ndarray, other: np.ndarray) -> Image:
    slices = [_flat((disc, DISC), (other, OTHER)) if first <= z <= last else _flat((other, OTHER)) for z in range(6)]
    return Image(np.stack(slices), grid, "volume")


STACK = Grid((6, SIZE, SIZE), (1.5, 1.5, 9.0), (-40.0, -70.0, 100.0))


def test_a_region_is_followed_through_the_slices() -> None:
    fixed, moving = _volume(STACK, 1, 4, A, B), _volume(STACK, 2, 4, A2, B2)
    point = STACK.index_to_world(np.asarray([[20.0, 24.0, 3.0]]))[0]
    answer = _ask(fixed, moving, point=point.tolist())
    assert answer.found
    np.testing.assert_array_equal(answer.pairs.fixed.mask(0).any(axis=(1, 2)), [0, 1, 1, 1, 1, 0])
    np.testing.assert_array_equal(answer.pairs.moving.mask(0).any(axis=(1, 2)), [0, 0, 1, 1, 1, 0])
    assert _iou(answer.pairs.moving.mask(0)[2:5], np.stack([A2] * 3)) > 0.95
    assert (answer.record.fixed_slice, answer.record.moving_slice) == (3, 3)
    flat = _ask(fixed, moving, point=point.tolist(), through=False)
    assert flat.pairs.moving.mask(0).any(axis=(1, 2)).sum() == 1
    assert (flat.record.n_fixed_encoded, flat.record.n_moving_encoded) == (1, 1)


def test_a_box_in_a_volume_bounds_the_region() -> None:
    fixed, moving = _volume(STACK, 0, 5, A, B), _volume(STACK, 0, 5, A2, B2)
    corners = STACK.index_to_world(np.asarray([[11.0, 15.0, 2.0], [29.0, 33.0, 4.0]]))
    answer = _ask(fixed, moving, box=corners.reshape(-1).tolist())
    np.testing.assert_array_equal(answer.region.mask(0).any(axis=(1, 2)), [0, 0, 1, 1, 1, 0])


def test_another_stack_is_searched_slice_by_slice() -> None:
    other = Grid(STACK.shape, STACK.spacing, (-40.0, -70.0, 118.0))  # two slices further
    fixed, moving = _volume(STACK, 2, 4, A, B), _volume(other, 0, 2, A2, B2)
    point = STACK.index_to_world(np.asarray([[20.0, 24.0, 3.0]]))[0]
    answer = _ask(fixed, moving, point=point.tolist())
    assert answer.found
    np.testing.assert_array_equal(answer.pairs.moving.mask(0).any(axis=(1, 2)), [1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize("off", [(0.0, 0.0, 0.0), (90.0, 0.0, 0.0), (0.0, 0.0, 20.0)])
def test_a_registration_says_where_to_look_first(off: tuple[float, ...]) -> None:
    other = Grid(STACK.shape, STACK.spacing, (-40.0, -70.0, 118.0))
    fixed, moving = _volume(STACK, 2, 4, A, B), _volume(other, 0, 2, A2, B2)
    point = STACK.index_to_world(np.asarray([[20.0, 24.0, 3.0]]))[0].tolist()
    # Right; beyond the image; at a slice without the region: then it is looked for as without a registration.
    moved = np.asarray([5.0, 4.0, 0.0]) + off
    alone = _ask(fixed, moving, point=point, through=False)
    answer = _ask(fixed, moving, point=point, through=False, carry=lambda points: points + moved)
    assert answer.found
    if any(off):
        assert answer.record.moving_slice == alone.record.moving_slice
        assert answer.record.n_moving_encoded >= alone.record.n_moving_encoded
    else:
        assert (answer.record.moving_slice, answer.record.n_moving_encoded) == (1, 1)
        assert alone.record.n_moving_encoded > 1
    np.testing.assert_array_equal(answer.pairs.moving.mask(0).any(axis=(0)), A2)


def test_a_registration_saves_prompts() -> None:
    asked: list[int] = []

    class Counting(Levels):
        def prompt(self, encoding: Encoding, prompts: Prompts, **how: bool) -> Masks:
            asked.append(len(prompts))
            return super().prompt(encoding, prompts, **how)

    fixed, moving = (Stack(_volume(STACK, 2, 4, *discs), Counting(), _settings()) for discs in ((A, B), (A2, B2)))
    point = STACK.index_to_world(np.asarray([[20.0, 24.0, 3.0]]))[0].tolist()
    counts = []
    for carry in (None, lambda points: points + np.asarray([5.0, 4.0, 0.0])):
        work = Prompting(fixed, moving, RegisterConfig(), through=False, carry=carry)
        work.find_region(point, None, None)
        asked.clear()
        work.find_counterpart()
        counts.append(sum(asked))
        assert work.answer().found
    assert counts[1] < counts[0]


@pytest.mark.parametrize("name", [n for n in GRIDS if n != "one-slice-3d"])
def test_slice_pixels_and_the_world(name: str) -> None:
    grid = GRIDS[name]
    stack = Stack(Image(np.random.default_rng(0).random(grid.shape).astype(np.float32), grid), Levels(), _settings())
    pixels = np.asarray([[0.0, 0.0], [3.5, 2.25], [1.0, 5.0]])
    numbers, back = stack.locate(stack.world(1.0, pixels))
    np.testing.assert_allclose(back, pixels, atol=1e-9)
    np.testing.assert_allclose(numbers, 0.0 if grid.ndim == 2 else 1.0, atol=1e-9)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[(1,) * grid.ndim] = True
    rebuilt = stack.roi(stack.cut(mask), 1.0)
    full = np.zeros_like(mask)
    full[rebuilt.box] = rebuilt.mask
    np.testing.assert_array_equal(full, mask)
    here, at = stack.locate(grid.index_to_world(np.ones((1, grid.ndim))))
    row, column = np.round(at[0][::-1]).astype(int)
    assert stack.cut(mask)[round(float(here[0]))][row, column]


def _settings() -> samreg.config.SegmentConfig:
    return RegisterConfig().segment


def test_the_displacement_follows_the_embedding() -> None:
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.random((SIZE + 16, SIZE + 16)), 3)
    texture = ((texture - texture.min()) / np.ptp(texture)).astype(np.float32)
    crops = [texture[8 : 8 + SIZE, 8 : 8 + SIZE], texture[8 : 8 + SIZE, 4 : 4 + SIZE]]
    here, there = (View(e, crop) for e, crop in zip(Levels().encode(crops), crops, strict=True))
    moved = displacement(here, there, np.eye(3)).target[16:48, 16:48]
    rows, columns = np.mgrid[16:48, 16:48]
    # The grey values make it finer than the cells of the embedding.
    assert np.abs(moved[..., 0] - columns - 4).mean() < 0.3
    assert np.abs(moved[..., 1] - rows).mean() < 0.3


def test_a_known_transform_is_a_displacement_there_and_back() -> None:
    grid = Grid((4, 40, 48), (0.8, 0.8, 5.0), (-10.0, 4.0, 7.0))
    other = Grid((4, 44, 40), (1.0, 1.0, 5.0), (-12.0, 2.0, 7.0))
    here, there = (Stack(Image(np.zeros(g.shape, np.float32), g), Levels(), _settings()) for g in (grid, other))
    moved = known_displacement(here, 2, there, lambda points: points + np.asarray([1.5, -0.5, 5.0]))
    rows, columns = np.mgrid[:40, :48]
    np.testing.assert_allclose(moved.target[..., 0], 0.8 * columns - 10 + 12 + 1.5, atol=1e-6)
    np.testing.assert_allclose(moved.target[..., 1], 0.8 * rows + 4 - 2 - 0.5, atol=1e-6)
    mask = np.zeros((40, 48), bool)
    mask[10:20, 15:30] = True
    target = np.zeros((44, 40), bool)
    target[10:18, 16:28] = True  # 0.8 of it, and the shift
    low, high = moved.box(mask)
    np.testing.assert_allclose((low + high) / 2, [0.8 * 22 + 3.5, 0.8 * 14.5 + 1.5], atol=0.2)
    back = WayBack(moved)
    low, high = back.box(target) or (None, None)
    np.testing.assert_allclose((low + high) / 2, [22, 14.5], atol=1.2)
    assert moved.iou(mask, target[None])[0] == back.iou(target, mask[None])[0] > 0.7
    assert back.box(np.zeros((44, 40), bool)) is None


class Counted(Levels):
    """Counts the prompts that it is asked."""

    asked = 0

    def prompt(self, encoding: Encoding, prompts: Prompts, **how: bool) -> Masks:
        self.asked += len(prompts)
        return super().prompt(encoding, prompts, **how)


def test_boxes_asked_together_are_answered_as_alone() -> None:
    encoding, counted = Levels().encode([FIXED.data])[0], Counted()
    boxes = np.asarray([[11, 15, 29, 33], [34, 34, 54, 54], [60, 0, 62, 2]], np.float32)
    more = np.asarray([[11, 15, 29, 34], [10, 15, 23, 33]], np.float32)  # the first is nearly one of those above
    answers, led = ask_each_box(counted, encoding, boxes, more)
    alone = [ask_boxes(Levels(), encoding, box[None]) for box in boxes] + [ask_boxes(Levels(), encoding, more)]
    assert led.any(axis=1).all()
    for column, expected in zip(led.T, alone, strict=True):
        found = answers.select(np.flatnonzero(column))
        for mask, quality in zip(expected.masks, expected.quality, strict=True):
            assert any(
                _iou(mask, m) > 0.9 and q == pytest.approx(quality, abs=0.02)
                for m, q in zip(found.masks, found.quality, strict=True)
            )
    assert counted.asked < sum(len(rows) for rows in (boxes, more, boxes, more))


def test_boxes_that_are_alike_are_asked_once() -> None:
    encoding, counted = Levels().encode([FIXED.data])[0], Counted()
    box = np.asarray([11, 15, 29, 33], np.float32)
    once = ask_boxes(counted, encoding, box[None])
    asked = counted.asked
    others = [box + np.float32((0, 0, 1, 0)), box + np.float32((10, 10, 0, 0))]
    twice = ask_boxes(counted, encoding, np.stack([box, *others]), rounds=0)
    assert counted.asked == asked + 2
    np.testing.assert_array_equal(twice.masks[0], once.masks[0])


def test_a_stack_keeps_its_slices_and_few_pixels_of_a_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samreg.regions.stack._LONGEST", 32)
    monkeypatch.setattr("samreg.regions.stack._KEPT", 2)
    stack = Stack(_volume(STACK, 1, 4, A, B), Levels(), _settings())
    first = stack.view(1)
    assert first.encoding.shape == first.grey.shape == stack.plane == (32, 32)
    assert stack.view(1) is first
    stack.view(2)
    stack.view(3)
    assert stack.n_encoded == 3
    assert stack.view(1) is not first  # the one that was looked at last was given up
    large = _disc(24, 20, 8)
    small = stack.cut(np.stack([large] * 6))[2]
    assert small.shape == (32, 32)
    back = stack.roi({2: small}, 1.0)
    whole = np.zeros(STACK.shape, bool)
    whole[back.box] = back.mask
    assert _iou(whole[2], large) > 0.85  # a disc of 16 pixels, in 8
    point = STACK.index_to_world(np.asarray([[20.0, 24.0, 2.0]]))
    numbers, pixels = stack.locate(point)
    assert numbers[0] == pytest.approx(2)
    np.testing.assert_allclose(stack.world(2, pixels), point)


def test_a_given_mask_stays_as_it_is_whatever_the_slices_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samreg.regions.stack._LONGEST", 32)
    answer = _ask(mask=A)
    np.testing.assert_array_equal(answer.region.mask(0), A)


@pytest.mark.parametrize(
    ("prompt", "error", "says"),
    [
        ({}, ConfigError, "exactly one prompt"),
        ({"point": (1, 1), "box": (1, 1, 2, 2)}, ConfigError, "exactly one prompt"),
        ({"point": (90, 1)}, GeometryError, "lies outside fixed"),
        ({"point": (1, 1, 1)}, GeometryError, "3 coordinates and fixed 2 dimensions; give X,Y"),
        ({"box": (1, 1, 2)}, GeometryError, "are 4"),
        ({"mask": np.zeros((4, 4), dtype=bool)}, GeometryError, "the mask has shape"),
        ({"mask": np.zeros((SIZE, SIZE), dtype=bool)}, GeometryError, "is empty"),
    ],
)
def test_prompts_that_make_no_sense(prompt: dict[str, object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        _ask(**prompt)


def test_images_of_two_kinds_are_refused() -> None:
    with pytest.raises(GeometryError, match="the same dimension and unit"):
        _ask(moving=Image(np.zeros((4, 4), dtype=np.float32), Grid((4, 4), (1.0, 1.0))), point=(1, 1))


def test_a_point_without_a_region_is_the_users_to_move() -> None:
    class Blind(Levels):
        def prompt(self, encoding: Encoding, prompts: Prompts, **_: object) -> Masks:
            n = len(prompts)
            return Masks(torch.full((n, 1, SIZE, SIZE), -1.0), torch.ones(n, 1))

    with pytest.raises(InputError, match="no region of the fixed image holds the point"):
        prompt_pair(FIXED, MOVING, point=(20, 24), segmenter=Blind())


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("samreg.prompt.pair.open_finder", lambda *_, **__: EverythingMode(Levels()))
    for name, image in (("f", _volume(STACK, 1, 4, A, B)), ("m", _volume(STACK, 1, 4, A2, B2))):
        write_image(image, tmp_path / f"{name}.nii.gz")
    write_image(_volume(STACK, 7, 7, A, B2), tmp_path / "without.nii.gz")
    return tmp_path


def _run(folder: Path, moving: str, *arguments: str) -> int:
    return main(["prompt", str(folder / "f.nii.gz"), str(folder / moving), "--out", str(folder / "run"), *arguments])


def test_command_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    point = ",".join(f"{c:g}" for c in STACK.index_to_world(np.asarray([[20.0, 24.0, 3.0]]))[0])
    assert point.startswith("-")  # half of the world is negative
    assert _run(files, "m.nii.gz", "--point", point) == 0
    assert "counterpart at" in capsys.readouterr().out
    run = samreg.read_run(files / "run")
    assert len(run.pairs) == 1
    assert run.field is None
    assert _iou(run.pairs.moving.mask(0)[3], A2) > 0.95
    assert run.manifest["provenance"]["fixed"]["segmenter"] == "levels"
    assert (files / "run" / "report.html").is_file()


def test_command_line_says_that_there_is_no_counterpart(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    point = ",".join(f"{c:g}" for c in STACK.index_to_world(np.asarray([[20.0, 24.0, 3.0]]))[0])
    assert _run(files, "without.nii.gz", f"--point={point}") == 0
    assert "no counterpart: " in capsys.readouterr().out
    assert json.loads((files / "run" / "pairs.json").read_text("utf-8")) == []
    assert "no counterpart" in samreg.read_run(files / "run").manifest["warnings"][0]


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_the_command_line_answers_as_the_viewer(files: Path, side: str) -> None:
    paths = {"fixed": files / "f.nii.gz", "moving": files / "m.nii.gz"}
    images = samreg.read_image(paths["fixed"]), samreg.read_image(paths["moving"])
    u = np.zeros((*STACK.shape, 3), np.float32) + np.float32([5 * 1.5, 4 * 1.5, 0])
    config = replace(RegisterConfig(), match=replace(RegisterConfig().match, epsilon=0.55))
    pairs = PairedRois(
        RoiSet.from_masks([np.stack([A] * 6)], STACK), RoiSet.from_masks([np.stack([A2] * 6)], STACK), np.asarray([0.9])
    )
    result = RegistrationResult(*images, pairs, np.eye(4), DisplacementField(u, STACK), config, 0.9)
    run = read_run(write_run(result, files / "known", inputs=paths, inverse=False))
    center = A if side == "fixed" else A2
    index = [float(v.mean()) for v in np.nonzero(center)[::-1]]
    point = ",".join(map(str, STACK.index_to_world(np.asarray([[*index, 3.0]]))[0]))
    names = [str(paths[s]) for s in ((side, "moving") if side == "fixed" else (side, "fixed"))]
    assert main(["prompt", *names, f"--point={point}", "--run", str(run.folder), "--out", str(files / "asked")]) == 0
    asked = samreg.read_run(files / "asked")
    assert asked.manifest["config"]["match"]["epsilon"] == 0.55  # the settings of the run
    asking = Asking(run, images, Levels(), config)
    asking.ready({"fixed": [*index, 3.0], "moving": [1.0, 2.0, 99.0]})  # beyond the stack: its last slice
    assert [stack.n_encoded for stack in asking._stacks.values()] == [1, 1]
    begun = asking.begin(side, {"point": [*index, 3.0]})
    assert not begun["looked"]
    assert begun[side]["shape"][0] == 1  # the region is there before its counterpart is looked for
    assert begun["moving" if side == "fixed" else "fixed"] is None
    begun = asking.go_on(begun["number"])
    assert begun["looked"]
    assert begun["found"]
    assert not begun["complete"]
    assert [begun[s]["shape"][0] for s in paths] == [1, 1]
    assert asking._stacks[side].n_encoded == (1 if side == "fixed" else 2)  # the slice was ready
    with pytest.raises(InputError, match="another prompt"):
        asking.go_on(begun["number"] + 1)
    answer = begun
    while not answer["complete"]:
        answer = asking.go_on(answer["number"])
    shown = [answer[s] for s in ((side, "moving") if side == "fixed" else (side, "fixed"))]
    for rois, roi in zip((asked.pairs.fixed, asked.pairs.moving), shown, strict=True):
        expected = unshown_roi(roi, Display(STACK))
        assert rois[0].start == expected.start
        np.testing.assert_array_equal(rois[0].mask, expected.mask)
    assert asked.pairs.fixed[0].mask.shape[0] == 4
    assert _run(files, "without.nii.gz", f"--point={point}", "--run", str(run.folder)) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "exactly one of --point, --box and --mask"),
        (("--point", "1,x,3"), "is not a list of numbers"),
        (("--point=900,0,0",), "lies outside"),
    ],
)
def test_command_line_faults(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert _run(files, "m.nii.gz", *arguments) == 2
    assert says in capsys.readouterr().err
    assert not (files / "run").exists()
