"""The report page, section by section."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from samreg.config import describe
from samreg.geometry.image import Image
from samreg.io.palette import pair_colour
from samreg.regions.regions import Regions
from samreg.report import checks
from samreg.report.maps import jacobian_stops
from samreg.report.panels import Panels, spread
from samreg.report.slices import black_and_white, plane_of, to_bytes
from samreg.report.style import CSS, SCRIPT
from samreg.report.svg import marks_of, picture
from samreg.result import RegistrationResult

__all__ = ["render_regions", "render_registration"]

_MOST_SLICES = 5


def render_registration(
    result: RegistrationResult, warped: Image | None = None, extra: Mapping[str, str] | None = None
) -> str:
    """The page of a registration.

    Args:
        result: what `register` returned.
        warped: the moving image on the fixed grid, where it is at hand; made here otherwise.
        extra: more facts for the top of the page, name to text, for example measured Dice.

    Returns:
        HTML that needs nothing but itself.
    """
    if warped is None and result.field is not None:
        warped = result.field.warp(result.moving)
    panels = Panels.of(result, warped, _MOST_SLICES)
    determinant = None if result.field is None else result.field.jacobian_determinant()
    sections = [
        checks.section(result.verdict, result.checks),
        _warnings((*result.notes, *(c.message for c in result.checks if c.message and c.state == "pass"))),
        _facts(result, determinant, extra or {}),
        _pairs(result, panels),
        _before_and_after(panels) if result.field is not None else "",
        _deformation(panels, determinant) if determinant is not None else "",
        _pair_table(result),
        _run(result),
    ]
    title = f"{result.moving.name} → {result.fixed.name}"
    head = (
        f"<h1>{escape(title)}</h1><p class='soft'>The moving image ({escape(result.moving.name)}) was registered onto "
        f"the fixed image ({escape(result.fixed.name)}) by paired regions. Hover over a region, or a row of the table, "
        "to see its partner; click to keep it.</p>"
    )
    return _page(title, head + "".join(sections))


def render_regions(regions: Regions) -> str:
    """The page of one segmented image: its regions on up to twelve slices, and a table."""
    image, rois = regions.image, regions.rois
    plane = plane_of(image.grid, regions.slice_axis)
    window = black_and_white(image)
    titles = [f"region {i + 1}, quality {roi.quality:.2f}" for i, roi in enumerate(rois.rois)]
    figures = []
    for k in spread(list(range(plane.n_slices)), 12):
        marks = marks_of(rois, plane, k, titles)
        caption = f"{plane.name} slice {k + 1} of {plane.n_slices}, {len(marks)} regions" if plane.name else ""
        figures.append(picture(to_bytes(plane.take(image.data, k), window), plane, marks, caption))
    columns = "two" if len(figures) > 1 else ""
    grid = "".join(figures)
    measure, unit = _measure(image)
    rows = [
        (
            _chip(i),
            f"{roi.quality:.3f}",
            f"{volume:.4g}",
            str(roi.n_voxels),
            ", ".join(f"{c:.1f}" for c in centre),
        )
        for i, (roi, volume, centre) in enumerate(zip(rois.rois, rois.volumes, rois.centroids, strict=True))
    ]
    table = _table(["region", "quality", f"{measure} / {unit}", "voxels", f"centroid / {image.grid.unit}"], rows)
    origin = None if regions.origin is None else dataclasses.asdict(regions.origin)
    body = (
        f"<h1>{escape(image.name)}</h1><p class='soft'>{len(rois)} regions, found by segmenting everything. "
        f"{escape(_geometry(image))}</p><section><div class='row {columns}'>{grid}</div></section>"
        f"<section><h2>Regions</h2><div class='scroll'>{table}</div></section>"
        f"<section><h2>How</h2>{_json(origin)}</section>"
    )
    return _page(image.name, body)


def _page(title: str, body: str) -> str:
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)} · samreg</title><style>{CSS}</style></head>"
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _warnings(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    return f"<section class='warn'><h2>Please note</h2><ul>{items}</ul></section>"


def _facts(result: RegistrationResult, determinant: np.ndarray | None, extra: Mapping[str, str]) -> str:
    unit = result.fixed.grid.unit
    pairs, similarity = result.pairs, result.pairs.similarity
    level = "good" if result.confidence >= 0.7 else "fair" if result.confidence >= 0.4 else "bad"
    facts = [
        (checks.tone(result.verdict, level), f"{result.confidence:.2f}", "confidence of the run, 0 to 1"),
        ("", str(len(pairs)), "pairs of regions"),
        ("", f"{similarity.mean():.2f}" if len(pairs) else "–", "mean similarity of the pairs"),
    ]
    if result.field is not None and determinant is not None:
        length = np.linalg.norm(result.field.u, axis=-1)
        folded = float(np.mean(determinant <= 0))
        facts += [
            ("", f"{length.mean():.1f} {unit}", f"mean displacement, at most {length.max():.1f} {unit}"),
            (
                checks.tone(result.verdict, "good" if folded <= 1e-3 else "fair" if folded <= 1e-2 else "bad"),
                "< 0.01 %" if 0 < folded < 1e-4 else f"{100 * folded:.2g} %",
                "of the field is folded",
            ),
        ]
    facts += [("", value, name) for name, value in extra.items()]
    facts.append(("", f"{sum(result.seconds.values()):.1f} s", "of computing"))
    cells = "".join(
        f"<div class='fact {kind}'><b>{escape(value)}</b><span>{escape(name)}</span></div>"
        for kind, value, name in facts
    )
    return f"<div class='facts'>{cells}</div>"


def _pairs(result: RegistrationResult, panels: Panels) -> str:
    rows = "".join(f"<div class='row two'>{fixed}{moving}</div>" for fixed, moving in panels.pairs())
    if not len(result.pairs):
        rows = "<p>No region of one image was matched with a region of the other.</p>" + rows
    geometry = _table(
        ["", "size", "spacing", "extent", "axes"],
        [("fixed", *_geometry_row(result.fixed)), ("moving", *_geometry_row(result.moving))],
    )
    return (
        "<section><h2>Pairs of regions</h2><p class='soft'>The same number and colour mark the same structure: on the "
        f"left in the fixed image, on the right in the moving image. {escape(panels.note)}</p>"
        f"{rows}{geometry}</section>"
    )


def _before_and_after(panels: Panels) -> str:
    kinds = [
        ("Blend", "Fixed in green, the other in magenta; grey where they agree.", panels.blends()),
        (
            "Checkerboard",
            "Squares of the fixed and of the other image in turn; edges should run on.",
            panels.checkerboards(),
        ),
        ("Difference", "Fixed minus the other, both windowed; mid-grey is no difference.", panels.differences()),
        ("Images", "Fixed image, and the moving image after registration.", panels.images()),
    ]
    labels, tabs = "", ""
    for i, (name, what, rows) in enumerate(kinds):
        checked = " checked" if i == 0 else ""
        labels += f"<input type='radio' name='view' id='t{i}'{checked}><label for='t{i}'>{name}</label>"
        figures = "".join(f"<div class='row two'>{a}{b}</div>" for a, b in rows)
        tabs += f"<div class='tab t{i}'><p class='soft'>{what}</p>{figures}</div>"
    return f"<section><h2>Before and after</h2><div class='tabs'>{labels}{tabs}</div></section>"


def _deformation(panels: Panels, determinant: np.ndarray) -> str:
    stops = jacobian_stops()
    gradient = "".join(f"<stop offset='{at:.3f}' stop-color='{colour}'/>" for at, _, colour in stops)
    ticks = "".join(f"<text x='{10 + 280 * at:.1f}' y='31'>{text}</text>" for at, text, _ in stops)
    bar = (
        f"<svg viewBox='0 0 300 34'><defs><linearGradient id='j'>{gradient}</linearGradient></defs>"
        f"<rect x='10' y='2' width='280' height='15' fill='url(#j)' stroke='#999' stroke-width='.5'/>{ticks}</svg>"
    )
    rows = "".join(f"<div class='row two'>{a}{b}</div>" for a, b in panels.deformations(determinant))
    return (
        "<section><h2>Deformation</h2><p class='soft'>Left: where the lines of a regular grid in the fixed image come "
        "to lie in the moving image. Right: the Jacobian determinant, the volume of tissue in the moving image over "
        "its volume in the fixed image.</p>"
        f"<div class='bar'>{bar}<span>blue: smaller in the moving image, red: larger there, yellow: folded</span></div>"
        f"{rows}</section>"
    )


def _pair_table(result: RegistrationResult) -> str:
    pairs, unit = result.pairs, result.fixed.grid.unit
    if not len(pairs):
        return ""
    measure, power = _measure(result.fixed)
    fixed, moving = pairs.fixed.centroids, pairs.moving.centroids
    before = np.linalg.norm(fixed - moving, axis=1)
    after = None if result.field is None else np.linalg.norm(result.field.transform_points(fixed) - moving, axis=1)
    names = [roi.name for roi in pairs.fixed.rois]
    sizes = pairs.fixed.volumes, pairs.moving.volumes
    head = ["pair", *(["name"] if any(names) else []), "similarity", "weight", f"fixed {measure} / {power}"]
    head += [f"moving {measure}", f"apart / {unit}", *([] if after is None else ["apart after"])]
    head += [f"fixed centroid / {unit}", "moving centroid"]
    rows = []
    for i in range(len(pairs)):
        row = [_chip(i), *([escape(names[i])] if any(names) else [])]
        row += [f"{pairs.similarity[i]:.3f}", f"{pairs.weights[i]:.2f}"]
        row += [f"{size[i]:.4g}" for size in sizes]
        row += [f"{before[i]:.1f}", *([] if after is None else [f"{after[i]:.1f}"])]
        row += [", ".join(f"{c:.1f}" for c in centre[i]) for centre in (fixed, moving)]
        rows.append(tuple(row))
    return f"<section><h2>The pairs in numbers</h2><div class='scroll'>{_table(head, rows, pairs=True)}</div></section>"


def _run(result: RegistrationResult) -> str:
    seconds = _table(["stage", "seconds"], [(escape(k), f"{v:.2f}") for k, v in result.seconds.items()])
    losses = _table(
        ["term of the objective", "at the end"], [(escape(k), f"{v:.5g}") for k, v in result.losses.items()]
    )
    parts = [f"<section><h2>The run</h2><div class='row two'><div><h3>Time</h3>{seconds}</div>"]
    parts.append(f"<div><h3>Fit</h3>{losses}</div></div>" if result.losses else "</div>")
    parts.append(f"<h3>Provenance</h3>{_json(result.provenance())}")
    parts.append(
        f"<details><summary>All settings ({escape(describe(result.config))}, seed {result.config.seed})"
        f"</summary>{_json(dataclasses.asdict(result.config))}</details></section>"
    )
    return "".join(parts)


def _json(value: Any) -> str:
    return f"<pre>{escape(json.dumps(value, indent=2, default=str, ensure_ascii=False))}</pre>"


def _table(head: Sequence[str], rows: Sequence[tuple[str, ...]], pairs: bool = False) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        f"<tr{f' data-pair={i + 1}' if pairs else ''}>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
        for i, row in enumerate(rows)
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _chip(pair: int) -> str:
    r, g, b = pair_colour(pair)
    return f"<span class='chip' style='background:rgb({r},{g},{b})'></span>{pair + 1}"


def _measure(image: Image) -> tuple[str, str]:
    return ("volume", f"{image.grid.unit}³") if image.grid.ndim == 3 else ("area", f"{image.grid.unit}²")


def _geometry_row(image: Image) -> tuple[str, ...]:
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


def _geometry(image: Image) -> str:
    size, spacing, _, axes = _geometry_row(image)
    return f"{size} voxels of {spacing}, axes {axes}."
