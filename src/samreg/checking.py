"""Checks that settings make of themselves: what was given, what is wanted, what to do, and the option of the command.

A field `max_rois` is the option `--max-rois`; every message names it so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

from samreg.errors import ConfigError

__all__ = ["check_choice", "check_device", "check_flag", "check_number", "check_numbers", "check_text", "flag_of"]

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def flag_of(name: str) -> str:
    """The option of the command line that sets a field."""
    return "--" + name.replace("_", "-")


def check_number(
    settings: Any,
    name: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    whole: bool = False,
    above: bool = False,
) -> None:
    """Refuse what is not a finite number within bounds.

    Args:
        settings: whose field it is.
        name: of the field.
        low: smallest value.
        high: largest value.
        whole: whether it must be an integer.
        above: whether `low` itself is too small.

    Raises:
        ConfigError: if it is not.
    """
    if not _is_number(getattr(settings, name), low, high, whole, above):
        raise _refused(settings, name, f"give {_wanted(low, high, whole, above)}")


def check_numbers(
    settings: Any,
    name: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    whole: bool = False,
    above: bool = False,
    length: int | None = None,
) -> None:
    """Refuse what is not a tuple of numbers, each as for `check_number`: at least one, or `length` of them.

    Raises:
        ConfigError: if it is not.
    """
    value = getattr(settings, name)
    fits = isinstance(value, tuple) and (len(value) > 0 if length is None else len(value) == length)
    if not fits or not all(_is_number(v, low, high, whole, above) for v in value):
        count = "one or more values" if length is None else f"{length} values"
        raise _refused(settings, name, f"give {count}, each {_wanted(low, high, whole, above)}")


def check_choice(settings: Any, name: str, choices: Collection[Any]) -> None:
    """Refuse what is none of the names there are.

    Raises:
        ConfigError: if it is not.
    """
    value = getattr(settings, name)
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise _refused(settings, name, f"choose {', '.join(map(str, choices))}")


def check_flag(settings: Any, name: str) -> None:
    """Refuse what is neither True nor False.

    Raises:
        ConfigError: if it is not.
    """
    if not isinstance(getattr(settings, name), bool):
        raise _refused(settings, name, "give True or False")


def check_text(settings: Any, name: str) -> None:
    """Refuse what is not a text, or an empty one.

    Raises:
        ConfigError: if it is not.
    """
    value = getattr(settings, name)
    if not isinstance(value, str) or not value.strip():
        raise _refused(settings, name, "give a name")


def check_device(settings: Any, name: str = "device") -> None:
    """Refuse what is not the name of a device. Whether this computer has it is asked when it is used.

    Raises:
        ConfigError: if it is not.
    """
    value = getattr(settings, name)
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise _refused(settings, name, "choose auto, cpu, cuda, cuda:N or mps")


def _is_number(value: Any, low: float, high: float, whole: bool, above: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        return False
    number = float(value)
    return math.isfinite(number) and low <= number <= high and not (above and number == low)


def _wanted(low: float, high: float, whole: bool, above: bool) -> str:
    what = "a whole number" if whole else "a number"
    if math.isinf(low) and math.isinf(high):
        return what
    if math.isinf(high):
        return f"{what} above {low:g}" if above else f"{what} of at least {low:g}"
    if math.isinf(low):
        return f"{what} of at most {high:g}"
    return f"{what} above {low:g}, at most {high:g}" if above else f"{what} from {low:g} to {high:g}"


def _refused(settings: Any, name: str, todo: str) -> ConfigError:
    return ConfigError(f"{name} ({flag_of(name)}) is {getattr(settings, name)!r}: {todo}")
