"""A device that every machine has: tensors on it say that they are elsewhere, and compute on the CPU.

Within `pretend_device()` a tensor that is created on `meta`, or sent there, keeps its values and is a `Pretended`.
It follows the rules of a graphics card: no operation takes it together with a tensor of the CPU (single numbers apart),
and numpy does not take it. Code that runs here from end to end runs on a real device as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["DEVICE", "pretend_device"]

DEVICE = torch.device("meta")
_TRANSFERS = (torch.ops.aten.to, torch.ops.aten._to_copy, torch.ops.aten.copy_)


class Pretended(torch.Tensor):
    """A tensor whose values are in `inner`, on the CPU."""

    inner: Tensor
    # torch's own operations, and their results as they come: torch 2.2 would wrap each result in this class once more.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[attr-defined]

    @staticmethod
    def __new__(cls, inner: Tensor) -> Pretended:
        with torch.inference_mode(mode=False):  # a wrapper made in inference mode could not be a view
            return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
                cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=DEVICE
            )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def tolist(self) -> Any:
        """The values, as from every device."""
        return self.inner.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """The values where a copy of them is allowed, as from every device."""
        if not force:
            raise TypeError("numpy does not take a tensor of a device: use .numpy(force=True)")
        return self.inner.detach().numpy().copy()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _FromData(TorchFunctionMode):
    """Tensors of numbers and of numpy's arrays: torch makes those of `meta` without values, behind the other mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in (torch.tensor, torch.as_tensor):
            return func(*args, **kwargs)
        device = torch.device(kwargs.pop("device", None) or "cpu")
        if isinstance(args[0], Tensor):
            return args[0].to(device, **kwargs)
        made = func(*args, device="cpu", **kwargs)
        return made.to(device) if device.type == DEVICE.type else made


@contextmanager
def pretend_device() -> Iterator[torch.device]:
    """Within it `meta` is the pretended device."""
    with _FromData(), _Mode():
        yield DEVICE


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors: list[Tensor] = []
    devices: list[torch.device] = []

    def plain(x: Any) -> Any:
        if isinstance(x, Tensor):
            tensors.append(x)
            return x.inner if isinstance(x, Pretended) else x
        if isinstance(x, torch.device):
            devices.append(x)
            return torch.device("cpu")
        return x

    plain_args = _each(args, plain)
    plain_kwargs = {name: _each(value, plain) for name, value in kwargs.items()}
    there = any(isinstance(x, Pretended) for x in tensors)
    if there and func.overloadpacket not in _TRANSFERS:
        strangers = [x for x in tensors if not isinstance(x, Pretended) and x.ndim > 0]
        if strangers:
            raise AssertionError(f"{func}: a tensor of the CPU, {tuple(strangers[0].shape)}, meets one of the device")
    out = func(*plain_args, **plain_kwargs)
    written = [x for x in [*args[:1], kwargs.get("out")] if isinstance(x, Tensor)]
    if func._schema.is_mutable:
        return written[-1] if written else out
    on_device = devices[0].type == DEVICE.type if devices else there
    return _each(out, lambda x: Pretended(x) if isinstance(x, Tensor) else x) if on_device else out


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """`change` of every part of what an operation takes or gives: lists and tuples at most.

    torch's own `tree_map` took most of the time of a test, with tens of thousands of operations.
    """
    if isinstance(value, list | tuple):
        return type(value)([_each(part, change) for part in value])
    return change(value)
