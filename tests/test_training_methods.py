"""Trained networks as methods of the benchmark, and their checkpoints as segmenters of the pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from samreg.config import SegmentConfig
from samreg.errors import ModelError
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.lab.baselines.networks.build import build_network
from samreg.lab.baselines.networks.checkpoint import TrainedNetwork, is_checkpoint, write_checkpoint
from samreg.lab.baselines.networks.spec import SEGMENTATION, NetworkSpec
from samreg.lab.baselines.segmenter import is_class_checkpoint, load_class_segmenter
from samreg.lab.peers import load_method
from samreg.lab.peers.trained import checkpoint_path
from samreg.regions.find import open_finder
from samreg.segmenters import open_segmenter as load_promptable

pytest.importorskip("monai")

GRID = Grid((3, 40, 44), (1.8, 1.8, 9.0), (4.0, -3.0, 8.0))


def _checkpoint(name: str, path: Path) -> Path:
    """A network with random weights of visible size."""
    torch.manual_seed(0)
    spec = NetworkSpec(name, 2, (32, 32), (2.0, 2.0), 2 if name in SEGMENTATION else 0, 0 if name == "vnet" else 4)
    net = build_network(spec)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    split = {"train": ["a"], "validation": ["b"], "test": ["c"]}
    trained = TrainedNetwork(spec, net, "toy", ("one", "two"), (1, 2), split, {"architecture": name, "seed": 0})
    write_checkpoint(trained, path)
    return path


def _images() -> tuple[Image, Image]:
    rng = np.random.default_rng(0)
    return tuple(Image(rng.uniform(0, 100, GRID.shape).astype(np.float32), GRID, side) for side in ("f", "m"))  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["voxelmorph", "labelreg"])
def test_a_trained_network_is_a_method(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _checkpoint(name, tmp_path / f"{name}.ckpt")
    method = load_method(f"{name}:{path}")
    assert method.settings["test_subjects"] == ["c"]
    assert len(method.settings["checkpoint_sha256"]) == 64
    fixed, moving = _images()
    assert method.why_not(fixed, intra_subject=True) == ""
    output = method.run(fixed, moving, intra_subject=True, threads=1)
    assert output.field.grid is GRID
    assert np.abs(output.field.u[..., :2]).max() > 1e-3
    assert np.abs(output.field.u[..., 2]).max() == 0
    again = method.run(fixed, moving, intra_subject=True, threads=1)
    assert np.array_equal(again.field.u, output.field.u)
    monkeypatch.setenv("SAMREG_CHECKPOINTS", str(tmp_path))
    assert load_method(name).settings == method.settings


def test_a_method_without_its_checkpoint_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMREG_CHECKPOINTS", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"wants a checkpoint at voxelmorph\.ckpt; train one with `samreg train"):
        load_method("voxelmorph")
    _checkpoint("labelreg", tmp_path / "labelreg.ckpt")
    assert checkpoint_path("labelreg") == Path("labelreg.ckpt")
    with pytest.raises(ModelError, match=r"is a labelreg checkpoint, wanted is voxelmorph"):
        load_method("voxelmorph:labelreg.ckpt")


def test_a_retrained_network_is_another_method(tmp_path: Path) -> None:
    path = _checkpoint("voxelmorph", tmp_path / "v.ckpt")
    before = load_method(f"voxelmorph:{path}").settings
    content = torch.load(path, weights_only=True)
    content["scores"] = {"test_dice": 0.5}
    torch.save(content, path)
    assert load_method(f"voxelmorph:{path}").settings["checkpoint_sha256"] != before["checkpoint_sha256"]


def test_a_checkpoint_is_a_segmenter_without_prompts(tmp_path: Path) -> None:
    path = _checkpoint("fct", tmp_path / "fct.ckpt")
    assert is_class_checkpoint(str(path))
    segmenter = open_finder(SegmentConfig(segmenter=str(path), device="cpu"))
    assert segmenter.segmenter is None
    regions = segmenter.find(_images()[0], SegmentConfig())
    assert regions.origin is not None
    assert regions.origin.classes == ("one", "two")
    assert regions.prototypes.shape[1] == 2
    assert segmenter.fingerprint == load_class_segmenter(path).fingerprint
    with pytest.raises(ModelError, match="a promptable segmenter is a checkpoint of the SAM family"):
        assert load_promptable(str(path)).input_size


def test_a_registration_network_is_no_segmenter(tmp_path: Path) -> None:
    path = _checkpoint("voxelmorph", tmp_path / "v.ckpt")
    with pytest.raises(ModelError, match="is a voxelmorph checkpoint, wanted is vnet or fct or mednext"):
        open_finder(SegmentConfig(segmenter=str(path)))


def test_other_files_are_not_taken_for_checkpoints(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "sam.pth")
    (tmp_path / "text.pth").write_text("samreg-network/1")
    assert not is_checkpoint(tmp_path / "sam.pth")
    assert not is_checkpoint(tmp_path / "text.pth")
    assert not is_class_checkpoint("litemedsam")


def test_precision_that_a_trained_network_lacks_is_refused(tmp_path: Path) -> None:
    path = _checkpoint("fct", tmp_path / "fct.ckpt")
    with pytest.raises(ModelError, match="float32 or bfloat16, got precision 'float16'"):
        load_class_segmenter(path, precision="float16")
    with pytest.raises(ModelError, match="there is no device 'cuda:9' here"):
        load_class_segmenter(path, device="cuda:9")
