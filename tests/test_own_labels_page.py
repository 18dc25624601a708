"""Every block of docs/own-labels.md is run, in a folder that holds what the page says."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samreg
import samreg.pipeline
from samreg.cli import main
from samreg.io.images import read_image, read_labels, write_image, write_labels
from samreg.io.points import write_points
from samreg.io.series import frame_count, write_frames
from samreg.runs.run_folder import read_run
from test_masks import QUICK, quick, small
from test_time_series import GRID, beating

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-labels.md"
if not PAGE.is_file():
    pytest.skip("installed without the repository", allow_module_level=True)
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = [line for kind, code in BLOCKS if kind == "sh" for line in code.splitlines() if line]
PYTHON = [code for kind, code in BLOCKS if kind == "python"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page names."""
    place, pair = tmp_path_factory.mktemp("own"), small()
    for side in ("fixed", "moving"):
        image, labels = getattr(pair, side), getattr(pair, f"{side}_labels")
        write_image(image, place / f"{side}.nii.gz")
        write_labels(labels, image.grid, place / f"{side}_labels.nii.gz")
    names = {name.replace(" ", "_"): value for value, name in pair.names.items()}
    (place / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **names}}))
    (place / "moving_masks").mkdir()
    for name, value in names.items():
        mask = (pair.moving_labels == value).astype(np.int32)
        write_labels(mask, pair.moving.grid, place / "moving_masks" / f"{name}.nii.gz")
    cavity = np.zeros(pair.moving.grid.shape, np.int32)
    cavity[30:36, 40:46] = 1
    write_labels(cavity, pair.moving.grid, place / "cavity.nii.gz")
    write_labels((pair.fixed.data > 10).astype(np.int32), pair.fixed.grid, place / "body.nii.gz")
    points = pair.fixed.grid.index_to_world(np.asarray([[20.0, 25.0], [50.0, 30.0], [40.0, 45.0]]))
    write_points(points, place / "fixed.csv")
    write_points(pair.field.transform_points(points), place / "moving.csv")
    (place / "pairs.csv").write_text("fixed,moving,moving_exclude\nfixed.nii.gz,moving.nii.gz,cavity.nii.gz\n")
    write_frames([beating(shift).data for shift in (0.0, 3.0)], GRID, place / "cine.nii.gz")
    write_labels((beating(0.0).data > 100).astype(np.int32), GRID, place / "cine_labels.nii.gz")
    return place


@pytest.fixture(autouse=True)
def _without_a_segmenter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found by a segmenter is another page's matter: pairs that are given, grey values, masks, points."""
    register = samreg.pipeline.register

    def given_only(*args: Any, **options: Any) -> Any:
        return register(*args, **{**options, "find": False})

    monkeypatch.chdir(folder)
    monkeypatch.setattr(samreg.pipeline, "register", given_only)
    monkeypatch.setitem(samreg.__dict__, "register", lambda *pair, **more: given_only(*pair, quick(), **more))


def test_the_commands(folder: Path) -> None:
    for line in COMMANDS:
        words = shlex.split(line)
        assert words[0] == "samreg"
        more = {"register": QUICK, "batch": [*QUICK, "--jobs", "0"]}.get(words[1], [])
        assert main([*words[1:], *more]) == 0, line
    assert len(read_run(folder / "named_run").pairs) == len(small().names)
    assert set(read_run(folder / "masked_run").manifest["other_inputs"]) == {"moving_exclude", "fixed_mask"}
    assert read_run(folder / "points_run").manifest["provenance"]["landmarks"]["weight"] == 3.0
    determinant = read_image(folder / "labels_run" / "jacobian.nii.gz").data
    expected = read_run(folder / "labels_run").transform().jacobian_determinant()
    np.testing.assert_allclose(determinant, expected, atol=1e-3)
    np.testing.assert_allclose(read_image(folder / "log_jacobian.nii.gz").data, np.log(expected), atol=1e-3)
    first, second = read_run(folder / "labels_run"), read_run(folder / "second_run")
    assert len(second.pairs) == len(first.pairs) == len(small().names) - 1
    assert "organ" in [roi.name for roi in second.pairs.fixed.rois]
    with (folder / "motion" / "motion.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["region"] != "whole image"]
    assert [row["frame"] for row in rows] == ["1", "2"]
    assert rows[0]["region"] == small().names[1]  # dataset.json beside the labels names them
    assert float(rows[1]["dx"]) == pytest.approx(3.0, abs=1.0)
    assert frame_count(folder / "cine_on_frame_1.nii.gz") == 2
    found, grid = read_labels(folder / "moving_on_fixed.nii.gz")
    assert grid.same_as(small().fixed.grid)
    assert (found == small().fixed_labels).mean() > 0.9


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python(number: int, folder: Path) -> None:
    found: dict[str, Any] = {}
    exec(compile(PYTHON[number], f"{PAGE.name}, block {number + 1}", "exec"), found)  # noqa: S102
    assert found["result"].field is not None
    if "pairs" in found:
        assert found["result"].pairs.is_given.all()
        assert len(found["pairs"]) == len(small().names)
