"""Training runs: end to end on tiny images, killed and resumed, refused where they do not fit."""

from __future__ import annotations

import csv
import itertools
import math
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from samreg.errors import ConfigError, DatasetError, InputError, ModelError, SamregError
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.io.images import read_image, write_image, write_labels
from samreg.lab.baselines.networks.checkpoint import read_checkpoint, save_atomically
from samreg.lab.baselines.networks.predict import predict_field
from samreg.lab.baselines.networks.spec import NetworkSpec
from samreg.lab.baselines.segmenter import load_class_segmenter
from samreg.lab.baselines.training.config import AugmentConfig, TrainConfig, defaults
from samreg.lab.baselines.training.run import memory_format, train
from samreg.lab.baselines.training.state import resume_path
from samreg.regions.known import binarise, pair_by_name

pytest.importorskip("monai")

GRID = Grid((2, 40, 44), (2.0, 2.0, 10.0), (5.0, -3.0, 8.0))
TINY = TrainConfig(
    shape=(32, 32),
    spacing=(2.5, 2.5),
    patch=(32, 32),
    width=4,
    batch_size=2,
    epochs=3,
    steps_per_epoch=2,
    learning_rate=1e-2,
    n_test=1,
    n_validation=1,
    threads=1,
    device="cpu",
    precision="float32",
)


@dataclass(frozen=True)
class Pair:
    id: str
    fixed: Path
    moving: Path
    fixed_labels: Path | None
    moving_labels: Path | None
    label_names: Mapping[int, str] = field(default_factory=lambda: {1: "shell", 4: "core"})
    intra_subject: bool = True


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Four subjects with a bright core in a grey shell, larger in the fixed image than in the moving one."""
    folder, out = tmp_path_factory.mktemp("subjects"), []
    for number in range(4):
        rng, files = np.random.default_rng(number), []
        for side, radius in (("fixed", 22.0), ("moving", 15.0)):
            points = GRID.voxel_centres()[..., :2] - np.asarray(GRID.centre[:2]) - rng.uniform(-4, 4, 2)
            r = np.sqrt((points**2).sum(-1))
            labels = np.where(r < radius * 0.6, 4, np.where(r < radius, 1, 0)).astype(np.int32)
            grey = np.select([labels == 4, labels == 1], [200.0, 100.0], 20.0) + rng.normal(0, 3, GRID.shape)
            image_path, label_path = folder / f"s{number}_{side}.nii.gz", folder / f"s{number}_{side}_gt.nii.gz"
            write_image(Image(grey.astype(np.float32), GRID), image_path)
            write_labels(labels, GRID, label_path)
            files += [image_path, label_path]
        out.append(Pair(f"s{number}", files[0], files[2], files[1], files[3]))
    return out


@pytest.mark.parametrize(("dims", "width"), [(2, 4), (2, 15), (3, 16)])
def test_narrow_networks_keep_the_usual_order(dims: int, width: int) -> None:
    # Channels last, their gradients overwrite foreign memory (oneDNN#6035), and mednext below crashes.
    shape = (32,) * dims
    spec = NetworkSpec("mednext", dims, shape, (2.5,) * dims, n_classes=2, width=width)
    assert memory_format(spec) is torch.contiguous_format
    if dims == 2:
        assert memory_format(replace(spec, width=16)) is torch.channels_last


def _config(name: str) -> TrainConfig:
    return replace(TINY, width=0) if name == "vnet" else TINY


@pytest.mark.parametrize("name", ["voxelmorph", "labelreg", "vnet", "fct", "mednext"])
def test_train_save_load_run(name: str, pairs: list[Pair], tmp_path: Path) -> None:
    out, rows = tmp_path / f"{name}.ckpt", []
    trained = train(name, pairs, out, _config(name), dataset="toy", on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert all(math.isfinite(row["loss"]) for row in rows[1:])
    with (tmp_path / f"{name}.ckpt.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in table] == [0, 1, 2, 3]
    assert not resume_path(out).exists()
    assert sorted(tmp_path.iterdir()) == sorted([out, tmp_path / f"{name}.ckpt.csv"])

    assert (trained.dataset, trained.class_names, trained.label_values) == ("toy", ("shell", "core"), (1, 4))
    folds = [set(trained.split[part]) for part in ("train", "validation", "test")]
    assert [len(fold) for fold in folds] == [2, 1, 1]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(folds, 2))
    assert trained.config["architecture"] == name
    assert len(trained.fingerprint) == 64
    assert 0 <= trained.scores["test_dice"] <= 1

    again = read_checkpoint(out)
    fixed, moving = read_image(pairs[0].fixed), read_image(pairs[0].moving)
    if again.spec.is_registration:
        # Discs of 13.2 and 9 mm: 0.63; rings of 13.2 to 22 and 9 to 15 mm: 0.22.
        assert trained.scores["test_dice_before"] == pytest.approx(0.43, abs=0.05)
        # Six steps may end where they began, without a displacement; that training moves anything is the next test's.
        u = predict_field(again.net, again.spec, fixed, moving, device=torch.device("cpu")).u
        assert u.shape == (*GRID.shape, 3)
        assert np.array_equal(u, predict_field(trained.net, trained.spec, fixed, moving, device=torch.device("cpu")).u)
        assert np.abs(u[..., 2]).max() == 0  # slices stay in their planes
    else:
        segmenter = load_class_segmenter(out, device="cpu")
        names, p = segmenter.segment_classes(fixed)
        assert names == ("shell", "core")
        assert p.shape == (2, *GRID.shape)
        assert np.array_equal(p, segmenter.segment_classes(fixed)[1])
        assert segmenter.engine == "torch-float32-cpu"


def test_a_short_training_learns(pairs: list[Pair], tmp_path: Path) -> None:
    calm = AugmentConfig(rotation=5, scale=0.05, shift=0.02, flip=0.5)
    config = replace(TINY, width=8, epochs=8, steps_per_epoch=10, batch_size=4, learning_rate=1e-2, augment=calm)
    trained = train("mednext", pairs, tmp_path / "m.ckpt", config, dataset="toy")
    assert trained.scores["test_dice"] > 0.8
    segmenter = load_class_segmenter(tmp_path / "m.ckpt", device="cpu")
    pair = next(p for p in pairs if p.id in trained.split["test"])
    images = [read_image(path) for path in (pair.fixed, pair.moving)]
    found = pair_by_name(*(binarise(*segmenter.segment_classes(image), image.grid) for image in images))
    assert [roi.name for roi in found.fixed.rois] == ["shell", "core"]
    assert (found.fixed.volumes > 1.3 * found.moving.volumes).all()


def test_a_short_training_learns_to_register(pairs: list[Pair], tmp_path: Path) -> None:
    still = AugmentConfig(rotation=0, scale=0, shift=0, flip=0.5)
    config = replace(TINY, width=8, epochs=8, steps_per_epoch=20, batch_size=4, learning_rate=3e-3, augment=still)
    trained = train("labelreg", pairs, tmp_path / "r.ckpt", config, dataset="toy")
    # Whatever the order of summation on a machine: other seeds end at 0.80 to 0.87, from at most 0.47.
    assert trained.scores["validation_dice"] > 0.6
    fixed, moving = (read_image(path) for path in (pairs[0].fixed, pairs[0].moving))
    u = predict_field(trained.net, trained.spec, fixed, moving, device=torch.device("cpu")).u
    assert 1 < np.abs(u[..., :2]).max() < 20  # rims of 13.2 and 9 mm, 22 and 15 mm, and shifts up to 4 mm
    assert np.abs(u[..., 2]).max() == 0


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("name", ["fct", "voxelmorph"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(name: str, pairs: list[Pair], tmp_path: Path) -> None:
    straight = train(name, pairs, tmp_path / "a.ckpt", TINY, dataset="toy")

    def stop(row: Mapping[str, float]) -> None:
        if row["epoch"] == 2:
            raise _KilledError

    with pytest.raises(_KilledError):
        train(name, pairs, tmp_path / "b.ckpt", TINY, dataset="toy", on_epoch=stop)
    rows: list[Mapping[str, float]] = []
    resumed = train(name, pairs, tmp_path / "b.ckpt", TINY, dataset="toy", on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [2, 3]
    theirs = resumed.net.state_dict()
    for key, value in straight.net.state_dict().items():
        assert torch.equal(value, theirs[key]), key
    assert resumed.scores["test_dice_by_image"] == straight.scores["test_dice_by_image"]


def test_a_killed_process_leaves_a_run_that_can_go_on(pairs: list[Pair], tmp_path: Path) -> None:
    out = tmp_path / "k.ckpt"
    program = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from dataclasses import replace
        from test_training_run import Pair, TINY
        from samreg.lab.baselines.training.run import train
        pairs = {[(p.id, str(p.fixed), str(p.moving), str(p.fixed_labels), str(p.moving_labels)) for p in pairs]!r}
        pairs = [Pair(i, *map(Path, files)) for i, *files in pairs]
        train("labelreg", pairs, {str(out)!r}, replace(TINY, epochs=1000, patience=1000), dataset="toy")
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        table, deadline = tmp_path / "k.ckpt.csv", time.monotonic() + 120
        while not (table.exists() and table.read_text("utf-8").count("\n") >= 4):
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    done = torch.load(resume_path(out), weights_only=True)["epoch"]
    assert done >= 2
    rows: list[Mapping[str, float]] = []

    def stop(row: Mapping[str, float]) -> None:
        rows.append(row)
        if row["epoch"] == done + 2:
            raise _KilledError

    config = replace(TINY, epochs=1000, patience=1000)
    with pytest.raises(_KilledError):
        train("labelreg", pairs, out, config, dataset="toy", on_epoch=stop)
    assert [row["epoch"] for row in rows] == [done, done + 1, done + 2]


@pytest.fixture(scope="module")
def unfinished(pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The target of a LabelReg run that was killed after its first epoch."""
    out = tmp_path_factory.mktemp("unfinished") / "x.ckpt"

    def stop(row: Mapping[str, float]) -> None:
        if row["epoch"] == 1:
            raise _KilledError

    with pytest.raises(_KilledError):
        train("labelreg", pairs, out, TINY, dataset="toy", on_epoch=stop)
    return out


@pytest.mark.parametrize(
    ("name", "dataset", "changes", "error", "message"),
    [
        ("voxelmorph", "toy", {}, ModelError, "architecture labelreg, this one has voxelmorph"),
        ("labelreg", "other", {}, ModelError, "dataset toy, this one has other"),
        ("labelreg", "toy", {"epochs": 9}, ConfigError, "epochs=3, this one has 9"),
        ("labelreg", "toy", {"seed": 5}, ConfigError, "seed=0, this one has 5"),
    ],
)
def test_a_different_run_does_not_take_over(
    name: str,
    dataset: str,
    changes: dict[str, int],
    error: type[InputError],
    message: str,
    pairs: list[Pair],
    unfinished: Path,
) -> None:
    with pytest.raises(error, match=message) as caught:
        train(name, pairs, unfinished, replace(TINY, **changes), dataset=dataset)
    assert "\n" not in str(caught.value)
    assert resume_path(unfinished).exists()


def test_less_patience_ends_an_unfinished_run(pairs: list[Pair], tmp_path: Path) -> None:
    calm = replace(TINY, learning_rate=1e-9, epochs=9)  # nothing improves on the untrained network

    def stop(row: Mapping[str, float]) -> None:
        if row["epoch"] == 2:
            raise _KilledError

    with pytest.raises(_KilledError):
        train("fct", pairs, tmp_path / "p.ckpt", calm, dataset="toy", on_epoch=stop)
    rows: list[Mapping[str, float]] = []
    trained = train("fct", pairs, tmp_path / "p.ckpt", replace(calm, patience=1), dataset="toy", on_epoch=rows.append)
    assert [row["epoch"] for row in rows] == [2]
    assert trained.config["patience"] == 1


def test_an_unfinished_run_is_not_a_checkpoint(unfinished: Path) -> None:
    with pytest.raises(ModelError, match="wanted a file of format samreg-network/1, got samreg-training/1"):
        read_checkpoint(resume_path(unfinished))


def test_a_finished_checkpoint_is_not_overwritten(pairs: list[Pair], tmp_path: Path) -> None:
    out = tmp_path / "old.ckpt"
    out.write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already; give another --out, or --overwrite"):
        train("fct", pairs, out, TINY, dataset="toy")
    assert out.read_bytes() == b"precious"
    train("fct", pairs, out, replace(TINY, epochs=1, steps_per_epoch=1), dataset="toy", overwrite=True)
    assert read_checkpoint(out).spec.architecture == "fct"


@pytest.fixture(scope="module")
def finished(pairs: list[Pair], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "fct.ckpt"
    train("fct", pairs, out, replace(TINY, epochs=1, steps_per_epoch=1), dataset="toy")
    return out


def test_checkpoints_of_another_kind_are_refused(finished: Path) -> None:
    with pytest.raises(ModelError, match="is a fct checkpoint, wanted is voxelmorph"):
        read_checkpoint(finished, architectures=["voxelmorph"])


def _rewritten(finished: Path, out: Path, **changes: object) -> Path:
    content = torch.load(finished, weights_only=True)
    save_atomically({**content, **changes}, out)
    return out


class _Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return print, ("run by unpickling",)


def test_damaged_and_foreign_files_are_refused_in_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(finished.read_bytes()[:2000])
    text = tmp_path / "text.ckpt"
    text.write_text("not a network")
    harmful = tmp_path / "harmful.ckpt"
    torch.save({"format": "samreg-network/1", "spec": _Harmful()}, harmful)
    plain = tmp_path / "plain.ckpt"
    torch.save({"weight": torch.zeros(3)}, plain)
    spec = torch.load(finished, weights_only=True)["spec"]
    wide = _rewritten(finished, tmp_path / "wide.ckpt", spec={**spec, "width": 8})
    strange = _rewritten(finished, tmp_path / "strange.ckpt", spec={**spec, "architecture": "resnet"})
    short = _rewritten(finished, tmp_path / "short.ckpt", weights={})
    expected = {
        cut: "not a readable samreg checkpoint",
        text: "not a readable samreg checkpoint",
        harmful: "not a readable samreg checkpoint",
        plain: "wanted a file of format samreg-network/1, got something else",
        wide: "the weights are not those of a 2D fct of width 8",
        strange: "describes no network that samreg knows",
        short: "the weights are not those of a 2D fct of width 4",
        tmp_path / "absent.ckpt": "there is no such checkpoint",
    }
    for path, message in expected.items():
        with pytest.raises(ModelError, match=message) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    assert "run by unpickling" not in capsys.readouterr().out


def test_a_diverging_run_says_so(pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samreg.lab.baselines.training import run

    monkeypatch.setattr(
        run, "training_objective", lambda *_: lambda answer, *_: answer[0].sum() * torch.tensor(float("nan"))
    )
    with pytest.raises(SamregError, match="training diverged in epoch 1"):
        train("fct", pairs, tmp_path / "d.ckpt", TINY, dataset="toy")


def test_data_that_cannot_train_is_refused(pairs: list[Pair], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no pair"):
        train("fct", [], tmp_path / "e.ckpt", TINY, dataset="toy")
    with pytest.raises(DatasetError, match="s0 lacks one"):
        train("fct", [replace(pairs[0], moving_labels=None)], tmp_path / "e.ckpt", TINY, dataset="toy")
    with pytest.raises(ConfigError, match="2 subjects leave 0 for training"):
        train("fct", pairs[:2], tmp_path / "e.ckpt", TINY, dataset="toy")
    with pytest.raises(ConfigError, match="must be 2 multiples of 32"):
        train("fct", pairs, tmp_path / "e.ckpt", replace(TINY, patch=(16, 16)), dataset="toy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["voxelmorph", "labelreg", "vnet", "fct", "mednext"])
def test_defaults_are_possible_settings(name: str) -> None:
    assert defaults(name).spec(name, 3).architecture == name


def test_tensorboard_files_are_written_on_request(pairs: list[Pair], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train("fct", pairs, tmp_path / "t.ckpt", replace(TINY, epochs=1), dataset="toy", tensorboard=tmp_path / "events")
    assert [p.name.startswith("events.out") for p in (tmp_path / "events").iterdir()] == [True]
