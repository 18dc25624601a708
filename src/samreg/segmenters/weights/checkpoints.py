"""Files of tensors, read without running code from them."""

from __future__ import annotations

import pickle
import struct
import zipfile
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from samreg.errors import MissingDependencyError, ModelError

__all__ = ["read_tensors"]

_DAMAGED = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    struct.error,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
"""What torch's unpickler ends with on a damaged file: it runs the file's instructions and checks few of them."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a `.safetensors` file, or from a torch checkpoint (`.pth`, `.pt`, `.bin`).

    Raises:
        MissingDependencyError: if safetensors is needed and not installed.
        ModelError: if the file is missing, cut off, or no table of tensors.
    """
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch_checkpoint(path)


def _read_torch_checkpoint(path: Path) -> dict[str, Tensor]:
    """Tensors of a torch checkpoint; nested ones (`model`, `state_dict`) are unwrapped."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED:
        # torch's own message fills a screen, and advises to switch the protection off.
        raise ModelError(
            f"{path}: cannot be read as a torch checkpoint of plain tensors (cut off, or another kind of file); "
            "download it again"
        ) from None
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = isinstance(content, dict) and content and all(isinstance(v, torch.Tensor) for v in content.values())
    if not tensors:
        raise ModelError(
            f"{path}: holds other things than tensors; a promptable segmenter is a checkpoint of the SAM family "
            "(`samreg models` lists them)"
        )
    return dict(content)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if find_spec("safetensors") is None:
        raise MissingDependencyError("safetensors", f"reading {path.name}", "hf")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError):
        raise ModelError(f"{path}: cannot be read as a safetensors file (cut off?); download it again") from None
