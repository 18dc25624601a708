"""samreg itself: `samreg`, `samreg:PRESET`, and ablations such as `samreg:paper+match.max_pairs=3`."""

from __future__ import annotations

import dataclasses
import time
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints

from samreg.config import RegisterConfig, preset
from samreg.errors import ConfigError, RegistrationError
from samreg.evaluation.methods.base import Method
from samreg.evaluation.shared import shared_segmenter
from samreg.field import DisplacementField
from samreg.image import Image

__all__ = ["config_from_name", "samreg_method"]


def samreg_method(name: str, reuse: bool = False) -> Method:
    """The method of a name `samreg[:PRESET][+setting=value...]`.

    Args:
        name: the name.
        reuse: take the regions from the cache where they are there; the seconds then say little.

    Raises:
        ConfigError: if the preset, a setting or a value does not exist.
    """
    config = config_from_name(name)
    return Method(
        name,
        partial(_solve, config=config, reuse=reuse),
        {"config": dataclasses.asdict(config)},
        dimensions=(2, 3),
        prepare=partial(shared_segmenter, config),
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
) -> tuple[DisplacementField, dict[str, Any]]:
    from samreg.io.cache import RegionsCache, find_or_segment
    from samreg.registration import register_regions

    segmenter = shared_segmenter(config)
    cache = RegionsCache() if reuse else None
    start = time.perf_counter()
    found = [find_or_segment(image, config, segmenter, cache) for image in (fixed, moving)]
    segment_seconds = time.perf_counter() - start
    result = register_regions(found[0][0], found[1][0], config)
    if result.field is None:
        raise RegistrationError(f"transform {config.fit.transform!r} gives no field to evaluate")
    extra = {
        "n_pairs": len(result.pairs),
        "confidence": float(result.confidence),
        "agreement": result.provenance.get("agreement", {}),
        "losses": {name: float(value) for name, value in result.losses.items()},
        "n_encoded": sum(fresh for _, fresh in found),
        "stage_seconds": {
            "segment": round(segment_seconds, 3),
            **{key: round(float(value), 3) for key, value in result.seconds.items()},
        },
        "warnings": list(result.warnings),
    }
    return result.field, extra
