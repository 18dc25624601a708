"""`--config FILE`: settings from a TOML file, or from the manifest of an earlier run.

A TOML file names settings as the options do, flat or in the tables of `samreg.config`; both may be mixed:

    preset = "fast"
    epsilon = 0.7
    [fit.flow]
    flow_roi_weight = 3

The preset comes first, then the file, then what the command line says. A manifest holds every setting.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from samreg.config import RegisterConfig, preset
from samreg.errors import ConfigError, InputError

__all__ = ["asked_settings", "read_settings"]

T = TypeVar("T")
_MANIFEST = "manifest.json"


def asked_settings(arguments: Sequence[str]) -> RegisterConfig:
    """The settings that arguments start from: those of `--preset`, changed by those of `--config`.

    Raises:
        InputError: if the file cannot be read, or names a setting that does not exist or has no meaning.
    """
    name, path = _value(arguments, "--preset"), _value(arguments, "--config")
    return read_settings(path, name) if path else preset(name or "default")


def read_settings(path: str | Path, preset_name: str | None = None) -> RegisterConfig:
    """Settings from a file.

    Args:
        path: a TOML file, a manifest.json, or a run folder that holds one.
        preset_name: the preset that the command line names; it replaces that of the file.

    Raises:
        InputError: if the file cannot be read.
        ConfigError: if it names a setting that does not exist or has no meaning.
    """
    source = Path(path).expanduser()
    if source.is_dir():
        source = source / _MANIFEST
    values = _read(source)
    if "format" in values and "versions" in values:
        if "config" not in values:
            raise InputError(f"{source}: holds no settings; give the manifest.json of samreg register")
        if preset_name is not None:
            raise InputError(f"{source}: holds every setting, --preset would change none; give one of the two")
        values = values["config"]
        if not isinstance(values, Mapping):
            raise InputError(f"{source}: is damaged; give another file")
    named = values.get("preset", "default") if preset_name is None else preset_name
    try:
        base = preset(named)
        flat = dict(_flat({key: value for key, value in values.items() if key != "preset"}, _places(base)))
        return _changed(base, flat)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _value(arguments: Sequence[str], option: str) -> str | None:
    """The value of an option, the last one where it is given twice."""
    found = None
    for i, word in enumerate(arguments):
        if word.startswith(option + "="):
            found = word.partition("=")[2]
        elif word == option and i + 1 < len(arguments):
            found = arguments[i + 1]
    return found


def _read(source: Path) -> dict[str, Any]:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{source}: there is no such file; --config wants a TOML file or a manifest.json") from None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(
            f"{source}: cannot be read ({reason}); --config wants a TOML file or a manifest.json"
        ) from None
    try:
        if text.lstrip().startswith("{"):
            return dict(json.loads(text))
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
        return dict(tomllib.loads(text))
    except ValueError as error:  # of either format
        raise InputError(f"{source}: is neither TOML nor a manifest.json: {error}") from None


def _places(settings: Any, prefix: str = "") -> dict[str, str]:
    """Name of every setting and every table -> its full name, `epsilon` -> `match.epsilon`."""
    found: dict[str, str] = {}
    for field in dataclasses.fields(settings):
        found[field.name] = prefix + field.name
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            found |= _places(value, f"{prefix}{field.name}.")
    return found


def _flat(values: Mapping[str, Any], places: Mapping[str, str], table: str = "") -> Iterator[tuple[str, Any]]:
    """Full name and value of every setting of a file.

    Raises:
        ConfigError: if a name is unknown, or stands in the wrong table.
    """
    for key, value in values.items():
        full = places.get(str(key).replace("-", "_").lstrip("_"))
        if full is None or (table and full.rpartition(".")[0] != table):
            where = f" in the table {table}" if table else ""
            close = difflib.get_close_matches(str(key).replace("-", "_"), places, 1)
            hint = f"did you mean {places[close[0]]}?" if close else "samreg register --help-all lists the settings"
            raise ConfigError(f"there is no setting {key!r}{where}; {hint}")
        is_table = any(other.startswith(full + ".") for other in places.values())
        if is_table != isinstance(value, Mapping):
            raise ConfigError(f"{key} is {value!r}: give {'a table of settings' if is_table else 'a value'}")
        if is_table:
            yield from _flat(value, places, full)
        else:
            yield full, value


def _changed(settings: T, flat: Mapping[str, Any], prefix: str = "") -> T:
    """Settings with new values, each of the kind that it had."""
    new: dict[str, Any] = {}
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value, full = getattr(settings, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            new[field.name] = _changed(value, flat, full + ".")
        elif full in flat:
            new[field.name] = _as(flat[full], value)
    return dataclasses.replace(settings, **new)  # type: ignore[type-var]


def _as(value: Any, like: Any) -> Any:
    """A value of a file as the kind of its setting, where TOML and JSON write it differently."""
    if isinstance(like, tuple):
        return tuple(_as(part, like[0]) for part in value) if isinstance(value, list) else value
    if isinstance(value, int) and not isinstance(value, bool):
        if isinstance(like, float):
            return float(value)
        if isinstance(like, str):  # slice_axis = 0
            return str(value)
    return value
