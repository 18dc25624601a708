"""The benchmark: every record exactly once, whatever is killed; tables that only read."""

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

from samreg.errors import ConfigError, InputError
from samreg.evaluation import tables
from samreg.evaluation.figures import write_figures
from samreg.evaluation.records import RecordLog, read_records
from samreg.evaluation.run import BenchmarkOptions, evaluate_pair, run_benchmark
from samreg.evaluation.workers import run_tasks

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
    return [json.loads(line) for line in path.read_text().splitlines() if line]


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
    summary = run_benchmark(options(dataset, whole.parent), say=said.append)
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
import samreg.evaluation.run as run

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
        wait_for(lambda: contact.exists() and contact.read_text().endswith("}"), processes[0])
        address = json.loads(contact.read_text())["address"]
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
    import samreg.evaluation.run as run

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


def test_no_scheduler_is_the_users_fault() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(ConfigError, match="no Dask scheduler answers at"):
        run_tasks(evaluate_pair, [()], lambda *_: None, dask="tcp://127.0.0.1:9", dask_timeout_s=1.0)


def _square_or_die(value: int) -> int:
    if value == 3:
        os._exit(9)  # what a tool does that crashes
    if value == 5:
        raise ValueError("five")
    return value * value


def test_a_worker_that_crashes_costs_its_own_task_only() -> None:
    found: dict[int, tuple[int | None, str]] = {}

    def keep(index: int, answer: int | None, error: str) -> None:
        assert index not in found
        found[index] = answer, error

    run_tasks(_square_or_die, [(i,) for i in range(8)], keep, jobs=2, threads=1)
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
    summary = run_benchmark(options(broken, tmp_path / "out"), say=said.append)
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


def test_absent_tools_are_skipped_and_said(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import samreg.evaluation.methods.base as base

    real = base.importlib.util.find_spec
    monkeypatch.setattr(base.importlib.util, "find_spec", lambda name: None if name == "picsl_greedy" else real(name))
    said: list[str] = []
    summary = run_benchmark(options(dataset, tmp_path, methods=("greedy", "identity"), limit=2), say=said.append)
    assert summary.skipped == {"greedy": 'pip install "samreg[peers]"'}
    assert summary.n_done == 2
    assert said == ['skipped: greedy is not installed; to install it: pip install "samreg[peers]"']


def test_wrong_methods_and_a_busy_folder_are_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no method 'magic'"):
        run_benchmark(options(dataset, tmp_path, methods=("magic",)))
    with pytest.raises(ConfigError, match="at least one method"):
        run_benchmark(options(dataset, tmp_path, methods=()))
    with pytest.raises(ConfigError, match="jobs \\(--jobs\\) is -1"):
        run_benchmark(options(dataset, tmp_path, jobs=-1))
    with RecordLog(tmp_path / "records.jsonl"), pytest.raises(InputError, match="in use by another run"):
        run_benchmark(options(dataset, tmp_path))


def fake_records(n: int = 12) -> list[dict]:
    rng = np.random.default_rng(0)
    records = []
    for method, level in (("identity", 0.4), ("greedy", 0.7), ("ants", 0.6), ("samreg", 0.8)):
        for i in range(n):
            dice = float(np.clip(level + 0.03 * rng.standard_normal(), 0, 1))
            records.append(
                {
                    "key": f"d/{i}/{method}",
                    "dataset": "d",
                    "pair": str(i),
                    "method": method,
                    "status": "done",
                    "seconds": 10 * level,
                    "unit": "mm",
                    "label_names": {"1": "RV"},
                    "metrics": {
                        "dice": {"1": dice, "2": dice / 2 if i else None},
                        "hd95": {"1": 10 * (1 - dice), "2": None},
                        "folding_fraction": 0.0,
                        "lost_labels": [],
                    },
                }
            )
    return records


def test_the_numbers_of_a_table() -> None:
    from scipy import stats

    records = fake_records()
    table = tables.make_table(records, "D")
    assert table.methods == ("identity", "greedy", "ants", "samreg")
    assert [c.key for c in table.columns] == ["dice", "hd95", "folding_fraction", "seconds"]
    dice = {
        m: np.asarray(
            [
                np.nanmean([np.nan if v is None else v for v in r["metrics"]["dice"].values()])
                for r in records
                if r["method"] == m
            ]
        )
        for m in table.methods
    }
    for i, name in enumerate(table.methods):
        cell = table.cells[i][0]
        assert cell.mean == pytest.approx(dice[name].mean())
        assert cell.std == pytest.approx(dice[name].std(ddof=1))
        assert cell.n == 12
    # Ours against the best peer, which is greedy; peers are not tested.
    assert table.cells[3][0].p == pytest.approx(stats.wilcoxon(dice["samreg"], dice["greedy"]).pvalue)
    assert np.isnan(table.cells[1][0].p)
    assert table.best(0) == {3}
    assert table.best(2) == set()  # nobody folds: nobody is best at it


def test_only_pairs_that_every_method_has_are_counted() -> None:
    records = fake_records()
    records[13] |= {"status": "failed", "error": "no"}
    del records[-1]
    table = tables.make_table(records)
    assert {row[0].n for row in table.cells} == {10}
    notes = " ".join(table.notes)
    assert "10 of 12 pairs" in notes
    assert "greedy failed on 1 pairs." in notes
    assert "samreg has no record of 1 pairs." in notes


def test_tables_in_three_formats(tmp_path: Path) -> None:
    table = tables.make_table(fake_records(), "50 % of D & more")
    paths = tables.write_tables(table, tmp_path)
    assert [p.suffix for p in paths] == [".md", ".csv", ".tex"]
    markdown, text, latex = (p.read_text() for p in paths)
    assert "| samreg | **" in markdown
    assert "(p < 0.001)" in markdown
    rows = list(csv.DictReader(text.splitlines()))
    assert float(rows[3]["dice_mean"]) == pytest.approx(table.cells[3][0].mean)
    assert r"50 \% of D \& more" in latex
    assert latex.count(r"\textbf") == 2
    with pytest.raises(InputError, match="no finished records"):
        tables.make_table([])
    with pytest.raises(InputError, match="of one dataset"):
        tables.make_table([*fake_records(), {**fake_records()[0], "dataset": "other"}])


def test_a_confidence_is_held_against_the_dice() -> None:
    records = fake_records()
    for r in records[-12:]:
        r["extra"] = {"confidence": r["metrics"]["dice"]["1"]}  # the first pair has one label, the others two
    notes = " ".join(tables.make_table(records).notes)
    assert "samreg: its confidence ranks the Dice of 12 pairs with Spearman rho = " in notes
    assert "greedy: its confidence" not in notes


def test_the_confidence_over_all_datasets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import confidence

    paths = []
    for number, name in enumerate(("near", "far")):
        records = [r for r in fake_records(4) if r["method"] == "samreg"]
        for i, r in enumerate(records):
            # In each dataset the least confident is the best; the datasets themselves are in order.
            r["metrics"]["dice"] = {"1": 0.9 - 0.5 * number - 0.01 * i}
            r["extra"] = {"confidence": 0.8 - 0.5 * number + 0.01 * i}
        paths.append(tmp_path / name / "records.jsonl")
        paths[-1].parent.mkdir()
        paths[-1].write_text("".join(json.dumps(r) + "\n" for r in records))
    monkeypatch.setattr("sys.argv", ["confidence", *map(str, paths)])
    confidence.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| near | 4 | 0.80 to 0.83 | 0.885 | -1.00")
    assert lines[3].startswith("| far | 4 | 0.30 to 0.33 | 0.385 | -1.00")
    assert lines[4].startswith("| all | 8 | 0.30 to 0.83 | 0.635 | 0.5")
    assert lines[5:] == ["below 0.4: 4 pairs, Dice 0.385, lowest 0.370", "from 0.4: 4 pairs, Dice 0.885, lowest 0.870"]
    monkeypatch.setattr("sys.argv", ["confidence", "--method", "other", *map(str, paths)])
    with pytest.raises(SystemExit, match="2"):
        confidence.main()


def test_several_datasets_side_by_side() -> None:
    one = tables.make_table(fake_records(), "A")
    two = tables.make_table([r for r in fake_records() if r["method"] != "ants"], "B")
    lines = tables.joined_markdown([one, two], ("dice", "hd95")).splitlines()
    assert lines[0] == "| method | A: Dice | A: HD95 [mm] | B: Dice | B: HD95 [mm] |"
    assert lines[4].startswith("| ants | 0.")
    assert lines[4].endswith("| – | – |")
    assert lines[5].count("**") == 8


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


def test_the_papers_tables() -> None:
    from samreg.evaluation.methods import load_method
    from samreg.evaluation.paper import paper_table

    for number, n_rows in ((1, 7), (2, 1), (3, 5), (4, 7)):
        rows = paper_table(number)
        assert len(rows.methods) == n_rows
        assert all(load_method(name).name == name for name in rows.methods)  # every setting exists
    assert list(paper_table(3).headings.values()) == ["K = 1", "K = 2", "K = 3", "K = 4", "K = all"]
    assert paper_table(2).pseudo_rois
    assert paper_table(4, base="samreg:fast").methods[0] == "samreg:fast+match.epsilon=0.2"
    with pytest.raises(ConfigError, match="tables 1 to 4, got 5"):
        paper_table(5)


def test_figures_are_drawn_from_records_alone(tmp_path: Path) -> None:
    paths = write_figures(fake_records(), tmp_path, "D")
    assert sorted(p.name for p in paths) == ["cases.png", "labels.png", "speed.png"]
    assert all(p.stat().st_size > 5000 for p in paths)
    assert not list(tmp_path.glob(".*"))


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


def _die(_: int) -> None:
    os._exit(9)


def test_when_every_task_crashes_every_task_is_accounted_for() -> None:
    found: list[tuple[int, str]] = []
    run_tasks(_die, [(i,) for i in range(3)], lambda i, _, error: found.append((i, error)), jobs=2, threads=0)
    assert sorted(found) == [(i, "the worker process died while it computed this") for i in range(3)]
