"""Batch work: one failure never stops the rest, nothing is done twice, an image is segmented once."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

import samreg.pipeline
from samreg import (
    DisplacementField,
    Grid,
    Image,
    PairedRois,
    Regions,
    RegistrationResult,
    preset,
    read_run,
    write_image,
)
from samreg.cli import main
from samreg.config import RegisterConfig
from samreg.errors import DatasetError
from samreg.runs import batch
from samreg.runs.batch import BatchOptions, run_batch, time_left

N_IMAGES = 4


def fake_register(fixed: Regions, moving: Regions, config: RegisterConfig, **_: object) -> RegistrationResult:
    if config.match.epsilon == 0.123:
        raise MemoryError("out of memory")
    return RegistrationResult(
        fixed=fixed.image,
        moving=moving.image,
        pairs=PairedRois(fixed.rois.select([0]), moving.rois.select([0]), np.asarray([0.9])),
        affine=None,
        field=DisplacementField.identity(fixed.image.grid),
        config=config,
        confidence=0.7,
        notes=("a warning",),
    )


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces segmentation and registration by fakes; returns the names of the images that are segmented."""
    from test_cache import CountedFinder

    finder = CountedFinder()
    monkeypatch.setattr(samreg.pipeline, "register_regions", fake_register)
    monkeypatch.setattr(batch, "shared_finder", lambda _: finder)
    return finder.calls


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four small images in all twelve ordered pairs."""
    grid = Grid((16, 18), (1.0, 1.5))
    for i in range(N_IMAGES):
        data = np.random.default_rng(i).uniform(0, 100, grid.shape)
        write_image(Image(data, grid), tmp_path / f"i{i}.mha")
    rows = [f"i{a}.mha,i{b}.mha" for a, b in itertools.permutations(range(N_IMAGES), 2)]
    path = tmp_path / "pairs.csv"
    path.write_text("fixed,moving\n" + "\n".join(rows) + "\n")
    return path


def options(table: Path, **changes: object) -> BatchOptions:
    folder = table.parent
    return BatchOptions(table, folder / "out", **{"jobs": 0, "cache_dir": folder / "cache", **changes})


def test_checks_are_asked_for(table: Path, pipeline: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def register(fixed: Regions, moving: Regions, config: RegisterConfig, **more: object) -> RegistrationResult:
        asked.append(more["checks"])
        return fake_register(fixed, moving, config)

    monkeypatch.setattr(samreg.pipeline, "register_regions", register)
    assert run_batch(options(table)).n_done == 12
    assert run_batch(options(table, checks="all")).n_done == 12  # they are other work than the quick ones
    assert asked == ["quick"] * 12 + ["all"] * 12


def test_all_pairs_cost_one_segmentation_an_image(table: Path, pipeline: list[str]) -> None:
    said: list[str] = []
    seen: list[tuple[int, int]] = []
    summary = run_batch(options(table), message=said.append, progress=lambda _, done, total: seen.append((done, total)))
    assert (summary.n_pairs, summary.n_done, summary.n_failed) == (12, 12, 0)
    assert summary.n_encoded == N_IMAGES
    assert sorted(pipeline) == [f"i{i}.mha" for i in range(N_IMAGES)]
    assert seen == [(i, 12) for i in range(13)]
    assert said[-1].startswith("12 of 12 pairs, 0 failed, 4 images encoded")
    assert len(list((table.parent / "out" / "runs").iterdir())) == 12
    rows = list(csv.DictReader((table.parent / "out" / "summary.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in rows[:2]] == ["i0<-i1", "i0<-i2"]
    assert rows[0]["confidence"] == "0.7"
    assert rows[0]["warnings"] == "a warning"
    run = read_run(rows[0]["run"])
    assert len(run.pairs) == 1
    assert [run.manifest["images"][side]["name"] for side in ("fixed", "moving")] == ["i0.mha", "i1.mha"]


def test_a_second_run_does_nothing_and_a_lost_run_folder_is_made_again(table: Path, pipeline: list[str]) -> None:
    run_batch(options(table))
    said: list[str] = []
    again = run_batch(options(table), message=said.append)
    assert (again.n_done, again.n_kept) == (0, 12)
    assert said == ["12 of 12 pairs are registered already"]
    shutil.rmtree(next((table.parent / "out" / "runs").iterdir()))
    third = run_batch(options(table))
    assert (third.n_done, third.n_kept, third.n_encoded) == (1, 11, 0)
    assert len(pipeline) == N_IMAGES


def test_the_index_shows_every_pair_and_its_pictures(table: Path, pipeline: list[str]) -> None:
    (table.parent / "i2.mha").write_bytes(b"not an image")
    out = table.parent / "out"
    run_batch(options(table))
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<tr data-id=") == 12
    assert "12 pairs: 6 LOOK, 6 failed." in page
    for link in re.findall(r"(?:href|src)='([^']+)'", page):
        assert (out / unquote(link)).is_file()
    assert len(re.findall(r"src='thumbnails/[^']+-(?:before|after).jpg'", page)) == 12
    assert next((out / "thumbnails").iterdir()).read_bytes().startswith(b"\xff\xd8")
    made = (out / "thumbnails" / "i0_-i1-after.jpg").stat().st_mtime_ns
    run_batch(options(table))
    assert (out / "thumbnails" / "i0_-i1-after.jpg").stat().st_mtime_ns == made


def test_other_settings_are_other_work(table: Path, pipeline: list[str]) -> None:
    run_batch(options(table))
    other = run_batch(options(table, config=replace(preset("default"), seed=5)))
    assert (other.n_done, other.n_kept) == (12, 0)


def test_one_failure_never_stops_the_rest(table: Path, pipeline: list[str]) -> None:
    (table.parent / "i1.mha").write_bytes(b"not an image")
    (table.parent / "i2.mha").unlink()
    said: list[str] = []
    summary = run_batch(options(table), message=said.append)
    assert (summary.n_done, summary.n_failed) == (2, 10)  # only i0 and i3 are left
    failures = list(csv.DictReader(summary.failures.read_text(encoding="utf-8").splitlines()))
    assert len(failures) == 10
    assert {"i1.mha", "i2.mha"} <= {Path(row["fixed"]).name for row in failures}
    assert all(row["error"] for row in failures)
    assert sum(line.startswith("failed: ") for line in said) == 10
    again = run_batch(options(table))
    assert (again.n_done, again.n_kept, again.n_failed) == (0, 2, 10)
    retried = run_batch(options(table, retry_failed=True))
    assert (retried.n_done, retried.n_failed) == (0, 10)


def test_a_fault_of_ours_is_a_failure_of_the_pair_too(table: Path, pipeline: list[str]) -> None:
    config = preset("default")
    summary = run_batch(options(table, config=replace(config, match=replace(config.match, epsilon=0.123))))
    assert summary.n_failed == 12
    assert "MemoryError: out of memory" in summary.failures.read_text(encoding="utf-8")


def test_without_a_cache_every_pair_segments_both(table: Path, pipeline: list[str]) -> None:
    summary = run_batch(options(table, cache=False))
    assert summary.n_encoded == len(pipeline) == 24


def test_labels_in_the_table_are_scored(table: Path, pipeline: list[str]) -> None:
    grid = Grid((16, 18), (1.0, 1.5))
    labels = np.zeros(grid.shape)
    labels[4:9, 5:9] = 2
    write_image(Image(labels, grid), table.parent / "l.mha")
    table.write_text("fixed,moving,id,fixed_labels,moving_labels\ni0.mha,i1.mha,a/b c,l.mha,l.mha\n", encoding="utf-8")
    summary = run_batch(options(table))
    record = json.loads(summary.records.read_text(encoding="utf-8"))
    assert record["metrics"]["dice"] == {"2": 1.0}
    assert Path(record["run"]).name == "a_b_c"
    assert (
        next(csv.DictReader((table.parent / "out" / "summary.csv").read_text(encoding="utf-8").splitlines()))["dice"]
        == "1.0"
    )


def test_ids_that_file_systems_cannot_tell_apart_get_folders_of_their_own(table: Path, pipeline: list[str]) -> None:
    table.write_text(
        "fixed,moving,id\ni0.mha,i1.mha,a/b\ni0.mha,i2.mha,a?b\ni0.mha,i3.mha,A b\ni1.mha,i2.mha,///\n", "utf-8"
    )
    summary = run_batch(options(table))
    assert summary.n_done == 4
    names = [path.name for path in (table.parent / "out" / "runs").iterdir()]
    assert len({name.lower() for name in names}) == 4


def test_a_table_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        run_batch(BatchOptions(tmp_path / "none.csv", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("seconds", "done", "total", "text"),
    [
        (10, 5, 10, "2.0 s a pair, 10 s left"),
        (100, 10, 100, "10.0 s a pair, 15 min 00 s left"),
        (1000, 100, 2000, "10.0 s a pair, 5 h 16 min left"),
        (3, 3, 3, "1.0 s a pair, 0 s left"),
    ],
)
def test_time_left(seconds: float, done: int, total: int, text: str) -> None:
    assert time_left(seconds, done, total) == text


def test_the_command(table: Path, pipeline: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = str(table.parent / "out")
    assert main(["batch", str(table), "--out", out, "--jobs", "0", "--cache-dir", str(table.parent / "cache")]) == 0
    said = capsys.readouterr().out
    assert "12 registered, 0 kept from an earlier run, 0 failed, " in said
    assert "4 images encoded" in said
    (table.parent / "i0.mha").unlink()
    shutil.rmtree(out)
    assert main(["batch", str(table), "--out", out, "--jobs", "0"]) == 3
    assert main(["batch", str(table.parent / "no.csv"), "--out", out]) == 2


@pytest.mark.slow
def test_real_images_in_all_pairs_on_two_processes(tmp_path: Path, data_root: Path) -> None:
    """The whole job on real slices, from the command line, with the model."""
    from samreg import read_image

    rows = ["fixed,moving"]
    for i, patient in enumerate(sorted((data_root / "acdc" / "training").glob("patient*"))[:3]):
        stack = read_image(next(patient.glob("*frame01.nii.gz")))
        middle = stack.grid.shape[0] // 2
        write_image(Image(stack.data[middle], stack.grid.slice_grid(0)), tmp_path / f"s{i}.mha")
    rows += [f"s{a}.mha,s{b}.mha" for a, b in itertools.permutations(range(3), 2)]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    command = [sys.executable, "-m", "samreg", "batch", str(tmp_path / "pairs.csv"), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "SAMREG_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--jobs", "2"], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "6 registered, 0 kept from an earlier run, 0 failed, " in done.stdout
    assert ", 3 images encoded, " in done.stdout
