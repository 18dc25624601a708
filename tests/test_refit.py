"""A person corrects the pairs of a run, in its files or by `samreg pairs`, and `samreg fit` registers again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nrrd
import numpy as np
import pytest

import samreg
from samreg.cli import main
from samreg.cli.demo import write_phantom
from samreg.errors import InputError, InputWarning
from samreg.geometry.phantom import phantom
from samreg.geometry.rois import Roi, RoiSet
from samreg.io.images import read_labels
from samreg.io.palette import PALETTE
from samreg.io.rois import read_segmentation, write_segmentation
from samreg.io.segments import segment_entries
from samreg.regions.regions import Regions
from samreg.runs.pair_files import edit_pairs
from samreg.runs.refit import config_of
from samreg.runs.run_folder import read_run
from samreg.viewer.scene import Scene

SIDES = ("fixed", "moving")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An affine run of the phantom: all of it follows from the centroids of the pairs."""
    folder = tmp_path_factory.mktemp("refit")
    write_phantom(phantom(2), folder / "images")
    labels = [f"--{side}-labels={folder / 'images' / f'{side}_labels.nii.gz'}" for side in SIDES]
    images = [str(folder / "images" / f"{side}.nii.gz") for side in SIDES]
    options = ["--labels-only", "--transform", "affine", "--work-size", "64"]
    assert main(["register", *images, *labels, *options, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(first: Path, tmp_path: Path) -> Path:
    return shutil.copytree(first, tmp_path / "run")


def segments(run: Path, side: str) -> tuple[Path, RoiSet, list[dict[str, str]]]:
    path = run / f"{side}_rois.seg.nrrd"
    return path, read_segmentation(path)[0], segment_entries(path)


def without(run: Path, side: str, number: int) -> None:
    """Remove a segment, as 3D Slicer does."""
    path, rois, entries = segments(run, side)
    kept = [i for i, entry in enumerate(entries) if entry["ID"] != f"pair_{number}"]
    write_segmentation(rois.select(kept), path, entries=[entries[i] for i in kept])


def add(run: Path, side: str, name: str, identity: str) -> None:
    path, rois, entries = segments(run, side)
    mask = np.zeros(rois.grid.shape, bool)
    mask[20:30, 40:55] = True
    more = RoiSet((*rois.rois, *RoiSet.from_masks([mask], rois.grid).rois), rois.grid)
    # As Slicer does it: a layer of its own.
    last = max(int(entry["Layer"]) for entry in entries) + 1
    new = {"ID": identity, "Name": name, "LabelValue": "1", "Layer": str(last)}
    write_segmentation(more, path, entries=[*entries, new])


def mark(run: Path, number: int, keep: object) -> None:
    rows = json.loads((run / "pairs.json").read_text("utf-8"))
    rows[number - 1]["keep"] = keep
    (run / "pairs.json").write_text(json.dumps(rows))


def ids(run: Path) -> list[int]:
    return [row["id"] for row in read_run(run).rows]


class TestReading:
    def test_untouched(self, run: Path) -> None:
        assert ids(run) == list(range(1, 9))

    def test_keep_false_counts(self, run: Path) -> None:
        mark(run, 3, False)
        assert ids(run) == [1, 2, 4, 5, 6, 7, 8]
        assert [roi.name for roi in read_run(run).pairs.fixed.rois][2] == "4"

    def test_keep_wants_true_or_false(self, run: Path) -> None:
        mark(run, 3, "no")
        with pytest.raises(InputError, match="keep of pair 3 is 'no'"):
            read_run(run)

    @pytest.mark.parametrize("side", SIDES)
    def test_a_removed_segment_removes_its_pair(self, run: Path, side: str) -> None:
        before = read_run(run).pairs
        without(run, side, 3)
        with pytest.warns(InputWarning, match=f"pair 3 is left out, its segment is missing in the {side} file"):
            after = read_run(run)
        assert [row["id"] for row in after.rows] == [1, 2, 4, 5, 6, 7, 8]
        np.testing.assert_array_equal(after.pairs.moving.masks(), np.delete(before.moving.masks(), 2, axis=0))

    def test_a_changed_segment_has_its_new_outline(self, run: Path) -> None:
        path, rois, entries = segments(run, "moving")
        smaller = Roi(rois[4].mask[:-3], rois[4].start, rois[4].quality, rois[4].name)
        write_segmentation(RoiSet((*rois.rois[:4], smaller, *rois.rois[5:]), rois.grid), path, entries=entries)
        assert read_run(run).pairs.moving[4].n_voxels == smaller.n_voxels < rois[4].n_voxels

    def test_added_segments_of_one_name_are_a_given_pair(self, run: Path) -> None:
        add(run, "fixed", "cyst", "Segment_1")
        add(run, "moving", "cyst", "Segment_2")
        back = read_run(run)
        assert [row["id"] for row in back.rows] == list(range(1, 10))
        assert back.rows[-1]["name"] == back.pairs.moving[8].name == "cyst"
        assert back.pairs.is_given[8]
        assert back.pairs.weights[8] == 1
        assert back.pairs.fixed[8].n_voxels == 150

    def test_an_added_segment_without_a_partner_is_named(self, run: Path) -> None:
        add(run, "fixed", "cyst", "Segment_1")
        add(run, "moving", "cust", "Segment_1")
        with pytest.warns(InputWarning, match="under the name") as caught:
            assert ids(run) == list(range(1, 9))
        assert {"cyst", "cust"} == {str(w.message).split("the name ")[1].split(";")[0] for w in caught}

    def test_the_viewer_shows_all_under_their_numbers(self, run: Path) -> None:
        mark(run, 1, False)
        rows = Scene.load(run).pairs()
        assert [row["id"] for row in rows] == list(range(1, 9))
        assert [row["keep"] for row in rows] == [False] + [True] * 7


class TestPairsCommand:
    def test_it_lists(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        before = {path.name: path.read_bytes() for path in run.iterdir()}
        assert main(["pairs", str(run), "--drop", "3,7"]) == 0
        assert "6 of 8 pairs are kept" in capsys.readouterr().out
        changed = {path.name for path in run.iterdir() if path.read_bytes() != before[path.name]}
        assert changed == {"pairs.json"}
        assert ids(run) == [1, 2, 4, 5, 6, 8]

    def test_what_is_used_comes_first_and_the_rest_says_why_not(
        self, run: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = run / "pairs.json"
        rows = json.loads(path.read_text(encoding="utf-8"))
        rows[0]["confidence"], rows[1]["background"], rows[2]["keep"] = 0.0, True, False
        rows[5]["confidence"] = 2.0
        path.write_text(json.dumps(rows), encoding="utf-8")
        assert main(["pairs", str(run)]) == 0
        out = capsys.readouterr().out
        listed = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
        cells = [[cell.strip() for cell in line] for line in listed]
        assert [int(line[0]) for line in cells] == [6, 4, 5, 7, 8, 2, 3, 1]
        assert {int(line[0]): line[2] for line in cells[5:]} == {1: "weight 0", 2: "background", 3: "rejected"}
        assert all(line[5].endswith(" cm²") for line in cells)
        assert "7 of 8 pairs are kept, 5 of them used" in out

    def test_keep_only_takes_pairs_back(self, run: Path) -> None:
        edit_pairs(run, drop=[1, 2])
        assert main(["pairs", str(run), "--keep-only", "2", "5"]) == 0
        assert ids(run) == [2, 5]

    def test_rename_is_in_all_three_files(self, run: Path) -> None:
        old = {side: read_segmentation(run / f"{side}_rois.seg.nrrd")[0] for side in SIDES}
        assert main(["pairs", str(run), "--rename", "2", "left lung", "8", "cyst"]) == 0
        assert [row["name"] for row in read_run(run).rows][1] == "left lung"
        for side in SIDES:
            header = nrrd.read_header(str(run / f"{side}_rois.seg.nrrd"))
            assert header["Segment1_Name"] == "pair 2: left lung"
            assert header["Segment1_ID"] == "pair_2"
            np.testing.assert_array_equal(
                read_segmentation(run / f"{side}_rois.seg.nrrd")[0].masks(), old[side].masks()
            )
        assert read_run(run).pairs.fixed[7].name == "cyst"

    @pytest.mark.parametrize(
        ("arguments", "word"),
        [
            (["--drop", "9"], "has no pair 9; its pairs are 1 to 8"),
            (["--drop", "liver"], "wants numbers"),
            (["--rename", "3"], "a number and a name"),
            (["--rename", "3", " "], "is empty"),
        ],
    )
    def test_refused(self, run: Path, arguments: list[str], word: str, capfd: pytest.CaptureFixture[str]) -> None:
        before = (run / "pairs.json").read_bytes()
        assert main(["pairs", str(run), *arguments]) == 2
        assert word in capfd.readouterr().err
        assert (run / "pairs.json").read_bytes() == before

    def test_no_run(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["pairs", str(tmp_path)]) == 2
        assert "no pairs.json" in capfd.readouterr().err


class TestFit:
    def test_a_wrong_pair_is_rejected_in_three_ways_with_one_result(
        self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        truth = read_run(run).transform().u
        wrong, entries = segments(run, "moving")[1:]
        moved = Roi(wrong[7].mask, (5, 5), 1.0, wrong[7].name)  # far from where it belongs
        rois = RoiSet((*wrong.rois[:7], moved), wrong.grid)
        write_segmentation(rois, run / "moving_rois.seg.nrrd", entries=entries)
        spoilt = samreg.fit_run(run)
        assert np.abs(spoilt.field.u - truth).max() > 5

        by_file, by_segment, by_command = (shutil.copytree(run, tmp_path / name) for name in "abc")
        mark(by_file, 8, False)
        without(by_segment, "fixed", 8)
        assert main(["pairs", str(by_command), "--drop", "8"]) == 0
        assert main(["fit", str(by_command), "--out", str(tmp_path / "again")]) == 0
        assert "with 7 pairs; that run was fitted with 8" in capsys.readouterr().out
        with pytest.warns(InputWarning, match="pair 8 is left out"):
            results = [samreg.fit_run(folder).field.u for folder in (by_file, by_segment)]
        found = read_run(tmp_path / "again")
        for u in (*results, found.transform().u):
            np.testing.assert_array_equal(u, results[0])
        assert np.abs(results[0] - truth).max() < np.abs(spoilt.field.u - truth).max() / 2
        assert len(found.pairs) == 7
        assert found.manifest["config"] == read_run(run).manifest["config"]
        assert found.manifest["images"] == read_run(run).manifest["images"]

    def test_one_pair_rejected_and_one_added_is_the_same_from_python_the_command_line_and_edited_files(
        self, run: Path, tmp_path: Path
    ) -> None:
        before = read_run(run)
        by_file, by_command = (shutil.copytree(run, tmp_path / name) for name in "ab")
        for folder in (by_file, by_command):
            for side in SIDES:
                add(folder, side, "cyst", "Segment_1")
        mark(by_file, 8, False)
        assert main(["pairs", str(by_command), "--drop", "8"]) == 0
        assert main(["fit", str(by_command), "--out", str(tmp_path / "again")]) == 0

        images = [samreg.read_image(before.manifest["images"][side]["path"]) for side in SIDES]
        cysts = []
        for image in images:
            mask = np.zeros(image.grid.shape, bool)
            mask[20:30, 40:55] = True
            cysts.append(RoiSet.from_masks([mask], image.grid, names=["cyst"]))
        kept = before.pairs.select(range(7)).concatenate(samreg.PairedRois(*cysts, np.ones(1), np.ones(1)))
        nothing = [Regions.none(image) for image in images]
        in_python = samreg.register_regions(*nothing, config_of(before.manifest["config"]), extra_pairs=kept)

        fields = [in_python.field.u, samreg.fit_run(by_file).field.u, read_run(tmp_path / "again").transform().u]
        assert np.abs(fields[0] - before.transform().u).max() > 0.5
        for u in fields[1:]:
            np.testing.assert_array_equal(u, fields[0])
        assert [row["name"] for row in read_run(tmp_path / "again").rows][-1] == "cyst"
        assert len(read_run(tmp_path / "again").pairs) == 8

    def test_pairs_keep_their_numbers_and_colours(self, run: Path, tmp_path: Path) -> None:
        rows = json.loads((run / "pairs.json").read_text("utf-8"))
        for k, row in enumerate(rows):
            row["colour"] = PALETTE[(3 * k + 7) % 10]
        (run / "pairs.json").write_text(json.dumps(rows), "utf-8")
        for side in SIDES:
            add(run, side, "cyst", "Segment_1")
        for number in (3, 8):
            mark(run, number, False)
        samreg.write_run(samreg.fit_run(run), tmp_path / "again")
        numbers = [1, 2, 4, 5, 6, 7, 9]  # not 8: that pair may be taken back
        again = tmp_path / "again"
        assert ids(again) == numbers
        for side in SIDES:
            assert [entry["ID"] for entry in segments(again, side)[2]] == [f"pair_{n}" for n in numbers]
            labels = read_labels(again / f"{side}_rois.nii.gz")[0]
            assert set(np.unique(labels)) <= {0, *numbers}
            assert labels.max() == 9
        rows = json.loads((again / "pairs.json").read_text("utf-8"))
        assert {row["structure"] for row in rows} <= set(numbers)
        assert next(row for row in rows if row["id"] == 9)["name"] == "cyst"
        colours = {row["id"]: tuple(row["colour"]) for row in rows}
        assert all(colours[n] == PALETTE[(3 * (n - 1) + 7) % 10] for n in numbers[:-1])
        assert '"number":9' in (again / "report.html").read_text("utf-8").replace(" ", "")

    def test_nothing_changed_gives_the_same_field(self, run: Path) -> None:
        np.testing.assert_array_equal(samreg.fit_run(run).field.u, read_run(run).transform().u)

    def test_an_image_that_is_gone_or_another(
        self, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        manifest = json.loads((run / "manifest.json").read_text("utf-8"))
        images = {side: Path(manifest["images"][side]["path"]) for side in SIDES}
        manifest["images"]["fixed"]["path"] = str(tmp_path / "gone.nii.gz")
        (run / "manifest.json").write_text(json.dumps(manifest))
        out = ["--out", str(tmp_path / "again")]
        assert main(["fit", str(run), *out]) == 2
        assert "give it by --fixed" in capfd.readouterr().err
        assert main(["fit", str(run), *out, "--fixed", str(images["moving"])]) == 2
        assert "another sha256" in capfd.readouterr().err
        assert not (tmp_path / "again").exists()
        assert main(["fit", str(run), *out, "--fixed", str(images["fixed"])]) == 0
        assert len(read_run(tmp_path / "again").pairs) == 8

    def test_not_into_itself(self, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
        assert main(["fit", str(run), "--out", str(run), "--overwrite"]) == 2
        assert "is the run itself" in capfd.readouterr().err


class TestSettings:
    def test_they_come_back_from_the_manifest(self) -> None:
        from dataclasses import asdict

        for name in ("default", "fast", "regions", "paper"):
            config = samreg.preset(name)
            assert config_of(json.loads(json.dumps(asdict(config)))) == config

    def test_settings_of_another_version_are_named(self) -> None:
        with pytest.warns(InputWarning, match=r"left out: preset, fit\.flow_guidance"):
            found = config_of({"preset": "paper", "fit": {"flow_guidance": 15.0, "work_size": 64}})
        assert found.fit.work_size == 64
