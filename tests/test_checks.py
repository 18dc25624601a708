"""Checks of a finished registration, each on a case made by hand; the verdict; exit status 3."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from results import true_result
from samreg import FeatureVolume, Grid, Image, PairedRois, Regions, RoiSet, preset, register_regions
from samreg.checks import (
    apart,
    blank,
    contrast,
    displacement,
    folding,
    found_again,
    handedness,
    jacobian,
    likeness,
    margin,
    mirrored,
    overlap,
    pairs,
    perturbed,
    resegmented,
    start,
    swapped,
)
from samreg.checks.finished import Finished
from samreg.checks.judge import judge
from samreg.checks.registry import EXPENSIVE, EXPENSIVE_IN_VOLUMES, run_checks
from samreg.checks.score import score_of
from samreg.cli import main
from samreg.cli.common import summary
from samreg.cli.demo import write_phantom
from samreg.config import RegisterConfig
from samreg.errors import ConfigError
from samreg.fit.transform import FittedTransform
from samreg.geometry.frame import to_field
from samreg.geometry.phantom import phantom
from samreg.initial.descriptors import Descriptors
from samreg.initial.problem import ImagePair
from samreg.initial.start import Start
from samreg.regions.slices import body_of
from samreg.report import render_registration
from samreg.result import CheckResult, verdict_of

GRID = Grid((32, 40), (1.5, 1.5), (-10.0, 5.0))
STACK = Grid((20, 12, 12), (1.0, 1.0, 6.0))


def disc(grid: Grid = GRID) -> Image:
    """A bright disc on a dark ground."""
    rows, columns = np.indices(grid.shape)
    middle, radius = (grid.shape[0] / 2, grid.shape[1] / 2), min(grid.shape) * 0.4
    inside = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 < radius**2
    return Image((100.0 * inside + rows + columns).astype(np.float32) * inside, grid)


def boxes(grid: Grid, *corners: tuple[int, int], size: int = 4) -> RoiSet:
    masks = []
    for y, x in corners:
        mask = np.zeros(grid.shape, bool)
        mask[y : y + size, x : x + size] = True
        masks.append(mask)
    return RoiSet.from_masks(masks, grid)


def finished(
    fixed: Image | None = None,
    moving: Image | None = None,
    *,
    shift: torch.Tensor | None = None,
    affine: np.ndarray | None = None,
    paired: PairedRois | None = None,
    config: RegisterConfig | None = None,
    descriptors: Descriptors | None = None,
) -> Finished:
    """A registration whose transform is what is given: a displacement in voxels (d, *shape) and an affine map."""
    fixed = fixed or disc()
    moving, config = moving or fixed, config or preset("default")
    images = ImagePair.of(Regions.none(fixed), Regions.none(moving), config)
    zero = torch.zeros(fixed.grid.ndim, *fixed.grid.shape)
    shift = zero if shift is None else shift
    matrix = np.eye(fixed.grid.ndim + 1) if affine is None else affine
    fitted = FittedTransform(matrix, to_field(shift, fixed.grid, matrix), shift)
    if paired is None:
        paired = PairedRois.none(fixed.grid, moving.grid)
    return Finished(images, paired, Start(matrix, zero, zero, descriptors), fitted, config)


def scaling(factor: float, axis: int = 0) -> np.ndarray:
    """An affine map that scales along one axis about the middle of the grid."""
    matrix = np.eye(3)
    matrix[axis, axis] = factor
    matrix[axis, 2] = (1 - factor) * GRID.centre[axis]
    return matrix


def states(found: CheckResult | tuple[CheckResult, ...] | None) -> dict[str, str]:
    assert found is not None
    return {c.name: c.state for c in ([found] if isinstance(found, CheckResult) else found)}


class TestEachCheck:
    def test_a_registration_in_which_nothing_is_wrong_passes(self) -> None:
        same = boxes(GRID, (10, 10), (18, 20), (12, 25))
        found = run_checks(finished(paired=PairedRois(same, same, np.ones(3))))
        assert {c.state for c in found} == {"pass", "skipped"}
        assert verdict_of(found) == "PASS"
        for check in found:
            assert check.state == "skipped" or check.source, check.name

    def test_the_body_has_no_holes(self) -> None:
        grey = np.zeros((9, 9), np.float32)
        grey[2:7, 2:7] = 0.5
        grey[4, 4] = 0.0
        assert body_of(grey).sum() == 25
        assert body_of(np.zeros((4, 4), np.float32)).all()

    @pytest.mark.parametrize(("factor", "state"), [(0.9, "pass"), (0.3, "fail"), (3.0, "fail")])
    def test_half_of_the_body_with_another_volume(self, factor: float, state: str) -> None:
        case = finished(affine=scaling(factor, 0) @ scaling(factor, 1))
        assert states(jacobian.check(case))["jacobian_p50"] == state
        [middle] = [c for c in jacobian.check(case) or () if c.name == "jacobian_p50"]
        assert middle.value == pytest.approx(factor**2, rel=1e-3)

    def test_a_few_voxels_that_shrink_stretch_or_fold(self) -> None:
        squeezed = torch.zeros(2, *GRID.shape)
        ramp = torch.clamp(torch.arange(40.0) - 18, 0, 3)
        squeezed[1] = -0.98 * ramp  # three columns of a disc of 26
        assert states(jacobian.check(finished(shift=squeezed)))["jacobian_p1"] == "look"
        assert states(jacobian.check(finished(shift=-20 * squeezed)))["jacobian_p99"] == "look"
        assert states(jacobian.check(finished(shift=1.2 * squeezed)))["jacobian_p1"] == "fail"

    def test_a_fold_inside_a_cell_counts(self) -> None:
        """The Jacobian by central differences is positive everywhere; between two columns the field turns back."""
        shift = torch.zeros(2, *GRID.shape)
        shift[1, :, 20] = 1.1
        case = finished(shift=shift)
        assert case.fitted.field is not None
        assert case.fitted.field.folding_fraction() == 0
        assert states(folding.check(case)) == {"folding": "fail"}
        assert states(folding.check(finished())) == {"folding": "pass"}

    @pytest.mark.parametrize(("voxels", "state"), [(5.0, "pass"), (14.0, "look"), (25.0, "fail")])
    def test_displacement_against_the_field_of_view(self, voxels: float, state: str) -> None:
        shift = torch.zeros(2, *GRID.shape)
        shift[1] = voxels
        found = displacement.check(finished(shift=shift))
        assert states(found) == {"displacement": state}
        assert found is not None
        assert found.value == pytest.approx(voxels / 40)

    @pytest.mark.parametrize(("columns", "state"), [(0.0, "pass"), (17.0, "look"), (60.0, "fail")])
    def test_an_image_that_lies_elsewhere(self, columns: float, state: str) -> None:
        away = np.eye(3)
        away[0, 2] = 1.5 * columns
        case = finished(affine=away)
        assert states(overlap.check(case)) == {"overlap": state}
        forward, backward = overlap.shares(case) or (0.0, 0.0)
        assert forward == pytest.approx(backward, abs=0.1)

    def test_a_part_of_the_other_image_is_to_be_looked_at(self) -> None:
        whole = disc()
        part = Image(whole.data[:, :20], Grid((32, 20), GRID.spacing, GRID.origin))
        found = overlap.check(finished(whole, part))
        assert states(found) == {"overlap": "look"}
        assert found is not None
        assert "100 % of the moving image's body" in found.message

    def test_pairs_further_apart_than_before(self) -> None:
        same = boxes(GRID, (10, 10), (18, 20), (12, 25), (20, 14))
        paired = PairedRois(same, same, np.ones(4), np.asarray([1.0, 1.0, 1.0, 0.0]))
        shift = torch.zeros(2, *GRID.shape)
        assert states(apart.check(finished(paired=paired, shift=shift))) == {"pairs_apart": "pass"}
        shift[1, :, 18:23] = 4.0  # one of three pairs with a weight
        found = apart.check(finished(paired=paired, shift=shift))
        assert found is not None
        assert (found.state, found.value) == ("pass", pytest.approx(1 / 3))
        found = apart.check(finished(paired=paired, shift=torch.full_like(shift, 4.0)))
        assert found is not None
        assert (found.state, found.value) == ("look", 1.0)
        assert apart.check(finished()) is None

    @pytest.mark.parametrize(
        ("factor", "state", "value"),
        [(1.2, "pass", 1.2), (0.55, "look", 0.55), (0.37, "fail", 0.37), (-1.0, "fail", -1)],
    )
    def test_a_start_beyond_its_own_limits(self, factor: float, state: str, value: float) -> None:
        found = start.check(finished(affine=scaling(factor)))
        assert found is not None
        assert found.state == state
        assert found.value == pytest.approx(value)

    def test_pairs_that_count(self) -> None:
        one = boxes(GRID, (10, 10))
        assert states(pairs.check(finished())) == {"pairs": "look"}
        assert states(pairs.check(finished(paired=PairedRois(one, one, np.ones(1))))) == {"pairs": "pass"}
        none_counts = PairedRois(one, one, np.ones(1), np.zeros(1))
        found = pairs.check(finished(paired=none_counts))
        assert found is not None
        assert found.state == "look"
        assert "counts" in found.message

    def test_likeness(self) -> None:
        same = boxes(GRID, (10, 10))
        other = boxes(GRID, (12, 12))
        far = boxes(GRID, (24, 24))
        found = [likeness.check(finished(paired=PairedRois(same, b, np.ones(1)))) for b in (same, other, far)]
        assert [c.state for c in found if c] == ["pass", "fail", "fail"]
        assert likeness.check(finished()) is None

    @pytest.mark.parametrize(
        ("slices", "state"), [((), "pass"), ((19,), "pass"), ((0, 18, 19), "look"), ((9,), "look"), (range(11), "fail")]
    )
    def test_blank_slices(self, slices: tuple[int, ...], state: str) -> None:
        data = np.random.default_rng(0).uniform(0, 1, STACK.shape).astype(np.float32)
        full = Image(data, STACK)
        holes = data.copy()
        holes[list(slices)] = 0.5
        assert states(blank.check(finished(full, Image(holes, STACK)))) == {"blank_slices": state}
        assert states(blank.check(finished(Image(holes, STACK), full))) == {"blank_slices": state}

    @pytest.mark.parametrize(("rows", "state"), [(range(3), "pass"), (range(9, 12), "pass"), (range(9, 16), "look")])
    def test_blank_rows_of_a_flat_image_count_between_others(self, rows: range, state: str) -> None:
        data = np.random.default_rng(0).uniform(0, 1, GRID.shape).astype(np.float32)
        full = Image(data, GRID)
        holes = data.copy()
        holes[list(rows)] = 0.5
        assert states(blank.check(finished(full, Image(holes, GRID)))) == {"blank_slices": state}

    @pytest.mark.parametrize(("width", "state"), [(0, "pass"), (4, "pass"), (16, "look")])
    def test_an_image_that_was_padded(self, width: int, state: str) -> None:
        data = np.random.default_rng(0).uniform(0, 1, GRID.shape).astype(np.float32)
        data[:3] = 0.0
        padded = np.pad(data, width)
        image, other = Image(data, GRID), Image(padded, Grid(padded.shape, GRID.spacing))
        for case, side in ((finished(image, other), "moving"), (finished(other, image), "fixed")):
            found = margin.check(case)
            assert states(found) == {"margin": state}
            assert (f"of the {side} image is an empty margin, and 9 % of the" in found.message) == (state == "look")

    def test_an_image_of_one_value_has_no_margin(self) -> None:
        assert margin.held_share(Image(np.ones(GRID.shape, np.float32), GRID)) == 1.0

    @pytest.mark.parametrize(("shift", "state"), [(0, "pass"), (5, "look")])
    def test_what_the_embeddings_find_somewhere_else(self, shift: int, state: str) -> None:
        """The transform puts each place on the right one, or half of the image away from it."""
        case = self._embedded(lambda f: np.roll(f, shift, axis=2))
        assert states(found_again.check(case)) == {"found_again": state}
        assert score_of(case) == 0.0  # nothing is paired
        pair = boxes(GRID, (4, 4))
        some = dataclasses.replace(case, pairs=PairedRois(pair, pair, np.ones(1)))
        assert (score_of(some) > 0.9) == (state == "pass")

    @pytest.mark.parametrize(
        ("share", "slice_state", "volume_state"),
        [(0.25, "pass", "pass"), (0.15, "look", "pass"), (0.1, "look", "look")],
    )
    def test_a_volume_has_more_places_that_look_alike(
        self, monkeypatch: pytest.MonkeyPatch, share: float, slice_state: str, volume_state: str
    ) -> None:
        monkeypatch.setattr(found_again, "found_again", lambda _: share)
        for grid, state in ((GRID, slice_state), (STACK, volume_state)):
            case = cast("Finished", SimpleNamespace(embeddings=SimpleNamespace(grid=grid)))
            assert states(found_again.check(case)) == {"found_again": state}

    def _embedded(self, change: Callable[[np.ndarray], np.ndarray]) -> Finished:
        """Two bright images with embeddings; those of the moving image are changed."""
        cells, features = self._cells(), self._features()
        other = np.ascontiguousarray(change(features))
        found = Descriptors.of(FeatureVolume(features, cells), FeatureVolume(other, cells))
        whole = Image(np.ones(GRID.shape, np.float32), GRID)
        bright = dataclasses.replace(finished(whole, descriptors=found))
        images = dataclasses.replace(bright.images, fixed_grey=whole.data, moving_grey=whole.data)
        return dataclasses.replace(bright, images=images)

    @pytest.mark.parametrize(("flipped", "state"), [(False, "pass"), (True, "look")])
    def test_whether_the_mirror_image_fits_better(self, flipped: bool, state: str) -> None:
        """The moving image shows what the fixed one shows, or its mirror image."""
        case = self._embedded(lambda f: f[:, :, ::-1] if flipped else f)

        def regions(image: Image, features: np.ndarray) -> Regions:
            return dataclasses.replace(Regions.none(image), features=FeatureVolume(features.copy(), self._cells()))

        def embed(image: Image) -> Regions:
            assert image.grid.same_as(GRID)
            return regions(image, self._features()[:, :, :: 1 if flipped else -1])

        own = self._features()[:, :, :: -1 if flipped else 1]
        images = dataclasses.replace(case.images, fixed=regions(disc(), self._features()), moving=regions(disc(), own))
        assert handedness.check(dataclasses.replace(case, images=images)) is None
        found = handedness.check(dataclasses.replace(case, images=images, embed=embed))
        assert states(found) == {"handedness": state}

    def _cells(self) -> Grid:
        return Grid((8, 10), (6.0, 6.0), (-7.75, 7.25))

    def _features(self) -> np.ndarray:
        return np.random.default_rng(1).standard_normal((6, *self._cells().shape)).astype(np.float16)

    @pytest.mark.parametrize(("moved", "state"), [(0, "pass"), (12, "look")])
    def test_regions_found_anew_in_the_warped_image(self, moved: int, state: str) -> None:
        case = finished()
        with_regions = dataclasses.replace(case.images.fixed, rois=boxes(GRID, (4, 4), (12, 20), size=8))
        images = dataclasses.replace(case.images, fixed=with_regions)

        def segment(image: Image) -> Regions:
            assert image.grid.same_as(GRID)
            corners = [(4 + moved, 4 + moved), (12 + moved, 20 + moved)]
            return dataclasses.replace(Regions.none(image), rois=boxes(GRID, *corners, size=8))

        assert resegmented.check(dataclasses.replace(case, images=images)) is None
        found = resegmented.check(dataclasses.replace(case, images=images, segment=segment))
        assert states(found) == {"resegmented": state}

    def test_grey_values_that_run_against_each_other(self) -> None:
        image = disc()
        assert states(contrast.check(finished(image, image))) == {"contrast": "pass"}
        other = Image(float(image.data.max()) * 1.1 - image.data, GRID)
        assert states(contrast.check(finished(image, other))) == {"contrast": "look"}

    @pytest.mark.parametrize(("flipped", "state"), [(False, "pass"), (True, "look")])
    def test_a_mirrored_image(self, flipped: bool, state: str) -> None:
        result = mirrored.check(self._embedded(lambda f: f[:, :, ::-1] if flipped else f))
        assert states(result) == {"mirrored": state}
        assert result is not None
        assert ("along its x axis" in result.message) == flipped


class TestVerdict:
    @pytest.mark.parametrize(
        ("found", "verdict"),
        [
            ([], "LOOK"),
            (["skipped"], "LOOK"),
            (["pass", "skipped"], "PASS"),
            (["pass", "look"], "LOOK"),
            (["look", "fail", "pass"], "FAIL"),
        ],
    )
    def test_it_is_the_worst_state(self, found: list[str], verdict: str) -> None:
        assert verdict_of([CheckResult("one", None, state=state) for state in found]) == verdict

    def test_a_check_that_says_something_is_to_be_looked_at(self) -> None:
        assert [CheckResult("one", 1.0, text).state for text in ("", "something")] == ["pass", "look"]
        with pytest.raises(ConfigError, match="choose pass, look, fail, skipped"):
            CheckResult("one", 1.0, state="green")

    def test_the_advice_follows_what_was_found(self) -> None:
        assert CheckResult("one", 1.0, "too long", "look", advice="cut it").sentence == "too long; cut it"
        assert CheckResult("one", 1.0, "by the way", "pass", advice="cut it").sentence == "by the way"

    @pytest.mark.parametrize(
        ("value", "state"), [(0.5, "pass"), (1.5, "look"), (2.5, "fail"), (-0.5, "fail"), (float("nan"), "fail")]
    )
    def test_limits(self, value: float, state: str) -> None:
        found = judge("one", value, (0.0, 1.0), (0.0, 2.0), source="", says="so", advice="")
        assert found.state == state
        assert found.message == ("" if state == "pass" else "so")

    def test_checks_that_cost_much_run_when_asked_for(self) -> None:
        found = {c.name: c for c in run_checks(finished())}
        for name in EXPENSIVE:
            assert found[name].state == "skipped"
            assert "--checks all" in found[name].advice
        with pytest.raises(ConfigError, match="choose quick, all"):
            run_checks(finished(), "many")

    @pytest.mark.parametrize(("grid", "advice"), [(GRID, "does not apply"), (STACK, "--checks all")])
    def test_a_volume_is_encoded_once_more_when_asked_for(self, grid: Grid, advice: str) -> None:
        """A slice costs little; without a network nothing is encoded at all."""
        found = {c.name: c for c in run_checks(finished(Image(np.ones(grid.shape, np.float32), grid)))}
        for name in EXPENSIVE_IN_VOLUMES:
            assert advice in found[name].advice

    def test_all_checks_run_with_all(self) -> None:
        """Of an affine map, for which none of the expensive ones has anything to do but to say so."""
        base = preset("default")
        config = dataclasses.replace(base, fit=dataclasses.replace(base.fit, transform="affine"))
        images = [Regions.none(disc())] * 2
        found = {c.name: c for c in register_regions(*images, config, checks="all").checks}
        for name in EXPENSIVE:
            assert found[name].advice == "does not apply to this registration"


class TestExpensiveChecks:
    @pytest.fixture(scope="class")
    def case(self) -> Finished:
        """The phantom with its organs given, fitted quickly."""
        from samreg.fit.rough import bring_near
        from samreg.fit.transform import fit_transform
        from samreg.initial.start import find_start

        pair = phantom(2)
        base = preset("default")
        flow = dataclasses.replace(base.fit.flow, flow_iterations=(4, 4))
        config = dataclasses.replace(base, fit=dataclasses.replace(base.fit, work_size=32, flow=flow))
        known = PairedRois(
            RoiSet.from_labels(pair.fixed_labels, pair.fixed.grid, pair.names),
            RoiSet.from_labels(pair.moving_labels, pair.moving.grid, pair.names),
            np.ones(8),
            given=np.ones(8, bool),
        )
        images = ImagePair.of(Regions.none(pair.fixed), Regions.none(pair.moving), config)
        begin = find_start(images, config, bring_near, known)
        return Finished(images, known, begin, fit_transform(images, known, begin, config.fit), config)

    def test_the_way_back(self, case: Finished) -> None:
        found = swapped.check(case)
        assert found is not None
        assert found.state == "pass"
        assert found.value is not None
        assert 0 < found.value < 5
        away = case.fitted.displacement.clone()
        away[1] += 40.0
        moved = to_field(away, case.images.fixed_grid, case.start.affine)
        wrong = dataclasses.replace(case, fitted=dataclasses.replace(case.fitted, displacement=away, field=moved))
        assert states(swapped.check(wrong)) == {"swapped": "look"}

    def test_the_spread_under_perturbation(self, case: Finished) -> None:
        before = case.start.displacement.clone()
        found = perturbed.check(case)
        assert found is not None
        assert found.state == "pass"
        assert found.value is not None
        assert 0 < found.value < 5
        assert torch.equal(case.start.displacement, before)
        assert case.maps["spread"].shape == case.images.fixed_grid.shape
        inside = case.maps["spread"][case.fixed_step][case.fixed_body]
        assert found.value == pytest.approx(float(np.percentile(inside, 90)))


def _quick(folder: Path, out: Path, *options: str) -> list[str]:
    files = [str(folder / f"{side}.nii.gz") for side in ("fixed", "moving")]
    labels = [f"--{side}-labels={folder / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    few = ["--labels-only", "--flow-iterations", "3", "3", "3", "--work-size", "64"]
    return ["register", *files, "--out", str(out), *labels, *few, *options]


class TestWhereTheVerdictStands:
    @pytest.fixture(scope="class")
    def images(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("verdict") / "phantom"
        write_phantom(phantom(2), folder)
        return folder

    def test_strict_passes_what_is_good(self, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(_quick(images, tmp_path / "run", "--strict")) == 0
        assert "\nverdict PASS, 8 pairs" in capfd.readouterr().out
        manifest = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["verdict"] == "PASS"
        found = {c["name"]: c for c in manifest["provenance"]["checks"]}
        assert found["jacobian_p50"]["limit"] == pytest.approx([0.36, 2.56])
        assert {"value", "unit", "limit", "source", "state", "advice"} <= set(found["overlap"])

    def test_strict_ends_with_3_and_the_run_is_written(
        self, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failing = CheckResult("toy", 2.0, "too long", "fail", "mm", (None, 1.0), "a ruler", "cut it")
        monkeypatch.setattr("samreg.checks.start.check", lambda _: failing)
        assert main(_quick(images, tmp_path / "run")) == 0
        assert main(_quick(images, tmp_path / "strict", "--strict")) == 3
        assert "\nFAIL (toy): too long; cut it\n" in capfd.readouterr().out
        manifest = json.loads((tmp_path / "strict" / "manifest.json").read_text(encoding="utf-8"))
        assert manifest["verdict"] == "FAIL"
        assert "too long; cut it" in manifest["warnings"]

    def test_batch_counts_and_ends_with_3(self, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("samreg.pipeline.register", lambda *_, **__: _with_seconds(true_result()))
        monkeypatch.setattr("samreg.runs.batch.shared_finder", lambda _: None)
        monkeypatch.setattr("samreg.runs.batch.CountingFinder", _NoFinder)
        table = tmp_path / "pairs.csv"
        table.write_text(f"id,fixed,moving\na,{images / 'fixed.nii.gz'},{images / 'moving.nii.gz'}\n")
        command = ["batch", str(table), "--out", str(tmp_path / "out"), "--jobs", "0", "--no-cache"]
        assert main(command) == 0
        assert main([*command, "--strict"]) == 3
        assert "verdict" in (tmp_path / "out" / "summary.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
        assert json.loads((tmp_path / "out" / "records.jsonl").read_text(encoding="utf-8"))["verdict"] == "LOOK"

    @pytest.mark.parametrize(("state", "tone"), [("pass", "good"), ("look", ""), ("fail", "")])
    def test_the_report_begins_with_it_and_reassures_only_where_it_passes(self, state: str, tone: str) -> None:
        check = CheckResult(
            "jacobian_p50", 0.14, "half of <it>" * (state != "pass"), state, "", (0.2, 4.1), "law", "stop"
        )
        result = dataclasses.replace(true_result(), checks=(check,))
        page = render_registration(result)
        assert page.index(f"<b>{result.verdict}</b>") < page.index("class='facts'")
        assert f"<div class='{tone}'><b>0.83</b>" in page
        assert f"<div class='{tone}'><b>0 %</b><span>of the field is folded" in page
        assert "0.2 to 4.1" in page
        assert "<td>law</td>" in page
        if state != "pass":
            assert "<b>jacobian p50</b>: half of &lt;it&gt;. <b>What to do:</b> stop." in page

    def test_nothing_checked_is_said(self) -> None:
        assert "Nothing was checked." in render_registration(true_result())
        assert summary(true_result(), Path("run"))[0].startswith("verdict LOOK, ")

    def test_pairs_that_are_not_used_are_told_apart_on_the_screen(self) -> None:
        result = true_result()
        n = len(result.pairs)
        assert f", {n} pairs, " in summary(result, Path("run"))[0]
        weights = result.pairs.confidence.copy()
        weights[0] = 0.0
        rest = dataclasses.replace(result, pairs=dataclasses.replace(result.pairs, confidence=weights))
        assert f", {n - 1} of {n} pairs used, " in summary(rest, Path("run"))[0]


class _NoFinder:
    def __init__(self, _: object) -> None:
        self.found: list[str] = []


def _with_seconds(result):  # type: ignore[no-untyped-def]
    return dataclasses.replace(result, seconds={"segment": 1.0})


class TestTheBenchmark:
    """benchmarks/verdicts.py: what it breaks, and what it counts."""

    @pytest.mark.parametrize("grid", [GRID, STACK], ids=["2d", "3d"])
    def test_what_is_broken_keeps_its_labels(self, grid: Grid) -> None:
        from benchmarks.verdicts import BREAKS

        data = np.random.default_rng(0).uniform(1, 99, grid.shape).astype(np.float32)
        image, labels = Image(data, grid), (data > 50).astype(np.int32)
        for name, broken in BREAKS.items():
            other, moved = broken(image, labels)
            assert moved is not None
            assert moved.shape == other.grid.shape == other.data.shape, name
            assert (name == "good") == (other.data.shape == data.shape and np.array_equal(other.data, data)), name
            if name in ("crop", "padding", "mirrored", "turned"):
                assert ((other.data > 50) == (moved > 0)).all(), name

    def test_one_slice_of_a_volume(self) -> None:
        from benchmarks.verdicts import flat, labelled

        data = np.random.default_rng(0).uniform(1, 99, STACK.shape).astype(np.float32)
        labels = np.zeros(STACK.shape, np.int32)
        labels[7, 2:9, 3:5] = 4
        image = Image(data, STACK)
        assert int(np.argmax(labelled(image, labels))) == 7
        one, its = flat(image, labels, 7)
        assert (one.grid.shape, one.grid.spacing) == ((12, 12), (1.0, 1.0))
        assert np.array_equal(one.data, data[7])
        assert np.array_equal(its, labels[7])

    def test_the_table_counts_failures_and_those_that_are_caught(self) -> None:
        from benchmarks.verdicts import lines, totals

        def record(kind: str, verdict: str, dice: float | None, confidence: float = 0.5) -> dict[str, object]:
            spoke = {"start": {"value": 2.0, "state": verdict.lower()}}
            row = {"dataset": "d", "kind": kind, "verdict": verdict, "dice": dice, "before": 0.4, "score": confidence}
            return row | {"checks": spoke, "confidence": confidence}

        good = [record("good", "PASS", 0.8 + 0.01 * i, 0.5 + 0.01 * i) for i in range(4)]
        broken = [record("crop", "FAIL", 0.2), record("crop", "PASS", 0.3), record("part", "LOOK", None)]
        text = lines([*good, *broken])
        assert text[2] == "| good | 4 | 0.815 | 4 | 0 | 0 | 0 | 0 |  |"
        assert text[3] == "| crop | 2 | 0.250 | 1 | 0 | 1 | 2 | 1 | start 1 |"
        assert text[4] == "| part | 1 |  | 0 | 1 | 0 | 1 | 1 | start 1 |"
        assert "upper three quarters of the Dice 0 are not PASS" in text[6]
        assert "rho 1.00" in text[6]
        (all_of_them,) = totals([*good, *broken])
        assert "2 of 3 broken pairs are not PASS. 2 of 3 failures are not PASS" in all_of_them
        assert "0 of 3 good pairs" in all_of_them
