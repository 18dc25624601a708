"""Weight files: read without running code from them."""

from __future__ import annotations

import pickle
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from samreg.errors import MissingDependencyError, ModelError

__all__ = ["read_safetensors", "read_torch_checkpoint"]


def read_torch_checkpoint(path: Path) -> dict[str, Any]:
    """Tensors by name from a `.pth` or `.pt` file; nested ones (`model`, `state_dict`) are unwrapped.

    Raises:
        ModelError: if the file is missing, cut off, or no checkpoint of tensors.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(
            f"{path}: there is no such file; give a checkpoint, a model folder or a Hugging Face id"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile):
        # torch's own words fill a screen, and advise to switch the safety off.
        raise ModelError(
            f"{path}: cannot be read as a torch checkpoint of plain tensors (cut off, or another kind of file); "
            "download it again"
        ) from None
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = isinstance(content, dict) and content and all(isinstance(v, torch.Tensor) for v in content.values())
    if not tensors:
        raise ModelError(f"{path}: holds no table of tensors; give the checkpoint of a model of the SAM family")
    return dict(content)


def read_safetensors(path: Path) -> dict[str, Any]:
    """Tensors by name from a `.safetensors` file.

    Raises:
        MissingDependencyError: if safetensors is not installed.
        ModelError: if the file is cut off or not of this format.
    """
    if find_spec("safetensors") is None:
        raise MissingDependencyError("safetensors", f"reading {path.name}", "hf")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError):
        raise ModelError(f"{path}: not a whole safetensors file (cut off?); download it again") from None
