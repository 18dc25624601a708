"""The run folder: complete, whole or not at all, the same bytes again, and readable by others."""

from __future__ import annotations

import hashlib
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

import samreg.runs.run_folder as run_folder
from results import photograph_result, true_result
from samreg.errors import InputError
from samreg.files import check_output, sha256_of, staged
from samreg.geometry.rois import PairedRois
from samreg.io.images import read_image, read_labels, read_values, write_image
from samreg.regions.regions import FeatureVolume, Regions
from samreg.result import Origin, RegistrationResult, StartRecord
from samreg.runs.run_folder import read_run, write_run

FILES = {
    "manifest.json",
    "pairs.json",
    "fixed_rois.seg.nrrd",
    "moving_rois.seg.nrrd",
    "fixed_rois.nii.gz",
    "moving_rois.nii.gz",
    "displacement.nii.gz",
    "transform.h5",
    "inverse_displacement.nii.gz",
    "inverse_transform.h5",
    "affine.mat",
    "affine.tfm",
    "warped.nii.gz",
    "report.html",
}
INVERSE = {"inverse_displacement.nii.gz", "inverse_transform.h5"}
AFFINE = {"affine.mat", "affine.tfm"}


@pytest.fixture(scope="module", params=[2, 3])
def result(request: pytest.FixtureRequest) -> RegistrationResult:
    return true_result(request.param)


@pytest.fixture(scope="module")
def run(result: RegistrationResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    files = {side: folder / f"{side}.nii.gz" for side in ("fixed", "moving")}
    write_image(result.fixed, files["fixed"])
    write_image(result.moving, files["moving"])
    return write_run(result, folder / "run", inputs=files)


class TestContent:
    def test_every_file_is_there_and_nothing_else(self, run: Path) -> None:
        assert {path.name for path in run.iterdir()} == FILES
        assert {path.name for path in run.parent.iterdir()} == {"run", "fixed.nii.gz", "moving.nii.gz"}

    def test_everything_comes_back(self, run: Path, result: RegistrationResult) -> None:
        back = read_run(run)
        assert back.fixed_grid == result.fixed.grid
        assert back.moving_grid == result.moving.grid
        np.testing.assert_array_equal(back.transform().u, result.field.u)
        np.testing.assert_array_equal(back.affine, result.affine)
        for side in ("fixed", "moving"):
            ours, theirs = getattr(back.pairs, side), getattr(result.pairs, side)
            np.testing.assert_array_equal(ours.masks(), theirs.masks())
            assert [roi.name for roi in ours.rois] == [roi.name for roi in theirs.rois]
        np.testing.assert_array_equal(back.pairs.similarity, result.pairs.similarity)
        np.testing.assert_array_equal(back.pairs.weights, result.pairs.weights)

    def test_warped_is_moving_on_the_fixed_grid(self, run: Path, result: RegistrationResult) -> None:
        warped = read_image(run / "warped.nii.gz")
        assert warped.grid.same_as(result.fixed.grid)
        np.testing.assert_allclose(warped.data, result.field.warp(result.moving).data, atol=1e-3)

    def test_maps_of_the_checks_are_files(self, tmp_path: Path) -> None:
        case = true_result(2)
        values = np.random.default_rng(0).uniform(0, 5, case.fixed.grid.shape).astype(np.float32)
        write_run(replace(case, maps={"spread": values}), tmp_path / "run", inverse=False)
        np.testing.assert_array_equal(read_image(tmp_path / "run" / "spread.nii.gz").data, values)

    @pytest.mark.parametrize(("dtype", "kept"), [("uint8", True), ("int8", False), ("float64", False)])
    def test_warped_keeps_whole_numbers_where_they_hold_it(self, tmp_path: Path, dtype: str, kept: bool) -> None:
        case = true_result(2)
        data = 200 * (case.moving.data - case.moving.data.min()) / np.ptp(case.moving.data)
        moving = replace(case.moving, data=data, stored=np.dtype(dtype))
        write_run(replace(case, moving=moving), tmp_path / "run", inverse=False)
        warped, _ = read_values(tmp_path / "run" / "warped.nii.gz")
        assert warped.dtype == np.dtype(dtype if kept else "float32")
        np.testing.assert_allclose(warped, case.field.warp(moving).data, atol=0.5 if kept else 1e-3)

    @pytest.mark.parametrize("how", ["transform.h5", "displacement.nii.gz"])
    def test_itk_makes_the_same_warped_image(self, run: Path, how: str) -> None:
        if how == "transform.h5":
            transform = sitk.ReadTransform(str(run / how))
        else:
            transform = sitk.DisplacementFieldTransform(sitk.ReadImage(str(run / how), sitk.sitkVectorFloat64))
        fixed, moving = (sitk.ReadImage(str(run.parent / f"{side}.nii.gz")) for side in ("fixed", "moving"))
        outside = read_image(run.parent / "moving.nii.gz").background[0]
        again = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, transform, sitk.sitkLinear, outside))
        warped = sitk.GetArrayFromImage(sitk.ReadImage(str(run / "warped.nii.gz")))
        assert np.abs(again - warped).max() < 0.01 * np.ptp(warped)

    def test_a_pair_has_one_id_and_name_in_both_segmentations(self, run: Path) -> None:
        headers = [nrrd.read_header(str(run / f"{side}_rois.seg.nrrd")) for side in ("fixed", "moving")]
        for i in range(8):
            for key in ("ID", "Name", "Color"):
                assert headers[0][f"Segment{i}_{key}"] == headers[1][f"Segment{i}_{key}"]
        assert headers[0]["Segment0_ID"] == "pair_1"
        assert headers[0]["Segment0_Name"] == "pair 1: liver"

    def test_label_maps_hold_pair_numbers(self, run: Path, result: RegistrationResult) -> None:
        labels, grid = read_labels(run / "moving_rois.nii.gz")
        assert grid.same_as(result.moving.grid)
        np.testing.assert_array_equal(labels, result.pairs.moving.label_map())

    def test_pairs_json(self, run: Path, result: RegistrationResult) -> None:
        rows = json.loads((run / "pairs.json").read_text("utf-8"))
        assert [row["id"] for row in rows] == list(range(1, 9))
        size = "volume_mm3" if result.fixed.grid.ndim == 3 else "area_mm2"
        for i, row in enumerate(rows):
            np.testing.assert_allclose(row["fixed"]["centroid_mm"], result.pairs.fixed.centroids[i])
            assert row["moving"][size] == pytest.approx(result.pairs.moving.volumes[i])
            first, last = row["fixed"]["box_first_vox"], row["fixed"]["box_last_vox"]
            np.testing.assert_array_equal([first[::-1], [b + 1 for b in last[::-1]]], result.pairs.fixed.boxes[i])

    def test_manifest(self, run: Path, result: RegistrationResult) -> None:
        manifest = json.loads((run / "manifest.json").read_text("utf-8"))
        raw = (run.parent / "fixed.nii.gz").read_bytes()
        assert manifest["images"]["fixed"]["sha256"] == hashlib.sha256(raw).hexdigest()
        assert manifest["images"]["moving"]["path"] == str(run.parent / "moving.nii.gz")
        assert manifest["images"]["fixed"]["grid"]["unit"] == "mm"
        assert manifest["versions"]["samreg"] == samreg_version()
        assert {"python", "numpy", "torch", "SimpleITK", "platform"} <= set(manifest["versions"])
        assert manifest["config"]["match"]["epsilon"] == result.config.match.epsilon
        assert manifest["seconds"] == {"segment": 1.25, "fit": 2.5}
        assert manifest["counts"] == {"pairs": 8}
        assert manifest["warnings"] == list(result.warnings)
        assert manifest["confidence"] == pytest.approx(0.83)
        assert manifest["seed"] == 0
        assert manifest["provenance"]["fixed"]["segmenter"] == "labels"


def test_what_json_cannot_hold_is_written_all_the_same(tmp_path: Path) -> None:
    odd = StartRecord("headers", {"headers": np.float32("nan"), "centres": float("inf")}, np.int64(3), 0.5)  # type: ignore[arg-type]
    result = replace(true_result(2), start=odd, losses={"rois": float("nan")})
    run = write_run(result, tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text("utf-8"), parse_constant=lambda name: pytest.fail(name))
    costs = {"headers": None, "centres": None}
    wanted = {"chosen": "headers", "costs": costs, "n_matches": 3, "agreeing": 0.5, "tried": {}, "both_ways": False}
    assert manifest["provenance"]["affine"] == wanted
    assert manifest["losses"] == {"rois": None}
    assert len(read_run(run).pairs) == 8


def samreg_version() -> str:
    import samreg

    return samreg.__version__


class TestOtherKinds:
    @pytest.mark.parametrize("colour", [True, False])
    def test_photographs_also_get_a_picture(self, tmp_path: Path, colour: bool) -> None:
        result = photograph_result(colour)
        folder = write_run(result, tmp_path / "run")
        assert {path.name for path in folder.iterdir()} == FILES - AFFINE | {"warped.png"}
        np.testing.assert_allclose(read_image(folder / "warped.png").data, result.fixed.data, atol=1)
        back = read_run(folder)
        assert back.fixed_grid == result.fixed.grid  # still in pixels
        np.testing.assert_array_equal(back.transform().u, result.field.u)
        rows = json.loads((folder / "pairs.json").read_text("utf-8"))
        assert rows[0]["fixed"]["area_px2"] == 200

    def test_pairs_without_a_transform(self, tmp_path: Path) -> None:
        folder = write_run(true_result(2, with_field=False), tmp_path / "run")
        left_out = {"displacement.nii.gz", "transform.h5", "warped.nii.gz", *INVERSE, *AFFINE}
        assert {path.name for path in folder.iterdir()} == FILES - left_out
        back = read_run(folder)
        assert back.field is None
        assert len(back.pairs) == 8
        with pytest.raises(InputError, match="no transform"):
            back.transform()

    def test_no_pairs_at_all(self, tmp_path: Path) -> None:
        result = true_result(3)
        none = PairedRois.none(result.fixed.grid, result.moving.grid)
        folder = write_run(replace(result, pairs=none), tmp_path / "run")
        assert len(read_run(folder).pairs) == 0
        assert not read_labels(folder / "fixed_rois.nii.gz")[0].any()

    def test_one_slice_of_a_volume_stays_3d(self, tmp_path: Path) -> None:
        result = true_result(3, n_slices=1)
        back = read_run(write_run(result, tmp_path / "run"))
        assert back.fixed_grid.shape == (1, 128, 160)
        np.testing.assert_array_equal(back.transform().u, result.field.u)

    def test_regions_of_one_image(self, tmp_path: Path) -> None:
        result = true_result(3)
        rois = result.pairs.fixed
        features = FeatureVolume(np.zeros((4, *rois.grid.shape), np.float16), rois.grid)
        regions = Regions(result.fixed, rois, np.ones((8, 4), np.float32), features, 0, np.full(8, -1), Origin("x"))
        folder = run_folder.write_regions(regions, tmp_path / "rois")
        assert {path.name for path in folder.iterdir()} == {
            "rois.seg.nrrd", "rois.nii.gz", "rois.json", "prototypes.npy", "preview.html", "manifest.json",
        }  # fmt: skip
        rows = json.loads((folder / "rois.json").read_text("utf-8"))
        assert rows[0]["slice"] is None
        assert len(rows) == 8
        assert np.load(folder / "prototypes.npy").shape == (8, 4)


def test_the_same_result_has_the_same_bytes(tmp_path: Path) -> None:
    """All but the time of day in the manifest; the report holds seconds, which are part of the result here."""
    result = true_result(3)
    first = write_run(result, tmp_path / "a")
    time.sleep(1.1)  # containers that store the time count whole seconds
    second = write_run(result, tmp_path / "b")
    for name in FILES - {"manifest.json"}:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    texts = [re.sub(r'"created": "[^"]*"', "", (run / "manifest.json").read_text("utf-8")) for run in (first, second)]
    assert texts[0] == texts[1]


class TestWholeOrNotAtAll:
    def test_a_failure_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise RuntimeError("disk on fire")

        monkeypatch.setattr(run_folder, "render_registration", fail)
        with pytest.raises(RuntimeError, match="disk on fire"):
            write_run(true_result(2), tmp_path / "new" / "deep" / "run")
        assert list(tmp_path.iterdir()) == []

    def test_a_failure_leaves_the_older_run(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        result = true_result(2)
        write_run(result, tmp_path / "run")
        before = (tmp_path / "run" / "manifest.json").read_bytes()
        monkeypatch.setattr(run_folder, "render_registration", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_run(result, tmp_path / "run", overwrite=True)
        assert (tmp_path / "run" / "manifest.json").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    def test_an_interrupt_leaves_nothing(self, tmp_path: Path) -> None:
        def write_half() -> None:
            with staged(tmp_path / "run") as stage:
                (stage / "half").write_text("half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_half()
        assert list(tmp_path.iterdir()) == []

    def test_nobody_sees_it_before_it_is_whole(self, tmp_path: Path) -> None:
        with staged(tmp_path / "run") as stage:
            (stage / "file").write_text("x")
            assert not (tmp_path / "run").exists()
        assert (tmp_path / "run" / "file").read_text("utf-8") == "x"

    def test_an_empty_folder_is_used(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        assert write_run(true_result(2), tmp_path / "run").is_dir()

    def test_a_full_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "thesis.txt").write_text("irreplaceable")
        with pytest.raises(InputError, match="not empty"):
            check_output(tmp_path / "run")
        with pytest.raises(InputError, match="not written by samreg"):
            check_output(tmp_path / "run", overwrite=True)
        assert (tmp_path / "run" / "thesis.txt").read_text("utf-8") == "irreplaceable"

    def test_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("")
        with pytest.raises(InputError, match="is a file"):
            check_output(tmp_path / "run")
        with pytest.raises(InputError, match="cannot be written"):
            check_output(tmp_path / "run" / "below")

    def test_overwrite_replaces_all_of_an_older_run(self, tmp_path: Path) -> None:
        write_run(true_result(2), tmp_path / "run")
        (tmp_path / "run" / "stale").write_text("")
        write_run(true_result(2), tmp_path / "run", overwrite=True)
        assert not (tmp_path / "run" / "stale").exists()


class TestDamage:
    @pytest.mark.parametrize(
        ("name", "content", "word"),
        [
            ("manifest.json", None, "not a run folder"),
            ("manifest.json", b"{", "damaged"),
            ("manifest.json", b'{"format": "samreg regions 1"}', "samreg regions 1"),
            ("pairs.json", None, "damaged"),
            ("pairs.json", b"[{}]", "damaged"),
            ("displacement.nii.gz", None, "no such file"),
            ("displacement.nii.gz", b"\x1f\x8b", "displacement"),
            ("fixed_rois.seg.nrrd", b"NRRD0005\n", "damaged"),
        ],
    )
    def test_one_clear_line(self, tmp_path: Path, name: str, content: bytes | None, word: str) -> None:
        run = write_run(true_result(2), tmp_path / "run")
        if content is None:
            (run / name).unlink()
        else:
            (run / name).write_bytes(content)
        with pytest.raises(InputError, match=word) as caught:
            read_run(run)
        assert "\n" not in str(caught.value)


def test_sha256_of_a_folder_depends_on_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    first = sha256_of(tmp_path)
    (tmp_path / "b").write_bytes(b"2")
    assert sha256_of(tmp_path) != first


def test_a_run_of_another_version_that_does_not_open_says_which_wrote_it(tmp_path: Path) -> None:
    folder = write_run(true_result(2), tmp_path / "run", inverse=False)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["versions"]["samreg"] = "0.0.7"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert read_run(folder).field is not None
    del manifest["affine"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"written by samreg 0\.0\.7"):
        read_run(folder)
