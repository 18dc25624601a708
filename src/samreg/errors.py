"""The exceptions of samreg.

    SamregError                      anything samreg raises on purpose
    ├── InputError                   what the user gave cannot be used (command line: exit status 2)
    │   ├── ImageReadError           a file that is not a readable image of a supported kind
    │   ├── GeometryError            grids, shapes or points that do not fit together
    │   ├── ConfigError              a setting, or a combination of settings, without a meaning
    │   ├── ModelError               model weights that are missing, damaged or of another architecture
    │   ├── DatasetError             a dataset folder that is absent or incomplete
    │   └── MissingDependencyError   an optional package that the request needs is not installed
    └── RegistrationError            the images are fine and yet no registration came out

An error message says what was given, what is wanted and what to do, in one line.

    InputWarning                     what the user gave can be used, but in a way that the user should know of

The command line prints an InputWarning as `samreg: note: ...`, and `samreg register` writes it into the manifest.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DatasetError",
    "GeometryError",
    "ImageReadError",
    "InputError",
    "InputWarning",
    "MissingDependencyError",
    "ModelError",
    "RegistrationError",
    "SamregError",
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


class MissingDependencyError(InputError):
    """An optional package that the request needs is not installed.

    Args:
        package: name of the distribution that is missing.
        purpose: what it is needed for, as the object of "needed for".
        extra: the samreg extra that brings it, or None when it is a dependency of its own.
    """

    def __init__(self, package: str, purpose: str, extra: str | None = None) -> None:
        command = f'pip install "samreg[{extra}]"' if extra else f"pip install {package}"
        super().__init__(f"{package} is not installed and is needed for {purpose}: {command}")
        self.package, self.purpose, self.extra = package, purpose, extra


class RegistrationError(SamregError):
    """The images are valid, and yet no registration came out."""
