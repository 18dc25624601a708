"""A package that nobody changed samreg for adds a command, a dataset, a method and a metric."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from samreg import Grid, Image, plugins, write_image
from samreg.cli.overview import summary_of
from samreg.errors import PluginError
from samreg.metrics import Metric, all_metrics

TOY = '''
from dataclasses import dataclass

from samreg import DisplacementField
from samreg.io.tables import PairRecord
from samreg.lab.peers import Method
from samreg.metrics import LabelCase, Metric


@dataclass(frozen=True)
class Hello:
    """Greet somebody: nothing else.

    For tests.
    """

    name: str = "you"

    def run(self) -> None:
        print("hello", self.name)


def read_pairs(root):
    images = sorted(root.glob("*_image.nii.gz"))
    labels = [p.with_name(p.name.replace("_image", "_labels")) for p in images]
    return [PairRecord("one", images[0], images[1], labels[0], labels[1])]


def _stay(fixed, moving, *, intra_subject, threads):
    return DisplacementField.identity(fixed.grid)


STAY = Method("stay", _stay, {}, dimensions=(2, 3))


def _count(case: LabelCase) -> dict[int, float]:
    return {value: float((case.warped == value).sum()) for value in case.values}


COUNT = Metric("voxels of a label", "labels", _count, better="higher", digits=1)
'''
ENTRIES = """
[samreg.commands]
hello = toy:Hello

[samreg.datasets]
toys = toy:read_pairs

[samreg.peers]
stay = toy:STAY

[samreg.metrics]
voxels = toy:COUNT
"""


@pytest.fixture
def toy(tmp_path: Path) -> dict[str, str]:
    """Environment in which the package is installed."""
    site = tmp_path / "site"
    info = site / "toy-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "toy.py").write_text(TOY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    path = [str(site), *(p for p in sys.path if p)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def samreg(env: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "samreg", *arguments], env=env, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_command(toy: dict[str, str]) -> None:
    assert "\n  hello        Greet somebody\n" in samreg(toy, "--help")
    assert samreg(toy, "hello", "--name", "world") == "hello world\n"


def test_a_dataset_a_method_and_a_metric(toy: dict[str, str], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    grid = Grid((6, 8), (2.0, 2.0))
    for name, n in (("a", 2), ("b", 3)):
        labels = np.zeros(grid.shape, np.float32)
        labels[1 : 1 + n, 1:3] = 5
        write_image(Image(labels * 10, grid), data / f"{name}_image.nii.gz")
        write_image(Image(labels, grid), data / f"{name}_labels.nii.gz")
    root = ["--root", str(data), "--out", str(tmp_path / "out")]
    samreg(toy, "benchmark", "toys", *root, "--methods", "stay", "--jobs", "0")
    record = json.loads((tmp_path / "out" / "toys" / "records.jsonl").read_text(encoding="utf-8"))
    assert record["method"] == "stay"
    assert record["metrics"]["voxels"] == {"5": 6.0}
    assert record["metrics"]["dice"]["5"] == pytest.approx(0.8)
    with (tmp_path / "out" / "toys" / "table.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["voxels_mean"]) == 6.0
    assert "| voxels of a label |" in (tmp_path / "out" / "toys" / "table.md").read_text(encoding="utf-8")


def test_every_part_that_samreg_names_can_be_imported() -> None:
    kinds: tuple[plugins.Kind, ...] = ("commands", "datasets", "peers", "segmenters")
    for kind in kinds:
        assert plugins.names(kind)
        for name in plugins.names(kind):
            assert plugins.load(kind, name) is not None
    for name, metric in all_metrics().items():
        assert isinstance(metric, Metric), name


def test_a_metric_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samreg.metrics.metric.BUILT_IN", {"length": "samreg.metrics:mean"})
    with pytest.raises(PluginError, match="'length' is announced as one of samreg's metrics and is a function"):
        all_metrics()


@pytest.mark.parametrize(
    ("location", "line"),
    [
        ("samreg.cli.models:Models", "List what can segment"),
        ("samreg.cli.models:Nothing", ""),
        ("no_such_package.module:Thing", ""),
        ("", ""),
    ],
)
def test_the_line_of_a_command(location: str, line: str) -> None:
    assert summary_of(location) == line
