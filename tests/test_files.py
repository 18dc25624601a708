"""Files that are there whole or not at all, and values that JSON can hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from samreg.files import sha256_of, to_json, write_json, written


def test_a_file_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with written(target) as partial:
        partial.write_text("new")
        assert not target.exists()
    assert target.read_text("utf-8") == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), written(target) as partial:
        raise RuntimeError(partial.write_text("ne"))
    assert target.read_text("utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_hidden_file_ends_as_asked_and_is_as_readable_as_any_other(tmp_path: Path) -> None:
    plain, target = tmp_path / "plain", tmp_path / "IMAGE.NII.GZ"
    plain.write_text("")
    with written(target, ".nii.gz") as partial:
        assert partial.name.startswith(".")
        assert partial.name.endswith(".nii.gz")
        partial.write_text("")
    assert target.stat().st_mode == plain.stat().st_mode


def test_json_holds_plain_values_only(tmp_path: Path) -> None:
    value = {1: np.float32(0.5), "a": (np.int64(3), float("nan")), "b": np.asarray([1.0, np.inf]), "p": Path("x")}
    wanted = {"1": 0.5, "a": [3, None], "b": [1.0, None], "p": "x"}
    assert to_json(value) == wanted
    assert to_json(True) is True
    write_json(tmp_path / "value.json", value)
    assert json.loads((tmp_path / "value.json").read_text("utf-8")) == wanted


def test_the_sum_of_a_folder_is_that_of_its_files_in_order(tmp_path: Path) -> None:
    folder, whole = tmp_path / "folder", tmp_path / "whole"
    folder.mkdir()
    (folder / "b").write_text("2")
    (folder / "a").write_text("1")
    whole.write_text("12")
    assert sha256_of(folder) == sha256_of(whole)
