"""samreg itself: `samreg`, `samreg:PRESET`, and ablations such as `samreg:paper+match.max_pairs=3`."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints

from samreg.config import RegisterConfig, preset
from samreg.errors import ConfigError, RegistrationError
from samreg.geometry.image import Image
from samreg.lab.peers.base import Method, Solved
from samreg.runs.shared import CountingFinder, shared_finder

__all__ = ["config_from_name", "samreg_method"]


def samreg_method(name: str, reuse: bool = False) -> Method:
    """The method of a name `samreg[:PRESET][+setting=value...]`.

    Args:
        name: the name.
        reuse: take regions that were found before from the cache; the seconds then leave the segmentation out.

    Raises:
        ConfigError: if the preset, a setting or a value does not exist.
    """
    config = config_from_name(name)
    return Method(
        name,
        partial(_solve, config=config, reuse=reuse),
        {"config": dataclasses.asdict(config)},
        dimensions=(2, 3),
        prepare=partial(shared_finder, config.segment),
    )


def config_from_name(name: str) -> RegisterConfig:
    """The settings that a method name stands for.

    Raises:
        ConfigError: if the preset, a setting or a value does not exist.
    """
    head, *changes = name.split("+")
    tool, _, chosen = head.partition(":")
    if tool != "samreg":
        raise ConfigError(
            f"{name!r} is not a samreg method; wanted is samreg, samreg:PRESET or samreg:PRESET+setting=value"
        )
    config = preset(chosen or "default")
    for change in changes:
        path, _, value = change.partition("=")
        config = _replace(config, path.strip().split("."), value.strip(), name)
    return config


def _replace(config: Any, path: list[str], value: str, name: str) -> Any:
    names = [f.name for f in dataclasses.fields(config)]
    if path[0] not in names:
        raise ConfigError(f"{name!r}: there is no setting {path[0]!r}; {type(config).__name__} has {', '.join(names)}")
    if len(path) > 1:
        return dataclasses.replace(config, **{path[0]: _replace(getattr(config, path[0]), path[1:], value, name)})
    kind = get_type_hints(type(config))[path[0]]
    return dataclasses.replace(config, **{path[0]: _parse(kind, value, f"{name!r}: {path[0]}")})


def _parse(kind: Any, value: str, where: str) -> Any:
    if kind is bool:
        if value.lower() not in ("true", "false"):
            raise ConfigError(f"{where} is true or false, got {value!r}")
        return value.lower() == "true"
    if get_origin(kind) is tuple:
        return tuple(_parse(get_args(kind)[0], part, where) for part in value.split("/"))
    choices = get_args(kind)
    if choices:
        if value not in choices:
            raise ConfigError(f"{where} is one of {', '.join(map(str, choices))}, got {value!r}")
        return value
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{where} wants {getattr(kind, '__name__', kind)}, got {value!r}") from None


def _solve(
    fixed: Image,
    moving: Image,
    *,
    intra_subject: bool,  # noqa: ARG001 (samreg is told nothing about the pair)
    threads: int,  # noqa: ARG001
    config: RegisterConfig,
    reuse: bool,
) -> Solved:
    from samreg.pipeline import register
    from samreg.regions.cache import RegionsCache

    finder = CountingFinder(shared_finder(config.segment))
    result = register(fixed, moving, config, segmenter=finder, cache=RegionsCache() if reuse else None)
    if result.field is None:
        raise RegistrationError(f"transform {config.fit.transform!r} gives no field to evaluate")
    extra = {
        "n_pairs": len(result.pairs),
        "kinds": {kind: int((result.pairs.kinds == kind).sum()) for kind in sorted(set(result.pairs.kinds))},
        "asked": dict(result.asked),
        "verdict": result.verdict,
        "checks": {c.name: {"value": c.value, "state": c.state} for c in result.checks},
        "confidence": float(result.confidence),
        "agreement": {k: v for k, v in dataclasses.asdict(result.agreement).items() if v is not None},
        "losses": {name: float(value) for name, value in result.losses.items()},
        "n_encoded": len(finder.found),
        "stage_seconds": {key: round(float(value), 3) for key, value in result.seconds.items()},
        "warnings": list(result.warnings),
    }
    return Solved(result.field, extra, result.pairs, result.stack_axis)
