"""A result in a notebook: its verdict and numbers, before and after, and the pairs that count most."""

from __future__ import annotations

from html import escape

from samreg.report.slides import Slides
from samreg.report.structures import result_structures
from samreg.report.thumbnails import Thumbnails
from samreg.result import RegistrationResult

__all__ = ["result_html"]

_MOST_PAIRS = 6


def result_html(result: RegistrationResult) -> str:
    """HTML that needs nothing but itself: text, two pictures, and a row a pair.

    Args:
        result: what `register` returned.
    """
    structures = result_structures(result)
    slides = Slides.of(result, None, structures)
    pictures = [("before", slides.still("before"))]
    if result.field is not None:
        pictures.append(("after", slides.still("after")))
    shown = "".join(
        f"<figure style='display:inline-block;margin:0 8px 8px 0'><img alt='fixed green, moving magenta, {when}' "
        f"src='{uri}'><figcaption>{when}: fixed green, moving magenta</figcaption></figure>"
        for when, uri in pictures
    )
    first, *lines = repr(result).splitlines()
    text = escape("\n".join(line.strip() for line in lines))
    return (
        f"<div><strong>{escape(first)}: {result.verdict}</strong><pre style='margin:4px 0'>{text}</pre>"
        f"{shown}{_pairs(result, slides)}</div>"
    )


def _pairs(result: RegistrationResult, slides: Slides) -> str:
    if not slides.structures:
        return "<p>No pairs.</p>"
    crops = Thumbnails(result.pairs, result.fixed, result.moving)
    rows = []
    for structure in slides.structures[:_MOST_PAIRS]:
        fixed, moving = crops.of(structure)
        name = escape(structure.name or f"region {structure.number}")
        rows.append(f"<tr><td>{name}</td><td>{fixed}</td><td>{moving}</td><td>{structure.similarity:.2f}</td></tr>")
    more = len(slides.structures) - len(rows)
    last = f"<p>and {more} more: .pairs</p>" if more else ""
    head = "<tr><th>pair</th><th>fixed</th><th>moving</th><th>similarity</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>{last}"
