"""`--config FILE`: flat, nested, a manifest; what is wrong with it in one line; options win."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from results import true_result
from samreg.cli import main
from samreg.cli.batch import Batch
from samreg.cli.parse import parse
from samreg.cli.prompt import Prompt
from samreg.cli.register import Register
from samreg.cli.segment import SegmentImage
from samreg.cli.settings_file import read_settings
from samreg.config import RegisterConfig, preset
from samreg.runs.run_folder import write_run

MIXED = """
preset = "fast"
max-pairs = 9
[match]
epsilon = 0.7
verify = false
[fit.flow]
flow_roi_weight = 3
flow_iterations = [5, 6]
[segment]
slice_axis = 0
"""


def written(folder: Path, text: str) -> str:
    (folder / "s.toml").write_text(text, encoding="utf-8")
    return str(folder / "s.toml")


def test_flat_and_nested_settings_over_a_preset(tmp_path: Path) -> None:
    read = read_settings(written(tmp_path, MIXED))
    fast = preset("fast")
    assert read == dataclasses.replace(
        fast,
        match=dataclasses.replace(fast.match, epsilon=0.7, verify=False, max_pairs=9),
        segment=dataclasses.replace(fast.segment, slice_axis="0"),
        fit=dataclasses.replace(
            fast.fit, flow=dataclasses.replace(fast.fit.flow, flow_roi_weight=3.0, flow_iterations=(5, 6))
        ),
    )
    assert isinstance(read.fit.flow.flow_roi_weight, float)


def test_options_win_and_the_preset_of_the_command_line_replaces_that_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, MIXED)
    base = ["a", "b", "-o", "c", "--config", file]
    made = parse(Register, "samreg register", [*base, "--epsilon", "0.6", "--verify"]).config
    assert (made.match.epsilon, made.match.verify, made.match.max_pairs) == (0.6, True, 9)
    assert made.fit.elastic == preset("fast").fit.elastic
    made = parse(Register, "samreg register", [*base, f"--config={file}", "--preset", "regions"]).config
    assert made.fit.transform == "ffd"
    assert made.match.epsilon == 0.7


def test_every_command_that_registers_or_segments_takes_it(tmp_path: Path) -> None:
    file = written(tmp_path, 'epsilon = 0.7\ndevice = "cpu"')
    assert parse(Batch, "samreg batch", ["p.csv", "-o", "c", "--config", file]).config.match.epsilon == 0.7
    assert parse(SegmentImage, "samreg segment", ["a", "-o", "c", "--config", file]).config.device == "cpu"
    prompt = parse(Prompt, "samreg prompt", ["a", "b", "-o", "c", "--config", file]).config
    assert (prompt.epsilon, prompt.device) == (0.7, "cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(true_result(2), tmp_path_factory.mktemp("manifest") / "run")


@pytest.mark.parametrize("what", ["", "manifest.json"])
def test_a_manifest_gives_the_settings_back(run: Path, what: str) -> None:
    used = json.loads((run / "manifest.json").read_text("utf-8"))["config"]
    read = read_settings(run / what)
    assert json.loads(json.dumps(dataclasses.asdict(read))) == used


def test_a_manifest_of_the_paper(run: Path, tmp_path: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text("utf-8"))
    manifest["config"] = dataclasses.asdict(preset("paper"))
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert read_settings(tmp_path) == preset("paper")
    assert read_settings(tmp_path) != RegisterConfig()


WRONG = {
    "unknown": ("epsilonn = 0.5", "there is no setting 'epsilonn'; did you mean match.epsilon?"),
    "nothing like it": ("colour = 1", "--help-all lists the settings"),
    "wrong table": ("[fit]\nepsilon = 0.5", "no setting 'epsilon' in the table fit; did you mean match.epsilon?"),
    "too large": ("epsilon = 7", "epsilon (--epsilon) is 7.0: give a number from -1 to 1"),
    "a text": ('epsilon = "high"', "epsilon (--epsilon) is 'high'"),
    "not a flag": ('verify = "yes"', "verify (--verify) is 'yes': give True or False"),
    "not a list": ("flow_iterations = 3", "flow_iterations (--flow-iterations) is 3"),
    "unknown preset": ('preset = "best"', "no preset 'best'"),
    "a value for a table": ("fit = 3", "fit is 3: give a table"),
    "a table for a value": ("[epsilon]\na = 3", "epsilon is {'a': 3}: give a value"),
    "no TOML": ("epsilon 0.5", "neither TOML nor a manifest.json"),
    "no manifest": ('{"format": ', "neither TOML nor a manifest.json"),
    "regions": ('{"format": "samreg regions 1", "versions": {}}', "holds no settings"),
    "damaged": ('{"format": "samreg run 1", "versions": {}, "config": 3}', "is damaged"),
}


@pytest.mark.parametrize("kind", sorted(WRONG))
def test_what_is_wrong_is_one_line_and_status_2(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    text, word = WRONG[kind]
    file = written(tmp_path, text)
    assert main(["register", "a.nii", "b.nii", "-o", str(tmp_path / "run"), "--config", file]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"samreg: {file}: ")
    assert word in lines[0]


def test_files_that_are_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    for name, word in (("nowhere.toml", "there is no such file"), ("binary", "is not UTF-8 text")):
        assert main(["segment", "a.nii", "-o", "run", "--config", str(tmp_path / name)]) == 2
        assert word in capfd.readouterr().err


def test_a_preset_beside_a_manifest_would_change_nothing(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["register", "a", "b", "-o", "c", "--preset", "fast", "--config", str(run)]) == 2
    assert "holds every setting" in capfd.readouterr().err
