"""Pairs that are given: they reach the fit exactly as they are, and nothing is searched for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samreg import FeatureVolume, Grid, Image, PairedRois, Regions, RegistrationResult, RoiSet, preset, register_regions
from samreg.cli import main
from samreg.config import RegisterConfig
from samreg.errors import GeometryError
from samreg.geometry.phantom import phantom
from samreg.initial.overlaps import affine_of_pairs
from samreg.io.images import write_image, write_labels
from samreg.io.rois import write_segmentation
from samreg.regions.linking import link_regions
from samreg.runs.run_folder import read_run, write_run
from worlds import noise

GRID = Grid((6, 24, 24), (1.0, 1.0, 2.0))


def _thin() -> np.ndarray:
    """A block, a lesion in one slice, and a vessel whose sections in neighbouring slices do not overlap."""
    labels = np.zeros(GRID.shape, np.int32)
    labels[1:5, 4:12, 4:12] = 1
    labels[3, 15:20, 15:20] = 2
    for z in range(6):
        labels[z, 14:17, 1 + 3 * z : 4 + 3 * z] = 3
    return labels


def _quick(name: str, levels: tuple[int, ...]) -> RegisterConfig:
    config = preset(name)
    flow = dataclasses.replace(config.fit.flow, flow_iterations=levels)
    elastic = dataclasses.replace(config.fit.elastic, max_iterations=3)
    return dataclasses.replace(config, fit=dataclasses.replace(config.fit, work_size=24, flow=flow, elastic=elastic))


def _register(
    fixed: RoiSet, moving: RoiSet, name: str = "default", levels: tuple[int, ...] = (3,)
) -> RegistrationResult:
    images = [Image(noise(rois.grid.shape, i, 0, 1), rois.grid) for i, rois in enumerate((fixed, moving))]
    pairs = PairedRois(fixed, moving, np.ones(len(fixed)))
    return register_regions(*map(Regions.none, images), _quick(name, levels), extra_pairs=pairs)


def _same(found: PairedRois, fixed: RoiSet, moving: RoiSet) -> None:
    assert [roi.name for roi in found.fixed.rois] == [roi.name for roi in fixed.rois]
    assert np.array_equal(found.fixed.masks(), fixed.masks())
    assert np.array_equal(found.moving.masks(), moving.masks())


def _command(folder: Path, suffix: str, *options: str) -> list[str]:
    files = [str(folder / f"{side}.nii.gz") for side in ("fixed", "moving")]
    labels = [f"--{side}-labels={folder / (side + suffix)}" for side in ("fixed", "moving")]
    quick = ["--work-size", "24", "--flow-iterations", "3", "--max-iterations", "3"]
    return ["register", *files, *labels, "--labels-only", "--out", str(folder / "run"), *quick, *options]


def _no_segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a segmenter was opened")

    monkeypatch.setattr("samreg.pipeline.open_finder", opened)
    monkeypatch.setattr("samreg.pipeline.find_regions", opened)


@pytest.mark.parametrize("lift_option", ["auto", "slices"])
def test_labels_only_keeps_thin_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lift_option: str) -> None:
    _no_segmenter(monkeypatch)
    labels = {"fixed": _thin(), "moving": np.roll(_thin(), 1, axis=2)}
    for i, (side, values) in enumerate(labels.items()):
        write_image(Image(noise(GRID.shape, i), GRID), tmp_path / f"{side}.nii.gz")
        write_labels(values, GRID, tmp_path / f"{side}_labels.nii.gz")
    assert main(_command(tmp_path, "_labels.nii.gz", "--lift", lift_option)) == 0
    found = read_run(tmp_path / "run")
    _same(found.pairs, *(RoiSet.from_labels(values, GRID) for values in labels.values()))
    assert found.pairs.is_given.all()
    assert "fixed" not in found.manifest["provenance"]  # nothing had to be found


def test_what_one_side_lacks_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for side, values in (("fixed", [1, 2, 5, 9]), ("moving", [1, 2, 7])):
        labels = np.zeros(GRID.shape, np.int32)
        for k, value in enumerate(values):
            labels[1:3, 2 + 4 * k : 5 + 4 * k, 4:9] = value
        write_image(Image(noise(GRID.shape, len(values)), GRID), tmp_path / f"{side}.nii.gz")
        write_labels(labels, GRID, tmp_path / f"{side}_labels.nii.gz")
    assert main(_command(tmp_path, "_labels.nii.gz")) == 0
    said = capfd.readouterr().err
    assert "fixed_labels.nii.gz: 2 of 4 regions have no partner and are left out: 5, 9" in said
    assert "moving_labels.nii.gz: 1 of 3 regions have no partner and are left out: 7" in said
    assert any("left out: 5, 9" in text for text in read_run(tmp_path / "run").manifest["warnings"])


def test_labels_only_keeps_a_lesion_inside_an_organ(tmp_path: Path) -> None:
    organ, lesion = np.zeros((2, *GRID.shape), dtype=bool)
    organ[1:5, 4:16, 4:16], lesion[3, 8:10, 8:10] = True, True
    rois = RoiSet.from_masks([organ, lesion], GRID, names=["liver", "lesion"])
    for i, side in enumerate(("fixed", "moving")):
        write_image(Image(noise(GRID.shape, i), GRID), tmp_path / f"{side}.nii.gz")
        write_segmentation(rois, tmp_path / f"{side}.seg.nrrd")
    assert main(_command(tmp_path, ".seg.nrrd")) == 0
    _same(read_run(tmp_path / "run").pairs, rois, rois)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**31), name=st.sampled_from(["default", "regions"]), slices=st.sampled_from([None, 1, 5]))
def test_any_given_regions_stay(seed: int, name: str, slices: int | None) -> None:
    """Overlapping or thin, in 2D, in one slice, or in a volume."""
    rng = np.random.default_rng(seed)
    grid = Grid((16, 18), (1.0, 1.0)) if slices is None else Grid((slices, 16, 18), (1.0, 1.0, 6.0))
    sides = []
    n = int(rng.integers(1, 6))
    for _ in range(2):
        masks = np.zeros((n, *grid.shape), dtype=bool)
        for mask in masks:
            first = [int(rng.integers(0, m)) for m in grid.shape]
            mask[tuple(slice(a, a + int(rng.integers(1, 7))) for a in first)] = True
        sides.append(RoiSet.from_masks(masks, grid))
    result = _register(*sides, name)
    _same(result.pairs, *sides)
    assert result.field is not None
    assert np.isfinite(result.field.u).all()


def test_given_regions_alone_find_the_true_field() -> None:
    pair = phantom(2)
    rois = (
        RoiSet.from_labels(pair.fixed_labels, pair.fixed.grid),
        RoiSet.from_labels(pair.moving_labels, pair.moving.grid),
    )
    images = Regions.none(pair.fixed), Regions.none(pair.moving)
    result = register_regions(*images, extra_pairs=PairedRois(*rois, np.ones(len(rois[0]))))
    assert result.field is not None
    body = pair.fixed_labels > 0
    error = np.linalg.norm(result.field.u - pair.field.u, axis=-1)[body].mean()
    assert error < 0.25 * np.linalg.norm(pair.field.u, axis=-1)[body].mean()  # 7.1 mm before


def test_given_pairs_guide_every_level_with_or_without_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from samreg.fit import levels
    from samreg.fit.problem import DenseProblem

    seen = []
    objective = levels.Objective

    def counted(problem: DenseProblem, *rest: object):  # type: ignore[no-untyped-def]
        seen.append(len(problem.pairs))
        return objective(problem, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(levels, "Objective", counted)
    rois = RoiSet.from_labels(_thin(), GRID)
    unnamed = dataclasses.replace(rois, rois=tuple(dataclasses.replace(roi, name="") for roi in rois.rois))
    for given_rois in (rois, unnamed):
        _register(given_rois, given_rois, levels=(2, 2, 2))
    assert seen == [3] * 6


def test_small_regions_far_from_where_the_headers_put_them_are_brought_together() -> None:
    away = Grid(GRID.shape, GRID.spacing, (400.0, -70.0, 30.0))
    result = _register(RoiSet.from_labels(_thin(), GRID), RoiSet.from_labels(_thin(), away))
    assert result.affine is not None
    np.testing.assert_allclose(result.affine[:3, 3], away.origin, atol=0.1)
    assert result.start is not None
    assert result.start.chosen == "centroids"


def test_the_start_stays_with_the_headers_where_they_are_right() -> None:
    rois = RoiSet.from_labels(_thin(), GRID)
    assert affine_of_pairs(PairedRois(rois, rois, np.ones(3)))[1].chosen == "headers"
    assert affine_of_pairs(PairedRois.none(GRID, GRID))[1].chosen == "headers"


def test_five_regions_say_how_an_image_is_scaled() -> None:
    """The same voxels, a fifth larger: the affine map of the centroids is the whole answer."""
    larger = Grid(GRID.shape, (1.2, 1.2, 2.4), (50.0, 0.0, 0.0))
    masks = np.zeros((5, *GRID.shape), dtype=bool)
    for mask, (z, y, x) in zip(masks, [(0, 2, 2), (4, 2, 18), (0, 18, 18), (4, 18, 2), (2, 10, 10)], strict=True):
        mask[z : z + 2, y : y + 3, x : x + 3] = True
    rois = RoiSet.from_masks(masks, GRID), RoiSet.from_masks(masks, larger)
    matrix, record = affine_of_pairs(PairedRois(*rois, np.ones(5)))
    assert record.chosen == "affine of centroids"
    np.testing.assert_allclose(matrix[:3], [[1.2, 0, 0, 50], [0, 1.2, 0, 0], [0, 0, 1.2, 0]], atol=0.05)


def test_without_pairs_and_segmenter_the_grey_values_are_named_as_what_is_left() -> None:
    nothing = RoiSet((), GRID)
    note, *_ = _register(nothing, nothing).warnings
    assert "the transform rests on grey values alone; " in note
    note, *_ = _register(nothing, nothing, "regions").warnings
    assert "nothing drives the fit" in note


def test_one_image_with_and_one_without_embedding_are_refused() -> None:
    image = Image(noise(GRID.shape), GRID)
    features = FeatureVolume(np.ones((4, *GRID.shape), np.float16), GRID)
    seen = dataclasses.replace(Regions.none(image), features=features)
    with pytest.raises(GeometryError, match="segment both images"):
        register_regions(seen, Regions.none(image))


def _one_slice(z: float, first: int) -> Regions:
    """A volume of one slice with one region, at height z."""
    grid = Grid((1, 20, 20), (1.0, 1.0, 3.0), (0.0, 0.0, z))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[0, 5:12, first : first + 7] = True
    image = Image(noise(grid.shape, 0, 0, 1), grid)
    features = FeatureVolume(noise((4, 1, 5, 5)).astype(np.float16), grid.with_shape((1, 5, 5)))
    return Regions(image, RoiSet.from_masks([mask], grid), np.ones((1, 4), np.float32), features, 0, np.zeros(1, int))


def test_regions_of_a_volume_of_one_slice_are_lifted() -> None:
    regions = _one_slice(0.0, 5)
    lifted = link_regions(regions)
    assert np.array_equal(lifted.rois.masks(), regions.rois.masks())
    assert np.array_equal(lifted.prototypes, regions.prototypes)
    assert lifted.slice_index.tolist() == [-1]


def test_volumes_of_one_slice_that_do_not_correspond_are_registered() -> None:
    result = register_regions(_one_slice(0.0, 5), _one_slice(1.0, 7), preset("regions"))
    assert len(result.pairs) == 1
    assert not result.pairs.is_given.any()
    assert result.warnings[0].startswith("only 1 of 1 pairs of regions count")
    assert result.field is not None
    middle = result.field.u[0, 6:11, 6:11].reshape(-1, 3).mean(axis=0)
    assert middle[0] == pytest.approx(2.0, abs=0.5)


def test_what_was_given_is_kept_in_pairs_and_in_the_run_folder(tmp_path: Path) -> None:
    rois = RoiSet.from_labels(_thin(), GRID)
    pairs = PairedRois(rois, rois, np.ones(3), given=np.array([True, False, True]))
    assert pairs.select([1, 2]).is_given.tolist() == [False, True]
    assert pairs.concatenate(PairedRois(rois, rois, np.ones(3))).is_given.tolist() == [True, False, True] + [False] * 3
    with pytest.raises(GeometryError, match="as many"):
        PairedRois(rois, rois, np.ones(3), given=np.ones(2, dtype=bool))
    image = Image(noise(GRID.shape), GRID)
    write_run(RegistrationResult(image, image, pairs, None, None, preset("default")), tmp_path / "run")
    assert read_run(tmp_path / "run").pairs.is_given.tolist() == [True, False, True]
    rows = json.loads((tmp_path / "run" / "pairs.json").read_text(encoding="utf-8"))
    assert [row.pop("given") for row in rows] == [True, False, True]
    rows[1]["name"] = ""
    (tmp_path / "run" / "pairs.json").write_text(json.dumps(rows), encoding="utf-8")
    # A run of before the flag: what had a name had been given.
    assert read_run(tmp_path / "run").pairs.is_given.tolist() == [True, False, True]
