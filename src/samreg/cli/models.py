"""`samreg models`."""

from __future__ import annotations

from dataclasses import dataclass

from samreg.cli.common import show, table

__all__ = ["Models"]


@dataclass(frozen=True)
class Models:
    """List what can segment, where its weights are, what is missing and how to get it."""

    def run(self) -> None:
        """Ask the catalogue."""
        from samreg.segmenters.catalogue import families

        rows = [[str(getattr(f, key)) for key in ("name", "use", "state", "get")] for f in families()]
        show(table(["family", "--segmenter", "here", "how to get it"], rows))
