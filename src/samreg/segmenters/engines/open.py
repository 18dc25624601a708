"""The engine for a network: the one that was asked for, or the fastest of this machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

import torch

from samreg.geometry.ops.devices import find_device
from samreg.segmenters.engines.base import Engine, Precision, check_settings
from samreg.segmenters.engines.torch_engine import TorchEngine

if TYPE_CHECKING:
    from samreg.segmenters.sam.network import SamNetwork

__all__ = ["make_engine"]


def make_engine(network: SamNetwork, fingerprint: str, engine: str, device: str, precision: str) -> Engine:
    """The engine that was asked for, or the fastest of this machine.

    Args:
        network: the network, already with its weights.
        fingerprint: sha256 of the weights.
        engine: `auto`, `torch` or `openvino`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`.

    Raises:
        ConfigError: if the three do not fit together, or not this machine.
        MissingDependencyError: if OpenVINO was asked for and is not installed.
    """
    check_settings(engine, device, precision)
    chosen = None if precision == "auto" else cast("Precision", precision)
    where = "cpu" if engine == "openvino" else str(find_device(device))
    if where == "cpu" and engine != "torch" and find_spec("openvino") is not None:
        from samreg.segmenters.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(network, fingerprint, chosen)
    return TorchEngine(network, where, chosen or _best_torch_precision(where))


def _best_torch_precision(device: str) -> Precision:
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "float32"
