"""The table of structures: both crops, overlap before and after, sizes, and the numbers of the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from samreg.report.slices import matching_axis, plane_of
from samreg.report.structures import Structure, size_text
from samreg.report.tables import chip, details, table
from samreg.report.thumbnails import Thumbnails
from samreg.result import RegistrationResult

__all__ = ["pair_table"]

_FIRST = 10
_MOST_LISTED = 6
_PICTURES = 300
"""Structures that have crops: an atlas may have thousands."""


def pair_table(result: RegistrationResult, structures: Sequence[Structure]) -> str:
    """The structures that are used, ten at first; the others folded."""
    used = [(i, s) for i, s in enumerate(structures) if s.used]
    others = [s for s in structures if not s.used]
    measure = "volume" if result.fixed.grid.ndim == 3 else "area"
    head = (
        ("number", "left", "structure"),
        ("", "left", "fixed, moving"),
        ("before", "", "overlap before"),
        *([("after", "", "after")] if result.field is not None else []),
        ("size", "", f"{measure} fixed"),
        ("sizemoving", "", "moving"),
        ("similarity", "", "similarity"),
        ("use", "", "use"),
        ("", "left", "pairs"),
    )
    columns = "".join(
        f"<th scope='col' class='{side}'>"
        + (f"<button type='button' data-key='{key}'>{name}</button>" if key else name)
        + "</th>"
        for key, side, name in head
    )
    thumbnails = Thumbnails(result.pairs, result.fixed, result.moving)
    rows = "".join(
        _row(result, i, s, thumbnails if n < _PICTURES else None, hidden=n >= _FIRST) for n, (i, s) in enumerate(used)
    )
    first = min(_FIRST, len(used))
    slider = (
        f"<div class='controls'><label>Show <input type='range' id='count' min='1' max='{len(used)}' value='{first}'> "
        f"<span id='count-text'>{first} of {len(used)}</span> structures</label></div>"
        if len(used) > 1
        else ""
    )
    shown = (
        f"{slider}<table class='pairs'><thead><tr>{columns}</tr></thead><tbody id='pairs-body'>{rows}</tbody></table>"
        "<p class='soft'>Overlap is the Dice coefficient of what all pairs of a structure cover in the two images, 1 "
        "where that is the same. Use is the sum of the weights of the pairs in the fit. samreg pairs RUN --drop "
        "NUMBERS leaves wrong pairs out, and samreg fit RUN registers again.</p>"
        if used
        else "<p>No pair is used.</p>"
    )
    return shown + (_folded(result, others) if others else "")


def _row(result: RegistrationResult, i: int, s: Structure, thumbnails: Thumbnails | None, hidden: bool) -> str:
    grid = result.fixed.grid
    plane = plane_of(grid)
    fixed_slice = moving_slice = 0
    if plane.axis is not None:
        axis = matching_axis(grid, plane.axis, result.moving.grid)
        row = max(s.rows, key=lambda r: result.pairs.fixed[r].n_voxels)
        fixed_slice = _middle(result.pairs.fixed[row].start[plane.axis], result.pairs.fixed[row].stop[plane.axis])
        moving_slice = _middle(result.pairs.moving[row].start[axis], result.pairs.moving[row].stop[axis])
    before, after = s.dice
    keys = {
        "structure": i,
        "fixed": fixed_slice,
        "moving": moving_slice,
        "number": s.number,
        "before": f"{before:.4f}",
        "after": "" if after is None else f"{after:.4f}",
        "size": f"{s.sizes[0]:.6g}",
        "sizemoving": f"{s.sizes[1]:.6g}",
        "similarity": f"{s.similarity:.4f}",
        "use": f"{s.use:.4f}",
    }
    attributes = " ".join(f'data-{key}="{value}"' for key, value in keys.items())
    cells = [
        ("left", "", f"<button type='button' class='pick'>{chip(s.colour)}{escape(s.title)}</button>"),
        ("left pictures", "", "" if thumbnails is None else "".join(thumbnails.of(s))),
        ("", "overlap before", f"{before:.2f}"),
    ]
    if after is not None:
        way = "up" if after > before + 0.005 else "down" if after < before - 0.005 else ""
        sign = {"up": "▲", "down": "▼", "": ""}[way]
        cells.append(("", "after", f"<span class='{way}'>{after:.2f} {sign}</span>"))
    cells += [
        ("", "fixed", size_text(s.sizes[0], grid)),
        ("", "moving", size_text(s.sizes[1], result.moving.grid)),
        ("more", "similarity", f"{s.similarity:.2f}"),
        ("more", "use", f"{s.use:.2f}"),
        ("left", "pairs", _numbers(s)),
    ]
    body = "".join(
        f"<td class='{kind}'{f' data-label={chr(34)}{label}{chr(34)}' if label else ''}>{cell}</td>"
        for kind, label, cell in cells
    )
    return f"<tr {attributes}{' hidden' if hidden else ''}>{body}</tr>"


def _folded(result: RegistrationResult, others: Sequence[Structure]) -> str:
    rows = [
        (
            f"{chip(s.colour)}{escape(s.title)}",
            "background" if s.background else "weight zero",
            f"{s.dice[0]:.2f}" + ("" if s.dice[1] is None else f" → {s.dice[1]:.2f}"),
            size_text(s.sizes[0], result.fixed.grid),
            f"{s.similarity:.2f}",
            _numbers(s),
        )
        for s in others
    ]
    count = sum(len(s.rows) for s in others)
    title = f"{count} {'pair that is' if count == 1 else 'pairs that are'} folded away: background or of weight zero"
    return details(title, table(["structure", "why", "overlap", "size", "similarity", "pairs"], rows))


def _numbers(s: Structure) -> str:
    listed = ", ".join(map(str, s.pairs[:_MOST_LISTED]))
    return listed + (f" and {len(s.pairs) - _MOST_LISTED} more" if len(s.pairs) > _MOST_LISTED else "")


def _middle(start: int, stop: int) -> int:
    return (start + stop - 1) // 2
