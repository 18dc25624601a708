"""`samreg models`."""

from __future__ import annotations

from dataclasses import dataclass

from samreg.cli.common import show

__all__ = ["Models"]


@dataclass(frozen=True)
class Models:
    """List what can segment: where its weights are, what is missing, how to get it. Nothing is downloaded."""

    def run(self) -> None:
        """Print the list."""
        from rich.text import Text

        from samreg.segmenters.registry import families

        for family in families():
            here = family.state == "here"
            head = Text(f"{'✓' if here else '·'} {family.name}", style="bold" if here else "")
            show(head, Text(f"    --segmenter {family.use}\n    {family.state}: {family.get}"))
