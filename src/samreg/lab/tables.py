"""Tables from records: mean and standard deviation by method, with a paired test against the best peer.

A table reads records and computes statistics; it never registers and never scores.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samreg.errors import InputError
from samreg.files import written
from samreg.metrics import all_metrics, mean, single_number
from samreg.runs.records import Record

__all__ = [
    "Cell",
    "Column",
    "Table",
    "all_columns",
    "case_values",
    "confidence_and_dice",
    "joined_markdown",
    "make_table",
    "write_tables",
]

_NOTHING = "identity"
_FEWEST_FOR_RANKS = 6
_OURS = "samreg"
_JOINED = ("dice", "centroid_tre")

Format = Callable[["Table"], str]


@dataclass(frozen=True)
class Column:
    """One number of a record, and how a table shows it.

    Args:
        key: name of the metric in the record.
        title: heading; `{unit}` becomes the unit of the images.
        digits: decimals.
        better: whether a `higher` or a `lower` value is better; empty where neither is.
        scale: what to multiply by before showing.
    """

    key: str
    title: str
    digits: int
    better: str = ""
    scale: float = 1.0

    def value(self, record: Record) -> float:
        """The number of one record, as `single_number` gives it; NaN where it is absent."""
        return single_number(
            record.get("seconds") if self.key == "seconds" else record.get("metrics", {}).get(self.key)
        )


_OWN = (
    Column("pse_dice", "Pse-ROI Dice", 3, "higher"),
    Column("pse_tre", "Pse-ROI TRE [{unit}]", 2, "lower"),
    Column("seconds", "seconds", 1),
)


def all_columns() -> tuple[Column, ...]:
    """Every metric that tables show, those of other packages too, then what the laboratory adds."""
    shown = {name: metric for name, metric in all_metrics().items() if metric.in_tables}
    columns = (Column(name, m.title("{unit}"), m.digits, m.better, m.scale) for name, m in shown.items())
    return (*columns, *_OWN)


@dataclass(frozen=True)
class Cell:
    """Statistics of one metric of one method over the cases that every method of the table has.

    Args:
        mean: mean over cases.
        std: standard deviation over cases (n - 1), NaN for a single case.
        n: cases with a value.
        p: p-value of the paired Wilcoxon signed-rank test against the best peer; NaN where there is none.
    """

    mean: float
    std: float
    n: int
    p: float = float("nan")


@dataclass(frozen=True)
class Table:
    """Rows are methods, columns are metrics.

    Args:
        title: what the table shows.
        methods: row headings.
        columns: the metrics.
        cells: `cells[i][j]` of method i and column j.
        unit: unit of the distances.
        notes: what a reader has to know, one sentence each.
    """

    title: str
    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    unit: str
    notes: tuple[str, ...]

    def heading(self, column: Column) -> str:
        """Title of a column with the unit filled in."""
        return column.title.format(unit=self.unit)

    def best(self, j: int) -> set[int]:
        """Rows with the best mean of column j, rounded to its decimals; empty where there is no best.

        Doing nothing is not a competitor: it never folds.
        """
        column = self.columns[j]
        sign = 1.0 if column.better == "higher" else -1.0
        shown = {
            i: round(sign * row[j].mean * column.scale, column.digits)
            for i, (name, row) in enumerate(zip(self.methods, self.cells, strict=True))
            if name != _NOTHING and not np.isnan(row[j].mean)
        }
        if not column.better or len(set(shown.values())) < 2:
            return set()
        return {i for i, value in shown.items() if value == max(shown.values())}


def case_values(records: Iterable[Record], column: Column) -> dict[str, dict[str, float]]:
    """Method -> pair -> value, of the records that are done."""
    found: dict[str, dict[str, float]] = {}
    for record in records:
        if record["status"] == "done":
            found.setdefault(record["method"], {})[record["pair"]] = column.value(record)
    return found


def make_table(
    records: Sequence[Record],
    title: str = "",
    methods: Sequence[str] | None = None,
    headings: Mapping[str, str] | None = None,
) -> Table:
    """The table of one dataset.

    Only pairs that every method finished are counted, so that all rows are over the same cases; how many were left out,
    and why, is in the notes. The test compares each method whose name starts with `samreg` with the best of the others.

    Args:
        records: records of one dataset, as `read_records` gives them.
        title: heading of the table.
        methods: rows in this order; all, in the order of the records, by default.
        headings: method -> heading of its row; the name of the method by default.

    Raises:
        InputError: if the records hold nothing to show, or several datasets.
    """
    datasets = sorted({record["dataset"] for record in records})
    if len(datasets) > 1:
        raise InputError(f"a table is of one dataset, the records hold {', '.join(datasets)}: filter them first")
    rows = [r for r in records if r["status"] == "done" and (methods is None or r["method"] in methods)]
    if not rows:
        raise InputError("there are no finished records to make a table of; run the benchmark first")
    names = list(dict.fromkeys(r["method"] for r in rows))
    if methods is not None:
        names = [name for name in methods if name in names]
    by_method = {name: {r["pair"]: r for r in rows if r["method"] == name} for name in names}
    common = [p for p in dict.fromkeys(r["pair"] for r in rows) if all(p in by_method[name] for name in names)]
    columns = tuple(
        c for c in all_columns() if any(not np.isnan(c.value(r)) for r in rows) and not _all_zero_losses(c, rows)
    )
    values = {
        name: np.asarray([[c.value(by_method[name][p]) for c in columns] for p in common]).reshape(
            len(common), len(columns)
        )
        for name in names
    }
    cells = [[_cell(values, name, j, column) for j, column in enumerate(columns)] for name in names]
    units = {r.get("unit", "mm") for r in rows}
    return Table(
        title or datasets[0],
        tuple((headings or {}).get(name, name) for name in names),
        columns,
        tuple(tuple(row) for row in cells),
        "/".join(sorted(units)),
        tuple(_notes(records, names, by_method, common)),
    )


def _all_zero_losses(column: Column, rows: Sequence[Record]) -> bool:
    return column.key == "lost_labels" and not any(column.value(r) > 0 for r in rows)


def _cell(values: dict[str, np.ndarray], name: str, j: int, column: Column) -> Cell:
    mine = values[name][:, j]
    present = mine[~np.isnan(mine)]
    if not present.size:
        return Cell(float("nan"), float("nan"), 0)
    std = float(present.std(ddof=1)) if present.size > 1 else float("nan")
    return Cell(float(present.mean()), std, int(present.size), _p_value(values, name, j, column))


def _p_value(values: dict[str, np.ndarray], name: str, j: int, column: Column) -> float:
    """Two-sided p of the signed-rank test against the peer with the best mean."""
    peers = [other for other in values if not other.startswith(_OURS) and other != _NOTHING]
    if not name.startswith(_OURS) or not column.better or not peers:
        return float("nan")
    sign = 1.0 if column.better == "higher" else -1.0
    best = max(peers, key=lambda other: sign * _nanmean(values[other][:, j]))
    a, b = values[name][:, j], values[best][:, j]
    both = ~np.isnan(a) & ~np.isnan(b)
    # Without a difference there is nothing to rank; with fewer than six pairs no p can fall below 0.05.
    if both.sum() < _FEWEST_FOR_RANKS or np.allclose(a[both], b[both]):
        return float("nan")
    from scipy import stats

    return float(stats.wilcoxon(a[both], b[both]).pvalue)


def _nanmean(values: np.ndarray) -> float:
    return mean(values) if (~np.isnan(values)).any() else -np.inf


def _notes(
    records: Sequence[Record],
    names: Sequence[str],
    by_method: dict[str, dict[str, Record]],
    common: Sequence[str],
) -> list[str]:
    pairs = list(dict.fromkeys(r["pair"] for r in records))
    notes = [
        f"{len(common)} of {len(pairs)} pairs, those that every method of the table finished; mean ± std over pairs."
    ]
    for name in names:
        absent = len(pairs) - len(by_method[name])
        failed = sum(r["status"] == "failed" and r["method"] == name for r in records)
        if failed:
            notes.append(f"{name} failed on {failed} pairs.")
        if absent - failed > 0:
            notes.append(f"{name} has no record of {absent - failed} pairs.")
    if any(name.startswith(_OURS) for name in names) and any(not name.startswith(_OURS) for name in names):
        notes.append("p: two-sided Wilcoxon signed-rank test over pairs, against the best other method of the column.")
    for name in names:
        known = confidence_and_dice(by_method[name].values())
        if len(known) >= _FEWEST_FOR_RANKS:
            from scipy import stats

            rho = stats.spearmanr(known[:, 0], known[:, 1]).statistic
            if np.isfinite(rho):
                notes.append(
                    f"{name}: its confidence ranks the Dice of {len(known)} pairs with Spearman rho = {rho:.2f}."
                )
    return notes


def confidence_and_dice(records: Iterable[Record]) -> np.ndarray:
    """(n, 2) confidence and mean Dice of the records that hold both."""
    found = [
        (r["extra"]["confidence"], single_number(r.get("metrics", {}).get("dice")))
        for r in records
        if "confidence" in r.get("extra", {})
    ]
    return np.array([row for row in found if not np.isnan(row).any()], dtype=float).reshape(-1, 2)


def _text(table: Table, i: int, j: int, plus_minus: str) -> str:
    cell, column = table.cells[i][j], table.columns[j]
    if np.isnan(cell.mean):
        return "–"
    text = f"{cell.mean * column.scale:.{column.digits}f}"
    if not np.isnan(cell.std):
        text += f"{plus_minus}{cell.std * column.scale:.{column.digits}f}"
    return text


def _p_text(p: float) -> str:
    return "" if np.isnan(p) else (" (p < 0.001)" if p < 0.001 else f" (p = {p:.3f})")


def to_markdown(table: Table) -> str:
    """A GitHub table; the best mean of a column is bold."""
    lines = [f"### {table.title}", "", "| method | " + " | ".join(map(table.heading, table.columns)) + " |"]
    lines.append("| --- |" + " ---: |" * len(table.columns))
    for i, name in enumerate(table.methods):
        cells = []
        for j in range(len(table.columns)):
            text = _text(table, i, j, " ± ")
            cells.append((f"**{text}**" if i in table.best(j) else text) + _p_text(table.cells[i][j].p))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", " ".join(table.notes), ""])


def joined_markdown(tables: Sequence[Table]) -> str:
    """The paper's table 1: methods by datasets, Dice and centroid TRE of each dataset that has them.

    Args:
        tables: one table a dataset.
    """
    columns = [(table, j) for table in tables for j, column in enumerate(table.columns) if column.key in _JOINED]
    heads = [f"{table.title}: {table.heading(table.columns[j])}" for table, j in columns]
    lines = ["| method | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    for name in dict.fromkeys(name for table in tables for name in table.methods):
        cells = []
        for table, j in columns:
            i = table.methods.index(name) if name in table.methods else None
            text = "–" if i is None else _text(table, i, j, " ± ")
            cells.append(f"**{text}**" if i is not None and i in table.best(j) else text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    notes = [f"{table.title}: {table.notes[0]}" for table in tables]
    return "\n".join([*lines, "", " ".join(notes), ""])


def to_csv(table: Table) -> str:
    """One row a method with mean, standard deviation, number of cases and p of every metric, unrounded."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["method", *(f"{c.key}_{part}" for c in table.columns for part in ("mean", "std", "n", "p"))])
    for name, row in zip(table.methods, table.cells, strict=True):
        numbers = [x for cell in row for x in (cell.mean, cell.std, cell.n, cell.p)]
        writer.writerow([name, *("" if isinstance(x, float) and np.isnan(x) else repr(x) for x in numbers)])
    return stream.getvalue()


def to_latex(table: Table) -> str:
    """A booktabs table; the best mean of a column is bold."""
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escape(table.title)}. {_escape(' '.join(table.notes))}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["method", *(_escape(table.heading(c)) for c in table.columns)]) + r" \\",
        r"\midrule",
    ]
    for i, name in enumerate(table.methods):
        cells = []
        for j in range(len(table.columns)):
            text = _text(table, i, j, r" $\pm$ ").replace("–", "--")
            cells.append(rf"\textbf{{{text}}}" if i in table.best(j) else text)
        lines.append(" & ".join([_escape(name), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _escape(text: str) -> str:
    for character in "&%#_":
        text = text.replace(character, "\\" + character)
    return text.replace("±", r"$\pm$").replace("<", "$<$")


def write_tables(table: Table, folder: Path, name: str = "table") -> list[Path]:
    """Write the table as Markdown, CSV and LaTeX.

    Args:
        table: the table.
        folder: made if it does not exist.
        name: file name without suffix.

    Returns:
        The three files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writers: dict[str, Format] = {".md": to_markdown, ".csv": to_csv, ".tex": to_latex}
    paths = []
    for suffix, write in writers.items():
        path = folder / f"{name}{suffix}"
        with written(path) as partial:
            partial.write_text(write(table), encoding="utf-8")
        paths.append(path)
    return paths
