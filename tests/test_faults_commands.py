"""Faults in fit, pairs, view, benchmark, train and the cache, each at a named point; those of register and batch are in
test_faults.py.

Whatever is written goes into a hidden file beside its place first, and `Path.replace` puts it there: the worst moment
is the one before that move.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from samreg.cli import main
from samreg.cli.demo import write_phantom
from samreg.files import sha256_of
from samreg.runs.records import read_records
from samreg.runs.run_folder import read_run
from test_faults import SAID, _argv, _results
from test_masks import small

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

MOVE = "pathlib:Path.replace"
NOTHING = {"place": "samreg.files:sha256_of", "fault": "none", "nth": 0}
"""A case in which nothing happens."""
FIT_PLACES = {
    "reading the pairs": ("samreg.runs.pair_files:read_every_pair", 1),
    "reading the images": ("samreg.io.images:read_values", 1),
    "fit": ("samreg.fit.transform:fit_transform", 1),
    "writing the run": ("samreg.runs.pair_files:write_pair_files", 1),
    "moving the finished folder": ("samreg.files:_swap", 1),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An affine run of the phantom."""
    folder = tmp_path_factory.mktemp("run")
    write_phantom(small(), folder / "images")
    argv = _argv(folder / "images", "--transform", "affine", "--no-inverse")
    argv[argv.index("out")] = str(folder / "run")
    assert main(argv) == 0
    return folder / "run"


def test_a_fault_at_any_stage_of_fit_leaves_no_run_and_the_old_one_as_it_was(run: Path, tmp_path: Path) -> None:
    before, cases = sha256_of(run), []
    for stage, (place, nth) in FIT_PLACES.items():
        for fault in ("kill", "full", "interrupt"):
            folder = tmp_path / f"{stage}-{fault}".replace(" ", "-")
            folder.mkdir()
            argv = ["fit", str(run), "--out", "out"]
            cases.append({"argv": argv, "folder": str(folder), "place": place, "nth": nth, "fault": fault})
    for case, result in zip(cases, _results(cases, tmp_path), strict=True):
        where = f"{case}: {result}"
        left = sorted(p.name for p in Path(case["folder"]).iterdir())
        assert "out" not in left, where
        if case["fault"] == "kill":
            assert result["status"] == -9, where
        else:
            status, text = SAID[case["fault"]]
            assert result["status"] == status, where
            assert text in result["log"], where
            assert "Traceback" not in result["log"], where
            assert left == ["log.txt"], where
    assert sha256_of(run) == before


def test_pairs_that_were_not_written_are_as_they_were(run: Path, tmp_path: Path) -> None:
    """Struck before `pairs.json` is moved into its place."""
    before = (run / "pairs.json").read_bytes()
    cases = []
    for fault in ("kill", "full"):
        copy = shutil.copytree(run, tmp_path / fault / "copy")
        argv = ["pairs", str(copy), "--drop", "1"]
        cases.append({"argv": argv, "folder": str(copy.parent), "place": MOVE, "fault": fault})
    for case, result in zip(cases, _results(cases, tmp_path), strict=True):
        assert result["status"] == (-9 if case["fault"] == "kill" else 2), result
        assert "Traceback" not in result["log"]
        pairs = Path(case["folder"]) / "copy" / "pairs.json"
        assert pairs.read_bytes() == before
        assert main(case["argv"]) == 0
        assert not json.loads(pairs.read_text("utf-8"))[0]["keep"]


_EDIT = """
from pathlib import Path
from samreg.runs.run_folder import read_run
from samreg.viewer.edits import Edits
run = read_run(Path("copy"))
Edits(run).keep([1], False)
"""


def test_a_change_in_the_viewer_is_whole_or_not_at_all(run: Path, tmp_path: Path) -> None:
    """Killed before `edits.json` is there (1), between it and `pairs.json` (2), and before it says done (3)."""
    from samreg.viewer.edits import Edits

    cases = []
    for nth in (1, 2, 3):
        folder = shutil.copytree(run, tmp_path / str(nth) / "copy").parent
        cases.append({"program": _EDIT, "folder": str(folder), "place": MOVE, "nth": nth, "fault": "kill"})
    for case, result in zip(cases, _results(cases, tmp_path), strict=True):
        assert result["status"] == -9, result
        found = read_run(Path(case["folder"]) / "copy")
        edits = Edits(found)  # another server opens the run
        kept = case["nth"] == 1
        assert edits.rows[1]["keep"] is kept, case
        assert json.loads((found.folder / "pairs.json").read_text("utf-8"))[0]["keep"] is kept
        assert len(edits.done) == (0 if kept else 1)


_CACHE = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
from benchmarks.fuzz_inputs import TARGETS
TARGETS["cache"].make(Path("cache"))
"""


def _struck_and_again(cases: list[dict[str, Any]], folder: Path) -> list[tuple[dict[str, Any], Any, Any]]:
    """Each case in a folder of its own, and then again without a fault: the case, and how both ended."""
    both = []
    for number, case in enumerate(cases):
        place = folder / str(number)
        place.mkdir()
        case["folder"] = str(place)
        both += [case, {**case, **NOTHING}]
    results = _results(both, folder)
    return list(zip(cases, results[::2], results[1::2], strict=True))


def test_a_cache_entry_is_whole_or_not_there(tmp_path: Path) -> None:
    """Struck before the entry is packed, and before it is moved into its place."""
    from benchmarks.fuzz_inputs import TARGETS

    places = ("samreg.regions.cache:_pack", MOVE)
    cases = [{"program": _CACHE, "place": p, "fault": f} for p in places for f in ("kill", "full", "readonly")]
    for case, struck, whole in _struck_and_again(cases, tmp_path):
        if case["fault"] == "kill":
            assert struck["status"] == -9, struck
        elif case["place"] == MOVE:  # what cannot be kept costs the entry, not the work
            assert struck["status"] == 0, struck
            assert "no cache entry was written" in struck["log"]
        assert whole["status"] == 0, whole
        # What a killed process left beside it is hidden, and goes when the folder is full.
        [entry] = (Path(case["folder"]) / "cache").glob("*/[!.]*.regions")
        assert TARGETS["cache"].read(entry) is not None


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for i in range(3):
        labels = np.zeros((8, 12, 12), np.uint8)
        labels[2:6, 3 + i : 8 + i, 3:8] = 1
        for name, data in (("img", labels * np.float32(50)), ("label", labels)):
            sitk.WriteImage(sitk.GetImageFromArray(data), str(root / f"{name}{i}.nii.gz"))
    return root


BENCHMARK_PLACES = {
    ("samreg.lab.benchmark:evaluate_pair", 2): 1,
    ("samreg.runs.records:RecordLog.append", 2): 1,
    ("os:fsync", 2): 2,
    ("samreg.lab.tables:make_table", 1): 2,
}
"""Amid the second registration, before and after its record, and before the tables: how many records there are then."""


def test_a_benchmark_keeps_what_it_recorded(dataset: Path, tmp_path: Path) -> None:
    argv = ["benchmark", "folder", "--root", str(dataset), "--out", "out", "--methods", "identity", "--jobs", "0"]
    argv.append("--retry-failed")
    cases = [
        {"argv": argv, "place": place, "nth": nth, "fault": fault}
        for place, nth in BENCHMARK_PLACES
        for fault in ("kill", "full")
    ]
    for case, struck, whole in _struck_and_again(cases, tmp_path):
        place, kill = case["place"], case["fault"] == "kill"
        # A registration that fails is recorded, and the benchmark goes on; a record that cannot be written ends it.
        assert struck["status"] == (-9 if kill else 0 if place.endswith("evaluate_pair") else 2), (case, struck)
        assert "Traceback" not in struck["log"], struck
        assert whole["status"] == 0, whole
        recorded = BENCHMARK_PLACES[place, case["nth"]]
        assert f"{recorded} of 2 registrations are recorded already" in whole["log"], (case, whole)
        [path] = (Path(case["folder"]) / "out").rglob("records.jsonl")
        records = {record["key"]: record for record in read_records(path)}
        assert [record["status"] for record in records.values()] == ["done", "done"]


_TRAIN = """
import torch
from pathlib import Path
from samreg.lab.baselines.networks.checkpoint import save_atomically
if not Path("x.ckpt").exists():
    Path("x.ckpt").write_bytes(Path("../old.ckpt").read_bytes())
print("epoch", torch.load("x.ckpt", weights_only=True)["epoch"], flush=True)
save_atomically({"epoch": 2}, Path("x.ckpt"))
"""


def test_a_checkpoint_of_a_training_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    """Struck before it is written, before it is on the disk and before it is moved into its place."""
    import torch

    torch.save({"epoch": 1}, tmp_path / "old.ckpt")
    places = ("torch:save", "os:fsync", MOVE)
    cases = [{"program": _TRAIN, "place": place, "fault": fault} for place in places for fault in ("kill", "full")]
    for case, struck, whole in _struck_and_again(cases, tmp_path):
        kill = case["fault"] == "kill"
        assert struck["status"] == (-9 if kill else 98), (case, struck)
        assert whole["status"] == 0, whole
        assert "epoch 1" in whole["log"], whole  # the old one is whole after the new one was struck
        folder = Path(case["folder"])
        assert torch.load(folder / "x.ckpt", weights_only=True) == {"epoch": 2}
        assert len(list(folder.glob(".partial*"))) == kill, case


def test_no_decision_is_made_by_the_time_of_day() -> None:
    """A clock that jumps: durations are measured by a clock that does not, and the time of day is only written down."""
    root = Path(__file__).parent.parent / "src" / "samreg"
    if not root.is_dir():
        pytest.skip("only in a clone")
    for path in root.rglob("*.py"):
        assert "time.time(" not in path.read_text("utf-8"), path
