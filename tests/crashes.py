"""Tasks of workers that crash; here nothing is imported that the workers would have to load first."""

from __future__ import annotations

import os


def square_or_die(value: int) -> int:
    if value == 3:
        os._exit(9)  # what a tool does that crashes
    if value == 5:
        raise ValueError("five")
    return value * value


def die(_: int) -> None:
    os._exit(9)
