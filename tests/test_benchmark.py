"""The benchmark: every record exactly once, whatever is killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from crashes import die, square_or_die
from samreg.errors import ConfigError, InputError
from samreg.io.tables import PairRecord
from samreg.lab import tables
from samreg.lab.benchmark import BenchmarkOptions, evaluate_pair, record_key, run_benchmark
from samreg.runs.records import RecordLog, read_records
from samreg.runs.workers import run_tasks

N_CASES = 13


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen small volumes with two labels each: twelve pairs."""
    root = tmp_path_factory.mktemp("data")
    for i in range(N_CASES):
        rng = np.random.default_rng(i)
        labels = np.zeros((12, 16, 16), np.uint8)
        at = rng.integers(2, 5, 3)
        labels[at[0] : at[0] + 5, at[1] : at[1] + 7, at[2] : at[2] + 7] = 1
        labels[at[0] + 1 : at[0] + 3, at[1] + 2 : at[1] + 5, at[2] + 2 : at[2] + 5] = 2
        image = labels * 50.0 + rng.uniform(0, 10, labels.shape)
        for name, data in (("img", image.astype(np.float32)), ("label", labels)):
            out = sitk.GetImageFromArray(data)
            out.SetSpacing([1.0, 1.0, 1.5])
            sitk.WriteImage(out, str(root / f"{name}{i:02d}.nii.gz"))
    return root


def options(dataset: Path, out: Path, **changes: object) -> BenchmarkOptions:
    return BenchmarkOptions("folder", dataset, out, **{"methods": ("identity",), "jobs": 0, "threads": 1, **changes})


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def table_of(path: Path) -> str:
    """The table without the seconds, which no two runs share."""
    table = tables.make_table(read_records(path))
    rows = list(csv.reader(tables.to_csv(table).splitlines()))
    keep = [i for i, name in enumerate(rows[0]) if not name.startswith("seconds")]
    return "\n".join(",".join(row[i] for i in keep) for row in rows)


@pytest.fixture(scope="module")
def whole(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole")
    summary = run_benchmark(options(dataset, out))
    assert (summary.n_done, summary.n_kept, summary.n_failed) == (N_CASES - 1, 0, 0)
    return summary.records


def test_a_run_records_every_pair_and_a_second_run_computes_nothing(dataset: Path, whole: Path) -> None:
    records = lines(whole)
    assert len(records) == len({r["key"] for r in records}) == N_CASES - 1
    record = records[0]
    assert record["status"] == "done"
    assert set(record["metrics"]["dice"]) == {"1", "2"}
    assert record["metrics"]["folding_fraction"] == 0.0
    said: list[str] = []
    summary = run_benchmark(options(dataset, whole.parent), message=said.append)
    assert (summary.n_done, summary.n_kept) == (0, N_CASES - 1)
    assert lines(whole) == records
    assert said == [f"{N_CASES - 1} of {N_CASES - 1} registrations are recorded already"]


def test_worker_processes_give_the_same_records(dataset: Path, whole: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    summary = run_benchmark(options(dataset, tmp_path, jobs=2), progress=lambda _, done, total: seen.append(done))
    assert summary.n_done == N_CASES - 1
    assert seen == list(range(1, N_CASES))
    assert table_of(summary.records).split("\n")[0] == table_of(whole).split("\n")[0]
    by_key = {r["key"]: r["metrics"] for r in lines(whole)}
    assert {r["key"]: r["metrics"] for r in lines(summary.records)} == by_key


STUCK = """
import sys, time
from pathlib import Path
import samreg.lab.benchmark as run

fast, calls = run.evaluate_pair, []

def stuck(*task):
    calls.append(task)
    if len(calls) == 5:
        time.sleep(3600)
    return fast(*task)

run.evaluate_pair = stuck
data, out = map(Path, sys.argv[1:])
run.run_benchmark(run.BenchmarkOptions("folder", data, out, ("identity",), jobs=0, threads=1))
"""


def test_a_benchmark_killed_with_sigkill_and_run_again_gives_the_same_table(
    dataset: Path, whole: Path, tmp_path: Path
) -> None:
    records = tmp_path / "records.jsonl"
    process = subprocess.Popen([sys.executable, "-c", STUCK, str(dataset), str(tmp_path)])
    wait_for(lambda: records.exists() and records.read_bytes().count(b"\n") >= 4, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_before = len(read_records(records))
    assert n_before == 4
    # The worst moment: in the middle of a line.
    with records.open("ab") as stream:
        stream.write(b'{"key": "folder/03<-04/identity/')
    summary = run_benchmark(options(dataset, tmp_path))
    assert (summary.n_kept, summary.n_done) == (n_before, N_CASES - 1 - n_before)
    found = read_records(records)
    assert Counter(r["key"] for r in found) == Counter(r["key"] for r in read_records(whole))
    assert table_of(records) == table_of(whole)


def wait_for(condition, process: subprocess.Popen | None = None, seconds: float = 600.0) -> None:
    start = time.monotonic()
    while not condition():
        assert process is None or process.poll() is None, "the process ended too early"
        assert time.monotonic() - start < seconds, "nothing happened for too long"
        time.sleep(0.02)


def start_dask(*arguments: str) -> subprocess.Popen:
    # Tasks are found by import, so the tests' folder must be on the path of the workers.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """A scheduler and two workers, each a process of its own without a nanny that would start it again."""
    pytest.importorskip("distributed")
    contact = tmp_path / "scheduler.json"
    processes = [start_dask("scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(contact))]
    try:
        wait_for(lambda: contact.exists() and contact.read_text(encoding="utf-8").endswith("}"), processes[0])
        address = json.loads(contact.read_text(encoding="utf-8"))["address"]
        for _ in range(2):
            processes.append(
                start_dask(
                    "worker",
                    address,
                    "--no-nanny",
                    "--nthreads",
                    "1",
                    "--no-dashboard",
                    "--local-directory",
                    str(tmp_path),
                )
            )
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_dask_worker_killed_in_the_middle_loses_nothing_and_repeats_nothing(
    dataset: Path,
    whole: Path,
    tmp_path: Path,
    cluster: tuple[str, list[subprocess.Popen]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, workers = cluster
    import samreg.lab.benchmark as run

    monkeypatch.setattr(run, "evaluate_pair", slow_pair)
    killed = []

    def kill_one(_: str, done: int, total: int) -> None:
        if done == 3 and not killed:
            workers[0].kill()
            killed.append(total - done)

    summary = run_benchmark(options(dataset, tmp_path, dask=address), progress=kill_one)
    assert killed == [N_CASES - 4]
    assert workers[0].wait() == -signal.SIGKILL
    assert summary.n_done == N_CASES - 1
    records = lines(summary.records)
    assert [r["status"] for r in records] == ["done"] * (N_CASES - 1)
    assert Counter(r["key"] for r in records) == Counter(r["key"] for r in lines(whole))  # each exactly once
    assert {r["key"]: r["metrics"] for r in records} == {r["key"]: r["metrics"] for r in lines(whole)}


def slow_pair(*task) -> dict:
    time.sleep(0.3)
    return evaluate_pair(*task)


def test_no_scheduler_is_the_users_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("samreg.runs.workers._DASK_TIMEOUT_S", 1.0)
    with pytest.raises(ConfigError, match="no Dask scheduler answers at"):
        run_tasks(evaluate_pair, [()], lambda *_: None, dask="tcp://127.0.0.1:9")


def test_a_worker_that_crashes_costs_its_own_task_only() -> None:
    found: dict[int, tuple[int | None, str]] = {}

    def keep(index: int, answer: int | None, error: str) -> None:
        assert index not in found
        found[index] = answer, error

    run_tasks(square_or_die, [(i,) for i in range(8)], keep, jobs=2, threads=1)
    assert sorted(found) == list(range(8))
    assert found[3] == (None, "the worker process died while it computed this")
    assert found[5] == (None, "ValueError: five")
    assert all(found[i] == (i * i, "") for i in (0, 1, 2, 4, 6, 7))


def test_failures_become_records_and_are_tried_again_only_when_asked(dataset: Path, tmp_path: Path) -> None:
    broken = tmp_path / "data"
    broken.mkdir()
    for path in list(dataset.iterdir())[:]:
        if path.name[-9:-7] in ("00", "01", "02"):
            (broken / path.name).write_bytes(path.read_bytes())
    good = (broken / "img01.nii.gz").read_bytes()
    (broken / "img01.nii.gz").write_bytes(good[: len(good) // 2])
    said: list[str] = []
    summary = run_benchmark(options(broken, tmp_path / "out"), message=said.append)
    assert summary.n_failed == 2
    assert [r["status"] for r in lines(summary.records)] == ["failed", "failed"]
    assert any("img01.nii.gz" in line for line in said)
    again = run_benchmark(options(broken, tmp_path / "out"))
    assert (again.n_done, again.n_failed) == (0, 2)
    (broken / "img01.nii.gz").write_bytes(good)
    fixed = run_benchmark(options(broken, tmp_path / "out", retry_failed=True))
    assert (fixed.n_done, fixed.n_failed) == (2, 0)
    assert [r["status"] for r in read_records(summary.records)] == ["done", "done"]


def test_what_is_not_applicable_is_recorded_as_such(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("ants")
    summary = run_benchmark(options(dataset, tmp_path, methods=("ants2d",), limit=1))
    (record,) = lines(summary.records)
    assert record["status"] == "not_applicable"
    assert "thick slices" in record["error"]
    assert summary.n_failed == 0


def test_absent_tools_are_skipped_with_a_message(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import samreg.lab.peers.base as base

    real = base.importlib.util.find_spec
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None if name == "picsl_greedy" else real(name))
    said: list[str] = []
    summary = run_benchmark(options(dataset, tmp_path, methods=("greedy", "identity"), limit=2), message=said.append)
    assert summary.skipped == {"greedy": 'pip install "picsl-greedy>=0.0.6"'}
    assert summary.n_done == 2
    assert said == ['skipped: greedy is not installed; to install it: pip install "picsl-greedy>=0.0.6"']


def test_wrong_methods_and_a_busy_folder_are_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no method 'magic'"):
        run_benchmark(options(dataset, tmp_path, methods=("magic",)))
    with pytest.raises(ConfigError, match="at least one method"):
        run_benchmark(options(dataset, tmp_path, methods=()))
    with pytest.raises(ConfigError, match="jobs \\(--jobs\\) is -1"):
        run_benchmark(options(dataset, tmp_path, jobs=-1))
    with RecordLog(tmp_path / "records.jsonl"), pytest.raises(InputError, match="in use by another run"):
        run_benchmark(options(dataset, tmp_path))


def test_the_command_writes_tables_of_several_datasets(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from samreg.cli import main

    base = ["--root", str(dataset), "--out", str(tmp_path), "--methods", "identity", "--limit", "2", "--jobs", "0"]
    assert main(["benchmark", "folder", *base]) == 0
    assert "HD95 [mm]" in capsys.readouterr().out
    assert {p.name for p in (tmp_path / "folder").iterdir()} >= {"records.jsonl", "table.md", "table.csv", "table.tex"}
    records = (tmp_path / "folder" / "records.jsonl").read_bytes()
    (tmp_path / "folder" / "table.md").unlink()
    assert main(["benchmark", "folder", *base, "--tables-only"]) == 0
    assert (tmp_path / "folder" / "table.md").exists()
    assert (tmp_path / "folder" / "records.jsonl").read_bytes() == records
    assert main(["benchmark", "nothing", *base]) == 2


def test_records_survive_a_broken_line_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with RecordLog(path) as log:
        log.append({"key": "a", "n": 1})
        log.append({"key": "b", "n": 1})
    with path.open("ab") as stream:
        stream.write(b'{"key": "c", "n"')
    with RecordLog(path) as log:
        log.append({"key": "a", "n": 2})
        with pytest.raises(ValueError, match="Out of range float"):
            log.append({"key": "d", "n": float("nan")})
    assert read_records(path) == [{"key": "a", "n": 2}, {"key": "b", "n": 1}]
    assert read_records(tmp_path / "none.jsonl") == []


def test_when_every_task_crashes_every_task_is_accounted_for() -> None:
    found: list[tuple[int, str]] = []
    run_tasks(die, [(i,) for i in range(3)], lambda i, _, error: found.append((i, error)), jobs=2, threads=0)
    assert sorted(found) == [(i, "the worker process died while it computed this") for i in range(3)]


@pytest.mark.parametrize("task", ["abdomen_ct_btcv", "abdomen_mr_chaos", "acdc", "prostate_mr_promise12"])
def test_the_recorded_peers_need_not_be_computed_again(task: str) -> None:
    records = read_records(Path(__file__).parents[1] / "benchmarks" / "records" / task / "records.jsonl")
    assert len(records) > 10
    for record in records:
        pair = PairRecord(record["pair"], Path(), Path())
        assert record["key"] == record_key(record["dataset"], pair, record["method"])
