"""Masks: what does not count has no influence, and what is missing in one image pulls at nothing."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest

import samreg
import samreg.pipeline
from samreg import DisplacementField, Grid, Image, Regions, RegistrationResult, RoiSet
from samreg.cli import main
from samreg.config import SegmentConfig
from samreg.errors import ConfigError, GeometryError, InputError
from samreg.geometry.masks import inside_of
from samreg.geometry.phantom import Phantom, phantom
from samreg.io.images import write_image, write_labels
from samreg.io.rois import write_segmentation
from samreg.regions.regions import FeatureVolume
from samreg.runs.batch import BatchOptions, run_batch
from samreg.runs.run_folder import read_run
from worlds import GRIDS, noise

QUICK = ["--work-size", "32", "--flow-iterations", "6", "6", "--max-iterations", "5"]


def quick(transform: str = "ddf", *steps: int) -> samreg.RegisterConfig:
    config = samreg.preset("default")
    flow = dataclasses.replace(config.fit.flow, flow_iterations=steps or (6, 6))
    elastic = dataclasses.replace(config.fit.elastic, max_iterations=5)
    fit = dataclasses.replace(config.fit, transform=transform, work_size=32, flow=flow, elastic=elastic)
    return dataclasses.replace(config, fit=fit)


@functools.cache
def small() -> Phantom:
    """The phantom with every second voxel, (64, 80) and (72, 88)."""
    pair = phantom(2)
    parts = {}
    for side in ("fixed", "moving"):
        image, labels = getattr(pair, side), getattr(pair, f"{side}_labels")
        grid = dataclasses.replace(
            image.grid, shape=labels[::2, ::2].shape, spacing=tuple(2 * s for s in image.grid.spacing)
        )
        parts |= {side: Image(image.data[::2, ::2], grid, side), f"{side}_labels": labels[::2, ::2]}
    field = DisplacementField(np.ascontiguousarray(pair.field.u[::2, ::2]), parts["fixed"].grid)
    return Phantom(**parts, field=field, names=pair.names)


def block(image: Image, low: tuple[int, int] = (24, 32), size: int = 12) -> np.ndarray:
    mask = np.zeros(image.grid.shape, dtype=bool)
    mask[tuple(slice(a, a + size) for a in low)] = True
    return mask


class Squares:
    """Finds squares, and an embedding that shows the grey values in coarse cells."""

    name, fingerprint, segmenter = "squares", "0", None

    def find(self, image: Image, settings: SegmentConfig, progress: object = None) -> Regions:
        y, x = image.grid.shape
        masks = np.zeros((6, y, x), dtype=bool)
        for i in range(6):
            masks[i, 10 + 15 * (i // 3) :, 10 + 18 * (i % 3) :][:10, :10] = True
        cells = image.grid.with_shape((y // 4, x // 4))
        small = DisplacementField.identity(cells).warp(image).data
        channels = np.stack([small, np.roll(small, 1, 0), np.roll(small, 1, 1), np.gradient(small)[0]])
        prototypes = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
        return Regions(
            image,
            RoiSet.from_masks(masks, image.grid),
            prototypes,
            FeatureVolume(channels.astype(np.float16), cells),
            None,
            np.zeros(6, dtype=np.int64),
        )


def spoiled(image: Image, where: np.ndarray) -> Image:
    data = image.data.copy()
    data[where] = noise(image.grid.shape, 7, 0, 900)[where]
    return image.with_data(data)


class TestNoInfluence:
    """What is excluded can be anything: the result is the same to the last bit."""

    @pytest.mark.parametrize("side", ["fixed", "moving"])
    @pytest.mark.parametrize("transform", ["ddf", "ffd", "affine"])
    def test_of_what_is_excluded(self, side: str, transform: str) -> None:
        images = {"fixed": small().fixed, "moving": small().moving}
        mask = block(images[side])
        changed = {**images, side: spoiled(images[side], mask)}
        fields = []
        for given in (images, changed):
            # The finder shows each image as it was: what it makes of the excluded part is another matter.
            regions = {k: Squares().find(images[k], SegmentConfig()) for k in images}
            regions = {k: dataclasses.replace(r, image=given[k]) for k, r in regions.items()}
            data = regions[side].features.data.copy()
            cells = DisplacementField.identity(regions[side].features.grid).warp_labels(
                mask.astype(np.int32), images[side].grid
            )
            # A cell that counts in part stays; what is inside the block altogether may be anything.
            if given is changed:
                data[:, cells == 1] = noise(data.shape, 3)[:, cells == 1]
            regions[side] = dataclasses.replace(
                regions[side], features=FeatureVolume(data, regions[side].features.grid)
            )
            inside = {side: ~mask}
            parts = [regions[k].within(inside.get(k)) for k in ("fixed", "moving")]
            fields.append(samreg.register_regions(*parts, quick(transform)).field.u)
        np.testing.assert_array_equal(fields[0], fields[1])

    def test_without_the_mask_there_is_some(self) -> None:
        pair = small()
        changed = spoiled(pair.fixed, block(pair.fixed))
        fields = [samreg.register(image, pair.moving, quick(), find=False).field.u for image in (pair.fixed, changed)]
        assert np.abs(fields[0] - fields[1]).max() > 1.0

    def test_a_mask_that_holds_everything_changes_nothing(self) -> None:
        pair = small()
        everything = np.ones(pair.fixed.grid.shape, dtype=bool)
        one = samreg.register(pair.fixed, pair.moving, quick(), find=False)
        other = samreg.register(pair.fixed, pair.moving, quick(), find=False, fixed_mask=everything)
        np.testing.assert_array_equal(one.field.u, other.field.u)
        assert other.notes == one.notes


def test_a_cavity_pulls_at_nothing() -> None:
    """The moving image lacks a piece of the liver: without a mask the field closes the hole."""
    pair = small()
    hole = np.zeros(pair.moving.grid.shape, dtype=bool)
    y, x = np.argwhere(pair.moving_labels == 1).mean(0).astype(int)
    hole[y - 5 : y + 6, x - 5 : x + 6] = True
    data = pair.moving.data.copy()
    data[hole] = 5.0
    cut = pair.moving.with_data(data)
    config = quick("ddf", 20, 20, 15)
    near = pair.fixed_labels == 1
    errors = {}
    for name, exclude in (("without", None), ("with", hole)):
        found = samreg.register(pair.fixed, cut, config, find=False, moving_exclude=exclude).field
        errors[name] = np.linalg.norm(found.u - pair.field.u, axis=-1)[near].mean()
    whole = samreg.register(pair.fixed, pair.moving, config, find=False).field
    errors["whole"] = np.linalg.norm(whole.u - pair.field.u, axis=-1)[near].mean()
    assert errors["with"] < 0.7 * errors["without"], errors
    assert errors["with"] < errors["whole"] + 1.0, errors


class TestRegions:
    def test_regions_outside_are_left_out_and_others_stay_whole(self) -> None:
        image = small().fixed
        regions = Squares().find(image, SegmentConfig())
        inside = np.ones(image.grid.shape, dtype=bool)
        inside[:, : 10 + 18 + 2] = False  # a column of squares, and a fifth of the next
        kept = regions.within(inside)
        assert len(kept) == 4
        np.testing.assert_array_equal(kept.rois.masks(), regions.rois.masks()[[1, 2, 4, 5]])
        np.testing.assert_array_equal(kept.prototypes, regions.prototypes[[1, 2, 4, 5]])
        assert kept.features.inside.mean() == pytest.approx(inside.mean(), abs=0.05)
        assert regions.within(None) is regions

    def test_register_looks_for_regions_first_so_that_any_mask_can_use_them(self) -> None:
        seen = []

        class Counting(Squares):
            def find(self, image: Image, settings: SegmentConfig, progress: object = None) -> Regions:
                seen.append(image.data.sum())
                return super().find(image, settings, progress)

        pair = small()
        found = samreg.register(
            pair.fixed, pair.moving, quick(), segmenter=Counting(), fixed_exclude=block(pair.fixed, (0, 0), 32)
        )
        assert seen == [pair.fixed.data.sum(), pair.moving.data.sum()]
        assert "80 % of the fixed image counts" in found.notes[0]
        outside = block(pair.fixed, (0, 0), 32)
        assert all(outside[roi.box][roi.mask].mean() <= 0.5 for roi in found.pairs.fixed.rois)


class TestGiving:
    """A mask is an image on any grid, regions, or an array; a file is a label map or a segmentation."""

    @pytest.mark.parametrize("name", GRIDS)
    def test_on_another_grid(self, name: str) -> None:
        grid = GRIDS[name]
        image = Image(noise(grid.shape), grid)
        fine = grid.with_shape(tuple(1 if n == 1 else 2 * n for n in grid.shape))
        labels = np.zeros(fine.shape, np.float32)
        labels[..., : fine.shape[-1] // 2] = 3
        found = inside_of(image, Image(labels, fine), None)
        assert found is not None
        n = grid.shape[-1] // 2
        assert found[..., :n].all()
        assert not found[..., n + 1 :].any()

    def test_regions(self) -> None:
        grid = GRIDS["identity-2d"]
        image = Image(noise(grid.shape), grid)
        masks = np.zeros((2, *grid.shape), dtype=bool)
        masks[0, 2:4, 2:4] = masks[1, 3:6, 3:6] = True
        rois = RoiSet.from_masks(masks, grid)
        np.testing.assert_array_equal(inside_of(image, rois, None), masks.any(0))
        np.testing.assert_array_equal(inside_of(image, None, rois), ~masks.any(0))

    def test_what_cannot_be_used(self) -> None:
        image = Image(noise((9, 11)), GRIDS["identity-2d"])
        everything = np.ones((9, 11))
        with pytest.raises(InputError, match="leave nothing of the fixed image"):
            inside_of(image, everything, everything, "fixed")
        with pytest.raises(InputError, match="is 0 everywhere"):
            inside_of(image, 0 * everything, None, "fixed")
        with pytest.raises(GeometryError, match="has shape"):
            inside_of(image, np.ones((3, 3)), None, "fixed")
        with pytest.raises(InputError, match="give a samreg"):
            inside_of(image, "mask.nii.gz", None, "fixed")  # type: ignore[arg-type]
        far = Grid((9, 11), (1.0, 1.0), (500.0, 0.0))
        with pytest.raises(InputError, match="does not overlap"):
            inside_of(image, Image(everything, far), None, "fixed")

    def test_another_package_s_similarity_is_refused(self) -> None:
        from samreg.fit.terms import masked

        with pytest.raises(ConfigError, match="takes no masks"):
            masked.masked_similarity("mind", None, (3, 3))  # type: ignore[arg-type]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, RegistrationResult]:
    """Images and masks as files, and what the same registration gives in Python."""
    pair = small()
    for side in ("fixed", "moving"):
        image = getattr(pair, side)
        write_image(image, tmp_path / f"{side}.nii.gz")
        write_labels(getattr(pair, f"{side}_labels"), image.grid, tmp_path / f"{side}_labels.nii.gz")
    write_labels(block(pair.fixed).astype(np.int32) * 7, pair.fixed.grid, tmp_path / "lesion.nii.gz")
    masks = np.stack([pair.moving_labels > 0])
    write_segmentation(RoiSet.from_masks(masks, pair.moving.grid, names=["body"]), tmp_path / "body.seg.nrrd")
    given = {"fixed_exclude": block(pair.fixed), "moving_mask": masks[0]}
    return tmp_path, samreg.register(pair.fixed, pair.moving, quick(), find=False, **given)


def test_the_command_line_and_fitting_again(files: tuple[Path, RegistrationResult]) -> None:
    folder, expected = files
    images = [str(folder / f"{side}.nii.gz") for side in ("fixed", "moving")]
    labels = [f"--{side}-labels={folder / f'{side}_labels.nii.gz'}" for side in ("fixed", "moving")]
    masks = ["--fixed-exclude", str(folder / "lesion.nii.gz"), "--moving-mask", str(folder / "body.seg.nrrd")]
    run = folder / "run"
    assert main(["register", *images, *labels, "--labels-only", *masks, "--out", str(run), *QUICK]) == 0
    manifest = read_run(run).manifest
    assert manifest["other_inputs"]["fixed_exclude"]["path"] == str(folder / "lesion.nii.gz")
    assert manifest["warnings"][:2] == list(expected.notes[:2])
    assert main(["fit", str(run), "--out", str(folder / "again")]) == 0
    np.testing.assert_allclose(read_run(folder / "again").transform().u, read_run(run).transform().u, atol=0.05)
    assert "moving_mask" in read_run(folder / "again").manifest["other_inputs"]


def test_a_batch_table_has_columns_for_them(
    files: tuple[Path, RegistrationResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = files
    register = samreg.pipeline.register
    monkeypatch.setattr(samreg.pipeline, "register", lambda *a, **k: register(*a, **{**k, "find": False}))
    table = folder / "pairs.csv"
    table.write_text(
        "id,fixed,moving,fixed_exclude,moving_mask\na,fixed.nii.gz,moving.nii.gz,lesion.nii.gz,body.seg.nrrd\n"
    )
    done = run_batch(BatchOptions(table, folder / "out", jobs=0, config=quick()))
    assert done.n_done == 1, done.failures.read_text("utf-8")
    run = read_run(folder / "out" / "runs" / "a")
    # The file rounds the grid, and the steps of a fit depend on its last digits.
    assert np.abs(run.transform().u - expected.field.u).mean() < 0.05
    assert set(run.manifest["other_inputs"]) == {"fixed_exclude", "moving_mask"}
