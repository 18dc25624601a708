"""Small pieces of HTML that several sections use."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from samreg.geometry.image import Image
from samreg.io.palette import RGB

__all__ = ["chip", "details", "facts", "geometry_row", "geometry_text", "pretty", "section", "table"]


def section(name: str, title: str, *parts: str) -> str:
    """A section that the list of contents can lead to."""
    return f"<section id='{name}'><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def details(summary: str, *parts: str) -> str:
    """Something that is folded away."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table; the cells are HTML."""
    top = "".join(f"<th scope='col'>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table class='{kind}'><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def facts(rows: Iterable[tuple[str, str, str]]) -> str:
    """Numbers with a line below each: class, number, what it is."""
    cells = "".join(
        f"<div class='{kind}'><b>{escape(value)}</b><span>{escape(name)}</span></div>" for kind, value, name in rows
    )
    return f"<div class='facts'>{cells}</div>"


def chip(colour: RGB) -> str:
    """A square of a colour."""
    return f"<span class='chip' style='background:rgb({colour[0]},{colour[1]},{colour[2]})'></span>"


def pretty(value: Any) -> str:
    """JSON for reading."""
    return f"<pre>{escape(json.dumps(value, indent=2, default=str, ensure_ascii=False))}</pre>"


def geometry_row(image: Image) -> tuple[str, ...]:
    """Size, spacing, extent and axes of an image."""
    grid = image.grid
    direction = np.asarray(grid.direction)
    axes = "straight" if np.allclose(np.abs(direction).max(axis=0), 1, atol=1e-3) else "oblique"
    if np.linalg.det(direction) < 0:
        axes += ", left-handed"
    return (
        " × ".join(str(n) for n in grid.shape[::-1]) + (", RGB" if image.is_colour else ""),
        " × ".join(f"{s:.4g}" for s in grid.spacing) + f" {grid.unit}",
        " × ".join(f"{e:.4g}" for e in grid.extent) + f" {grid.unit}",
        axes,
    )


def geometry_text(image: Image) -> str:
    """The same in a sentence."""
    size, spacing, _, axes = geometry_row(image)
    return f"{size} voxels of {spacing}, axes {axes}."
