"""Trained networks in files: written atomically, read with `weights_only=True`, refused with one clear line."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samreg.errors import ConfigError, ModelError
from samreg.files import sha256_of, written
from samreg.lab.baselines.networks.spec import Architecture, NetworkSpec

if TYPE_CHECKING:
    from samreg.lab.baselines.networks.build import RegistrationNet, SegmentationNet

__all__ = [
    "FORMAT",
    "TrainedNetwork",
    "is_checkpoint",
    "load_plain",
    "read_checkpoint",
    "save_atomically",
    "write_checkpoint",
]

FORMAT = "samreg-network/1"


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its weights, and where they come from.

    Args:
        spec: what it is, and how it sees an image.
        net: the network, in evaluation mode.
        dataset: the dataset it was trained on.
        class_names: names of the foreground classes it knows; what it segments, or whose labels supervised it.
        label_values: the value of each class in the dataset's label maps.
        split: `train`, `validation` and `test`: the subjects of each.
        config: the training settings.
        scores: what training measured.
        fingerprint: sha256 of the file, or empty before it is written.
        path: the file.
    """

    spec: NetworkSpec
    net: SegmentationNet | RegistrationNet
    dataset: str
    class_names: tuple[str, ...]
    label_values: tuple[int, ...]
    split: Mapping[str, Sequence[str]]
    config: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    path: str = ""


def save_atomically(content: Mapping[str, Any], path: Path) -> None:
    """`torch.save`, whole or not at all: a killed process leaves the old file or the new one."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as partial, partial.open("wb") as stream:
        torch.save(dict(content), stream)
        stream.flush()
        os.fsync(stream.fileno())


def write_checkpoint(trained: TrainedNetwork, path: Path, history: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write a trained network; everything in the file is tensors and plain values.

    Args:
        trained: the network.
        path: the file.
        history: what was measured in each epoch.
    """
    from samreg import __version__

    content = {
        "format": FORMAT,
        "samreg": __version__,
        "spec": trained.spec.as_dict(),
        "dataset": trained.dataset,
        "class_names": list(trained.class_names),
        "label_values": list(trained.label_values),
        "split": {name: list(subjects) for name, subjects in trained.split.items()},
        "config": dict(trained.config),
        "scores": dict(trained.scores),
        "history": [dict(row) for row in history],
        "weights": {name: value.contiguous() for name, value in trained.net.state_dict().items()},
    }
    save_atomically(content, path)


def load_plain(path: Path, wanted: str) -> dict[str, Any]:
    """The dictionary in a torch file, tensors and plain values only.

    Args:
        path: the file.
        wanted: the `format` it must have.

    Raises:
        ModelError: if the file is absent, damaged, of another format, or holds more than plain values and tensors.
    """
    import torch

    if not path.is_file():
        raise ModelError(f"{path}: there is no such checkpoint; `samreg train` makes one")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path}: not a readable samreg checkpoint ({reason}); train it again or copy it again"
        ) from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != wanted:
        raise ModelError(f"{path}: wanted a file of format {wanted}, got {found or 'something else'}")
    result: dict[str, Any] = content
    return result


def is_checkpoint(path: Path) -> bool:
    """Whether a file is a network trained by samreg; reads its table of contents, not its tensors."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        pickled = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        return bool(pickled) and FORMAT.encode() in archive.read(pickled[0])


def read_checkpoint(path: str | Path, *, architectures: Sequence[Architecture] = ()) -> TrainedNetwork:
    """A trained network from its file.

    Args:
        path: the file.
        architectures: those that the caller can use; empty accepts all.

    Raises:
        ModelError: if the file is not a samreg checkpoint, is of another architecture, or its weights do not fit
            its own description.
    """
    from samreg.lab.baselines.networks.build import build_network

    source = Path(path)
    content = load_plain(source, FORMAT)
    try:
        spec = NetworkSpec.from_dict(content["spec"])
        known = {name: content[name] for name in ("dataset", "class_names", "label_values", "split", "weights")}
    except (KeyError, TypeError, ConfigError) as error:
        raise ModelError(f"{source}: the checkpoint describes no network that samreg knows ({error})") from None
    if architectures and spec.architecture not in architectures:
        raise ModelError(f"{source} is a {spec.architecture} checkpoint, wanted is {' or '.join(architectures)}")
    net = build_network(spec)
    try:
        net.load_state_dict(known["weights"])
    except RuntimeError as error:
        raise ModelError(
            f"{source}: the weights are not those of a {spec.dims}D {spec.architecture} of width {spec.width} "
            f"({str(error).splitlines()[0][:80]})"
        ) from None
    return TrainedNetwork(
        spec,
        net.eval(),
        known["dataset"],
        tuple(known["class_names"]),
        tuple(known["label_values"]),
        known["split"],
        content.get("config", {}),
        content.get("scores", {}),
        sha256_of(source),
        str(source),
    )
