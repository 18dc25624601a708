"""Figures from records: every case as a dot, Dice by label, accuracy against seconds and against regularity. Nothing is
recomputed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samreg.errors import InputError
from samreg.files import written
from samreg.lab.tables import Column, all_columns, case_values
from samreg.runs.records import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_cases", "draw_labels", "draw_regularity", "draw_speed", "write_figures"]

_OURS, _PEER, _NONE = "#0b6e99", "#8a8f98", "#c9ccd1"
_SERIES = ("#0b6e99", "#d1811d", "#4f8f4f", "#a4508b", "#6b6f76", "#b5483a", "#3f5fa8", "#9a8436", "#4aa3a3", "#7d5fb2")


def _colour(name: str) -> str:
    return _NONE if name == "identity" else _OURS if name.startswith("samreg") else _PEER


def _done(records: Sequence[Record]) -> list[Record]:
    rows = [r for r in records if r["status"] == "done"]
    if not rows:
        raise InputError("there are no finished records to draw; run the benchmark first")
    return rows


def draw_cases(records: Sequence[Record], title: str = "") -> Figure:
    """Dice and distance of every case, a dot each, with a box (median and quartiles) behind, by method.

    Args:
        records: records of one dataset.
        title: heading.
    """
    from matplotlib.figure import Figure

    rows = _done(records)
    unit = "/".join(sorted({r.get("unit", "mm") for r in rows}))
    wanted = ("dice", "centroid_tre", "hd95") if any("dice" in r["metrics"] for r in rows) else ("landmark_tre",)
    columns = [c for c in all_columns() if c.key in wanted]
    names = _by_first_column(rows, columns[0].key)
    figure = Figure(figsize=(1.2 + 3.6 * len(columns), 0.9 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    rng = np.random.default_rng(0)
    for ax, column in zip(axes, columns, strict=True):
        values = case_values(rows, column)
        for y, name in enumerate(names):
            x = np.asarray([v for v in values.get(name, {}).values() if not np.isnan(v)])
            if not x.size:
                continue
            _box(ax, x, y, _colour(name))
            ax.scatter(x, y + rng.uniform(-0.16, 0.16, x.size), s=9, color=_colour(name), alpha=0.75, linewidths=0)
        ax.set_xlabel(column.title.format(unit=unit))
        if column.key == "dice":
            ax.set_xlim(0, 1)
        else:
            ax.set_xlim(left=0)
        _plain(ax)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


def _column(key: str) -> Column:
    return next(c for c in all_columns() if c.key == key)


def _by_first_column(rows: Sequence[Record], key: str) -> list[str]:
    """Methods from best to worst median, identity last."""
    column = _column(key)
    sign = 1.0 if column.better == "higher" else -1.0
    medians = {name: sign * float(np.nanmedian(list(v.values()))) for name, v in case_values(rows, column).items()}
    return sorted(medians, key=lambda name: (name == "identity", -medians[name]))


def _box(ax: Axes, x: np.ndarray, y: int, colour: str) -> None:
    ax.boxplot(
        x,
        positions=[y],
        orientation="horizontal",
        widths=0.62,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": colour, "alpha": 0.18, "edgecolor": "none"},
        medianprops={"color": colour, "linewidth": 1.8},
        whiskerprops={"color": colour, "linewidth": 0.8},
        capprops={"linewidth": 0},
    )


def draw_labels(records: Sequence[Record], title: str = "") -> Figure | None:
    """Mean Dice of every label, one line a method; None where the records have no labels.

    Args:
        records: records of one dataset.
        title: heading.
    """
    from matplotlib.figure import Figure

    rows = [r for r in _done(records) if r["metrics"].get("dice")]
    if not rows:
        return None
    names = _by_first_column(rows, "dice")
    labels = sorted({int(label) for r in rows for label in r["metrics"]["dice"]})
    texts = {int(k): v for r in rows for k, v in r.get("label_names", {}).items()}
    figure = Figure(figsize=(2.6 + 0.62 * max(len(labels), 5), 3.4), layout="constrained")
    ax = figure.subplots()
    for i, name in enumerate(names):
        heights = []
        for label in labels:
            found = [r["metrics"]["dice"].get(str(label)) for r in rows if r["method"] == name]
            present = [v for v in found if v is not None]
            heights.append(np.mean(present) if present else np.nan)
        style: dict[str, Any] = {"linewidth": 2.4, "zorder": 3} if name.startswith("samreg") else {"linewidth": 1.1}
        colour = _NONE if name == "identity" else _SERIES[i % len(_SERIES)]
        ax.plot(range(len(labels)), heights, marker="o", markersize=4, color=colour, label=name, **style)
    ax.set_xticks(range(len(labels)), [texts.get(v, str(v)) for v in labels], rotation=35, ha="right")
    ax.set_ylabel("Dice")
    ax.set_ylim(0, 1)
    ax.margins(x=0.06)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _plain(ax, "y")
    ax.set_title(title, loc="left", fontsize=11)
    return figure


def draw_speed(records: Sequence[Record], title: str = "") -> Figure | None:
    """Median accuracy against median seconds of a pair, one point a method; None where nothing was timed.

    Args:
        records: records of one dataset.
        title: heading.
    """
    from matplotlib.figure import Figure

    rows = [r for r in _done(records) if r["method"] != "identity" and r.get("seconds")]
    if not rows:
        return None
    key = "dice" if any("dice" in r["metrics"] for r in rows) else "landmark_tre"
    accuracy, seconds = _column(key), _column("seconds")
    y, x = case_values(rows, accuracy), case_values(rows, seconds)
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    ax = figure.subplots()
    for name in y:
        a, b = (float(np.nanmedian(list(values[name].values()))) for values in (x, y))
        _named_point(ax, name, (a, b))
    ax.set_xscale("log")
    ax.margins(x=0.25, y=0.15)
    unit = "/".join(sorted({r.get("unit", "mm") for r in rows}))
    ax.set_xlabel("seconds a pair (median)")
    ax.set_ylabel(f"{accuracy.title.format(unit=unit)} (median)")
    _plain(ax, "both")
    ax.set_title(title, loc="left", fontsize=11)
    return figure


def draw_regularity(tasks: Mapping[str, Sequence[Record]]) -> Figure | None:
    """Mean Dice against mean SDlogJ, one panel a task and one point a method; None where no record has both.

    A line joins the methods that no other one beats in both: the Pareto front. Methods that have finished fewer pairs
    than others are left out.

    Args:
        tasks: heading -> records of one dataset.
    """
    from matplotlib.figure import Figure

    dice, uneven = _column("dice"), _column("sdlogj")
    panels = {}
    for title, records in tasks.items():
        rows = [r for r in records if r["status"] == "done" and r["method"] != "identity"]
        both = [r for r in rows if r["metrics"].get("dice") and r["metrics"].get("sdlogj") is not None]
        y, x = case_values(both, dice), case_values(both, uneven)
        most = max(map(len, y.values()), default=0)
        names = [name for name in y if len(y[name]) == most]
        points = {n: (float(np.nanmean([*x[n].values()])), float(np.nanmean([*y[n].values()]))) for n in names}
        if points:
            panels[title] = points
    if not panels:
        return None
    figure = Figure(figsize=(0.4 + 4.2 * len(panels), 3.6), layout="constrained")
    for ax, (title, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        front = _front(points)
        ax.plot(*np.transpose([points[name] for name in front]), color=_NONE, linewidth=1.2, zorder=1)
        for name, at in points.items():
            _named_point(ax, name, at)
        ax.margins(x=0.25, y=0.15)
        ax.set_xlabel("SDlogJ, uneven to the right (mean)")
        ax.set_ylabel("Dice (mean)")
        _plain(ax, "both")
        ax.set_title(title, loc="left", fontsize=11)
    return figure


def _front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The methods that no other one beats in both, from the most even field on."""
    front: list[str] = []
    for name in sorted(points, key=lambda n: (points[n][0], -points[n][1])):
        if not front or points[name][1] > points[front[-1]][1]:
            front.append(name)
    return front


def _named_point(ax: Axes, name: str, at: tuple[float, float]) -> None:
    ax.scatter(*at, s=42, color=_colour(name), zorder=3)
    ax.annotate(name, at, xytext=(6, 4), textcoords="offset points", fontsize=8)


def _plain(ax: Axes, grid: str = "x") -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(axis=grid, color="#e6e7ea", linewidth=0.7)  # type: ignore[arg-type]
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8.5)


def write_figures(records: Sequence[Record], folder: Path, title: str = "") -> list[Path]:
    """Draw all figures that the records have the material for.

    Args:
        records: records of one dataset.
        folder: made if it does not exist.
        title: heading of each figure.

    Returns:
        The PNG files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "cases": draw_cases(records, title),
        "labels": draw_labels(records, title),
        "speed": draw_speed(records, title),
        "regularity": draw_regularity({title: records}),
    }
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            path = folder / f"{name}.png"
            with written(path) as partial:
                figure.savefig(partial, dpi=150, format="png")
            paths.append(path)
    return paths
