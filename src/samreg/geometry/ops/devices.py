"""Where tensors are computed: the device that a setting names, and a block whose tensors are made there."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from samreg.errors import ConfigError

__all__ = ["CPU", "find_device", "fit_device", "on_device"]

CPU = torch.device("cpu")


def find_device(name: str) -> torch.device:
    """The device of a setting: for `auto` the best that this machine has, otherwise the one named.

    Args:
        name: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises:
        ConfigError: if torch does not find it on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    if present[kind] <= int(number or 0):
        raise ConfigError(f"device {name!r} is not available to torch on this machine; use --device auto")
    return torch.device(name)


def fit_device(name: str) -> torch.device:
    """Where a transform is fitted: as `find_device`, but on the CPU for `mps`, which lacks double precision."""
    device = find_device(name)
    return CPU if device.type == "mps" else device


def on_device(device: torch.device) -> AbstractContextManager[object]:
    """A block in which torch makes new tensors on a device, unless told otherwise; nothing changes for the CPU.

    What comes from numpy joins them by `torch.as_tensor`, and goes back by `.numpy(force=True)`.
    """
    return contextlib.nullcontext() if device.type == "cpu" else device
