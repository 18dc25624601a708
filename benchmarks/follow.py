"""Which modules of samreg does one call enter, and in which order?

    python -m benchmarks.follow

Registers the flat phantom with the default settings and prints every module whose functions are entered, in the order
of the first entry, with the number of entries. `docs/architecture.md` names the ones that a reader opens; a test holds
the page against this list.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["entered_modules"]


def entered_modules(call: Callable[[], object]) -> dict[str, int]:
    """Modules of samreg whose functions `call` enters, in order of first entry, with the number of entries.

    Code that runs while a module is imported does not count, nor does what only returns a name, such as a property of a
    type alias.

    Args:
        call: what to follow; work in other threads is followed as well.
    """
    found: dict[str, int] = {}

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or frame.f_code.co_name == "<module>":
            return
        name = frame.f_globals.get("__name__", "")
        if name.startswith("samreg.") and (name in found or not _importing(frame)):
            found[name] = found.get(name, 0) + 1

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return found


def _importing(frame: FrameType | None) -> bool:
    """Whether a module of samreg is being imported: classes and decorators run functions then, which nobody called."""
    while frame is not None:
        if frame.f_code.co_name == "<module>" and str(frame.f_globals.get("__name__", "")).startswith("samreg."):
            return True
        frame = frame.f_back
    return False


def main() -> None:
    """Follow one registration."""
    import samreg
    from samreg.geometry.phantom import phantom

    pair = phantom(2)
    for name, count in entered_modules(lambda: samreg.register(pair.fixed, pair.moving)).items():
        print(f"{count:8d}  {name}")


if __name__ == "__main__":
    main()
