"""What a training run is made of between two epochs: enough to go on after a kill as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samreg.errors import ConfigError, ModelError
from samreg.lab.baselines.networks.checkpoint import load_plain, save_atomically

__all__ = ["RunState", "resume_path"]

_FORMAT = "samreg-training/1"
# How a run computes and how long it hopes for better is not what it computes: these may change when it goes on.
_FREE = {"device", "threads", "precision", "patience"}


def resume_path(out: Path) -> Path:
    """Where an unfinished run keeps its state: beside its result."""
    return out.with_name(out.name + ".resume")


@dataclass
class RunState:
    """The state after `epoch` epochs; epoch 0 is the untrained network.

    Args:
        config: the settings, flat.
        split: subjects of training, validation and test.
        epoch: epochs that are done.
        best: best validation Dice so far.
        best_epoch: when it was reached.
        history: one row of numbers an epoch.
        weights: the network now.
        best_weights: the network at its best.
        optimiser: state of the optimiser.
        samples_rng: state of the generator that draws and changes samples.
        torch_rng: state of torch's CPU generator (dropout).
        cuda_rng: state of the CUDA generator, or empty.
    """

    config: dict[str, Any]
    split: dict[str, list[str]]
    epoch: int = 0
    best: float = -1.0
    best_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    optimiser: dict[str, Any] = field(default_factory=dict)
    samples_rng: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))
    torch_rng: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))
    cuda_rng: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.uint8))

    def save(self, path: Path) -> None:
        """Write the whole state, atomically."""
        save_atomically({"format": _FORMAT, **vars(self)}, path)

    @classmethod
    def load(cls, path: Path, config: Mapping[str, Any], split: Mapping[str, list[str]]) -> RunState:
        """The state of an unfinished run with the same settings.

        Raises:
            ModelError: if the file is damaged, or of another architecture or dataset.
            ConfigError: if another setting or the split differs.
        """
        content = load_plain(path, _FORMAT)
        content.pop("format")
        old = content["config"]
        for name in ("architecture", "dataset"):
            if old.get(name) != config[name]:
                raise ModelError(
                    f"{path} belongs to a run with {name} {old.get(name)}, this one has {config[name]}; "
                    "give another --out or remove that file"
                )
        changed = [k for k in config if k not in _FREE and old.get(k) != config[k]]
        if changed:
            key = changed[0]
            raise ConfigError(
                f"{path} belongs to a run with {key}={old.get(key)}, this one has {config[key]}; use the same "
                "settings, or remove that file to start again"
            )
        if content["split"] != dict(split):
            raise ConfigError(f"{path} belongs to a run on other subjects; give the same dataset, or remove that file")
        return cls(**{**content, "config": dict(config)})
