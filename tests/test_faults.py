"""Faults at every stage of a run: nothing half-written is taken for whole, nothing finished is lost, and it is said.

What the readers and the cache make of damaged files is in test_fuzz.py and test_cache.py; killed benchmarks, trainings
and Dask workers are in test_benchmark.py and test_training_run.py.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sam_fixtures import write_sam_checkpoint
from samreg.cli.demo import write_phantom
from samreg.runs.run_folder import read_run
from test_masks import QUICK, small

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

REGISTER_PLACES = {
    "reading the moving image": ("samreg.io.images:read_values", 2),
    "start": ("samreg.initial.start:find_start", 1),
    "pairs": ("samreg.pairs.find:find_pairs", 1),
    "fit": ("samreg.fit.transform:fit_transform", 1),
    "checks": ("samreg.checks.registry:run_checks", 1),
    "pair files": ("samreg.runs.pair_files:write_pair_files", 1),
    "displacement": ("samreg.io.transforms:write_displacement", 1),
    "transform": ("samreg.io.transforms:write_transform", 1),
    "manifest": ("samreg.files:write_json", 2),
    "moving the finished folder": ("samreg.files:_swap", 1),
}
"""Stages of `samreg register`, and the function that is entered there."""
SAID = {
    "full": (2, "No space left on device"),
    "readonly": (2, "Read-only file system"),
    "memory": (1, "not enough memory"),
    "interrupt": (130, "interrupted"),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults") / "images"
    write_phantom(small(), folder)
    return folder


def _argv(images: Path, *more: str) -> list[str]:
    given = [f"--{side}-labels={images / side}_labels.nii.gz" for side in ("fixed", "moving")]
    two = [str(images / f"{side}.nii.gz") for side in ("fixed", "moving")]
    return ["register", *two, "--out", "out", "--labels-only", "--preset", "fast", *QUICK, *given, *more]


@functools.cache
def _loaded() -> subprocess.Popen[str]:
    """The process that has loaded samreg and forks for each case; one for all tests of this process."""
    command = [sys.executable, str(Path(__file__).parent / "faults.py")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")

    def end() -> None:
        process.kill()
        process.communicate()

    atexit.register(end)
    return process


def _results(cases: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    (folder / "cases.json").write_text(json.dumps(cases))
    process = _loaded()
    process.stdin.write(json.dumps([str(folder / "cases.json"), str(folder / "results.json")]) + "\n")
    process.stdin.flush()
    assert select.select([process.stdout], [], [], 900)[0], "no answer for too long"
    assert process.stdout.readline() == "done\n"
    return json.loads((folder / "results.json").read_text("utf-8"))


def test_a_fault_at_any_stage_of_register_leaves_no_run_and_says_why(images: Path, tmp_path: Path) -> None:
    cases = []
    for stage, (place, nth) in REGISTER_PLACES.items():
        for fault in ("kill", *SAID):
            folder = tmp_path / f"{stage}-{fault}".replace(" ", "-")
            folder.mkdir()
            cases.append({
                "argv": _argv(images), "folder": str(folder), "place": place, "nth": nth, "fault": fault,
                "stage": stage,
            })  # fmt: skip
    for case, result in zip(cases, _results(cases, tmp_path), strict=True):
        where = f"{case['stage']}, {case['fault']}: {result}"
        folder = Path(case["folder"])
        assert not (folder / "out").exists(), where
        if case["fault"] == "kill":
            assert result["status"] == -9, where
            continue
        status, text = SAID[case["fault"]]
        assert result["status"] == status, where
        assert text in result["log"], where
        assert "Traceback" not in result["log"], where
        # Nothing is left behind, hidden or not, by a process that could still tidy up.
        assert [p.name for p in folder.iterdir()] == ["log.txt"], where


def test_after_a_kill_the_same_command_makes_a_whole_run(images: Path, tmp_path: Path) -> None:
    case = {"argv": _argv(images), "folder": str(tmp_path), "place": "samreg.files:_swap", "fault": "kill"}
    again = {**case, "place": "samreg.files:sha256_of", "nth": 1, "fault": "none"}
    killed, whole = _results([case, again], tmp_path)
    assert killed["status"] == -9
    assert whole["status"] == 0, whole
    assert len(read_run(tmp_path / "out").pairs) > 0


def test_an_older_run_stays_when_its_replacement_fails(images: Path, tmp_path: Path) -> None:
    first = {"argv": _argv(images), "folder": str(tmp_path), "place": "samreg.files:sha256_of", "fault": "none"}
    cases = [first]
    for place, nth in REGISTER_PLACES.values():
        for fault in ("kill", "full"):
            cases.append({**first, "argv": _argv(images, "--overwrite"), "place": place, "nth": nth, "fault": fault})
    results = _results(cases, tmp_path)
    assert results[0]["status"] == 0
    assert [r["status"] for r in results[1:]] == [-9, 2] * len(REGISTER_PLACES)
    assert len(read_run(tmp_path / "out").pairs) > 0


def test_of_two_runs_into_one_folder_the_second_is_refused_and_takes_nothing_away(images: Path, tmp_path: Path) -> None:
    case = {"argv": _argv(images), "folder": str(tmp_path), "place": "samreg.files:_swap", "fault": "intrude"}
    [result] = _results([case], tmp_path)
    assert result["status"] == 2, result
    assert (tmp_path / "out" / "theirs.txt").read_text("utf-8") == "another run"
    assert "Traceback" not in result["log"]


@pytest.mark.parametrize("fault", ["kill", "full", "memory"])
def test_a_batch_keeps_what_it_finished(images: Path, tmp_path: Path, fault: str) -> None:
    rows = ["id,fixed,moving", *(f"{i},{images}/fixed.nii.gz,{images}/moving.nii.gz" for i in ("one", "two"))]
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    write_sam_checkpoint(tmp_path / "small.pth")  # the default network takes seconds for each image
    settings = {"--transform": "none", "--segmenter": "small.pth", "--preset": "fast", "--jobs": "0"}
    argv = ["batch", "pairs.csv", "--out", "out", *(word for setting in settings.items() for word in setting)]
    case = {
        "argv": argv, "folder": str(tmp_path), "place": "samreg.runs.run_folder:write_run", "nth": 2, "fault": fault,
    }  # fmt: skip
    again = {**case, "place": "samreg.files:sha256_of", "nth": 1, "fault": "none"}
    broken, finished = _results([case, again], tmp_path)
    assert broken["status"] != 0, broken
    assert (tmp_path / "out" / "runs" / "one" / "manifest.json").is_file()
    done = (tmp_path / "out" / "runs" / "one" / "manifest.json").stat().st_mtime_ns
    if fault == "kill":
        assert finished["status"] == 0, finished
        assert read_run(tmp_path / "out" / "runs" / "two")
    assert (tmp_path / "out" / "runs" / "one" / "manifest.json").stat().st_mtime_ns == done
