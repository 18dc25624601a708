"""Settings check themselves: what is wrong with one is said in one line that names the option."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samreg
from samreg.checks.idle import idle_options
from samreg.cli import main
from samreg.config import (
    ElasticConfig,
    FitConfig,
    FlowConfig,
    MatchConfig,
    ProposalConfig,
    RegisterConfig,
    SegmentConfig,
    describe,
    known_presets,
    nearest_preset,
    preset,
)
from samreg.errors import ConfigError
from samreg.io.images import write_image
from samreg.lab.baselines.training.config import AugmentConfig, LossConfig, TrainConfig
from samreg.lab.benchmark import BenchmarkOptions
from samreg.runs.batch import BatchOptions
from samreg.viewer import serve
from worlds import noise

NAN, INF = math.nan, math.inf

REFUSED: list[tuple[type, dict[str, Any]]] = [
    (FitConfig, {"transform": "DDF"}),
    (FitConfig, {"transform": ""}),
    (FitConfig, {"flow": None}),
    (FitConfig, {"elastic": {"smoothness": 1.0}}),
    (FitConfig, {"work_size": 0}),
    (FitConfig, {"work_size": 64.5}),
    (ElasticConfig, {"control": ()}),
    (ElasticConfig, {"control": (8.0, 0.0)}),
    (ElasticConfig, {"control": (NAN,)}),
    (ElasticConfig, {"roi_weight": -0.1}),
    (ElasticConfig, {"feature_weight": NAN}),
    (ElasticConfig, {"loss": "l2"}),
    (ElasticConfig, {"smoothness": INF}),
    (ElasticConfig, {"max_iterations": -1}),
    (FlowConfig, {"flow_iterations": ()}),
    (FlowConfig, {"flow_iterations": (40, -1)}),
    (FitConfig, {"stiffness": -1.0}),
    (FlowConfig, {"flow_feature_weight": -1.0}),
    (MatchConfig, {"lift": "3d"}),
    (MatchConfig, {"method": "hungarian"}),
    (MatchConfig, {"method": "optimal"}),
    (MatchConfig, {"epsilon": 7}),
    (MatchConfig, {"epsilon": "high"}),
    (MatchConfig, {"epsilon": True}),
    (MatchConfig, {"max_pairs": -3}),
    (MatchConfig, {"verify": "no"}),
    (SegmentConfig, {"segmenter": " "}),
    (SegmentConfig, {"engine": "tensorrt"}),
    (SegmentConfig, {"device": "gpu"}),
    (SegmentConfig, {"device": "cuda:"}),
    (SegmentConfig, {"precision": "half"}),
    (SegmentConfig, {"slice_axis": 0}),
    (SegmentConfig, {"hounsfield": True}),
    (SegmentConfig, {"proposals": None}),
    (ProposalConfig, {"mask_rules": "sam"}),
    (ProposalConfig, {"areas": (0.2, 0.1)}),
    (ProposalConfig, {"areas": (0.2,)}),
    (ProposalConfig, {"min_quality": 50.0}),
    (ProposalConfig, {"max_rois": -1}),
    (RegisterConfig, {"seed": -1}),
    (RegisterConfig, {"seed": 1.0}),
    (RegisterConfig, {"fit": preset("fast")}),
    (AugmentConfig, {"flip": 2.0}),
    (AugmentConfig, {"noise": NAN}),
    (LossConfig, {"similarity": "ncc"}),
    (LossConfig, {"window": 8}),
    (LossConfig, {"scales": ()}),
    (TrainConfig, {"learning_rate": NAN}),
    (TrainConfig, {"epochs": 0}),
    (TrainConfig, {"patch": (400, 400)}),
    (TrainConfig, {"spacing": (0.0, 1.0)}),
    (TrainConfig, {"dims": 4}),
    (TrainConfig, {"threads": -1}),
    (TrainConfig, {"device": "tpu"}),
]


@pytest.mark.parametrize(("kind", "values"), REFUSED, ids=lambda v: v.__name__ if isinstance(v, type) else str(v))
def test_a_setting_without_a_meaning_is_refused_by_its_name(kind: type, values: dict[str, Any]) -> None:
    [name] = values
    with pytest.raises(ConfigError) as caught:
        kind(**values)
    message = str(caught.value)
    assert message.startswith(name)
    assert "\n" not in message
    assert ": give " in message or ": choose " in message
    if name not in ("proposals", "fit", "flow", "elastic"):  # parts of the settings, which are no options
        assert f"(--{name.replace('_', '-')})" in message


def test_numbers_of_numpy_are_numbers() -> None:
    assert MatchConfig(epsilon=np.float64(0.5), max_pairs=np.int64(3)) == MatchConfig(epsilon=0.5, max_pairs=3)


@pytest.mark.parametrize("values", [{"jobs": -1}, {"threads": -1}])
def test_options_of_long_runs_are_checked(values: dict[str, Any], tmp_path: Path) -> None:
    [name] = values
    for make in (
        lambda: BatchOptions(tmp_path / "pairs.csv", tmp_path, **values),
        lambda: BenchmarkOptions("acdc", tmp_path, tmp_path, **values),
    ):
        with pytest.raises(ConfigError, match=f"--{name}"):
            make()
    with pytest.raises(ConfigError, match="--cache-gib"):
        BatchOptions(tmp_path / "pairs.csv", tmp_path, cache_gib=0)
    with pytest.raises(ConfigError, match="--limit"):
        BenchmarkOptions("acdc", tmp_path, tmp_path, limit=-1)


REGISTER = ["register", "image.nii.gz", "image.nii.gz", "--out", "run"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([*REGISTER, "--epsilon", "7"], "epsilon (--epsilon) is 7.0: give a number from -1 to 1"),
        ([*REGISTER, "--max-pairs", "-3"], "max_pairs (--max-pairs) is -3"),
        ([*REGISTER, "--work-size", "0"], "work_size (--work-size) is 0"),
        ([*REGISTER, "--smoothness", "nan"], "smoothness (--smoothness) is nan"),
        ([*REGISTER, "--device", "gpu"], "choose auto, cpu, cuda, cuda:N or mps"),
        ([*REGISTER, "--seed", "-1"], "seed (--seed) is -1"),
        ([*REGISTER, "--lift", "3d"], "invalid choice '3d'"),
        ([*REGISTER, "--preset", "best"], "no preset 'best'"),
        (["segment", "image.nii.gz", "--out", "run", "--max-rois", "-1"], "max_rois (--max-rois) is -1"),
        (["prompt", "image.nii.gz", "image.nii.gz", "--out", "run", "--epsilon", "-2"], "--epsilon"),
        (["view", "run", "--port", "80000"], "port (--port) is 80000"),
        (["view", "run", "--port", "-1"], "port (--port) is -1"),
        (["batch", "pairs.csv", "--out", "run", "--jobs", "-1"], "jobs (--jobs) is -1"),
        (["batch", "pairs.csv", "--out", "run", "--threads", "-1"], "threads (--threads) is -1"),
        (["benchmark", "acdc", "--root", ".", "--out", "run", "--threads", "-1"], "threads (--threads) is -1"),
        (["benchmark", "acdc", "--root", ".", "--out", "run", "--panels", "-1"], "panels (--panels) is -1"),
        (["train", "vnet", "--root", ".", "--out", "x.ckpt", "--learning-rate", "nan"], "--learning-rate"),
    ],
    ids=lambda v: " ".join(v[-2:]) if isinstance(v, list) else "",
)
def test_the_command_line_ends_with_status_2_and_one_line(
    arguments: list[str],
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(
        samreg.Image(noise((4, 20, 20)), samreg.Grid((4, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))),
        Path("image.nii.gz"),
    )
    assert main(arguments) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert word in lines[0]
    assert "Error parsing" not in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["image.nii.gz"]


def test_a_server_takes_ports_that_exist(tmp_path: Path) -> None:
    with pytest.raises(samreg.InputError, match="--port"):
        serve(tmp_path, 80000)


class TestPresets:
    def test_a_preset_is_an_argument_and_no_field(self) -> None:
        with pytest.raises(TypeError):
            RegisterConfig(preset="paper")  # type: ignore[call-arg]

    @pytest.mark.parametrize("name", known_presets())
    def test_settings_know_their_preset(self, name: str) -> None:
        assert nearest_preset(preset(name)) == (name, {})
        assert describe(preset(name)) == f"preset {name}"

    def test_settings_know_what_was_changed(self) -> None:
        config = preset("paper")
        changed = samreg.RegisterConfig(config.segment, replace(config.match, epsilon=0.7), config.fit, 3)
        assert nearest_preset(changed) == ("paper", {"match.epsilon": 0.7, "seed": 3})
        assert describe(changed) == "preset paper, with match.epsilon = 0.7, seed = 3"

    def test_settings_and_a_preset_together_are_refused(self) -> None:
        image = samreg.Image(noise((20, 20)), samreg.Grid((20, 20), (1.0, 1.0), (0.0, 0.0)))
        with pytest.raises(ConfigError, match="preset='paper'"):
            samreg.register(image, image, preset("fast"), preset="paper")
        with pytest.raises(ConfigError, match="no preset 'best'"):
            samreg.segment(image, preset="best")
        with pytest.raises(ConfigError, match="no preset 'best'"):
            samreg.prompt_pair(image, image, point=(1.0, 1.0), preset="best")


def _settings_of(kind: type) -> list[str]:
    """Names of all settings of a class and of the classes within it."""
    made = kind()
    names = []
    for part in fields(made):
        value = getattr(made, part.name)
        names += _settings_of(type(value)) if is_dataclass(value) else [part.name]
    return names


def test_there_are_few_settings_and_no_two_share_a_name() -> None:
    names = _settings_of(RegisterConfig)
    assert len(names) == len(set(names)) <= 30


def test_a_field_that_nothing_drives_is_refused() -> None:
    nothing = ElasticConfig(roi_weight=0.0, similarity_weight=0.0, feature_weight=0.0)
    with pytest.raises(ConfigError, match="nothing drives a ffd"):
        FitConfig(transform="ffd", elastic=nothing)
    assert FitConfig(elastic=nothing).transform == "ddf"  # the flow has weights of its own


@pytest.mark.parametrize(("command", "options"), [("segment", {"max_rois"}), ("prompt", {"epsilon"})])
def test_commands_show_the_settings_that_they_use(
    command: str, options: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help-all"]) == 0
    text = capsys.readouterr().out
    shown = {name for name in _settings_of(RegisterConfig) if f"--{name.replace('_', '-')} " in text}
    common = {"segmenter", "engine", "device", "precision", "slice_axis", "hounsfield"}
    proposals = set(_settings_of(ProposalConfig)) if command == "segment" else set()
    assert shown == common | options | proposals


class TestIdle:
    @pytest.mark.parametrize("name", known_presets())
    @pytest.mark.parametrize("rough_fit", [True, False])
    def test_presets_have_no_idle_settings(self, name: str, rough_fit: bool) -> None:
        config = preset(name)
        assert idle_options(config, rough_fit=rough_fit) == []
        affine = replace(config, fit=replace(config.fit, transform="affine"))
        assert idle_options(affine, rough_fit=False) == []

    def test_elastic_settings_act_in_elastic_levels_and_in_the_rough_fit(self) -> None:
        changed = ElasticConfig(smoothness=0.2, roi_weight=0.5)
        flow, elastic = (RegisterConfig(fit=FitConfig(transform=t, elastic=changed)) for t in ("ddf", "ffd"))
        assert idle_options(elastic, rough_fit=True) == []
        assert idle_options(flow, rough_fit=True) == ["--roi-weight"]
        assert idle_options(flow, rough_fit=False) == ["--roi-weight", "--smoothness"]

    def test_flow_settings_act_in_the_flow(self) -> None:
        changed = FlowConfig(flow_feature_weight=3.0)
        flow, elastic = (RegisterConfig(fit=FitConfig(transform=t, flow=changed)) for t in ("ddf", "svf"))
        assert idle_options(flow, rough_fit=False) == []
        assert idle_options(elastic, rough_fit=True) == ["--flow-feature-weight"]

    def test_nothing_is_proposed_where_the_segmenter_knows_its_classes(self) -> None:
        config = RegisterConfig(segment=SegmentConfig(proposals=ProposalConfig(max_rois=5)))
        assert idle_options(config, rough_fit=True) == []
        assert idle_options(config, rough_fit=True, classes=True) == ["--max-rois"]

    def test_no_displacement_has_no_working_size(self) -> None:
        config = RegisterConfig(fit=FitConfig(transform="rigid", work_size=64))
        assert idle_options(config, rough_fit=False) == ["--work-size"]
