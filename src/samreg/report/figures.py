"""The figures that the script of the page draws: their places, controls and captions."""

from __future__ import annotations

from html import escape

from samreg.report.maps import jacobian_stops
from samreg.report.slides import Slides

__all__ = ["before_and_after", "deformation", "pairs_of", "spread"]

_MODES = (("swipe", "Swipe"), ("flicker", "Flicker"), ("blend", "Blend"), ("difference", "Difference"))


def before_and_after(slides: Slides) -> str:
    """Fixed and moving on top of each other, before and after; empty without a transform."""
    if slides.warped is None:
        return ""
    modes = "".join(
        f"<label><input type='radio' name='mode' value='{value}'{' checked' if value == 'swipe' else ''}>{text}</label>"
        for value, text in _MODES
    )
    controls = (
        f"<div class='controls'><fieldset aria-label='Way to compare'>{modes}</fieldset>"
        "<label data-for='swipe'>Line <input type='range' id='swipe' min='0' max='100' step='1' value='50'></label>"
        "<span data-for='flicker' hidden><button type='button' id='play'>Start</button> "
        "<button type='button' id='turn'>Change image</button></span>"
        f"{_slice(slides)}{_window()}</div>"
    )
    figures = _figure("before", "fixed", "Before", swipe=True) + _figure("after", "fixed", "After", swipe=True)
    stills = "".join(
        f"<img class='{when}' src='{slides.still(when)}' alt='fixed in green and moving in magenta, {when}'>"
        for when in ("before", "after")
    )
    return (
        "<p>The moving image on top of the fixed image, before and after registration. "
        "<span id='now' class='soft'></span></p>"
        f"{controls}<div class='views'>{figures}</div>"
        "<p class='soft'>Grey: the moving image does not reach here. Keys: left and right arrow change the slice, f "
        "changes the image.</p><noscript><p>The other pictures need JavaScript.</p>"
        f"<div class='still'>{stills}</div></noscript>"
    )


def pairs_of(slides: Slides) -> str:
    """Fixed and moving slice with the outlines of the pairs."""
    beside = ""
    if slides.plane.name:
        beside = "Beside each fixed slice is the moving slice that holds most of its partners. "
        if any(slides.plane.letters):
            beside += "Slices are shown as radiologists see them. "
        unknown = [i.name for i in (slides.result.fixed, slides.result.moving) if not i.oriented]
        if unknown:
            beside += (
                f"Nothing names the sides of the patient: the header of {' and of '.join(unknown)} records no "
                "orientation. "
            )
    return (
        f"<div class='controls'>{_slice(slides)}{_window()}</div><div class='views'>"
        f"{_figure('pairs', 'fixed', 'Fixed')}{_figure('pairs', 'moving', 'Moving')}</div>"
        f"<p class='soft'>{escape(beside)}Both have one scale.</p>"
    )


def deformation() -> str:
    """The map of the Jacobian determinant on the anatomy, and the deformed grid."""
    stops = jacobian_stops()
    gradient = "".join(f"<stop offset='{at:.3f}' stop-color='{colour}'/>" for at, _, colour in stops)
    ticks = "".join(f"<text x='{16 + 308 * at:.1f}' y='34'>{text}</text>" for at, text, _ in stops)
    bar = (
        "<svg class='scale' viewBox='0 0 340 40' role='img' aria-label='Colours of the Jacobian determinant'><defs>"
        f"<linearGradient id='j'>{gradient}</linearGradient></defs><rect x='16' y='3' width='308' height='16' "
        f"fill='url(#j)' stroke='#888' stroke-width='.5'/>{ticks}</svg>"
    )
    return (
        "<p>First: the Jacobian determinant inside the body, on the fixed image. It is the volume of tissue in the "
        "moving image over its volume in the fixed image: blue is smaller in the moving image, red larger, yellow "
        "folded; without colour is unchanged. Second: where a regular grid of the fixed slice comes to lie in the "
        f"moving image, seen along the slices.</p>{bar}<div class='views'>"
        f"{_figure('jacobian', 'fixed', 'Jacobian determinant')}{_figure('mesh', 'moving', 'Deformed grid')}</div>"
    )


def spread(choices: list[int], most: int) -> list[int]:
    """At most so many of the choices, evenly spread."""
    if len(choices) <= most:
        return choices
    return [choices[int((i + 0.5) * len(choices) / most)] for i in range(most)]


def _figure(view: str, side: str, name: str, swipe: bool = False) -> str:
    overlay = "<svg aria-hidden='true'></svg>" if view in ("pairs", "mesh") else ""
    line = "<div class='line-swipe' hidden></div>" if swipe else ""
    return (
        f"<figure data-view='{view}' data-side='{side}'><div class='stage'>"
        f"<canvas role='img' aria-label='{escape(name)}'></canvas>{overlay}{line}<div class='ruler'><span></span></div>"
        f"</div><figcaption><b>{escape(name)}</b> <span class='where'></span></figcaption></figure>"
    )


def _slice(slides: Slides) -> str:
    last = slides.plane.n_slices - 1
    return (
        f"<label>Slice <input class='slice' type='range' min='0' max='{last}' step='1' value='{slides.first}'></label>"
    )


def _window() -> str:
    return (
        "<label>Level <input class='level' name='level' type='range' min='0' max='100' value='50'></label>"
        "<label>Window <input class='level' name='width' type='range' min='5' max='200' value='100'></label>"
        "<button type='button' class='reset'>Reset</button>"
        "<span class='soft hint'>or drag a picture with the right button</span>"
    )
