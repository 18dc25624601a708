"""One number bounds the threads of everything; containers and worker processes get their share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from samreg.cli import main
from samreg.cli.output import begin
from samreg.errors import ConfigError
from samreg.runs import threads
from samreg.runs.threads import available_cores, bound_threads, share_of


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores without a quota, and an environment that may be changed."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(available_cores, "__defaults__", (Path("/nowhere"),))
    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if not k.endswith("THREADS")})


class TestCores:
    def test_those_that_the_process_is_bound_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert available_cores(tmp_path) == 8
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5}, raising=False)
        assert available_cores(tmp_path) == 2

    @pytest.mark.parametrize(("text", "cores"), [("250000 100000\n", 2), ("max 100000\n", 8), ("10000 100000", 1)])
    def test_a_quota_of_version_2(self, text: str, cores: int, tmp_path: Path) -> None:
        (tmp_path / "cpu.max").write_text(text)
        assert available_cores(tmp_path) == cores

    @pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 8)])
    def test_a_quota_of_version_1(self, quota: str, cores: int, tmp_path: Path) -> None:
        (tmp_path / "cpu").mkdir()
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
        (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
        assert available_cores(tmp_path) == cores


def test_jobs_divide_the_machine() -> None:
    assert [share_of(jobs) for jobs in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert share_of(4, threads=3) == 3
    os.environ["SAMREG_THREADS"] = "4"
    assert share_of(2) == 2


class TestBound:
    def test_nothing_changes_where_nothing_is_asked(self) -> None:
        bound_threads(["fixed", "moving"])
        assert "OMP_NUM_THREADS" not in os.environ

    @pytest.mark.parametrize("words", [["--threads", "3"], ["--threads=3"]])
    def test_the_option_wins_over_the_variable(self, words: list[str]) -> None:
        os.environ["SAMREG_THREADS"] = "5"
        bound_threads(["fixed", *words])
        assert {os.environ[name] for name in threads._VARIABLES} == {"3"}
        bound_threads()
        assert os.environ["OMP_NUM_THREADS"] == "5"

    def test_a_quota_bounds_what_nobody_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "cpu.max").write_text("200000 100000")
        monkeypatch.setattr(available_cores, "__defaults__", (tmp_path,))
        os.environ["MKL_NUM_THREADS"] = "1"
        bound_threads()
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("2", "1")

    @pytest.mark.parametrize("text", ["0", "-2", "many", ""])
    def test_what_is_no_number_of_threads_is_refused(self, text: str, capsys: pytest.CaptureFixture[str]) -> None:
        bound_threads(["--threads", text])
        assert "OMP_NUM_THREADS" not in os.environ
        assert main(["models", "--threads", text]) == 2
        assert "--threads is a number of threads" in capsys.readouterr().err
        os.environ["SAMREG_THREADS"] = text or "none"
        with pytest.raises(ConfigError, match="SAMREG_THREADS"):
            bound_threads()

    def test_commands_do_not_see_it(self) -> None:
        assert begin(["a", "--threads", "2", "b", "--threads=3"]) == ["a", "b"]
        assert begin(["a", "--threads", "2"], taken=("threads",)) == ["a", "--threads", "2"]
