"""The exceptions of samreg, and the checks of settings that raise them.

    SamregError                      anything samreg raises on purpose
    ├── InputError                   what the user gave cannot be used (command line: exit status 2)
    │   ├── ImageReadError           a file that is not a readable image of a supported kind
    │   ├── GeometryError            grids, shapes or points that do not fit together
    │   ├── ConfigError              a setting, or a combination of settings, without a meaning
    │   ├── ModelError               model weights that are missing, damaged or of another architecture
    │   ├── DatasetError             a dataset folder that is absent or incomplete
    │   ├── PluginError              a part that is found by name is absent or cannot be imported
    │   └── MissingDependencyError   an optional package that the request needs is not installed
    └── RegistrationError            the images are fine and yet no registration came out

A field `max_rois` of a settings class is the option `--max-rois`; every message of a check names it so.
An error message says what was given, what is wanted and what to do, in one line.

    InputWarning                     what the user gave can be used, but in a way that the user should know of

The command line prints an InputWarning as `samreg: note: ...`, and `samreg register` writes it into the manifest.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Collection
from numbers import Integral, Real
from typing import Any

__all__ = [
    "ConfigError",
    "DatasetError",
    "GeometryError",
    "ImageReadError",
    "InputError",
    "InputWarning",
    "MissingDependencyError",
    "ModelError",
    "PluginError",
    "RegistrationError",
    "SamregError",
    "check_choice",
    "check_device",
    "check_flag",
    "check_number",
    "check_numbers",
    "check_text",
    "flag_of",
    "install_command",
]


class SamregError(Exception):
    """Base of every exception that samreg raises on purpose."""


class InputError(SamregError, ValueError):
    """What the user gave cannot be used; the command line exits with status 2."""


class InputWarning(UserWarning):
    """What the user gave can be used, but in a way that the user should know of: a note, in one line."""


class ImageReadError(InputError):
    """A file that is not a readable image of a supported kind."""


class GeometryError(InputError):
    """Grids, shapes or points that do not fit together."""


class ConfigError(InputError):
    """A setting, or a combination of settings, that has no meaning."""


class ModelError(InputError):
    """Model weights that are missing, damaged, or of an architecture samreg does not know."""


class DatasetError(InputError):
    """A dataset folder that is absent or incomplete; the message lists what is missing."""


class PluginError(InputError):
    """A part that is found by name (a solver, a dataset, ...) is absent or cannot be imported."""


def install_command(extra: str, package: str = "") -> str:
    """The pip command that installs what an extra brings, or one package of it, with the bounds that samreg declares.

    It names the packages and not samreg itself, so that it works whatever samreg was installed from (a clone, a wheel,
    an archive).

    Args:
        extra: name of the extra; where nothing is known of it, the command names `samreg[extra]` in the current folder.
        package: the one that is wanted; all by default.
    """
    import importlib.metadata

    needed = []
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for line in importlib.metadata.requires("samreg") or []:
            requirement, _, marker = line.partition(";")
            if requirement.startswith(package) and re.search(rf"extra\s*==\s*['\"]{re.escape(extra)}['\"]", marker):
                needed.append(f'"{requirement.strip()}"')
    return f"pip install {' '.join(sorted(needed))}" if needed else f'pip install ".[{extra}]" in a clone of samreg'


class MissingDependencyError(InputError):
    """An optional package that the request needs is not installed.

    Args:
        package: name of the distribution that is missing.
        purpose: what it is needed for, as the object of "needed for".
        extra: the samreg extra that brings it, or None when it is a dependency of its own.
    """

    def __init__(self, package: str, purpose: str, extra: str | None = None) -> None:
        command = install_command(extra) if extra else f"pip install {package}"
        super().__init__(f"{package} is not installed and is needed for {purpose}: {command}")
        self.package, self.purpose, self.extra = package, purpose, extra


class RegistrationError(SamregError):
    """The images are valid, and yet no registration came out."""


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
