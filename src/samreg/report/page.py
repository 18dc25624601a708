"""The report page, section by section."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from samreg.config import describe
from samreg.geometry.image import Image
from samreg.io.palette import pair_colour
from samreg.regions.regions import Regions
from samreg.report import checks
from samreg.report.assets import page, text_of
from samreg.report.evaluation import place
from samreg.report.figures import before_and_after, deformation, pairs_of, spread
from samreg.report.methods import paragraph
from samreg.report.pair_table import pair_table
from samreg.report.prompted import prompt_mark
from samreg.report.slices import plane_of, shown_window, to_bytes
from samreg.report.slides import Slides
from samreg.report.structures import Structure, body_mask, counted, result_structures, size_text
from samreg.report.svg import marks_of, picture
from samreg.report.tables import chip, details, facts, geometry_row, geometry_text, pretty, section, table
from samreg.result import RegistrationResult

__all__ = ["render_regions", "render_registration"]

_DEVICE = "samreg is research software and not a medical device: nobody has approved it for diagnosis or treatment."


def render_registration(
    result: RegistrationResult,
    warped: Image | None = None,
    extra: Mapping[str, str] | None = None,
    structures: Sequence[Structure] | None = None,
    made: Mapping[str, Any] | None = None,
) -> str:
    """The page of a registration.

    Args:
        result: what `register` returned.
        warped: the moving image on the fixed grid, where it is at hand; made here otherwise.
        extra: more facts for the top of the page, name to text, for example measured Dice.
        structures: what the pairs make up, where it is at hand.
        made: `created` (ISO time) and the versions of the packages, for the methods text.

    Returns:
        HTML that needs nothing but itself.
    """
    if warped is None and result.field is not None:
        warped = result.field.warp(result.moving)
    known = result_structures(result) if structures is None else tuple(structures)
    slides = Slides.of(result, warped, known)
    determinant = None if result.field is None else result.field.jacobian_determinant()
    body = body_mask(result.fixed)
    data = slides.describe(determinant)
    mark = prompt_mark(result, slides.plane)
    if mark is not None:
        data["prompt"] = mark
        data["first"] = mark["slice"]
    sections = {
        "verdict": ("Verdict", _verdict(result, known, determinant, body, extra or {})),
        "compare": ("Before and after", before_and_after(slides)),
        "pairs": ("Pairs of regions", _pairs(result, known, slides)),
        "deformation": ("Deformation", _deformation(result, determinant, body)),
        "numbers": ("Numbers", _numbers(result)),
        "methods": ("Methods text", _methods(result, known, made or {})),
        "settings": ("Settings", _settings(result)),
    }
    shown = {name: (title, html) for name, (title, html) in sections.items() if html}
    links = "".join(f"<li><a href='#{name}'>{title}</a></li>" for name, (title, _) in shown.items())
    title = f"{result.moving.name} → {result.fixed.name}"
    head = (
        f"<h1>{escape(title)}</h1><p class='soft'>The moving image ({escape(result.moving.name)}) was "
        f"{'registered onto' if result.field is not None else 'compared with'} the fixed image "
        f"({escape(result.fixed.name)}) by pairs of regions. {_DEVICE}</p>"
        f"<nav aria-label='Contents'><ul>{links}</ul></nav>"
    )
    parts = "".join(section(name, title, html) for name, (title, html) in shown.items())
    foot = f"<footer><p>{_DEVICE}</p></footer>"
    return page(title, head + parts + foot, text_of("page.js"), data)


def render_regions(regions: Regions) -> str:
    """The page of one segmented image: its regions on up to twelve slices, and a table."""
    image, rois = regions.image, regions.rois
    plane = plane_of(image.grid, regions.slice_axis, image.oriented)
    window = shown_window(image)
    titles = [f"region {i + 1}, quality {roi.quality:.2f}" for i, roi in enumerate(rois.rois)]
    figures = []
    for k in spread(list(range(plane.n_slices)), 12):
        marks = marks_of(rois, plane, k, titles)
        caption = f"{plane.name} slice {k + 1} of {plane.n_slices}, {len(marks)} regions" if plane.name else ""
        figures.append(picture(to_bytes(plane.take(image.data, k), window), plane, marks, caption))
    rows = [
        (
            chip(pair_colour(i)) + str(i + 1),
            f"{roi.quality:.3f}",
            size_text(float(volume), image.grid),
            str(roi.n_voxels),
        )
        for i, (roi, volume) in enumerate(zip(rois.rois, rois.volumes, strict=True))
    ]
    origin = None if regions.origin is None else dataclasses.asdict(regions.origin)
    measure = "volume" if image.grid.ndim == 3 else "area"
    body = (
        f"<h1>{escape(image.name)}</h1><p class='soft'>{len(rois)} regions, found by segmenting everything. "
        f"{escape(geometry_text(image))} {_DEVICE}</p><section><div class='views'>{''.join(figures)}</div></section>"
        + section("regions", "Regions", table(["region", "quality", measure, "voxels"], rows))
        + section("how", "How", pretty(origin))
    )
    return page(image.name, body)


def _verdict(
    result: RegistrationResult,
    structures: tuple[Structure, ...],
    determinant: np.ndarray | None,
    body: tuple[tuple[slice, ...], np.ndarray],
    extra: Mapping[str, str],
) -> str:
    unit = result.fixed.grid.unit
    level = "good" if result.confidence >= 0.7 else "fair" if result.confidence >= 0.4 else "bad"
    used, total = sum(len(s.rows) for s in structures if s.used), len(result.pairs)
    rows = [
        (checks.tone(result.verdict, level), f"{result.confidence:.2f}", "confidence of the run, from 0 to 1"),
        ("", f"{used} of {total}", "pairs of regions are used"),
    ]
    if result.field is not None and determinant is not None:
        step, inside = body
        length = np.linalg.norm(result.field.u[step], axis=-1)[inside]
        folded = float(np.mean(determinant <= 0))
        share = "< 0.01 %" if 0 < folded < 1e-4 else f"{100 * folded:.2g} %"
        low, high = np.percentile(length, [50, 95])
        rows += [
            ("", f"{low:.1f} {unit}", f"median displacement in the body; 95 % move by at most {high:.1f} {unit}"),
            (
                checks.tone(result.verdict, "good" if folded <= 1e-3 else "fair" if folded <= 1e-2 else "bad"),
                share,
                "of the field is folded",
            ),
        ]
    if result.score is not None:
        rows.insert(1, ("", f"{result.score:.2f}", "score, from 0 to 1, to put results of one kind of images in order"))
    rows += [("", value, name) for name, value in extra.items()]
    rows.append(("", f"{sum(result.seconds.values()):.1f} s", "of computing"))
    told = (*result.notes, *(c.message for c in result.checks if c.message and c.state == "pass"))
    notes = "".join(f"<li>{escape(text)}</li>" for text in told)
    return (
        checks.words(result.verdict, result.checks)
        + facts(rows)
        + checks.found(result.checks)
        + (f"<h3>Please note</h3><ul class='notes'>{notes}</ul>" if notes else "")
    )


def _pairs(result: RegistrationResult, structures: tuple[Structure, ...], slides: Slides) -> str:
    if not structures:
        return "<p>No region of one image was matched with a region of the other.</p>" + pairs_of(slides)
    return (
        f"<p><b>{counted(structures)}.</b> The same number and colour mark the same structure in both images. Point at "
        "a region or a row to see its partner; click a row to go to its slice.</p>"
        + pairs_of(slides)
        + pair_table(result, structures)
    )


def _deformation(
    result: RegistrationResult, determinant: np.ndarray | None, body: tuple[tuple[slice, ...], np.ndarray]
) -> str:
    if result.field is None or determinant is None:
        return ""
    step, inside = body
    unit = result.fixed.grid.unit
    length, values = np.linalg.norm(result.field.u[step], axis=-1)[inside], determinant[step][inside]
    marks = (1, 5, 50, 95, 99)
    rows = [
        (f"displacement / {unit}", *(f"{v:.1f}" for v in np.percentile(length, marks)), f"{length.max():.1f}"),
        ("Jacobian determinant", *(f"{v:.2f}" for v in np.percentile(values, marks)), f"{values.max():.2f}"),
    ]
    shares = [
        f"{100 * float(np.mean(test)):.2g} % {what}"
        for test, what in (
            (values <= 0, "folded"),
            (values < 0.3, "below 0.3"),
            (values > 3, "above 3"),
        )
    ]
    head = ["inside the body", *(f"{m} %" for m in marks), "max"]
    return deformation() + table(head, rows) + f"<p class='soft'>Of the body: {', '.join(shares)}.</p>"


def _numbers(result: RegistrationResult) -> str:
    images = table(
        ["", "size", "spacing", "extent", "axes"],
        [("fixed", *geometry_row(result.fixed)), ("moving", *geometry_row(result.moving))],
    )
    seconds = table(
        ["stage", "seconds"], [(escape(k), "&lt; 0.1" if v < 0.05 else f"{v:.1f}") for k, v in result.seconds.items()]
    )
    losses = table(["term of the objective", "at the end"], [(escape(k), f"{v:.3g}") for k, v in result.losses.items()])
    timed = f"<div><h3>Time</h3>{seconds}</div>" if result.seconds else ""
    fitted = f"<div><h3>Fit</h3>{losses}</div>" if result.losses else ""
    return f"{place()}<h3>Images</h3>{images}<div class='two'>{timed}{fitted}</div>"


def _methods(result: RegistrationResult, structures: tuple[Structure, ...], made: Mapping[str, Any]) -> str:
    rows = [row for s in structures if s.background for row in s.rows]
    background = int((result.pairs.weights[rows] > 0).sum())
    button = "<p><button type='button' data-copy='#methods-text'>Copy</button></p>"
    return "<p class='soft'>For the methods section of a paper.</p>" + paragraph(result, made, background) + button


def _settings(result: RegistrationResult) -> str:
    return details(
        f"All settings ({describe(result.config)}, seed {result.config.seed})",
        pretty(dataclasses.asdict(result.config)),
    ) + details("Provenance", pretty(result.provenance()))
