"""`samreg train` on a folder in ACDC's layout, in 2D and 3D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samreg.cli import main
from samreg.grid import Grid
from samreg.image import Image
from samreg.io.images import write_image, write_labels
from samreg.networks.checkpoint import read_checkpoint

pytest.importorskip("monai")

GRID = Grid((4, 36, 40), (2.0, 2.0, 8.0))
SMALL = [
    *("--spacing", "2.5", "2.5", "--shape", "32", "32", "--patch", "32", "32", "--width", "4", "--batch-size", "2"),
    *("--epochs", "2", "--steps-per-epoch", "1", "--n-test", "1", "--n-validation", "1", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def acdc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("acdc")
    for number in range(901, 905):
        folder = root / "training" / f"patient{number}"
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: NOR\n")
        rng = np.random.default_rng(number)
        r = np.linalg.norm(GRID.voxel_centres()[..., :2] - np.asarray(GRID.centre[:2]), axis=-1)
        for frame, radius in ((1, 20.0), (9, 14.0)):
            labels = np.select([r < radius * 0.5, r < radius, r < radius + 6], [3, 2, 1], 0).astype(np.int32)
            image = (labels * 50 + rng.normal(0, 4, GRID.shape)).astype(np.float32)
            write_image(Image(image, GRID), folder / f"patient{number}_frame{frame:02d}.nii.gz")
            write_labels(labels, GRID, folder / f"patient{number}_frame{frame:02d}_gt.nii.gz")
    return root


def test_train_from_the_command_line(acdc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fct.ckpt"
    command = ["train", "fct", "--root", str(acdc), "--out", str(out), *SMALL]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "epoch 0 of 2: validation Dice" in said
    assert "epoch 2 of 2: loss" in said
    for word in ("RV", "myocardium", "LV", "mean", "Dice of 1 test subjects", f"written: {out}"):
        assert word in said
    trained = read_checkpoint(out, architectures=["fct"], dataset="acdc")
    assert trained.class_names == ("RV", "myocardium", "LV")
    assert main(command) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_volumes_can_be_trained_on(acdc: Path, tmp_path: Path) -> None:
    out = tmp_path / "labelreg3d.ckpt"
    size = ["--dims", "3", "--shape", "16", "32", "32", "--patch", "16", "32", "32", "--spacing", "2", "2.5", "2.5"]
    assert main(["train", "labelreg", "--root", str(acdc), "--out", str(out), *SMALL, *size]) == 0
    trained = read_checkpoint(out)
    assert trained.spec.dims == 3
    assert 0 < trained.scores["test_dice_before"] < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--dataset", "nonsense"], "there is no dataset 'nonsense'"),
        (["--patch", "40", "40"], "fit into the view"),
        (["--epochs", "0"], "epochs (--epochs) is 0: give a whole number of at least 1"),
        (["--n-test", "4"], "leave 0 for training"),
    ],
)
def test_what_makes_no_sense_ends_with_status_2(
    changes: list[str], message: str, acdc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.ckpt"
    assert main(["train", "fct", "--root", str(acdc), "--out", str(out), *SMALL, *changes]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_training_says_how_to_go_on(
    acdc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from samreg.training import run

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "i.ckpt"
    command = ["train", "fct", "--root", str(acdc), "--out", str(out), *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(run, "draw_batch", interrupted)
        assert main(command) == 130
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the same command goes on from the last whole epoch" in said
    assert main(command) == 0
    assert "epoch 2 of 2" in capsys.readouterr().out


def test_a_folder_is_not_a_checkpoint(acdc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "vnet", "--root", str(acdc), "--out", str(tmp_path)]) == 2
    assert "is a folder; give a file" in capsys.readouterr().err
