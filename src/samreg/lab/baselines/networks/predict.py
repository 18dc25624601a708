"""Predictions of trained networks: class probabilities, and displacement fields."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn

from samreg.errors import ModelError
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.lab.baselines.networks.spec import NetworkSpec
from samreg.lab.baselines.networks.view import View
from samreg.regions.slices import window
from samreg.types import ScalarArray

__all__ = ["autocast", "choose_device", "predict_classes", "predict_field", "view_of"]

_SLICES_AT_ONCE = 8


def choose_device(device: str = "auto") -> torch.device:
    """The torch device of a name; `auto` is CUDA where there is one, else the CPU.

    Raises:
        ModelError: if this machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:100]
        raise ModelError(f"there is no device {device!r} here ({reason}); use cpu or auto") from None
    return chosen


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Arithmetic of the network: `bfloat16` by autocast, or `float32` as it is."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def view_of(spec: NetworkSpec, image: Image, like: Image | None = None) -> tuple[View, ScalarArray]:
    """How a network sees an image.

    Args:
        spec: the network's.
        image: the image; its grey values are windowed to [0, 1] over the whole image.
        like: the image around whose grid the lattice lies; `image` itself by default.

    Returns:
        The view, and the image on it, `(slices, *spec.shape)`.
    """
    view = View.of(spec, (like or image).grid)
    grey = image.with_data(image.grey())
    return view, view.image(grey.with_data(window(grey)))


def predict_classes(
    net: nn.Module, spec: NetworkSpec, image: Image, *, device: torch.device, precision: str = "float32"
) -> ScalarArray:
    """Class probabilities on the image's own grid.

    Args:
        net: a segmentation network of `spec`.
        spec: its spec.
        image: a 2D image or volume.
        device: where the network is.
        precision: `float32` or `bfloat16`.

    Returns:
        `(k, *image.grid.shape)` without the background; 0 where the network does not look.
    """
    view, seen = view_of(spec, image)
    net.eval()
    with torch.inference_mode(), autocast(device, precision):
        rows = [
            torch.softmax(net(part.to(device))[0].float(), dim=1)[:, 1:].cpu()
            for part in torch.chunk(torch.from_numpy(seen)[:, None], _parts(seen))
        ]
    return view.maps_to(image.grid, torch.cat(rows).numpy())


def predict_field(
    net: nn.Module, spec: NetworkSpec, fixed: Image, moving: Image, *, device: torch.device
) -> DisplacementField:
    """The displacement field of a registration network, on the fixed grid, computed in float32.

    A 2D network registers slice by slice: displacement across slices is zero.

    Args:
        net: a registration network of `spec`.
        spec: its spec.
        fixed: the fixed image.
        moving: the moving image; it is sampled on the network's view of the fixed one.
        device: where the network is.
    """
    view, a = view_of(spec, fixed)
    _, b = view_of(spec, moving, like=fixed)
    parts = [torch.chunk(torch.from_numpy(seen)[:, None], _parts(seen)) for seen in (a, b)]
    net.eval()
    with torch.inference_mode():
        rows = [net(p.to(device), q.to(device)).float().cpu() for p, q in zip(*parts, strict=True)]
    return view.field_to(fixed.grid, torch.cat(rows).numpy())


def _parts(seen: np.ndarray) -> int:
    return -(-len(seen) // _SLICES_AT_ONCE)
